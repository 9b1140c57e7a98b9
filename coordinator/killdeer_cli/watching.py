"""Staying with a run to its end, on a terminal or not, and what Ctrl-C means meanwhile."""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Self

from rich.console import RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer_cli import exits, run_view
from killdeer_cli.screen import print_json, say, screen, warn
from killdeer_cli.verbs import INTERRUPTED
from killdeer_client.client import Client
from killdeer_client.errors import ClientError
from killdeer_client.following import Lost, follow


@dataclass(frozen=True)
class _Interrupt:
    pass


@dataclass(frozen=True)
class _AbortFailed:
    error: ClientError


class Inbox:
    """All that can happen while a run goes on, in one queue. While it is open, Ctrl-C is put in it too."""

    def __init__(self) -> None:
        # Its put may be called from a signal handler.
        self._queue: SimpleQueue[o.WatchRunResponse | Lost | ClientError | _Interrupt | _AbortFailed] = (
            SimpleQueue()
        )
        self._pressed = 0
        self.attended = False
        """Somebody reads the queue; until then the second Ctrl-C is the usual KeyboardInterrupt."""

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Attended to the end: what was said stands, and a late Ctrl-C changes nothing.
        signal.signal(signal.SIGINT, signal.SIG_IGN if self.attended else self._before)

    def _interrupted(self, _number: int, _frame: FrameType | None) -> None:
        self._pressed += 1
        if self._pressed > 1 and not self.attended:
            raise KeyboardInterrupt
        self._queue.put(_Interrupt())

    def next(self) -> "o.WatchRunResponse | Lost | ClientError | _Interrupt | _AbortFailed":
        self.attended = True
        return self._queue.get()

    def follow(self, client: Client, run: str) -> None:
        def read() -> None:
            try:
                for update in follow(client, run):
                    self._queue.put(update)
            except ClientError as error:
                self._queue.put(error)

        client.beside(read)

    def abort(self, client: Client, run: str) -> None:
        """Beside the queue, so that a second Ctrl-C is heard while the coordinator thinks."""

        def ask() -> None:
            try:
                client.abort_run(run, "Ctrl-C")
            except ClientError as error:
                self._queue.put(_AbortFailed(error))

        client.beside(ask)


def attend(client: Client, run: str, inbox: Inbox, *, as_json: bool, aborts: bool) -> int:
    """Shows the run until it has ended -> the exit code. With `aborts`, Ctrl-C ends the run, else the watching."""
    inbox.follow(client, run)
    show = _Show(as_json=as_json)
    interrupts = 0
    try:
        while True:
            match inbox.next():
                case o.WatchRunResponse() as update:
                    run = update.run.run_id or run
                    show.update(update)
                    if update.run.state == o.RUN_STATE_ENDED:
                        show.close()
                        show.closing(update.run)
                        return exits.of_verdict(update.run.verdict)
                case Lost(error=error):
                    show.note(f"lost sight of run {run}: {error.message}; trying again")
                case ClientError() as error:
                    show.close()
                    if not error.refused:
                        error.remedy = (
                            f"run {run} goes on without this terminal; watch it again with: killdeer watch {run}"
                        )
                    raise error
                case _AbortFailed(error=error):
                    show.note(f"cannot abort run {run}: {error.message}")
                case _Interrupt() if not aborts:
                    show.note(f"left; run {run} goes on: killdeer watch {run}")
                    return INTERRUPTED
                case _Interrupt():
                    interrupts += 1
                    if interrupts == 1:
                        show.note(f"Ctrl-C: aborting run {run} and waiting for its reverts; press again to leave")
                        inbox.abort(client, run)
                        continue
                    show.note(f"left; run {run} is being aborted: killdeer watch {run}")
                    return exits.ABORTED
    finally:
        show.close()


class _Show:
    """Lines as they come; on a terminal, how the run stands below them."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._narrator = run_view.Narrator()
        self._live: Live | None = None
        if not as_json and sys.stdout.isatty():
            self._live = Live(
                get_renderable=_Foot(lambda: self._narrator.run),
                console=screen(),
                transient=True,
                refresh_per_second=8,
            )
            self._live.start()

    def update(self, update: o.WatchRunResponse) -> None:
        if self._as_json:
            print_json(update, line=True)
        else:
            for line in self._narrator.tell(update):
                say(line)

    def note(self, line: str) -> None:
        if self._live is not None:
            say(Text(line, style="yellow"))
        else:
            warn(line)

    def closing(self, run: o.RunView) -> None:
        if not self._as_json:
            for line in run_view.closing(run):
                say(line)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Foot:
    """The line below all others, with something that moves."""

    def __init__(self, run: Callable[[], o.RunView | None]) -> None:
        self._run = run
        self._spinner = Spinner("dots")

    def __call__(self) -> RenderableType:
        run = self._run()
        self._spinner.text = Text("starting") if run is None else run_view.standing(run)
        return self._spinner

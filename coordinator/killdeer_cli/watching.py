"""Staying with a run to its end, on a terminal or not, and what Ctrl-C means meanwhile."""

import signal
import threading
import uuid
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Self

from killdeer.v1 import operator_pb2 as o
from killdeer_cli import exits
from killdeer_cli.display import REDRAWN_S, Display
from killdeer_cli.halt import WITHOUT_COORDINATORS, tell_outcome
from killdeer_cli.keys import Chord, Continued, Press, Pressed, Stop
from killdeer_cli.verbs import INTERRUPTED
from killdeer_client.client import Client
from killdeer_client.errors import ClientError
from killdeer_client.following import Lost, follow
from killdeer_client.halting import HaltProgress
from killdeer_client.halting import halt as tell_every_coordinator


@dataclass(frozen=True)
class _Interrupt:
    pass


@dataclass(frozen=True)
class _AbortFailed:
    error: ClientError


@dataclass(frozen=True)
class _HaltOver:
    error: ClientError | None


_Event = (
    o.WatchRunResponse
    | Lost
    | ClientError
    | _Interrupt
    | _AbortFailed
    | Pressed
    | Stop
    | Continued
    | HaltProgress
    | _HaltOver
)


class Inbox:
    """All that can happen while a run goes on, in one queue. While it is open, Ctrl-C is put in it too."""

    def __init__(self) -> None:
        # Its put may be called from a signal handler.
        self._queue: SimpleQueue[_Event] = SimpleQueue()
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

    def next(self, wait_s: float | None = None) -> _Event | None:
        """None: nothing has come for so long."""
        self.attended = True
        try:
            return self._queue.get(timeout=wait_s)
        except Empty:
            return None

    def post(self, event: Pressed | Stop | Continued) -> None:
        self._queue.put(event)

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

    def halt(self, client: Client, reason: str) -> None:
        """As `killdeer halt`: to every coordinator, until it is complete."""

        def tell() -> None:
            error = None
            try:
                for progress in tell_every_coordinator(client, reason=reason, halt_id=str(uuid.uuid4())):
                    self._queue.put(progress)
            except ClientError as failure:
                error = failure
            self._queue.put(_HaltOver(error))

        # Its calls are in threads that the client knows; this one only waits for what they bring.
        threading.Thread(target=tell, daemon=True).start()


def attend(client: Client, run: str, inbox: Inbox, *, as_json: bool, aborts: bool) -> int:
    """Shows the run until it has ended -> the exit code. With `aborts`, Ctrl-C ends the run, else the watching."""
    inbox.follow(client, run)
    ctrl_c = "aborts the run" if aborts else "leaves; the run goes on"
    display = Display(as_json=as_json, ctrl_c=ctrl_c, post=inbox.post)
    try:
        display.open()
        return _Watch(client, run, inbox, display, aborts=aborts).to_the_end()
    finally:
        display.close()


class _Watch:
    """One run, its operator, and what the two do to each other."""

    def __init__(self, client: Client, run: str, inbox: Inbox, display: Display, *, aborts: bool) -> None:
        self._client = client
        self._run = run
        self._inbox = inbox
        self._display = display
        self._aborts = aborts
        self._interrupts = 0
        self._chord = Chord()
        self._halting = False
        self._halt: HaltProgress | None = None
        self._stopped_ms = 0  # when the newest of the hosts that have stopped did
        self._ended: o.RunView | None = None
        self._failed: ClientError | None = None  # it cannot be watched any more

    def to_the_end(self) -> int:
        """A halt that was asked for here is waited for too: coordinators may yet have to be told."""
        while True:
            event = self._inbox.next(REDRAWN_S if self._display.moves else None)
            code = None if event is None else self._take(event)
            self._display.refresh()
            if code is None and not self._halting:
                code = self._over()
            if code is not None:
                return code

    def _take(self, event: _Event) -> int | None:
        match event:
            case o.WatchRunResponse() as update:
                self._run = update.run.run_id or self._run
                self._display.update(update)
                if update.run.state == o.RUN_STATE_ENDED:
                    self._ended = update.run
            case Lost(error=error):
                self._display.note(f"lost sight of run {self._run}: {error.message}; trying again")
            case ClientError() as error:
                self._failed = error
            case _AbortFailed(error=error):
                self._display.note(f"cannot abort run {self._run}: {error.message}")
            case _Interrupt():
                return self._interrupted()
            case Pressed() as pressed:
                self._pressed(pressed)
            case Stop():
                self._display.stop()
            case Continued():
                self._display.open()
            case HaltProgress() | _HaltOver() as news:
                self._heard_of_halt(news)
        return None

    def _interrupted(self) -> int | None:
        if self._halting:
            self._display.note("left; the halt stays engaged where it was heard: killdeer status")
        if self._ended is not None or self._failed is not None:
            return self._over()
        if not self._aborts:
            self._display.note(f"left; run {self._run} goes on: killdeer watch {self._run}")
            return INTERRUPTED
        self._interrupts += 1
        if self._interrupts > 1:
            self._display.note(f"left; run {self._run} is being aborted: killdeer watch {self._run}")
            return exits.ABORTED
        self._display.note(f"Ctrl-C: aborting run {self._run} and waiting for its reverts; press again to leave")
        self._inbox.abort(self._client, self._run)
        return None

    def _pressed(self, pressed: Pressed) -> None:
        if self._halting:
            return
        match self._chord.press(pressed):
            case Press.FIRST:
                self._display.first_press()
            case Press.SECOND:
                self._halting = True
                self._display.note("H H: halting the whole fleet", style="bold red")
                self._display.halting(None)
                self._inbox.halt(self._client, f"H H while watching run {self._run}")

    def _heard_of_halt(self, news: HaltProgress | _HaltOver) -> None:
        if isinstance(news, HaltProgress):
            if self._halt is None or news.stopped > self._halt.stopped:
                self._stopped_ms = news.elapsed_ms
            self._halt = news
            self._display.halting(news, self._stopped_ms)
            return
        self._halting = False
        self._display.halted()
        if news.error is not None:
            self._display.note(f"cannot halt the fleet: {news.error.message}", style="bold red")
            self._display.note(WITHOUT_COORDINATORS)
        elif self._halt is None:
            self._display.note("cannot tell whether the halt was heard: no coordinator has answered yet")
        else:
            tell_outcome(self._halt, self._stopped_ms, self._display.note)

    def _over(self) -> int | None:
        """The exit code of a run that has ended; None: it has not. Raises when nothing more can be heard of it."""
        if self._failed is not None:
            self._display.close()
            if not self._failed.refused:
                goes_on = f"run {self._run} goes on without this terminal"
                self._failed.remedy = f"{goes_on}; watch it again with: killdeer watch {self._run}"
            raise self._failed
        if self._ended is None:
            return None
        self._display.close()
        self._display.closing(self._ended)
        code = exits.of_verdict(self._ended.verdict)
        unfinished = self._halting or (self._halt is not None and not self._halt.complete)
        return exits.ABORTED if unfinished and code == exits.DONE else code

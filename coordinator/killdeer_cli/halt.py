"""`killdeer halt`: the fleet's emergency stop, latched, and answered host by host."""

import sys
import time
import uuid
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from killdeer.durations import DurationError, parse_duration
from killdeer.v1 import operator_pb2 as o
from killdeer.v1.agent_pb2 import HALT_STAGE_STOPPED
from killdeer.wording import counted
from killdeer_cli import exits
from killdeer_cli.screen import AsJsonLines, connected, print_json, say, screen, warn
from killdeer_cli.text import clock
from killdeer_cli.verbs import Verb, application
from killdeer_client.client import Client
from killdeer_client.errors import ClientError
from killdeer_client.halting import HaltProgress
from killdeer_client.halting import halt as tell_every_coordinator

NAMED_LIVE = 12
"""Hosts named while waiting; at the end every one is."""
PLAIN_EVERY_S = 1.0
"""Between two lines of progress where there is no terminal."""

WITHOUT_COORDINATORS = (
    "agents that have lost their coordinator too stop by themselves when their lease ends; to stop one now, on its"
    " host: killdeer-agent halt"
)

app = application()


@app.command(cls=Verb)
def halt(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, if there is time.")] = "",
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="Report after this long, complete or not, such as 10s.")
    ] = "",
    as_json: AsJsonLines = False,
) -> None:
    """STOP EVERYTHING, now, on every host. Nothing is asked, nothing is required.

    It goes to every coordinator of the context, and is latched: nothing runs until `killdeer rearm`. Exit code 0
    when every host has acknowledged or its bound has passed, 3 when --timeout ended first.
    """
    timeout_s = _seconds(timeout)
    with connected(ctx) as client:
        watch = _Watch(client, as_json=as_json)
        try:
            for progress in tell_every_coordinator(
                client, reason=reason, halt_id=str(uuid.uuid4()), timeout_s=timeout_s
            ):
                watch.show(progress)
        except ClientError as error:
            if not error.refused:
                error.remedy = "\n".join(filter(None, (error.remedy, WITHOUT_COORDINATORS)))
            raise
        except KeyboardInterrupt:
            warn("the halt stays engaged; see it with: killdeer status")
        finally:
            watch.close()
        raise typer.Exit(watch.report())


class _Watch:
    """The halt as it comes in: live on a terminal, now and then a line elsewhere."""

    def __init__(self, client: Client, *, as_json: bool) -> None:
        self._context = client.context.name
        self._coordinators = len(client.coordinators)
        self._as_json = as_json
        self._last: HaltProgress | None = None
        self._stopped_ms = 0  # when the newest of those that have stopped did
        self._said_at = 0.0
        self._live: Live | None = None

    def show(self, progress: HaltProgress) -> None:
        first = self._last is None
        if self._last is None or progress.stopped > self._last.stopped:
            self._stopped_ms = progress.elapsed_ms
        self._last = progress
        if self._as_json:
            print_json(_as_message(progress), line=True)
            return
        if first:
            say(f"{self._context}: halting {counted(len(progress.hosts), 'host')}")
            if sys.stdout.isatty():
                self._live = Live(console=screen(), transient=True, auto_refresh=False)
                self._live.start()
        if self._live is not None:
            waiting = [_unanswered(host) for host in progress.unanswered[:NAMED_LIVE]]
            if (more := len(progress.unanswered) - NAMED_LIVE) > 0:
                waiting.append(Text(f"  and {more:,} more"))
            self._live.update(Group(summary(progress, self._stopped_ms), *waiting), refresh=True)
        elif not progress.complete and time.monotonic() >= self._said_at + PLAIN_EVERY_S:
            self._said_at = time.monotonic()
            say(summary(progress, self._stopped_ms))

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def report(self) -> int:
        """The last word, and the exit code."""
        last = self._last
        if last is None:
            raise ClientError(
                "UNAVAILABLE",
                "cannot tell whether the halt was heard: no coordinator has answered yet",
                remedy=f"try again: killdeer halt\n{WITHOUT_COORDINATORS}",
            )
        if self._as_json:
            return exits.DONE if last.complete else exits.ABORTED
        tell_outcome(last, self._stopped_ms)
        return exits.DONE if last.complete else exits.ABORTED


def tell_outcome(last: HaltProgress, stopped_ms: int, warn: Callable[[str], None] = warn) -> None:
    """What a halt has come to, host by host, and what is to be done next."""
    say(summary(last, stopped_ms))
    for host in last.hosts:
        if host.stage < HALT_STAGE_STOPPED:
            say(_unanswered(host))
        if host.left:
            say(Text(f"  {host.host}: not reverted yet: {', '.join(host.left)}; killdeer hosts says why", "yellow"))
    for error in last.unreached.values():
        warn(f"{error.message}; it was not told")
    if not last.stored:
        warn("the halt is not in the store yet: the coordinator keeps it in its own state, and appends it later")
    if last.complete:
        say("The halt is latched. Release it with: killdeer rearm --reason …")
    else:
        warn("the halt is not complete yet; ask again with: killdeer halt")


def summary(progress: HaltProgress, stopped_ms: int) -> Text:
    """`1,204 of 1,210 stopped in 0.3 s; 6 unreachable, stopped by 14:02:11 at the latest`."""
    silent = [host for host in progress.unanswered if host.connected]
    unreachable = [host for host in progress.unanswered if not host.connected]
    style = "yellow" if progress.unanswered else "green"
    text = Text(f"{progress.stopped:,} of {len(progress.hosts):,} stopped", style=style)
    if progress.stopped:
        text.append(f" in {stopped_ms / 1_000:.1f} s" if stopped_ms >= 100 else f" in {stopped_ms} ms")
    if silent:
        text.append(f"; {len(silent):,} not answered yet{_bound(silent)}")
    if unreachable:
        text.append(f"; {len(unreachable):,} unreachable{_bound(unreachable)}")
    if progress.reverted:
        text.append(f"; {counted(progress.reverted, 'effect')} reverted")
    return text


def _bound(hosts: list[o.HaltHost]) -> str:
    """When the last of them will have stopped."""
    if all(host.bound_passed for host in hosts):
        return ", stopped by now: the lease has run out"
    if not all(host.stops_by_unix_ms for host in hosts):
        return ""
    return f", stopped by {clock(max(host.stops_by_unix_ms for host in hosts))} at the latest"


def _unanswered(host: o.HaltHost) -> Text:
    state = "not answered yet" if host.connected else "unreachable"
    frozen = "; it counts in its own running time: if it is frozen, it stops when it thaws" if host.no_rtc else ""
    return Text(f"  {host.host}: {state}{_bound([host])}{frozen}")


def _as_message(progress: HaltProgress) -> o.HaltResponse:
    return o.HaltResponse(
        halt_id=progress.halt_id,
        hosts=progress.hosts,
        complete=progress.complete,
        stopped=progress.stopped,
        reverted=progress.reverted,
        total=len(progress.hosts),
        elapsed_ms=progress.elapsed_ms,
        stored=progress.stored,
    )


def _seconds(timeout: str) -> float | None:
    if not timeout:
        return None
    try:
        return parse_duration(timeout) / 1_000
    except DurationError as error:
        raise exits.Refused(str(error)) from error

"""`killdeer events`: what the kernels of the fleet have reported."""

from typing import Annotated

import typer
from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_cli.screen import AsJsonLines, connected, print_json, say
from killdeer_cli.text import clock, counted, signal_name, took
from killdeer_cli.verbs import Verb, application

app = application()


@app.command(cls=Verb)
def events(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; Ctrl-C ends it.")] = False,
    host: Annotated[str, typer.Option(metavar="HOST", help="Of this host only.")] = "",
    run: Annotated[str, typer.Option(metavar="RUN", help="Of this run only: an id, a prefix, or `latest`.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="How many past ones.")] = 100,
    as_json: AsJsonLines = False,
) -> None:
    """Show signals, exits, successors and OOM kills, with who did what to whom; and how many were lost."""
    with connected(ctx) as client:
        try:
            for one in client.watch_events(follow=follow, host=host, run=run, limit=limit):
                if as_json:
                    print_json(one, line=True)
                else:
                    say(event_line(one))
        except KeyboardInterrupt:
            if not follow:
                raise


def event_line(one: o.WatchEventsResponse) -> Text:
    event = one.event
    kind, what, style = _told(event)
    ours = f"  (strike {event.command_id})" if event.command_id else ""
    return Text.assemble(
        (f"{clock(one.received_unix_ms)}  {event.host}  ", "dim"),
        (f"{kind:<6}  ", "bold"),
        (what, style),
        (ours, "cyan"),
    )


def _told(event: p.KernelEvent) -> tuple[str, str, str]:
    """(kind, what happened, style)."""
    match event.WhichOneof("kind"):
        case "signal":
            seen = event.signal
            sender = _party(seen.sender) if seen.HasField("sender") else "the kernel"
            verdict = f": {seen.verdict.replace('_', ' ')}" if seen.verdict else ""
            return "signal", f"{signal_name(seen.signal)} from {sender} to {_party(seen.target)}{verdict}", ""
        case "exit":
            left = event.exit
            how = f"killed by {signal_name(left.signal)}" if left.signal else f"exited with code {left.code}"
            core = ", core dumped" if left.core_dumped else ""
            age = f" after {took(left.age_ms * 1_000_000)}" if left.age_ms else ""
            return "exit", f"{_party(left.process)} {how}{core}{age}", ""
        case "exec":
            return "exec", f"{_party(event.exec.process)} runs {event.exec.file}", ""
        case "oom":
            oom = event.oom
            limit = f" (limit {oom.limit_kb:,} KiB)" if oom.limit_kb else ""
            where = f"its memory cgroup{limit}" if oom.memory_cgroup else "the whole host"
            trigger = f"; asked for by {_party(oom.trigger)}" if oom.HasField("trigger") else ""
            used = f"{oom.anon_rss_kb + oom.file_rss_kb + oom.shmem_rss_kb:,} KiB resident"
            return "oom", f"{_party(oom.victim)} killed: out of memory in {where}, {used}{trigger}", "red"
        case "lost":
            return "lost", f"{counted(event.lost.count, 'event')} of kind {event.lost.kind} were lost", "red"
        case _:
            return "?", "an event newer than this command line", ""


def _party(party: p.Party) -> str:
    pid = f"pid {party.pid}" if party.pid else f"host pid {party.host_pid}"
    return f"{party.name} ({pid})" if party.name else pid

"""`killdeer why`: what something died of, and what happened around it."""

import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_cli import exits
from killdeer_cli.event_view import Heard, death_style, told
from killdeer_cli.screen import AsJson, connected, print_json, say
from killdeer_cli.text import age_text, dead_text, death_text, restarts_text, took, when
from killdeer_cli.verbs import Verb, application

app = application()


@app.command(cls=Verb)
def why(
    ctx: typer.Context,
    host: Annotated[str, typer.Argument(metavar="HOST")],
    process: Annotated[
        str,
        typer.Argument(metavar="PROCESS|UNIT", help="A pid, a name, a unit or a service; globs such as 'web*'."),
    ],
    limit: Annotated[int, typer.Option(min=1, help="How many deaths, the newest of them in full.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Explain the newest death of a process or unit, struck or not: who, why, and what took over."""
    with connected(ctx) as client:
        response = client.explain(host, process, limit)
    if as_json:
        print_json(response)
        if not response.explanations:
            raise typer.Exit(exits.REFUSED)
        return
    if not response.explanations:
        nothing = response.nothing or "the coordinator does not say why"
        raise exits.Refused(
            f"cannot explain {process!r} on {host}: {nothing}", "see what died: killdeer events --since 1h"
        )
    now_ms = time.time_ns() // 1_000_000
    newest, *earlier = response.explanations
    for line in explained(newest, now_ms):
        say(line)
    if earlier:
        say("before it:")
    for one in earlier:
        said = (
            f"  {when(one.at_unix_ms, now_ms)}  {dead_text(one.death)}{_lived(one.death)}: {death_text(one.death)}"
        )
        say(Text(said, style="dim"))


def explained(one: o.Explanation, now_ms: int) -> Iterator[Text]:
    """The death, the strike if it was one, the timeline, the successor, and how often it happens."""
    death = one.death
    yield Text.assemble(
        (dead_text(death), "bold"),
        f" died at {when(one.at_unix_ms, now_ms)}{_lived(death)}: ",
        (death_text(death), death_style(death)),
    )
    if one.run_id:
        by = f", started by {one.started_by}" if one.started_by else ""
        yield Text(f"run {one.run_id} of {one.experiment}{by}; see it with: killdeer watch {one.run_id}", "cyan")
    for event in timeline(one):
        kind, what, style = told(event)
        yield Text.assemble((f"  {_offset(event, one):>9}  {kind:<6}  ", "dim"), (what, style))
    yield _successor(one)
    service = death.service or dead_text(death)
    if one.deaths_in_hour > 1:
        yield Text(f"this is death {one.deaths_in_hour:,} of {service} within an hour")
    if often := restarts_text(death):
        yield Text(f"{service} was {often}", "red" if death.restarts.loop else "")


def timeline(one: o.Explanation) -> list[p.KernelEvent]:
    """What proves the death and what befell its service around it, each once, oldest first."""
    heard = Heard()
    found: dict[tuple[int, str, bytes], p.KernelEvent] = {}
    for event in (*(near.event for near in one.around), *one.death.evidence):
        kind = event.WhichOneof("kind")
        if kind is not None:
            body = getattr(event, kind).SerializeToString(deterministic=True)
            found.setdefault((event.at_boot_ns, kind, body), event)
    return [found[key] for key in sorted(found, key=lambda key: key[0]) if heard.is_new(found[key])]


def _offset(event: p.KernelEvent, one: o.Explanation) -> str:
    apart = event.at_boot_ns - one.at_boot_ns
    return f"{'-' if apart < 0 else '+'}{took(abs(apart))}" if apart else "0"


def _lived(death: p.Death) -> str:
    return f" after {age_text(death.age_ms)}" if death.age_ms else ""


def _successor(one: o.Explanation) -> Text:
    if not one.HasField("successor"):
        return Text("no successor was seen", "yellow")
    source = f" ({one.successor.source})" if one.successor.source else ""
    pid = one.successor.identity.pid
    return Text(f"pid {pid} took over {took(one.successor.after_exit_ns)} after the death{source}")

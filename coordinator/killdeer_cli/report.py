"""`killdeer report`: what a run has shown, as a page, a text or data."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from killdeer.v1 import operator_pb2 as o
from killdeer.v1.probe_pb2 import UNIT_FRACTION
from killdeer_cli.exits import Refused
from killdeer_cli.placed import file_name, place
from killdeer_cli.screen import connected, say, warn
from killdeer_cli.verbs import Verb, application

if TYPE_CHECKING:
    from killdeer_report.account import Account, Asked

app = application()

_EXTRA = ("jinja2", "markupsafe", "matplotlib", "numpy", "scipy")


class Format(StrEnum):
    HTML = "html"
    MD = "md"
    JSON = "json"


Output = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="Where to write it; `-` is standard output. A file that is no such report is never replaced.",
    ),
]


@app.command(cls=Verb)
def report(
    ctx: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="An id, a unique prefix of one, or `latest`.")
    ] = "latest",
    format: Annotated[
        Format, typer.Option(help="A page with plots, Markdown, or JSON for programs.")
    ] = Format.HTML,
    output: Output = "",
) -> None:
    """Write what a run has shown: what was asked, what was hit, what broke, how long, what to look at next.

    On a terminal, a page goes to killdeer-RUN.html here; else all goes to standard output.
    """
    with connected(ctx) as client:
        response = client.report(run)
    with extra_needed():
        told = account_of(response)
        text = _text(told, format)
    put(text, output or _default(format, f"killdeer-{response.run.run_id}.html"), told.stamp)


def account_of(response: o.GetReportResponse) -> "Account":
    from killdeer_report.account import account

    return account(response, asked_by(response))


def asked_by(response: o.GetReportResponse) -> "Asked":
    """What the run's file says of units, bounds and notes; nothing, where this killdeer cannot read it."""
    from killdeer_experiment.faults import FileFaults
    from killdeer_experiment.file import load
    from killdeer_report.account import Asked, Bound

    try:
        experiment = load(response.source, response.file)
    except FileFaults:  # it may be newer; what was measured is worth showing without
        warn("cannot read the file of this run: its readings are shown as plain numbers")
        return Asked()
    sentences = (*experiment.steady_state, *experiment.abort_when)
    units: dict[str, int] = {probe.name: probe.unit for probe in experiment.probes}
    for one in sentences:
        if not units.get(one.probe) and one.in_percent:
            units[one.probe] = UNIT_FRACTION
    bounds = [
        Bound(probe=one.probe, sentence=one.sentence, value=one.bound, of_baseline=one.of_baseline, floor=one.floor)
        for one in sentences
    ]
    return Asked(units=units, bounds=tuple(bounds), notes=tuple(experiment.notes))


@contextmanager
def extra_needed() -> Iterator[None]:
    """Imports within are of parts that only reports need. Raises Refused, with what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        raise Refused(
            f"cannot write a report: {missing} is not installed", "install it with: pip install 'killdeer[report]'"
        ) from error


def put(text: str, output: str, stamp: str) -> None:
    """To standard output where there is no name, or `-`."""
    if output in ("", "-"):
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    place(text, Path(output), stamp)
    say(f"written to {output}")


def _default(format: Format, name: str) -> str:
    return file_name(name) if format is Format.HTML and sys.stdout.isatty() else ""


def _text(told: "Account", format: Format) -> str:
    match format:
        case Format.HTML:
            from killdeer_report.page import page

            return page(told)
        case Format.MD:
            from killdeer_report.markdown import markdown

            return markdown(told)
        case Format.JSON:
            from killdeer_report.as_json import as_json

            return as_json(told)

"""What the verbs share of the terminal: consoles, JSON, questions, and the way to the coordinator."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Annotated, NoReturn

import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from killdeer_cli import visible
from killdeer_cli.exits import Refused
from killdeer_client.client import Client
from killdeer_client.contexts import Context, load_contexts

UNSEEN_WIDTH = 100
"""Columns where there is no terminal."""

AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the answer as protobuf JSON with the wire's own field names (64-bit numbers are strings).",
    ),
]
AsJsonLines = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print each answer of the stream as one line of protobuf JSON with the wire's own field names"
        " (64-bit numbers are strings).",
    ),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it goes on the record.")]


class _Console(Console):
    """All text on its way to the screen passes here; what Rich itself says to the terminal is marked as control."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        # Rich would drop some of them without a word.
        shown = visible.in_lines(renderable) if isinstance(renderable, str) else renderable
        for segment in super().render(shown, options):
            text = segment.text if segment.control else visible.in_lines(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


@cache
def screen() -> Console:
    """Standard output."""
    return _Console(highlight=False, markup=False, emoji=False, width=_width(sys.stdout.isatty()))


@cache
def errors() -> Console:
    """Standard error."""
    return _Console(stderr=True, highlight=False, markup=False, emoji=False, width=_width(sys.stderr.isatty()))


def _width(terminal: bool) -> int | None:
    if terminal or os.environ.get("COLUMNS", "").isdigit():
        return None  # Rich finds out
    return UNSEEN_WIDTH


def chosen(ctx: typer.Context) -> Context:
    return load_contexts().choose(ctx.find_root().obj or "")


@contextmanager
def connected(ctx: typer.Context) -> Iterator[Client]:
    client = Client(chosen(ctx))
    try:
        yield client
    finally:
        # The verb only leaves now, and a KeyboardInterrupt within gRPC's own closing can keep it waiting for ever.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        client.close()


def say(line: RenderableType) -> None:
    """A line that is not cut or folded: it may be copied, or searched for."""
    screen().print(visible.in_lines(line) if isinstance(line, str) else line, soft_wrap=True)


def warn(line: str | Text) -> None:
    """A line on standard error."""
    errors().print(Text(visible.in_lines(line), style="yellow") if isinstance(line, str) else line, soft_wrap=True)


def print_json(message: Message, *, line: bool = False) -> None:
    text = json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None if line else 2,
    )
    print(text, flush=True)


class _Table(Table):
    """A row for each `add_row`, whatever its cells hold."""

    def add_row(
        self, *cells: RenderableType | None, style: StyleType | None = None, end_section: bool = False
    ) -> None:
        super().add_row(*(_cell(cell) for cell in cells), style=style, end_section=end_section)


def _cell(cell: RenderableType | None) -> RenderableType | None:
    if isinstance(cell, Text):
        shown = cell.copy()
        shown.plain = visible.in_cell(cell.plain)
        return shown
    return visible.in_cell(cell) if isinstance(cell, str) else cell


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Headings over plain columns; long values are folded, never cut."""
    made = _Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def ask(question: str, *, yes: bool) -> None:
    """Goes on, or raises: no terminal to ask on is a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(
            "cannot ask for confirmation: this is production, and there is no terminal",
            "look at it with `killdeer plan`, then run it with --yes",
        )
    typer.confirm(visible.in_lines(question), abort=True, err=True)

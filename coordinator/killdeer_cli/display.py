"""What a run looks like while it is watched: lines as they come and, on a terminal, how it stands below them."""

import sys
import time
from collections.abc import Callable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer_cli import run_view
from killdeer_cli.halt import summary
from killdeer_cli.keys import WITHIN_S, Continued, Keys, Pressed, Stop
from killdeer_cli.live import panel
from killdeer_cli.recent import Recent
from killdeer_cli.screen import print_json, say, screen, warn
from killdeer_client.halting import HaltProgress

REDRAWN_S = 0.125
"""Between two drawings of the panel."""


class Display:
    """`ctrl_c`: what it does, for the foot; `post`: where keys go.

    One thread draws. Rich's own would draw between the making of a line and its writing, and take away as many rows
    as it had drawn itself, which is wrong where the height of the panel changes.
    """

    def __init__(self, *, as_json: bool, ctrl_c: str, post: Callable[[Pressed | Stop | Continued], None]) -> None:
        self._as_json = as_json
        self._narrator = run_view.Narrator()
        on_terminal = not as_json and sys.stdout.isatty()
        self._panel = _Panel(ctrl_c) if on_terminal else None
        self._keys = Keys(post) if on_terminal and sys.stdin.isatty() else None
        self._live: Live | None = None
        self._drawn_s = 0.0  # monotonic

    @property
    def moves(self) -> bool:
        """`refresh` is to be called every REDRAWN_S."""
        return self._live is not None

    def open(self) -> None:
        """Also after a stop, if that is over and this is in the foreground."""
        if self._panel is None or self._live is not None:
            return
        self._panel.hears_keys = self._keys is not None and self._keys.open()
        if self._keys is None or not self._keys.in_background:
            self._live = Live(self._panel, console=screen(), transient=True, auto_refresh=False)
            self._live.start(refresh=True)

    def close(self) -> None:
        try:
            if self._keys is not None:
                self._keys.close()
        finally:
            self._hide()

    def stop(self) -> None:
        """Ctrl-Z."""
        self._hide()
        if self._keys is not None:
            self._keys.stop()
        self.open()

    def update(self, update: o.WatchRunResponse) -> None:
        if self._as_json:
            print_json(update, line=True)
            return
        if self._panel is not None:
            self._panel.hear(update.run)
        for line in self._narrator.tell(update):
            say(line)

    def note(self, line: str, style: str = "yellow") -> None:
        """A warning. Above the panel, since one on standard error would be written into it."""
        if self._live is not None:
            say(Text(line, style=style))
        else:
            warn(line)

    def closing(self, run: o.RunView) -> None:
        if not self._as_json:
            for line in run_view.closing(run):
                say(line)

    def first_press(self) -> None:
        if self._panel is not None:
            self._panel.armed_until_s = time.monotonic() + WITHIN_S
            self.refresh(now=True)

    def halting(self, progress: HaltProgress | None, stopped_ms: int = 0) -> None:
        """None: told, and not answered yet."""
        if self._panel is not None:
            self._panel.armed_until_s = 0.0
            self._panel.halt = Text("halting the fleet: not answered yet", style="yellow")
            if progress is not None:
                self._panel.halt = Text.assemble(("halting: ", "yellow"), summary(progress, stopped_ms))
            self.refresh(now=True)

    def halted(self) -> None:
        """It is over, for good or ill; what came of it has been said."""
        if self._panel is not None:
            self._panel.halt = None

    def refresh(self, *, now: bool = False) -> None:
        """When it is time or, as the answer to a key, `now`."""
        due = time.monotonic() >= self._drawn_s + REDRAWN_S
        if self._live is not None and (now or due):
            self._drawn_s = time.monotonic()
            self._live.refresh()

    def _hide(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()


class _Panel:
    """How the run stands, and what can be pressed."""

    def __init__(self, ctrl_c: str) -> None:
        self.hears_keys = False
        self.armed_until_s = 0.0
        self.halt: Text | None = None
        self._ctrl_c = ctrl_c
        self._seen: tuple[o.RunView, Recent] | None = None
        self._spinner = Spinner("dots")

    def hear(self, run: o.RunView) -> None:
        recent = Recent() if self._seen is None else self._seen[1]
        self._seen = run, recent.heard(run, _now_ms())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        mark = str(self._spinner.render(console.get_time()))
        if self._seen is None:
            yield Text(f"{mark} starting")
            return
        run, recent = self._seen
        yield from panel(
            run,
            recent,
            self._foot(),
            now_ms=_now_ms(),
            width=options.max_width,
            height=console.size.height,
            mark=mark,
        )

    def _foot(self) -> Text:
        if self.halt is not None:
            return self.halt
        if time.monotonic() < self.armed_until_s:
            return Text(f"press H again within {WITHIN_S:g} s: it halts the whole fleet", style="bold red")
        halt = Text.assemble(("H H", "bold"), "  halts the fleet") if self.hears_keys else Text("killdeer halt")
        return Text.assemble(halt, " · ", ("Ctrl-C", "bold"), f"  {self._ctrl_c}")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

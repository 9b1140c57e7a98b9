"""A report as one HTML file: nothing in it is fetched, nothing runs, and text from afar is only ever text."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from killdeer.v1 import operator_pb2 as o
from killdeer.wording import counted
from killdeer_report import side_by_side, tables
from killdeer_report.account import Account
from killdeer_report.comparison import Comparison
from killdeer_report.plots import Overlaid, host_timeline, overlay_plot, probe_plot
from killdeer_report.wording import clock, visible

_MOST_HOSTS = 12
"""With a timeline; the victims of all are in the table."""

_MOODS = {
    o.RUN_VERDICT_HELD: "good",
    o.RUN_VERDICT_DEVIATED: "bad",
    o.RUN_VERDICT_NOT_RECOVERED: "bad",
}


def page(told: Account) -> str:
    return rendered(
        "page.html.j2",
        title=f"{told.run.experiment}: {told.verdict}",
        stamp=told.stamp,
        told=told,
        run=told.run,
        mood=mood(told.run),
        tables=tables,
        probes=list(probe_plots(told)),
        timelines=list(timelines(told)),
    )


def comparison_page(told: Comparison) -> str:
    return rendered(
        "comparison.html.j2",
        title=f"{told.first.run.run_id} and {told.second.run.run_id} of {told.second.run.experiment}",
        stamp=told.stamp,
        told=told,
        tables=side_by_side,
        mood=mood,
        overlays=list(overlays(told)),
    )


def rendered(template: str, **facts: Any) -> str:
    """One of the templates beside this file; whatever it prints is escaped, its control characters shown."""
    environment = Environment(
        loader=FunctionLoader(lambda name: files("killdeer_report").joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(facts, clock=clock, counted=counted) + "\n"


def mood(run: o.RunView) -> str:
    """Which colour a verdict has: good, bad, or warn."""
    return _MOODS.get(run.verdict, "warn") if run.state == o.RUN_STATE_ENDED else "warn"


def probe_plots(told: Account) -> Iterator[Markup]:
    for number, one in enumerate(told.measured.series):
        # Markup of its own: made from parsed XML, in which all text is escaped.
        yield Markup(probe_plot(one, told.bounds(one.probe), told.marks, f"probe{number}"))


def overlays(told: Comparison) -> Iterator[tuple[str, Markup]]:
    """(probe, plot) of each that both runs measured."""
    others = {one.probe: one for one in told.second.measured.series}
    for number, one in enumerate(told.first.measured.series):
        if one.probe in others:
            pair = [
                Overlaid(name=of.run.run_id, series=taken, zero_ms=of.marks.zero_ms, end_ms=of.marks.end_ms)
                for of, taken in ((told.first, one), (told.second, others[one.probe]))
            ]
            yield one.probe, Markup(overlay_plot(pair, f"both{number}"))


def timelines(told: Account) -> Iterator[Markup]:
    struck = [victim for victim in told.measured.victims if victim.struck_unix_ms]
    for number, host in enumerate(sorted({victim.host for victim in struck})[:_MOST_HOSTS]):
        of_host = [victim for victim in struck if victim.host == host]
        yield Markup(host_timeline(host, of_host, told.marks, f"host{number}"))


def _visible(value: Any) -> Any:
    return value if isinstance(value, Markup) else visible(str(value))

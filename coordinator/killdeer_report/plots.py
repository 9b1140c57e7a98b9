"""The plots of a report: each probe in time with what was done to the run on it, and the victims of each host."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from killdeer.v1 import probe_pb2 as m
from killdeer_report.marks import Marks
from killdeer_report.series import Series
from killdeer_report.svg import ABORTED, BAND, FAINT, FIRST, INK, RECOVERED, SECOND, STRUCK, drawing, to_svg
from killdeer_report.victims import Victim
from killdeer_report.wording import length, visible

_WIDTH = 9.0
_MOST_ROWS = 40
"""Victims in one host's timeline; more are in the table alone."""
_MOST_LABEL = 60

_FAR = 4
"""Times the highest reading, beyond which a bound is only in the table."""
_DASHES: tuple[Any, ...] = ((0, (1, 1)), (0, (4, 1, 1, 1)), (0, (8, 2)))
_SCALES: dict[int, tuple[float, str]] = {m.UNIT_SECONDS: (1_000.0, "ms"), m.UNIT_FRACTION: (100.0, "%")}
_STEPS = {
    "struck": ("v", STRUCK, "struck"),
    "gone": ("x", INK, "gone"),
    "successor": ("o", SECOND, "successor"),
    "ready": ("s", FIRST, "ready"),
    "recovered": ("^", RECOVERED, "recovered"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlaid:
    """One run's series among others: what it is called, and the moment that is its 0, in Unix ms."""

    name: str
    series: Series
    zero_ms: int
    end_ms: int


def probe_plot(one: Series, bounds: Sequence[tuple[str, float]], marks: Marks, name: str) -> str:
    """SVG: the probe over the whole run, in seconds from the first strike.

    `bounds`: (sentence, value in the probe's unit), drawn as what it is measured against.
    """
    with drawing():
        figure = Figure(figsize=(_WIDTH, 2.9), layout="constrained")
        axes = figure.add_subplot()
        _frame(axes, one, "s from the first strike" if marks.struck_ms else "s from the start")
        _band(axes, one, marks)
        _line(axes, one, marks.zero_ms, marks.end_ms, FIRST, _label(one.probe))
        _bounds(axes, one, bounds)
        low, high = axes.get_ylim()
        if one.unit != m.UNIT_MET:
            axes.set_ylim(low, high + 0.3 * (high - low))  # room for the marks
        _marks(axes, marks)
        _legend(axes)
        return to_svg(figure, name, f"{one.probe} over time")


def overlay_plot(runs: Sequence[Overlaid], name: str) -> str:
    """SVG: the same probe of two runs, each in seconds from its own first strike."""
    with drawing():
        figure = Figure(figsize=(_WIDTH, 2.9), layout="constrained")
        axes = figure.add_subplot()
        _frame(axes, runs[0].series, "s from the first strike of each")
        axes.axvline(0, color=STRUCK, linewidth=1, linestyle=":", label="first strike")
        for run, colour, dashes in zip(runs, (FIRST, SECOND), ("-", "--"), strict=False):
            _line(axes, run.series, run.zero_ms, run.end_ms, colour, _label(run.name), dashes)
        _legend(axes)
        return to_svg(figure, name, f"{runs[0].series.probe} in both runs")


def host_timeline(host: str, victims: Sequence[Victim], marks: Marks, name: str) -> str:
    """SVG: a row for each victim of the host, from struck to recovered, with the cause of its end."""
    rows = [victim for victim in victims if victim.steps()][:_MOST_ROWS]
    with drawing():
        figure = Figure(figsize=(_WIDTH, 1.3 + 0.3 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for row, victim in enumerate(rows):
            steps = [(what, (at - marks.zero_ms) / 1_000) for what, at in victim.steps()]
            times = [at for _, at in steps]
            axes.hlines(row, min(times), max(times), color=FAINT, linewidth=2, zorder=1)
            for what, at in steps:
                shape, colour, _ = _STEPS[what]
                axes.plot(at, row, shape, color=colour, markersize=6, zorder=2)
        axes.set_yticks(range(len(rows)), [_label(f"{victim.place} pid {victim.pid}") for victim in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        endings = axes.secondary_yaxis("right")
        endings.set_yticks(range(len(rows)), [_ending(victim) for victim in rows])
        endings.tick_params(length=0)
        axes.set_xlabel("s from the first strike")
        seen = {what for victim in rows for what, _ in victim.steps()}
        shown = [
            Line2D([], [], linestyle="", marker=shape, color=colour, label=label)
            for what, (shape, colour, label) in _STEPS.items()
            if what in seen
        ]
        figure.legend(handles=shown, loc="outside upper left", ncols=len(shown) or 1, frameon=False, fontsize=8)
        return to_svg(figure, name, f"victims on {host}")


def _ending(victim: Victim) -> str:
    """`our strike; recovered after 3.20 s`."""
    after = f" after {length(victim.recovered_after_ms)}" if victim.recovered_after_ms else ""
    return _label("; ".join(filter(None, (victim.cause, victim.state + after))))


def _frame(axes: Axes, one: Series, seconds: str) -> None:
    axes.set_xlabel(seconds)
    if one.unit == m.UNIT_MET:
        axes.set_yticks([0, 1], ["not met", "met"])
        axes.set_ylim(-0.25, 1.45)
        return
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylabel(_scale(one)[1] or _label(one.probe))


def _scale(one: Series) -> tuple[float, str]:
    """What a reading is multiplied with, and the unit of the axis then."""
    return _SCALES.get(one.unit, (1.0, ""))


def _band(axes: Axes, one: Series, marks: Marks) -> None:
    """Between the lowest and the highest of the baseline, and its median."""
    before = one.before(marks.struck_ms)
    if one.unit == m.UNIT_MET or not (before or one.baseline):
        return
    if one.baseline is not None:
        low, middle, high = one.baseline.lowest, one.baseline.median, one.baseline.highest
    else:
        low, middle, high = min(before), sorted(before)[len(before) // 2], max(before)
    factor, _ = _scale(one)
    axes.axhspan(
        low * factor,
        high * factor,
        color=BAND,
        alpha=0.5,
        linewidth=0,
        zorder=0,
        label="baseline, lowest to highest",
    )
    axes.axhline(middle * factor, color=FAINT, linewidth=1, linestyle="--", zorder=0, label="baseline, median")


def _bounds(axes: Axes, one: Series, bounds: Sequence[tuple[str, float]]) -> None:
    if one.unit == m.UNIT_MET:  # met is the bound
        return
    factor, _ = _scale(one)
    highest = max((value for _, value in one.points if value is not None), default=0.0)
    near = [bound for bound in bounds if bound[1] <= _FAR * highest]  # others would flatten what was measured
    for (sentence, value), dashes in zip(near[: len(_DASHES)], _DASHES, strict=False):
        axes.axhline(value * factor, color=INK, linewidth=1, linestyle=dashes, zorder=0, label=_label(sentence))


def _line(axes: Axes, one: Series, zero_ms: int, end_ms: int, colour: str, label: str, dashes: str = "-") -> None:
    """The readings; broken where there is no answer."""
    times = [(at - zero_ms) / 1_000 for at, _ in one.points]
    factor, _ = _scale(one)
    values = [float("nan") if value is None else value * factor for _, value in one.points]
    step = "steps-post" if one.unit == m.UNIT_MET else "default"
    dot = "." if len(times) <= 120 else ""  # alone between two gaps, a reading is no line
    axes.plot(times, values, dashes, marker=dot, color=colour, drawstyle=step, linewidth=1.4, label=label)
    for number, (begun, ended) in enumerate(one.gaps(end_ms)):
        axes.axvspan(
            (begun - zero_ms) / 1_000,
            (ended - zero_ms) / 1_000,
            facecolor="none",
            edgecolor=FAINT,
            hatch="////",
            linewidth=0,
            zorder=0,
            label="" if number else "no answer: unknown",
        )


def _marks(axes: Axes, marks: Marks) -> None:
    """Strikes, deaths and recoveries at the upper edge, each kind at its own height; aborts through all of it."""
    edge = axes.get_xaxis_transform()
    for moments, height, what in (
        (marks.strikes_ms, 0.97, "struck"),
        (marks.deaths_ms, 0.91, "gone"),
        (marks.recoveries_ms, 0.85, "recovered"),
    ):
        if moments:
            shape, colour, label = _STEPS[what]
            times = [marks.seconds(at) for at in moments]
            axes.plot(times, [height] * len(times), shape, color=colour, markersize=5, transform=edge, label=label)
    for at in marks.strikes_ms:
        axes.axvline(marks.seconds(at), color=STRUCK, linewidth=0.7, linestyle=":", zorder=0)
    for number, at in enumerate(marks.aborts_ms):
        axes.axvline(
            marks.seconds(at), color=ABORTED, linewidth=2, linestyle="-.", label="" if number else "aborted"
        )


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)


def _label(text: str) -> str:
    """Of one line; a leading underscore would hide it from a legend."""
    line = " ".join(visible(text).split())
    line = line if len(line) <= _MOST_LABEL else f"{line[: _MOST_LABEL - 1]}…"
    return f"\u200b{line}" if line.startswith("_") else line

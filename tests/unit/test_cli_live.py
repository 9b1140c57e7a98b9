"""The live view: what is measured against what, in words as well as colours, and in the room there is."""

import pytest
from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p
from killdeer_cli.findings import Measured, measured, probe_of, unit_of
from killdeer_cli.keys import Chord, Press, Pressed
from killdeer_cli.live import panel
from killdeer_cli.recent import KEPT, Recent, spark
from killdeer_coordinator.core.judging import Judge
from killdeer_coordinator.core.series import Value, known, unknown
from killdeer_experiment.expectations import read_expectation
from tests.support import runs

KEYS = Text("H H  halts the fleet")
NOW = 1_050_000


def reading(probe: str, at_ms: int, value: float | None = None, detail: str = "") -> m.Reading:
    return m.Reading(probe=probe, at_unix_ms=at_ms, value=value, detail=detail)


def steady(sentence: str, standing: m.Standing, detail: str = "", **fields: int) -> m.Finding:
    return m.Finding(part=m.PART_STEADY_STATE, sentence=sentence, standing=standing, detail=detail, **fields)


def rule(sentence: str, standing: m.Standing, detail: str = "") -> m.Finding:
    return m.Finding(part=m.PART_ABORT_WHEN, sentence=sentence, standing=standing, detail=detail)


def probed(*strikes: o.StrikeView, **fields: object) -> o.RunView:
    """A run with a sentence of each standing."""
    findings = m.Findings(
        findings=[
            steady("errors < 0.1%", m.STANDING_MET, "errors 0.02%, wanted < 0.1%"),
            steady("p95 < 1.3x baseline", m.STANDING_UNMET, "p95 410 ms, wanted < 1.3x baseline (390 ms)"),
            steady("healthy", m.STANDING_UNKNOWN, "healthy is unknown: no answer within 500ms, wanted it met"),
            rule("errors > 2% for 10s", m.STANDING_UNMET, "errors 0.02%, aborts when > 2% for 10s"),
        ],
        baselines=[m.Baseline(probe="p95", median=0.3, readings=20, lowest=0.2, highest=0.4)],
    )
    latest = [
        reading("errors", NOW, 0.0002),
        reading("p95", NOW, 0.41),
        reading("healthy", NOW, None, "no answer within 500ms"),
    ]
    run = runs.run(*strikes, findings=findings, latest=latest, phase=o.RUN_PHASE_WAVES, permits_held=1)
    run.MergeFrom(o.RunView(**fields))  # type: ignore[arg-type]
    return run


def shown(
    run: o.RunView, recent: Recent | None = None, *, now_ms: int = NOW, width: int = 80, height: int = 40
) -> list[Text]:
    recent = Recent() if recent is None else recent
    return panel(run, recent.heard(run, now_ms), KEYS, now_ms=now_ms, width=width, height=height)


def plain(run: o.RunView) -> str:
    return "\n".join(text.plain for text in shown(run))


def row(lines: list[Text], words: str) -> Text:
    return next(line for line in lines if words in line.plain)


def colours(line: Text) -> set[str]:
    return {str(span.style) for span in line.spans} & {"green", "red", "yellow"}


def test_each_sentence_is_shown_against_its_limit_with_a_word_beside_the_colour() -> None:
    lines = shown(probed())
    met, unmet = row(lines, "  errors < 0.1%"), row(lines, "p95 < 1.3x")
    unknown = row(lines, "no answer within 500ms")
    assert met.plain.startswith("  ✓ holds    errors < 0.1% ")
    assert "0.02%" in met.plain
    assert unmet.plain.startswith("  ✗ UNMET    p95 < 1.3x baseline ")
    assert unmet.plain.rstrip().endswith("410 ms, limit 390 ms")
    assert unknown.plain.startswith("  ? unknown  healthy ")
    assert [colours(met), colours(unmet), colours(unknown)] == [{"green"}, {"red"}, {"yellow"}]


def test_of_an_abort_rule_it_is_good_that_it_is_not_so() -> None:
    run = probed()
    clear = row(shown(run), "abort when errors > 2% for 10s")
    assert clear.plain.startswith("  ✓ not so ")
    assert colours(clear) == {"green"}
    run.findings.findings[3].standing = m.STANDING_MET
    true = row(shown(run), "abort when errors > 2% for 10s")
    assert true.plain.startswith("  ✗ TRUE ")
    assert colours(true) == {"red"}


def test_a_sentence_that_failed_before_shows_what_is_measured_now_beside_the_worst() -> None:
    run = probed()
    worst = steady("errors < 0.1%", m.STANDING_MET, "errors 2.3%, wanted < 0.1%", unmet_unix_ms=NOW, unmet_ms=3_200)
    run.findings.findings[0].CopyFrom(worst)
    line = row(shown(run, width=120), "  errors < 0.1%").plain.rstrip()
    assert line.endswith("0.02% · was unmet for 3.20 s in all, at worst 2.3%")


def test_how_long_a_wave_goes_on_striking_is_shown() -> None:
    run = probed(wave="one", last_strike_unix_ms=NOW + 95_000)
    assert shown(run)[0].plain.startswith("· striking · last strike in 1m35s · 1 of 3 hold")
    assert "last strike" not in shown(run, now_ms=NOW + 96_000)[0].plain
    run.ClearField("findings")
    run.ClearField("latest")
    assert shown(run)[0].plain.rstrip().endswith(" · last strike in 1m35s"), "without probes too"


def test_a_detail_that_cannot_be_read_is_shown_as_it_is() -> None:
    run = probed()
    run.findings.findings[0].detail = "something newer"
    assert "something newer" in row(shown(run), "  errors < 0.1%").plain


def test_a_probe_shows_its_last_readings_and_its_baseline() -> None:
    recent = Recent()
    for at_s in range(60):
        run = probed()
        run.latest[1].CopyFrom(reading("p95", at_s * 1_000, at_s / 100))
        recent = recent.heard(run, at_s * 1_000)
    assert [one.value for one in recent.readings["p95"]] == [at_s / 100 for at_s in range(60 - KEPT, 60)]
    line = row([*shown(run, recent)], "baseline 300 ms").plain
    assert line.startswith("  p95        590 ms  ")
    assert line.count("█") >= 1
    assert len(line) <= 80


def test_a_reading_that_comes_again_is_kept_once() -> None:
    run = probed()
    recent = Recent().heard(run, NOW).heard(run, NOW + 500)
    assert len(recent.readings["errors"]) == 1


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([0.0, 0.5, 1.0], "▁▅█"),
        ([1.0, None, 0.0], "█?▁"),
        ([0.0, 0.0], "▁▁"),
        ([300.0, 300.0], "██"),
        ([-1.0, 0.0, float("inf")], "▁██"),
        ([float("nan")], "?"),
        ([], ""),
    ],
)
def test_a_sparkline_goes_from_nothing_to_the_highest_and_says_what_is_unknown(
    values: list[float | None], bars: str
) -> None:
    assert spark(values) == bars


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (o.RUN_PHASE_BASELINE, "measuring the baseline, nothing is hit yet · 12 s left"),
        (o.RUN_PHASE_GATE, "waiting for the steady state to hold again · at most 12 s left"),
    ],
)
def test_the_phase_is_in_plain_words_with_the_time_left(phase: o.RunPhase, words: str) -> None:
    head = shown(probed(phase=phase, phase_ends_unix_ms=NOW + 12_000))[0].plain
    assert head == f"· {words} · 1 of 3 hold"


def test_what_is_held_after_a_wave_is_not_called_striking() -> None:
    run = probed()
    assert shown(run)[0].plain.startswith("· striking")
    run.wave = ""
    assert shown(run)[0].plain.startswith("· between waves")


def test_the_time_left_is_by_the_coordinators_clock() -> None:
    """Ten minutes ahead of this one, as its readings tell."""
    here_ms = NOW - 600_000
    before, run = probed(), probed(phase=o.RUN_PHASE_BASELINE, phase_ends_unix_ms=NOW + 12_000)
    before.latest[0].at_unix_ms = NOW - 1_000
    recent = Recent().heard(before, here_ms - 1_000)
    assert " · 12 s left" in shown(run, recent, now_ms=here_ms)[0].plain


def test_what_is_over_by_now_has_no_time_left() -> None:
    assert "left" not in shown(probed(phase_ends_unix_ms=NOW - 1))[0].plain


def test_an_abort_is_said_before_what_goes_on() -> None:
    run = probed(state=o.RUN_STATE_ABORTING, phase=o.RUN_PHASE_RECOVERY)
    assert shown(run)[0].plain == "· aborting · waiting until all is back to normal · 1 of 3 hold"


def test_victims_in_flight_have_their_state_and_age() -> None:
    struck = runs.strike("c1", p.STRIKE_STATE_STRUCK, struck_unix_ms=NOW - 61_000)
    text = plain(probed(struck, runs.strike("c2", p.STRIKE_STATE_PLANNED), runs.recovered("c3")))
    assert "in flight  a-1 worker@[0]  struck, hit 1m1s ago" in text
    assert "  wave 1 of 2 one · 1 recovered · permits in use: 1 · 1 waiting for a permit" in text


def test_many_victims_are_counted() -> None:
    text = plain(probed(*(runs.strike(f"c{n}", p.STRIKE_STATE_STRUCK) for n in range(1_300))))
    assert text.count("in flight  a-1") == 5
    assert "and 1,295 more in flight" in text


def test_a_precondition_is_shown_until_something_may_be_hit() -> None:
    run = probed(phase=o.RUN_PHASE_BASELINE)
    run.findings.findings.add(
        part=m.PART_PRECONDITION, sentence="cpu < 70%", standing=m.STANDING_MET, detail="cpu 12%, wanted < 70%"
    )
    assert "✓ holds    before: cpu < 70%" in plain(run)
    run.phase = o.RUN_PHASE_WAVES
    assert "cpu" not in plain(run)


@pytest.mark.parametrize("height", range(1, 41))
@pytest.mark.parametrize("width", [20, 80, 200])
def test_it_fits_into_the_room_there_is(width: int, height: int) -> None:
    strikes = [runs.strike(f"c{n}", p.STRIKE_STATE_STRUCK) for n in range(9)]
    lines = shown(probed(*strikes), width=width, height=height)
    assert 1 <= len(lines) <= max(1, height - 3, 1)
    assert all(line.cell_len <= width and "\n" not in line.plain for line in lines)


def test_in_few_rows_what_is_wrong_and_the_key_that_halts_are_left() -> None:
    lines = [line.plain for line in shown(probed(runs.strike("c1", p.STRIKE_STATE_STRUCK)), height=7)]
    assert [line.split()[0] for line in lines] == ["·", "✗", "?", "H"]
    assert [line.plain for line in shown(probed(), height=5)][1] == "  H H  halts the fleet"


def test_text_from_afar_stays_in_its_row() -> None:
    run = probed()
    run.findings.findings[0].sentence = "errors\x1b[2J < \n0.1%"
    assert "\x1b" not in plain(run)
    assert "errors␛[2J < ␊0.1%" in plain(run)


def test_a_standing_or_phase_newer_than_this_program_is_no_error() -> None:
    run = probed()
    run.phase = 99  # type: ignore[assignment]
    run.findings.findings[0].standing = 99  # type: ignore[assignment]
    assert "· under way" in plain(run)
    assert "· not yet  errors < 0.1%" in plain(run)


def test_a_run_without_probes_has_one_line_and_the_key() -> None:
    run = runs.run(runs.strike("c1", p.STRIKE_STATE_STRUCK), phase=o.RUN_PHASE_WAVES, permits_held=1)
    assert plain(run).splitlines() == [
        "· wave 1 of 2 one · in flight: a-1 worker@[0] struck",
        "  H H  halts the fleet",
    ]


def pressed(*keys: tuple[bytes, float]) -> list[Press]:
    chord = Chord()
    return [chord.press(Pressed(keys=key, at_s=at_s)) for key, at_s in keys]


OTHER, FIRST, SECOND = Press.OTHER, Press.FIRST, Press.SECOND


@pytest.mark.parametrize(
    ("keys", "are"),
    [
        ([(b"H", 1.0), (b"H", 2.9)], [FIRST, SECOND]),
        ([(b"h", 1.0), (b"H", 1.1)], [FIRST, SECOND]),
        ([(b"HH", 1.0)], [SECOND]),  # over a slow line they come together
        ([(b"H", 1.0), (b"H", 3.1), (b"H", 3.2)], [FIRST, FIRST, SECOND]),
        ([(b"H", 1.0), (b"x", 1.1), (b"H", 1.2)], [FIRST, OTHER, FIRST]),
        ([(b"H", 1.0), (b"H", 1.1), (b"H", 1.2)], [FIRST, SECOND, FIRST]),
    ],
)
def test_two_presses_of_h_within_two_seconds_halt(keys: list[tuple[bytes, float]], are: list[Press]) -> None:
    assert pressed(*keys) == are


@pytest.mark.parametrize(
    "keys",
    [
        [(b"\x1b[H", 1.0), (b"\x1b[H", 1.1)],  # Home
        [(b"\x1bOH", 1.0), (b"\x1bOH", 1.1)],  # Home, elsewhere
        [(b"\x1b", 1.0), (b"[H", 1.01), (b"\x1b[1;5", 1.1), (b"H", 1.11)],  # cut on its way
        [(b"\x1bH", 1.0), (b"\x1bH", 1.1)],  # Alt-H
        [(b"HHVM is fast", 1.0)],  # pasted
        [(b"", 1.0), (b"\xc3\x84", 1.1), (b"\n", 1.2)],
    ],
)
def test_nothing_else_halts(keys: list[tuple[bytes, float]]) -> None:
    assert set(pressed(*keys)) == {OTHER}


def test_an_escape_pressed_by_itself_does_not_swallow_what_comes_later() -> None:
    assert pressed((b"\x1b", 1.0), (b"H", 2.0), (b"H", 2.5)) == [OTHER, FIRST, SECOND]


def judged_by(sentence: str, value: Value, unit: m.Unit, baseline: float | None = None) -> m.Finding:
    """As the coordinator's own words have it."""
    aborts = sentence.startswith("abort when ")
    judge = Judge(
        read_expectation(sentence.removeprefix("abort when ")),
        m.PART_ABORT_WHEN if aborts else m.PART_STEADY_STATE,
        unit,
    )
    judge.look(value, baseline, 1_000_000_000)
    return judge.finding()


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (judged_by("errors < 0.1%", known(0.0002), m.UNIT_FRACTION), Measured(value="0.02%")),
        (judged_by("cpu < 70%", known(0.5, "a-1"), m.UNIT_FRACTION), Measured(value="50% (a-1)")),
        (judged_by("p95 < 300ms", known(0.31), m.UNIT_SECONDS), Measured(value="310 ms")),
        (
            judged_by("p95 < 1.3x baseline", known(0.41), m.UNIT_SECONDS, 0.3),
            Measured(value="410 ms", bound="390 ms"),
        ),
        (
            judged_by("p95 < 1.3x baseline", known(0.41), m.UNIT_SECONDS),
            Measured(value="410 ms", unknown="410 ms, no baseline to hold it against"),
        ),
        (judged_by("healthy", unknown("refused: x, y"), m.UNIT_MET), Measured(unknown="refused: x, y")),
        (judged_by("queue < 9", unknown("deaf", 4), m.UNIT_UNSPECIFIED), Measured(unknown="deaf, at least 4")),
        (judged_by("healthy", known(0), m.UNIT_MET), Measured(value="not met")),
        (judged_by("abort when errors > 2% for 10s", known(0.01), m.UNIT_FRACTION), Measured(value="1%")),
        (judged_by("abort when oom in target", known(1), m.UNIT_UNSPECIFIED), Measured(value="1")),
    ],
)
def test_what_the_coordinator_says_of_a_sentence_is_understood(finding: m.Finding, said: Measured) -> None:
    names = ("errors", "cpu", "p95", "healthy", "queue", "oom in target", "p9")
    assert measured(finding, probe_of(finding.sentence, names)) == said


@pytest.mark.parametrize(
    ("sentence", "detail", "unit"),
    [
        ("errors < 0.1%", "", m.UNIT_FRACTION),
        ("p95 <= 1m30s", "", m.UNIT_SECONDS),
        ("p95<300ms for 1m", "", m.UNIT_SECONDS),
        ("queue == 1e3", "", m.UNIT_UNSPECIFIED),
        ("not healthy", "", m.UNIT_MET),
        ("restart in target", "", m.UNIT_UNSPECIFIED),
        ("p95 > 1.4x baseline", "p95 2m5s, wanted > 1.4x baseline (3m)", m.UNIT_SECONDS),
        ("p95 > 1.4x baseline", "p95 410 ms, wanted > 1.4x baseline", m.UNIT_SECONDS),
        ("errors > 2x baseline", "errors 2.3%, aborts when > 2x baseline", m.UNIT_FRACTION),
        ("queue > 2x baseline", "queue 42, aborts when > 2x baseline", m.UNIT_UNSPECIFIED),
        ("queue > 2x baseline", "queue is unknown: not measured yet, aborts when > 2x baseline", None),
    ],
)
def test_the_unit_of_a_probe_is_that_of_its_sentence(sentence: str, detail: str, unit: m.Unit | None) -> None:
    probe = probe_of(sentence, ["errors", "p95", "queue", "healthy", "restart in target"])
    assert probe
    assert unit_of(m.Finding(sentence=sentence, detail=detail), probe) == unit


def test_a_sentence_is_about_the_probe_it_names_and_no_shorter_one() -> None:
    assert probe_of("queue-depth < 3", ["queue", "queue-depth"]) == "queue-depth"
    assert probe_of("queues < 3", ["queue"]) == ""

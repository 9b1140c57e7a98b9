"""Wire things as people read them."""

import pytest

from killdeer import wording
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p
from killdeer_cli import exits, text, words
from killdeer_cli.exits import Refused


@pytest.mark.parametrize(
    ("nanoseconds", "said"),
    [
        (85_000, "85 us"),
        (2_100_000, "2.1 ms"),
        (104_000_000, "104 ms"),
        (3_200_000_000, "3.20 s"),
        (125_000_000_000, "2m5s"),
    ],
)
def test_a_measured_time_has_a_fitting_unit(nanoseconds: int, said: str) -> None:
    assert text.took(nanoseconds) == said


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (p.Action(kill=p.Kill(signal=9)), "kill with SIGKILL"),
        (p.Action(kill=p.Kill(signal=40)), "kill with signal 40"),
        (p.Action(terminate=p.Terminate(grace_ms=10_000)), "terminate, SIGKILL after 10s"),
        (p.Action(terminate=p.Terminate(grace_ms=0)), "terminate, no SIGKILL"),
        (p.Action(pause=p.Pause(length_ms=90_000)), "pause for 1m30s"),
        (p.Action(hold_down=p.HoldDown(length_ms=90_000)), "hold down for 1m30s"),
        (p.Action(), "an action newer than this command line"),
    ],
)
def test_an_action_is_said_in_words(action: p.Action, said: str) -> None:
    assert text.action_text(action) == said


def test_names_of_the_wire_become_words() -> None:
    assert text.reason_text(p.REASON_ACTION_NOT_ALLOWED) == "action not allowed"
    assert text.verdict_text(o.RUN_VERDICT_NOT_RECOVERED) == "not recovered"
    assert text.state_text(p.STRIKE_STATE_STRUCK) == "struck"
    assert text.run_state_text(o.RUN_STATE_ABORTING) == "aborting"


def test_a_count_has_its_plural_and_its_thousands() -> None:
    assert wording.counted(1, "host") == "1 host"
    assert wording.counted(1204, "host") == "1,204 hosts"
    assert wording.counted(2, "entry", "entries") == "2 entries"


def test_labels_on_the_command_line_are_any_of_for_a_key_and_all_of_for_keys() -> None:
    matches = words.host_labels("role=payment, zone=a,zone=b")
    assert [(match.key, list(match.values)) for match in matches] == [("role", ["payment"]), ("zone", ["a", "b"])]
    assert words.host_labels("") == []


@pytest.mark.parametrize("typed", ["role", "role=", "=a", "role=a,zone"])
def test_a_label_without_a_value_is_refused(typed: str) -> None:
    with pytest.raises(Refused, match="KEY=VALUE"):
        words.host_labels(typed)


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (1.0, m.UNIT_MET, "met"),
        (0.0, m.UNIT_MET, "not met"),
        (0.023, m.UNIT_FRACTION, "2.3%"),
        (0.31, m.UNIT_SECONDS, "310 ms"),
        (1.25, m.UNIT_SECONDS, "1.25 s"),
        (12.0, m.UNIT_UNSPECIFIED, "12"),
        (123_456.0, m.UNIT_UNSPECIFIED, "123456"),
        (float("inf"), m.UNIT_SECONDS, "inf s"),
    ],
)
def test_a_reading_is_said_in_its_unit(value: float, unit: m.Unit, said: str) -> None:
    assert text.amount_text(value, unit) == said


def test_a_run_refused_for_what_was_measured_is_exit_2() -> None:
    assert exits.of_verdict(o.RUN_VERDICT_REFUSED) == exits.REFUSED == 2

"""Which plan a run is agreed to."""

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer_cli.exits import Refused
from killdeer_cli.launching import _agreed

PLAN = o.PlanView(hash="18f64bedb721" + "0" * 52)


def test_a_plan_that_is_as_it_was_shown_is_agreed_to_in_full() -> None:
    assert _agreed(PLAN, "18f64bed", go_on=False) == PLAN.hash
    assert _agreed(PLAN, "", go_on=False) == ""


@pytest.mark.parametrize("shown", ["ffffffff", "18f64be"])
def test_another_plan_than_the_one_shown_is_refused(shown: str) -> None:
    with pytest.raises(Refused, match="the fleet has changed"):
        _agreed(PLAN, shown, go_on=False)


def test_whoever_is_told_to_go_on_runs_what_is_there_now(capsys: pytest.CaptureFixture[str]) -> None:
    assert _agreed(PLAN, "ffffffff", go_on=True) == PLAN.hash
    assert "the fleet has changed" in capsys.readouterr().err

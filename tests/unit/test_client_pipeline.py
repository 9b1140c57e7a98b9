"""An experiment in one call: from its text to its report, and never left to itself by a script that breaks."""

from collections.abc import Iterator
from typing import cast

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer_client.client import Client
from killdeer_client.errors import ClientError
from killdeer_client.following import Lost
from killdeer_client.pipeline import Change, conduct
from tests.support import runs

GOES_ON = o.WatchRunResponse(run=runs.run(), log=["wave one"])
ENDED = o.WatchRunResponse(run=runs.ended(o.RUN_VERDICT_DEVIATED))


class Coordinator:
    """Starts runs, tells of them what it is given, and notes what it is asked."""

    def __init__(self, *told: o.WatchRunResponse | ClientError) -> None:
        self.told = list(told)
        self.asked: list[str] = []
        self.keys: set[str] = set()
        self.refuses_aborts = False

    def run(self, source: str, file: str, *, key: str, seed: int | None, plan_hash: str) -> o.RunResponse:
        self.asked.append(f"run {file} {source!r} seed {seed}{plan_hash}")
        self.keys.add(key)
        return o.RunResponse(run_id="r7f3")

    def watch_run(self, run: str) -> Iterator[o.WatchRunResponse]:
        while self.told:
            one = self.told.pop(0)
            if isinstance(one, ClientError):
                raise one
            yield one

    def abort_run(self, run: str, reason: str) -> o.RunView:
        self.asked.append(f"abort {run}: {reason}")
        if self.refuses_aborts:
            raise ClientError("UNAVAILABLE", "nobody there")
        return o.RunView()

    def report(self, run: str) -> o.GetReportResponse:
        self.asked.append(f"report {run}")
        return o.GetReportResponse(run=ENDED.run)


def conducted(coordinator: Coordinator, **more: object) -> o.GetReportResponse:
    return conduct(cast(Client, coordinator), "killdeer: 1", file="one.yaml", seed=3, **more)  # type: ignore[arg-type]


def test_a_run_is_started_followed_and_reported() -> None:
    coordinator, seen = Coordinator(GOES_ON, ENDED), list[Change]()
    report = conducted(coordinator, on_change=seen.append)
    assert report.run.verdict == o.RUN_VERDICT_DEVIATED
    assert seen == [GOES_ON, ENDED]
    assert coordinator.asked == ["run one.yaml 'killdeer: 1' seed 3", "report r7f3"]
    conducted(coordinator_of_two := Coordinator(ENDED))
    assert not coordinator.keys & coordinator_of_two.keys, "each call is a run of its own"


def test_a_way_that_breaks_and_comes_back_is_told_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_client.following.PAUSES_S", (0.0,))
    coordinator, seen = Coordinator(GOES_ON, ClientError("UNAVAILABLE", "gone"), ENDED), list[Change]()
    conducted(coordinator, on_change=seen.append)
    assert [type(one) for one in seen] == [o.WatchRunResponse, Lost, o.WatchRunResponse]


def test_a_way_that_stays_broken_aborts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_client.following.PAUSES_S", (0.0,))
    coordinator = Coordinator(GOES_ON, *[ClientError("UNAVAILABLE", "gone")] * 3)
    with pytest.raises(ClientError, match="gone"):
        conducted(coordinator)
    assert len(coordinator.asked) == 1


@pytest.mark.parametrize("cause", [KeyboardInterrupt(), ValueError("of the script")])
def test_a_script_that_leaves_aborts_its_run(cause: BaseException) -> None:
    def leave(change: Change) -> None:
        raise cause

    coordinator = Coordinator(GOES_ON, ENDED)
    with pytest.raises(type(cause)):
        conducted(coordinator, on_change=leave)
    assert coordinator.asked[1:] == [f"abort r7f3: left by its pipeline: {type(cause).__name__}"]


def test_a_run_that_could_not_be_aborted_is_named() -> None:
    def leave(change: Change) -> None:
        raise KeyboardInterrupt

    coordinator = Coordinator(GOES_ON)
    coordinator.refuses_aborts = True
    with pytest.raises(KeyboardInterrupt) as ended:
        conducted(coordinator, on_change=leave)
    assert ended.value.__notes__ == ["run r7f3 goes on: nobody there; abort it with: killdeer abort r7f3"]

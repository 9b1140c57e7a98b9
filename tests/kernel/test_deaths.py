"""The corpus: every kind of death that this machine can make, and the cause that is told of it."""

import signal
from collections.abc import Iterator

import pytest

from killdeer.v1.process_pb2 import Cause
from killdeer_agent.kernel.collector import CollectorUnavailable
from tests.support.coroner import Coroner, coroner, table, word
from tests.support.corpus.every import KINDS, Kind, label, ready
from tests.support.kernel_record import process, strike

Row = tuple[str, str, str, bool | None]


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """What was told, printed at the end."""
    collected: list[Row] = []
    yield collected
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{table(collected)}")


@pytest.fixture(scope="module")
def deaths() -> Iterator[Coroner]:
    try:
        with coroner() as running:
            yield running
    except CollectorUnavailable as unavailable:
        pytest.skip(str(unavailable))


@pytest.mark.parametrize("kind", KINDS, ids=label)
def test_the_cause_is_right(kind: Kind, deaths: Coroner, rows: list[Row]) -> None:
    deaths.strikes.clear()
    told = deaths.of(kind.make(deaths))
    death = told[-1] if told else None
    right = death is not None and death.cause == kind.cause and kind.check(death)
    rows.append((kind.name, word(death.cause) if death else "not told", death.why if death else "", right))
    assert right, death
    assert len(told) == 1
    # The exit ends the evidence; only the OOM killer's mark may come after it: the kernel sends SIGKILL first, and
    # on another processor the victim may be gone before it is marked.
    assert death is not None
    while death.evidence[-1].HasField("oom"):
        death.evidence.pop()
    assert death.evidence[-1].HasField("exit")


def test_a_signal_from_before_the_record_leaves_the_cause_unknown() -> None:
    program = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(1, flush=True)
input()
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
"""
    with ready(program) as victim:
        strike(victim.pid, signal.SIGTERM)
        try:
            with coroner() as later:
                victim.communicate("\n")
                death = later.only(victim.pid)
        except CollectorUnavailable as unavailable:
            pytest.skip(str(unavailable))
    assert death.cause == Cause.CAUSE_UNKNOWN
    assert "before this agent began to watch" in death.why


def test_a_killer_is_named_with_its_cgroup(deaths: Coroner) -> None:
    with process("sleep", "300") as victim:
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        death = deaths.only(victim.pid)
    assert death.killer.cgroup == death.cgroup != ""

"""Deaths while the record overflows with what has nothing to do with them: no wrong cause; `unknown` is none."""

import pytest

from killdeer.v1.process_pb2 import Cause
from killdeer_agent.kernel.collector import CollectorUnavailable
from tests.support.coroner import Coroner, coroner, table, word
from tests.support.corpus.every import IN_GUEST, KINDS, Kind, ready
from tests.support.kernel_record import process

FLOOD = 20_000 if IN_GUEST else 200_000
MADE = [kind for kind in KINDS if kind.cheap][:: 3 if IN_GUEST else 1]  # a guest is emulated
# Bursts of more than the ring holds, with a breath between them: some of the record is lost, some is not.
FLOODS = """
import os, select, sys
target, least, sent = int(sys.argv[1]), int(sys.argv[2]), 0
print(1, flush=True)
while sent < least or not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(2_000):
        os.kill(target, 18)
    sent += 2_000
    select.select([], [], [], 0.01)
"""


def told(deaths: Coroner, kind: Kind) -> tuple[str, str, str, bool | None]:
    """A row of the table. Nothing told of a death at all is a gap too, where exits were lost."""
    deaths.strikes.clear()
    found = deaths.of(kind.make(deaths))
    if not found:
        return kind.name, "not told", "", None if deaths.lost.get("exit") else False
    (death,) = found
    if death.cause == Cause.CAUSE_UNKNOWN:
        return kind.name, word(death.cause), death.why, None if deaths.lost else False
    return kind.name, word(death.cause), death.why, death.cause == kind.cause and kind.check(death)


def test_no_cause_is_wrong_in_a_flood(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        with coroner() as deaths, process("sleep", "300") as other:
            with ready(FLOODS, str(other.pid), str(FLOOD)) as flood:
                rows = [told(deaths, kind) for kind in MADE]
                flood.communicate("\n")
            lost = dict(deaths.lost)
    except CollectorUnavailable as unavailable:
        pytest.skip(str(unavailable))
    with capsys.disabled():
        print(f"\n{table(rows)}\nlost: {lost}")
    assert [row for row in rows if row[3] is False] == []
    assert any(row[3] for row in rows)

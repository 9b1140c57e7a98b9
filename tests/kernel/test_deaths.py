"""The corpus: every kind of death that this machine can make, and the cause that is told of it."""

from collections.abc import Iterator

import pytest

from killdeer_agent.kernel.collector import CollectorUnavailable
from tests.support.coroner import Coroner, coroner, table, word
from tests.support.corpus import KINDS, Kind

Row = tuple[str, str, str, bool | None]


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """What was told, printed at the end."""
    collected: list[Row] = []
    yield collected
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # type: ignore[union-attr]
        print(f"\n{table(collected)}")


@pytest.fixture(scope="module")
def deaths() -> Iterator[Coroner]:
    try:
        with coroner() as running:
            yield running
    except CollectorUnavailable as unavailable:
        pytest.skip(str(unavailable))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "_"))
def test_the_cause_is_right(kind: Kind, deaths: Coroner, rows: list[Row]) -> None:
    deaths.strikes.clear()
    told = deaths.of(kind.make(deaths))
    death = told[-1] if told else None
    right = death is not None and death.cause == kind.cause and kind.check(death)
    rows.append((kind.name, word(death.cause) if death else "not told", death.why if death else "", right))
    assert right, death
    assert len(told) == 1
    assert death is not None and death.evidence[-1].HasField("exit")

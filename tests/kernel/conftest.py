"""Each test that takes `kernel` or `stalled` holds for every way to the kernel's record: they are one port."""

from collections.abc import Iterator

import pytest

from killdeer_agent.kernel.collector import Collector
from tests.support.collectors import WAYS, loaded
from tests.support.kernel_record import KernelRecord


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def kernel(way: str) -> Iterator[KernelRecord]:
    """The kernel's record of what the tests of this module do."""
    collector = loaded(way)
    try:
        yield KernelRecord(collector)
    finally:
        collector.close()


@pytest.fixture
def stalled(way: str) -> Iterator[Collector]:
    """A collector that reads nothing until it is started."""
    collector = loaded(way)
    try:
        yield collector
    finally:
        collector.close()

from collections.abc import Iterator

import pytest

from killdeer_agent.kernel.collector import CollectorUnavailable
from tests.support.kernel_record import KernelRecord, record


@pytest.fixture
def kernel() -> Iterator[KernelRecord]:
    """The kernel's record of what the test does."""
    try:
        with record() as running:
            yield running
    except CollectorUnavailable as unavailable:
        pytest.skip(str(unavailable))

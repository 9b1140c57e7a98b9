"""What integration tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.operator import FakeOperator, Served, write_context


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def served(authority: Authority) -> Iterator[Served]:
    """A coordinator that answers as the test tells it."""
    served = Served(FakeOperator(), authority)
    yield served
    served.stop()


@pytest.fixture
def operator(served: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeOperator:
    """The same, with a context `test` that leads to it."""
    config = write_context(tmp_path / "config", [served.address], authority)
    monkeypatch.setenv("KILLDEER_CONFIG", str(config))
    return served.operator

"""What contract tests share: every store that there is, freshly made."""

from collections.abc import Iterator

import pytest

from killdeer_coordinator.store import Store
from tests.support.rows import SetClock


@pytest.fixture(params=["memory", "file", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    return _url(request)


@pytest.fixture(params=["file", "postgresql"])
def durable_url(request: pytest.FixtureRequest) -> str:
    return _url(request)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def store(store_url: str, clock: SetClock) -> Iterator[Store]:
    opened = Store.open(store_url, clock=clock)
    yield opened
    opened.close()


def _url(request: pytest.FixtureRequest) -> str:
    match request.param:
        case "memory":
            return "sqlite://"
        case "file":
            return f"sqlite:///{request.getfixturevalue('tmp_path')}/killdeer.db"
        case _:
            database = str(request.getfixturevalue("database"))
            return str(request.getfixturevalue("postgres").url(database))

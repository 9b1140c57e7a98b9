"""What contract tests share: every store that there is, freshly made."""

import pytest


@pytest.fixture(params=["memory", "file", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    return _url(request)


@pytest.fixture(params=["file", "postgresql"])
def durable_url(request: pytest.FixtureRequest) -> str:
    return _url(request)


def _url(request: pytest.FixtureRequest) -> str:
    match request.param:
        case "memory":
            return "sqlite://"
        case "file":
            return f"sqlite:///{request.getfixturevalue('tmp_path')}/killdeer.db"
        case _:
            database = str(request.getfixturevalue("database"))
            return str(request.getfixturevalue("postgres").url(database))

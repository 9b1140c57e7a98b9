"""What all tiers share: a PostgreSQL server, the Debian packages, and in CI a skipped test is a failure, as every
tier must run."""

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import packages as debian_packages
from tests.support import postgres as postgres_server

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be missing: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Server]:
    """A PostgreSQL server for this session."""
    if missing := postgres_server.missing():
        pytest.skip(missing)
    with postgres_server.running() as server:
        yield server


@pytest.fixture
def database(postgres: postgres_server.Server) -> Iterator[str]:
    """The name of a fresh database on it."""
    name = postgres.create()
    yield name
    postgres.drop(name)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The Debian packages by name, made once."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg-deb: apt install dpkg")
    return debian_packages.made(tmp_path_factory.mktemp("packages"))

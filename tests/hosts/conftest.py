"""The fleet, booted once; where a test fails, what its machines have to say."""

from collections.abc import Generator, Iterator

import pytest

from tests.hosts import fleet as machines
from tests.hosts import image
from tests.hosts.fleet import AGENT, COORDINATOR, Fleet
from tests.hosts.guest import Guest
from tests.support import debian

GUESTS = pytest.StashKey[tuple[Guest, ...]]()


@pytest.fixture(scope="session")
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    if reason := image.obstacle():
        pytest.skip(reason)
    packages = request.getfixturevalue("packages")
    try:
        folder, port = tmp_path_factory.mktemp("hosts"), machines.free_port()
        with machines.powered(folder, packages, port) as guests:
            request.config.stash[GUESTS] = guests
            with machines.joined(folder, port, *guests) as ready:
                yield ready
    except debian.CannotBuild as problem:
        pytest.skip(str(problem))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and GUESTS in item.config.stash:
        for guest in item.config.stash[GUESTS]:
            report.sections.append((f"{guest.name}: console", guest.console()[-4000:]))
            for unit in (AGENT, COORDINATOR):
                report.sections.append((f"{guest.name}: {unit}", guest.journal(unit)))
    return report

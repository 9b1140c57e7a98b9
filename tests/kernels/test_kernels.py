"""The kernel tests in kernels that users run: cgroup v2, and their own shapes of tracepoints and structs."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.kernels import image
from tests.kernels.guest import Guest
from tests.support import debian
from tests.support.corpus.every import KINDS, NOT_HERE, label

# Debian is built the first time; the guests are emulated.
pytestmark = pytest.mark.timeout(1_800)


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Guest]]:
    """One a kernel, all at the same time: each is busy on one processor only."""
    if reason := image.obstacle():
        pytest.skip(reason)
    project = tmp_path_factory.mktemp("guests") / "project.cpio"
    try:
        kernels = {series: debian.kernel(series) for series in debian.KERNELS}
        archives = {series: (image.root(), image.headers(kernel)) for series, kernel in kernels.items()}
        image.project(project)
    except debian.CannotBuild as problem:
        pytest.skip(str(problem))
    with ExitStack() as running:
        yield {
            series: running.enter_context(
                closing(Guest(tmp_path_factory.mktemp(series), kernel, *archives[series], project))
            )
            for series, kernel in kernels.items()
        }


@pytest.mark.parametrize("series", debian.KERNELS)
def test_every_kernel_test_runs_and_passes_inside(
    series: str, guests: dict[str, Guest], capsys: pytest.CaptureFixture[str]
) -> None:
    report = guests[series].report()
    if report.others or report.exit_code:
        pytest.fail(f"on Linux {report.release}: {', '.join(report.others)}\n{guests[series].console()}")

    written = {path.stem for folder in image.TESTS for path in (image.ROOT / folder).glob("test_*.py")}
    ran = {name.partition("::")[0].rpartition(".")[2] for name in report.passed}
    assert ran == written
    assert report.release.startswith(f"{series}.")
    made = {name.partition("[")[2].rstrip("]") for name in report.passed if "test_the_cause_is_right" in name}
    assert made == {label(kind) for kind in [*KINDS, *NOT_HERE]}
    with capsys.disabled():
        print(f"\nLinux {report.release}: {len(report.passed)} kernel tests passed in {report.seconds:.0f} s")
        print("\n".join(tables(guests[series].console())))


def tables(console: str) -> Iterator[str]:
    """What the tests inside printed of the deaths that they made, and what they measured."""
    within = False
    for line in console.splitlines():
        within = bool(line.strip()) and (within or line.startswith("kind of death"))
        if within or line.startswith("measured: "):
            yield line.rstrip()

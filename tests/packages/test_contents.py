"""What is in the packages, looked at file by file, as lintian would and for what is our own."""

import gzip
import hashlib
import re
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.debian import layout, manual
from deploy.debian.target import PYTHON

NAMES = [package.name for package in layout.PACKAGES]
ROOT = Path(__file__).parents[2]
SCRIPTS = ("postinst", "prerm", "postrm")
# Where a package may put anything at all.
PLACES: tuple[str, ...] = (
    "etc/killdeer/",
    "lib/systemd/system/",
    "opt/killdeer/",
    "usr/bin/",
    "usr/lib/sysusers.d/",
)
PLACES += ("usr/lib/tmpfiles.d/", "usr/share/bash-completion/", "usr/share/doc/", "usr/share/fish/")
PLACES += ("usr/share/man/", "usr/share/zsh/")

pytestmark = [pytest.mark.timeout(900), pytest.mark.parametrize("name", NAMES)]


def files(tree: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(tree.rglob("*")):
        if "DEBIAN" not in path.relative_to(tree).parts[:1] and (path.is_symlink() or not path.is_dir()):
            yield str(path.relative_to(tree)), path


def members(package: Path, folder: Path) -> list[tarfile.TarInfo]:
    """As dpkg will unpack them: owners, modes, links."""
    plain = folder / "contents.tar"
    with plain.open("wb") as file:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, stdout=file)
    with tarfile.open(plain) as archive:
        return archive.getmembers()


def control(tree: Path) -> dict[str, str]:
    lines = (tree / "DEBIAN/control").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if not line.startswith(" "))


def test_no_file_holds_a_path_of_the_machine_that_built_it(name: str, trees: dict[str, Path]) -> None:
    theirs = [str(ROOT), sys.prefix, tempfile.gettempdir() + "/killdeer-deb-"]
    wanted = re.compile("|".join(map(re.escape, theirs)).encode())
    told = [told for told, path in files(trees[name]) if not path.is_symlink() and wanted.search(path.read_bytes())]
    assert told == []
    assert [told for told, path in files(trees[name]) if path.name in ("direct_url.json", "RECORD")] == []


def test_everything_is_roots_and_written_by_root_alone(
    name: str, packages: dict[str, Path], tmp_path: Path
) -> None:
    for one in members(packages[name], tmp_path):
        assert (one.uid, one.gid, one.uname, one.gname) == (0, 0, "root", "root"), one.name
        if one.issym():
            continue
        runs = one.isdir() or Path(one.name).parent.name == "bin"
        assert stat.S_IMODE(one.mode) == (0o755 if runs else 0o644), one.name
        assert one.isdir() or one.isfile(), one.name


def test_nothing_is_outside_of_the_places_that_are_ours(name: str, trees: dict[str, Path]) -> None:
    assert [told for told, _ in files(trees[name]) if not told.startswith(PLACES)] == []


def test_every_file_has_its_sum_and_every_sum_its_file(name: str, trees: dict[str, Path]) -> None:
    tree = trees[name]
    lines = (tree / "DEBIAN/md5sums").read_text().splitlines()
    said = {told: digest for digest, told in (line.split("  ", 1) for line in lines)}
    found = {
        told: hashlib.md5(path.read_bytes()).hexdigest() for told, path in files(tree) if not path.is_symlink()
    }
    assert said == found


def test_everything_below_etc_is_a_conffile(name: str, trees: dict[str, Path]) -> None:
    said = (trees[name] / "DEBIAN/conffiles").read_text().split()
    assert said == [f"/{told}" for told, _ in files(trees[name]) if told.startswith("etc/")]
    wanted = {"killdeer-agent": "guard.d/host.toml", "killdeer-coordinator": "coordinator.toml"}
    assert said == [f"/etc/killdeer/{wanted[name]}"]


def test_links_lead_to_what_is_there(name: str, trees: dict[str, Path]) -> None:
    links = {told: str(path.readlink()) for told, path in files(trees[name]) if path.is_symlink()}
    own = {one for one in links.values() if one.startswith("/opt/")}
    assert all((trees[name] / one.lstrip("/")).exists() for one in own)
    assert {one for one in links.values() if one not in own} == {f"/usr/bin/python{PYTHON}"}
    (package,) = [one for one in layout.PACKAGES if one.name == name]
    assert {told for told in links if told.startswith("usr/bin/")} == {f"usr/bin/{one}" for one in package.programs}


def test_the_unit_calls_the_packages_own_program(name: str, trees: dict[str, Path]) -> None:
    unit = (trees[name] / f"lib/systemd/system/{name}.service").read_text()
    called = re.findall(r"(?m)^Exec(?:Start|StopPost)=(\S+)", unit)
    assert called
    assert {one for one in called if not (trees[name] / one.lstrip("/")).exists()} == set()


def test_the_package_is_bound_to_debians_python(name: str, trees: dict[str, Path]) -> None:
    said = control(trees[name])
    needs = said["Depends"].split(", ")
    assert {"python3 (>= 3.11)", "python3 (<< 3.12)"} <= set(needs)
    assert ("libbpf1" in needs) == (name == "killdeer-agent")
    assert (said["Package"], said["Architecture"]) == (name, "amd64")
    compiled = [told for told, _ in files(trees[name]) if told.endswith(".so")]
    assert [one for one in compiled if ".cpython-3" in one and ".cpython-311-" not in one] == []


def test_every_source_is_compiled_so_that_nothing_is_written_later(name: str, trees: dict[str, Path]) -> None:
    listed = {told for told, _ in files(trees[name])}
    sources = [Path(told) for told in listed if told.endswith(".py")]
    assert sources
    missing = [
        str(one) for one in sources if str(one.parent / "__pycache__" / f"{one.stem}.cpython-311.pyc") not in listed
    ]
    assert missing == []


def test_no_tool_and_no_test_is_carried(name: str, trees: dict[str, Path]) -> None:
    (site,) = trees[name].glob("opt/killdeer/*/lib/*/site-packages")
    carried = {path.name.partition("-")[0] for path in site.glob("*.dist-info")}
    assert {"killdeer", "grpcio", "protobuf"} <= carried
    assert not carried & {"pip", "setuptools", "pytest", "mypy", "hypothesis", "grpcio_tools"}
    assert ("scipy" in carried) == (name == "killdeer-coordinator")
    assert list(site.rglob("tests")) == []


def test_the_licence_of_everything_carried_is_said(name: str, trees: dict[str, Path]) -> None:
    said = (trees[name] / "usr/share/doc" / name / "copyright").read_text()
    assert "License: Apache-2.0" in said
    assert "License: unknown" not in said
    for told in re.findall(r"The text is in (/opt/\S+)", said):
        assert (trees[name] / told.lstrip("/")).is_file()
    (site,) = trees[name].glob("opt/killdeer/*/lib/*/site-packages")
    assert said.count("Copyright: ") == len(list(site.glob("*.dist-info")))


def test_maintainer_scripts_are_small_and_sh_reads_them(name: str, trees: dict[str, Path]) -> None:
    for script in SCRIPTS:
        file = trees[name] / "DEBIAN" / script
        subprocess.run(["sh", "-n", file], check=True)
        assert file.read_text().startswith("#!/bin/sh\n")
        assert "\nset -e\n" in file.read_text()
        assert len(file.read_text().splitlines()) <= 50


def test_man_pages_are_there_for_every_program_and_can_be_set(name: str, trees: dict[str, Path]) -> None:
    (package,) = [one for one in layout.PACKAGES if one.name == name]
    for program in package.programs:
        section = manual.PROGRAMS[program].section
        packed = trees[name] / f"usr/share/man/man{section}/{program}.{section}.gz"
        page = gzip.decompress(packed.read_bytes()).decode()
        assert page == manual.man_page(program)
        assert re.findall(r"(?m)^\.SH (.*)$", page) == ["NAME", "DESCRIPTION", "VERBS", "SEE ALSO"]
        shells = manual.completions(program)
        assert all(
            (trees[name] / "usr/share" / layout.COMPLETION[shell].format(program)).exists() for shell in shells
        )


def test_the_size_that_is_said_is_the_size_that_is(name: str, trees: dict[str, Path]) -> None:
    bytes_ = sum(path.stat().st_size for _, path in files(trees[name]) if not path.is_symlink())
    assert 0 <= int(control(trees[name])["Installed-Size"]) - bytes_ // 1024 <= len(list(files(trees[name])))

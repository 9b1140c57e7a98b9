"""A program's path is named only where it leads to the very file that ran."""

import os
from pathlib import Path

import pytest

from killdeer_agent.kernel import layout
from killdeer_agent.kernel.executables import Executables

PID = 12


def party(program: Path, *, pid: int = PID, start_ns: int = 1) -> layout.Party:
    """One that runs this file, as the kernel's record has it."""
    found = program.stat()
    device = os.major(found.st_dev) << 20 | os.minor(found.st_dev)
    return layout.Party(
        start_ns=start_ns,
        cgroup_id=1,
        file=found.st_ino,
        file_device=device,
        pid_ns=1,
        pid=pid,
        tid=pid,
        parent_pid=1,
        host_pid=pid,
        uid=0,
        name=b"worker",
    )


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "worker").write_text("the first")
    return tmp_path / "worker"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc" / str(PID)).mkdir(parents=True)
    return tmp_path / "proc"


def replace(program: Path) -> None:
    """Another file in its place; the first stays, under another name, so that its number is not used again."""
    program.rename(program.with_name("old"))
    program.write_text("the second")


def test_the_process_itself_is_asked(program: Path, proc: Path) -> None:
    (proc / str(PID) / "exe").symlink_to(program)
    assert Executables(proc).path_of(party(program)) == str(program)


def test_where_that_may_not_be_read_what_it_calls_itself_is_held_against_the_file(
    program: Path, proc: Path
) -> None:
    (proc / str(PID) / "cmdline").write_bytes(bytes(program) + b"\0--queue\0")
    assert Executables(proc).path_of(party(program)) == str(program)


@pytest.mark.parametrize("itself", ["worker", "nginx: worker process", "/nowhere/worker", ""])
def test_a_title_that_is_not_the_files_path_is_not_believed(itself: str, program: Path, proc: Path) -> None:
    (proc / str(PID) / "cmdline").write_text(itself)
    assert Executables(proc).path_of(party(program)) == ""


def test_another_process_with_its_pid_is_not_taken_for_it(program: Path, proc: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (proc / str(PID) / "exe").symlink_to(tmp_path / "other")
    (proc / str(PID) / "cmdline").write_bytes(bytes(tmp_path / "other"))
    assert Executables(proc).path_of(party(program)) == ""


def test_an_exec_names_it_for_good(program: Path, proc: Path) -> None:
    executables = Executables(proc)
    executables.executed(party(program, pid=99), str(program))
    executables.begin()
    assert executables.path_of(party(program, pid=98)) == str(program)


def test_a_script_does_not_name_what_runs_it(program: Path, proc: Path, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!worker")
    executables = Executables(proc)
    executables.executed(party(program), str(tmp_path / "script"))
    assert executables.path_of(party(program)) == ""


def test_a_link_is_followed_to_the_file(program: Path, proc: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(program)
    executables = Executables(proc)
    executables.executed(party(program), str(tmp_path / "link"))
    assert executables.path_of(party(program)) == str(program)


def test_a_path_that_leads_elsewhere_by_now_is_not_named(program: Path, proc: Path) -> None:
    executables = Executables(proc)
    before = party(program)
    executables.executed(before, str(program))
    replace(program)
    executables.begin()
    assert executables.path_of(before) == ""
    assert executables.path_of(party(program)) == ""
    executables.executed(party(program), str(program))
    assert executables.path_of(party(program)) == str(program)
    assert executables.path_of(before) == ""


def test_a_file_that_the_kernel_did_not_tell_has_no_path(program: Path, proc: Path) -> None:
    (proc / str(PID) / "exe").symlink_to(program)
    assert Executables(proc).path_of(party(program)._replace(file=0, file_device=0)) == ""


def test_the_same_number_on_another_device_is_another_file(program: Path, proc: Path) -> None:
    (proc / str(PID) / "exe").symlink_to(program)
    assert Executables(proc).path_of(party(program)._replace(file_device=0x7FF00001)) == ""


def test_what_is_remembered_is_bounded(program: Path, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.executables.MOST_KEPT", 2)
    executables = Executables(proc)
    others = [program.with_name(f"other{number}") for number in range(2)]
    for one in (program, *others):
        one.touch()
        executables.executed(party(one), str(one))
    executables.begin()
    assert [executables.path_of(party(one)) for one in (program, *others)] == ["", *map(str, others)]

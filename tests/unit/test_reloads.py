"""A daemon's word on a reload counts for those who asked before it began to read, and for nobody else."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from killdeer import reloads
from killdeer.reloads import FILE_NAME, NotReloaded, Word, boot_ns

NO_PATIENCE_S = 0.0
# Ignores SIGHUP, and ends at the next line.
DEAF = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); print(flush=True); sys.stdin.readline()"


@pytest.fixture
def deaf() -> Iterator["subprocess.Popen[str]"]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", DEAF], text=True, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        yield process
        process.stdin.close()


def asked(directory: Path, pid: int, patience_s: float = NO_PATIENCE_S) -> str:
    return reloads.reload({"MAINPID": str(pid), "RUNTIME_DIRECTORY": str(directory)}, "unit", patience_s)


def word(directory: Path, pid: int, begun_ns: int, problem: str = "") -> None:
    said = {"pid": pid, "begun_ns": begun_ns, "problem": problem, "notice": "restart"}
    (directory / FILE_NAME).write_text(json.dumps(said))


def test_a_word_of_a_reload_that_began_before_the_question_is_no_answer(
    tmp_path: Path, deaf: "subprocess.Popen[str]"
) -> None:
    word(tmp_path, deaf.pid, boot_ns())
    with pytest.raises(NotReloaded, match=r"has given no word.*journalctl --unit=unit"):
        asked(tmp_path, deaf.pid)


def test_a_word_of_another_process_is_no_answer(tmp_path: Path, deaf: "subprocess.Popen[str]") -> None:
    word(tmp_path, deaf.pid + 1, 2**62)
    with pytest.raises(NotReloaded, match="has given no word"):
        asked(tmp_path, deaf.pid)


@pytest.mark.parametrize("left", ["", "[1]", '{"pid": 1'])
def test_what_is_no_word_is_no_answer(tmp_path: Path, deaf: "subprocess.Popen[str]", left: str) -> None:
    (tmp_path / FILE_NAME).write_text(left)
    with pytest.raises(NotReloaded, match="has given no word"):
        asked(tmp_path, deaf.pid)


def test_a_refusal_is_told_and_a_success_has_its_notice(tmp_path: Path, deaf: "subprocess.Popen[str]") -> None:
    word(tmp_path, deaf.pid, 2**62, "one wrong key")
    with pytest.raises(NotReloaded, match="the reload of unit was refused: one wrong key"):
        asked(tmp_path, deaf.pid)
    word(tmp_path, deaf.pid, 2**62)
    assert asked(tmp_path, deaf.pid) == "restart"


def test_a_daemon_that_ends_of_the_signal_is_not_waited_for(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as process, pytest.raises(NotReloaded, match="has given no word"):
        asked(tmp_path, process.pid, patience_s=600)
    assert process.returncode == -signal.SIGHUP


def test_a_word_that_cannot_be_left_is_no_reason_to_die(tmp_path: Path) -> None:
    Word(tmp_path / "gone").say(begun_ns=1)
    Word(tmp_path).say(begun_ns=1, problem="no")
    assert json.loads((tmp_path / FILE_NAME).read_text()) == {
        "pid": os.getpid(),
        "begun_ns": 1,
        "problem": "no",
        "notice": "",
    }


def test_where_no_service_manager_gave_a_directory_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    Word().say(begun_ns=1)
    assert list(tmp_path.iterdir()) == []

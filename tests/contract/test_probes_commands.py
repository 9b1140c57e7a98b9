"""Commands as probes: only what the configuration names is run, without a shell, and never longer than it may."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from killdeer.v1 import probe_pb2 as p
from tests.support.probing import WITHIN_MS, take, value

SH = ("/bin/sh", "-c")


def command(
    name: str, *arguments: str, what: p.Take = p.TAKE_MET, path: str = "", within_ms: int = WITHIN_MS
) -> p.Probe:
    source = p.CommandSource(command=name, arguments=arguments)
    return p.Probe(name="cmd", command=source, take=what, path=path.split(".") if path else [], within_ms=within_ms)


def sh(script: str, *, what: p.Take = p.TAKE_MET, path: str = "", within_ms: int = WITHIN_MS) -> p.Reading:
    return take(command("sh", script, what=what, path=path, within_ms=within_ms), commands={"sh": SH})


def is_gone(pid: int) -> bool:
    """Within a while: a process that was killed is a zombie until its parent, whoever that is now, has looked."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_a_command_that_no_configuration_names_is_not_run(tmp_path: Path) -> None:
    for name in ("sh", "/bin/sh", ""):
        reading = take(command(name, "-c", f"touch {tmp_path}/made"), commands={"other": SH})
        assert value(reading) is None
        assert "[commands]" in reading.detail
        assert repr(name) in reading.detail
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "met", "detail"),
    [
        ("exit 0", 1.0, "exit code 0"),
        ("exit 3", 0.0, "exit code 3"),
        ("kill -9 $$", 0.0, "ended by SIGKILL"),
        ("echo noise; echo noise >&2; exit 0", 1.0, "exit code 0"),
    ],
)
def test_a_command_is_met_by_its_exit_code(script: str, met: float, detail: str) -> None:
    reading = sh(script)
    assert (value(reading), reading.detail) == (met, detail)


def test_its_output_is_a_number_or_json() -> None:
    assert value(sh("echo 12.5", what=p.TAKE_NUMBER)) == 12.5
    assert value(sh('echo \'{"queue": {"depth": 4}}\'', what=p.TAKE_JSON, path="queue.depth")) == 4
    assert value(sh("exit 7", what=p.TAKE_STATUS)) == 7
    for script, what, said in (
        ("echo twelve", p.TAKE_NUMBER, "the output is not one number"),
        ("echo 5; exit 1", p.TAKE_NUMBER, "exit code 1"),
        ("echo '{}'", p.TAKE_JSON, "the output has no queue.depth"),
        ("echo 5", p.TAKE_LATENCY, "a command probe gives no latency"),
    ):
        reading = sh(script, what=what, path="queue.depth")
        assert (value(reading), reading.detail.partition(":")[0]) == (None, said)


def test_no_shell_reads_the_arguments(tmp_path: Path) -> None:
    words = ["a b", "$(touch made)", ";", "touch made", "*", ""]
    check = f"import sys; sys.exit(sys.argv[1:] != {words!r})"
    reading = take(command("py", *words), commands={"py": (sys.executable, "-I", "-c", check)})
    assert value(reading) == 1.0
    assert not (tmp_path / "made").exists()


def test_it_has_no_input_little_environment_and_a_group_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "geheim")
    check = f"""
import os, sys
sys.exit(next((number for number, holds in enumerate([
    sys.stdin.read() == "",
    set(os.environ) - {{"LC_CTYPE"}} == {{"PATH", "LANG"}},
    os.getpgid(0) == os.getpid(),
    os.getsid(0) != {os.getsid(0)},
    os.getcwd() == "/",
], 1) if not holds), 0))
"""
    reading = take(command("py"), commands={"py": (sys.executable, "-I", "-c", check)})
    assert (value(reading), reading.detail) == (1.0, "exit code 0")


def test_one_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    reading = sh(f"sleep 1000 & echo $! >> {pids}; echo $$ >> {pids}; sleep 1000", within_ms=500)
    assert (value(reading), reading.detail) == (None, "no answer within 500ms")
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    assert all(is_gone(pid) for pid in started)


def test_what_a_probe_leaves_running_is_ended_with_it_and_holds_up_nothing(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    assert value(sh(f"sleep 1000 & echo $! > {pid}; echo 5", what=p.TAKE_NUMBER)) == 5
    assert is_gone(int(pid.read_text()))


def test_one_that_leaves_its_group_with_the_output_open_holds_up_nothing(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {pid}; exec sleep 1000' & while ! [ -s {pid} ]; do :; done; echo 5"
    try:
        assert value(sh(script, what=p.TAKE_NUMBER)) == 5
    finally:
        os.kill(int(pid.read_text()), 9)


@pytest.mark.parametrize("size", [64 * 1024 + 1, 4 * 1024 * 1024])
def test_a_long_output_is_cut_and_is_no_number(size: int) -> None:
    script = f"head -c {size} /dev/zero | tr '\\0' 1"
    assert value(sh(script)) == 1.0
    reading = sh(script, what=p.TAKE_NUMBER)
    assert (value(reading), reading.detail) == (
        None,
        "the output is longer than 64 KiB, which is the most that is read",
    )


def test_a_program_that_cannot_be_started_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    for argv, said in (
        ((str(tmp_path / "none"),), "no such file or directory"),
        ((str(tmp_path / "text"),), "permission denied"),
    ):
        reading = take(command("it"), commands={"it": argv})
        assert value(reading) is None
        assert said in reading.detail
    reading = take(command("it", "a\0b"), commands={"it": ("/bin/true",)})
    assert (value(reading), reading.detail) == (None, "cannot run /bin/true: an argument holds a NUL")


def test_what_is_not_ours_to_take_is_unknown() -> None:
    for probe in (
        p.Probe(name="x", host=p.HostSource(metric=p.HOST_METRIC_LOAD)),
        p.Probe(name="x", events=p.EventsSource(kind=p.EVENT_KIND_OOM)),
        p.Probe(name="x"),
    ):
        reading = take(probe)
        assert value(reading) is None
        assert "not taken by the coordinator" in reading.detail

"""Who sent and who was hit: thread, user, parent, program, cgroup, container, pid namespace."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kernel_record import KernelRecord, process, strike, until
from tests.support.memory_cgroups import ROOT

NOBODY = 65534
# A thread that is not the first kills the process named.
THREAD_KILLS = """
import os, sys, threading
def kill():
    print(threading.get_native_id(), flush=True)
    os.kill(int(sys.argv[1]), 9)
thread = threading.Thread(target=kill)
thread.start()
thread.join()
input()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it becomes another user, makes a cgroup")


def copied(program: str, to: Path) -> str:
    """A program of the test's own."""
    found = next(
        Path(folder, program) for folder in os.environ["PATH"].split(":") if Path(folder, program).exists()
    )
    to.write_bytes(found.read_bytes())
    to.chmod(0o755)
    return str(to)


def test_the_sender_is_named_with_thread_parent_program_and_cgroup(kernel: KernelRecord) -> None:
    kills = (sys.executable, "-c", THREAD_KILLS)
    with process("sleep", "300") as victim, process(*kills, str(victim.pid)) as sender:
        assert sender.stdout
        tid = int(sender.stdout.readline())
        victim.wait()
        seen = kernel.only(victim.pid, "signal").signal.sender
    assert (seen.pid, seen.tid) == (sender.pid, tid)
    assert tid != sender.pid
    assert (seen.parent_pid, seen.uid) == (os.getpid(), os.getuid())
    assert seen.executable == str(Path(sys.executable).resolve())
    assert seen.cgroup == kernel.only(victim.pid, "signal").signal.target.cgroup != ""


@needs_root
def test_the_senders_user_is_told_and_its_program_without_the_right_to_look_at_it(kernel: KernelRecord) -> None:
    with process("sleep", "300", user=NOBODY) as victim:
        command = ("sh", "-c", f"kill {victim.pid}; read line")
        with process(*command, user=NOBODY) as sender:
            victim.wait()
            seen = kernel.only(victim.pid, "signal").signal.sender
            assert seen.pid == sender.pid
    assert seen.uid == NOBODY
    assert Path(seen.executable).name in ("dash", "bash", "busybox", "sh")


def test_the_program_of_a_dead_process_is_still_told(kernel: KernelRecord, tmp_path: Path) -> None:
    worker = copied("sleep", tmp_path / "worker")
    with process(worker, "300") as victim:
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        assert kernel.only(victim.pid, "signal").signal.target.executable == worker


def test_a_program_that_was_replaced_is_not_told_for_the_one_in_its_place(
    kernel: KernelRecord, tmp_path: Path
) -> None:
    worker = copied("sleep", tmp_path / "worker")
    with process(worker, "300") as victim:
        until(lambda: kernel.of(victim.pid, "exec") != [])
        copied("sleep", tmp_path / "new")
        Path(tmp_path, "new").rename(worker)
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        assert kernel.only(victim.pid, "signal").signal.target.executable in ("", f"{worker} (deleted)")


def test_the_program_of_a_script_is_what_runs_it(kernel: KernelRecord, tmp_path: Path) -> None:
    interpreter = copied("sh", tmp_path / "interpreter")
    script = tmp_path / "script"
    script.write_text(f"#!{interpreter}\necho ready\nread line\n")
    script.chmod(0o755)
    with process(str(script)) as victim:
        assert victim.stdout
        victim.stdout.readline()
        until(
            lambda: kernel.of(victim.pid, "exec") != []
        )  # the script's name; who runs it, the process alone knows
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        assert kernel.only(victim.pid, "signal").signal.target.executable == interpreter


def test_each_event_has_the_program_of_its_time(kernel: KernelRecord, tmp_path: Path) -> None:
    first, second = copied("sh", tmp_path / "first"), copied("sleep", tmp_path / "second")
    with process(first, "-c", f"echo ready; read line; exec {second} 300") as victim:
        assert victim.stdin and victim.stdout
        victim.stdout.readline()
        strike(victim.pid, signal.SIGCONT)
        victim.stdin.write("\n")
        victim.stdin.flush()
        until(lambda: len(kernel.of(victim.pid, "exec")) == 2)
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        ran = [event.signal.target.executable for event in kernel.of(victim.pid, "signal")]
    assert ran == [first, second]


@needs_root
def test_the_targets_container_is_told(kernel: KernelRecord) -> None:
    container = f"{os.getpid():064x}"
    folder = ROOT / f"docker-{container}.scope"
    folder.mkdir()
    try:
        command = ("sh", "-c", f"echo $$ > {folder}/cgroup.procs; echo ready; read line")
        with process(*command) as victim:
            assert victim.stdout
            victim.stdout.readline()
            strike(victim.pid, signal.SIGKILL)
            victim.wait()
            target = kernel.only(victim.pid, "signal").signal.target
            assert (target.container, target.cgroup) == (container, f"/docker-{container}.scope")
            assert kernel.only(victim.pid, "signal").signal.sender.container == ""
    finally:
        until(lambda: _removed(folder))


@needs_root
def test_the_targets_pid_namespace_is_told(kernel: KernelRecord) -> None:
    command = ("unshare", "--pid", "--fork", "sh", "-c", "echo ready; read line")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout
        started.stdout.readline()
        (inner,) = map(int, Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split())
        namespace = Path(f"/proc/{inner}/ns/pid").stat().st_ino
        strike(inner, signal.SIGKILL)
        started.wait()
        seen = kernel.only(inner, "signal").signal
    assert seen.target.pid_namespace == namespace != seen.sender.pid_namespace
    assert seen.sender.pid_namespace == Path("/proc/self/ns/pid").stat().st_ino


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True

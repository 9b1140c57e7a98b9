"""Deaths by a signal of another process, or of a strike of ours."""

import ctypes
import os
import signal
import subprocess
from pathlib import Path

from killdeer.v1.process_pb2 import Cause
from tests.support import memory_cgroups
from tests.support.coroner import Coroner
from tests.support.corpus.kinds import (
    ANSWERS,
    LEADER_EXITS,
    STRIKE,
    TGKILL,
    by_shell,
    killed_by,
    killed_by_me,
    kind,
    python,
    ready,
    says,
    struck,
)
from tests.support.kernel_record import process, stat_fields, strike, until


@kind(Cause.CAUSE_SIGNAL, killed_by("sh"))
def kill_9_by_a_shell(_: Coroner) -> int:
    with process("sleep", "300") as victim:
        by_shell(victim.pid, "KILL")
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by("sh"))
def kill_15_by_a_shell(_: Coroner) -> int:
    with process("sleep", "300") as victim:
        by_shell(victim.pid, "TERM")
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGKILL))
def kill_through_a_pidfd(_: Coroner) -> int:
    return struck(signal.SIGKILL)


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGUSR2))
def a_signal_out_of_the_usual(_: Coroner) -> int:
    return struck(signal.SIGUSR2)


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGRTMIN + 3))
def a_real_time_signal(_: Coroner) -> int:
    with process("sleep", "300") as victim:
        os.kill(victim.pid, signal.SIGRTMIN + 3)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGTERM))
def tgkill_of_a_thread(_: Coroner) -> int:
    with ready("import threading; threading.Thread(target=input).start(); print(1, flush=True)") as victim:
        thread = max(int(task.name) for task in Path(f"/proc/{victim.pid}/task").iterdir())
        assert ctypes.CDLL(None).syscall(TGKILL, victim.pid, thread, signal.SIGTERM) == 0
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGTERM))
def sigqueue(_: Coroner) -> int:
    with process("sleep", "300") as victim:
        assert ctypes.CDLL(None).sigqueue(victim.pid, signal.SIGTERM, ctypes.c_void_p(7)) == 0
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGKILL))
def kill_of_its_process_group(_: Coroner) -> int:
    with process("sleep", "300", start_new_session=True) as victim:
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGKILL), where=memory_cgroups.UNIFIED)
def cgroup_kill(_: Coroner) -> int:
    with memory_cgroups.limited() as cgroup, process("sleep", "300") as victim:
        (cgroup.inner / "cgroup.procs").write_text(str(victim.pid))
        (cgroup.inner / "cgroup.kill").write_text("1")
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGKILL))
def a_signal_ignored_then_killed(_: Coroner) -> int:
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); input()"
    with ready(program) as victim:
        by_shell(victim.pid, "TERM")
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by("sh"))
def a_signal_already_pending(_: Coroner) -> int:
    with process("sleep", "300") as victim:
        strike(victim.pid, signal.SIGSTOP)
        until(lambda: stat_fields(victim.pid)[0] == "T")
        by_shell(victim.pid, "TERM")
        strike(victim.pid, signal.SIGTERM)
        strike(victim.pid, signal.SIGCONT)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGTERM))
def a_blocked_signal_that_is_let_through_later(_: Coroner) -> int:
    program = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(1, flush=True)
input()
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
"""
    with ready(program) as victim:
        strike(victim.pid, signal.SIGTERM)
        victim.communicate("\n")
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, killed_by_me(signal.SIGKILL))
def killed_after_its_first_thread_had_exited(_: Coroner) -> int:
    with ready(LEADER_EXITS) as victim:
        until(lambda: stat_fields(victim.pid)[0] == "Z")
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, lambda death: death.process.name == "sleep" and killed_by_me(signal.SIGTERM)(death))
def killed_after_a_thread_has_become_another_program(_: Coroner) -> int:
    become = "import os, threading; threading.Thread(target=os.execlp, args=('sleep', 'sleep', '300')).start()"
    with process(*python(become)) as victim:
        until(lambda: Path(f"/proc/{victim.pid}/comm").read_text() == "sleep\n")
        strike(victim.pid, signal.SIGTERM)
        victim.wait()
        return victim.pid


@kind(Cause.CAUSE_SIGNAL, says("exited with code 3", "after SIGTERM of sh"))
def a_signal_by_another_that_it_answers_with_an_exit(deaths: Coroner) -> int:
    with ready(ANSWERS.format(code=3)) as victim:
        deaths.watch(victim.pid)
        by_shell(victim.pid, "TERM")
        victim.wait()
        return victim.pid


AGAIN = """
import os, signal
def handler(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
signal.signal(signal.SIGTERM, handler)
print(1, flush=True)
while True: signal.pause()
"""


def by_strike(deaths: Coroner, victim: "subprocess.Popen[str]", number: signal.Signals) -> int:
    deaths.watch(victim.pid)
    deaths.strikes[victim.pid] = STRIKE
    strike(victim.pid, number)
    victim.wait()
    return victim.pid


@kind(Cause.CAUSE_STRIKE, says(STRIKE, "SIGKILL"))
def a_strike_that_kills(deaths: Coroner) -> int:
    with process("sleep", "300") as victim:
        return by_strike(deaths, victim, signal.SIGKILL)


@kind(Cause.CAUSE_STRIKE, says(STRIKE, "exited with code 0", "SIGTERM"))
def a_strike_that_it_answers_with_an_exit(deaths: Coroner) -> int:
    with ready(ANSWERS.format(code=0)) as victim:
        return by_strike(deaths, victim, signal.SIGTERM)


@kind(Cause.CAUSE_STRIKE, says(STRIKE, "put SIGTERM on itself"))
def a_strike_that_it_answers_with_the_same_signal(deaths: Coroner) -> int:
    with ready(AGAIN) as victim:
        return by_strike(deaths, victim, signal.SIGTERM)


@kind(Cause.CAUSE_SIGNAL, killed_by("sh"))
def a_strike_that_it_outlives_and_another_that_kills(deaths: Coroner) -> int:
    program = "import signal; signal.signal(15, lambda *_: None); print(1, flush=True); signal.pause(); input()"
    with ready(program) as victim:
        deaths.watch(victim.pid)
        deaths.strikes[victim.pid] = STRIKE
        strike(victim.pid, signal.SIGTERM)
        by_shell(victim.pid, "KILL")
        victim.wait()
        return victim.pid

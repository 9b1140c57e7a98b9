"""Deaths by the process's own doing: exits, aborts, faults."""

import os
import resource
import signal
from pathlib import Path

from killdeer.v1.process_pb2 import Cause
from tests.support.coroner import Coroner
from tests.support.corpus.kinds import LEADER_EXITS, Check, ended, kind, python, ready
from tests.support.kernel_record import process, stat_fields, until


@kind(Cause.CAUSE_EXIT, lambda death: death.code == 0 and death.signal == 0)
def an_exit_with_code_0(deaths: Coroner) -> int:
    return exit_of(deaths, "read line; exit 0")


@kind(Cause.CAUSE_EXIT, lambda death: death.code == 7)
def an_exit_with_code_7(deaths: Coroner) -> int:
    return exit_of(deaths, "read line; exit 7")


def exit_of(deaths: Coroner, program: str) -> int:
    with process("sh", "-c", program) as victim:
        deaths.watch(victim.pid)
        victim.communicate("\n")
        return victim.pid


@kind(Cause.CAUSE_EXIT, lambda death: death.code == 7)
def an_exit_of_the_first_thread_before_the_others(deaths: Coroner) -> int:
    with ready(LEADER_EXITS) as victim:
        deaths.watch(victim.pid)
        until(lambda: stat_fields(victim.pid)[0] == "Z")
        victim.communicate("\n")
        return victim.pid


@kind(Cause.CAUSE_EXIT, lambda death: death.code == 0)
def a_zombie_that_is_killed(deaths: Coroner) -> int:
    with process("sh", "-c", "read line; exit 0") as victim:
        deaths.watch(victim.pid)
        assert victim.stdin
        victim.stdin.write("\n")
        victim.stdin.flush()
        os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)
        os.kill(victim.pid, signal.SIGKILL)
        return victim.pid


@kind(Cause.CAUSE_ITSELF, lambda death: death.signal == signal.SIGKILL)
def a_process_that_kills_itself(_: Coroner) -> int:
    return ended("sh", "-c", "kill -KILL $$")


def aborted(limit: int) -> int:
    with process(*python("input(); import os; os.abort()"), cwd="/tmp") as victim:
        resource.prlimit(victim.pid, resource.RLIMIT_CORE, (limit, limit))
        victim.communicate("\n")
        for left in Path("/tmp").glob(f"core*{victim.pid}"):
            left.unlink()
        Path("/tmp/core").unlink(missing_ok=True)
        return victim.pid


@kind(Cause.CAUSE_ITSELF, lambda death: death.signal == signal.SIGABRT and not death.core_dumped)
def an_abort_without_core(_: Coroner) -> int:
    return aborted(0)


@kind(Cause.CAUSE_ITSELF, lambda death: death.signal == signal.SIGABRT, cheap=False)
def an_abort_with_core(_: Coroner) -> int:
    return aborted(resource.RLIM_INFINITY)


def faults(number: int) -> Check:
    return lambda death: death.signal == number and not death.HasField("killer")


@kind(Cause.CAUSE_FAULT, faults(signal.SIGSEGV))
def a_memory_fault(_: Coroner) -> int:
    return ended(*python("import ctypes; ctypes.string_at(0)"))


@kind(Cause.CAUSE_FAULT, faults(signal.SIGSEGV), cheap=False)
def a_stack_overflow(_: Coroner) -> int:
    endless = (
        "import sys; sys.setrecursionlimit(10**9)\nclass A:\n def __add__(self, o): return self + o\nA() + A()"
    )
    return ended(*python(endless))


@kind(Cause.CAUSE_FAULT, faults(signal.SIGBUS))
def a_mapped_file_that_was_cut(_: Coroner) -> int:
    cut = """
import mmap, tempfile
file = tempfile.TemporaryFile()
file.truncate(4096)
mapped = mmap.mmap(file.fileno(), 4096)
file.truncate(0)
mapped[0]
"""
    return ended(*python(cut))


@kind(Cause.CAUSE_FAULT, faults(signal.SIGILL))
def an_instruction_that_is_none(_: Coroner) -> int:
    code = {"x86_64": b"\x0f\x0b", "aarch64": b"\0\0\0\0"}[os.uname().machine]
    run = (
        "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\n"
        f"m.write({code!r})\nctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()"
    )
    return ended(*python(run))


@kind(Cause.CAUSE_FAULT, lambda death: death.signal == signal.SIGSYS and "seccomp" in death.why)
def a_system_call_that_seccomp_forbids(_: Coroner) -> int:
    forbid = """
import ctypes, struct
rule = ctypes.create_string_buffer(struct.pack("<HBBI", 6, 0, 0, 0x80000000))
program = ctypes.create_string_buffer(struct.pack("<H6xQ", 1, ctypes.addressof(rule)))
prctl = ctypes.CDLL(None).prctl
prctl(38, 1, 0, 0, 0)
prctl(22, 2, program, 0, 0)
"""
    return ended(*python(forbid))

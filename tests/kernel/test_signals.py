"""Who sent what to whom, and what the kernel made of it."""

import os
import signal
import sys

from tests.support.kernel_record import KernelRecord, process, start_ticks, stat_fields, strike, until


def test_a_kill_through_a_pidfd_names_sender_target_and_verdict(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        ticks = start_ticks(victim.pid)
        strike(victim.pid, signal.SIGKILL)
        victim.wait()
        sent, died = kernel.only(victim.pid, "signal"), kernel.only(victim.pid, "exit")

    seen = sent.signal
    assert (seen.signal, seen.code, seen.group, seen.verdict) == (signal.SIGKILL, 0, True, "delivered")
    assert (seen.fatal, seen.internal, seen.exiting, seen.namespace_init) == (True, False, False, False)
    assert (seen.sender.pid, seen.sender.start_ticks) == (os.getpid(), start_ticks(os.getpid()))
    assert (seen.sender.uid, seen.sender.parent_pid) == (os.getuid(), os.getppid())
    assert (seen.target.start_ticks, seen.target.name, seen.target.tid) == (ticks, "sleep", victim.pid)
    assert seen.target.parent_pid == os.getpid()
    assert (died.exit.signal, died.exit.code, died.exit.core_dumped) == (signal.SIGKILL, 0, False)
    assert died.exit.process.start_ticks == ticks
    assert died.at_boot_ns > sent.at_boot_ns


def test_a_term_that_the_process_ignores_has_the_verdict_ignored(kernel: KernelRecord) -> None:
    with process("sh", "-c", "trap '' TERM; echo ready; read line") as victim:
        assert victim.stdout
        victim.stdout.readline()
        strike(victim.pid, signal.SIGTERM)
        seen = kernel.only(victim.pid, "signal").signal
        assert (seen.verdict, seen.fatal) == ("ignored", False)
        assert victim.poll() is None


def test_a_second_signal_before_the_first_was_taken_is_already_pending(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        strike(victim.pid, signal.SIGSTOP)
        until(lambda: stat_fields(victim.pid)[0] == "T")  # until then a TERM ends it at once
        strike(victim.pid, signal.SIGTERM)
        strike(victim.pid, signal.SIGTERM)
        verdicts = [
            event.signal.verdict
            for event in kernel.of(victim.pid, "signal")
            if event.signal.signal == signal.SIGTERM
        ]
    assert verdicts == ["delivered", "already_pending"]


def test_a_kill_of_a_zombie_that_the_syscall_calls_a_success_has_the_verdict_ignored(kernel: KernelRecord) -> None:
    with process("true") as victim:
        os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)
        os.kill(victim.pid, signal.SIGKILL)
        assert kernel.only(victim.pid, "signal").signal.verdict == "ignored"


def test_a_fault_has_no_sender(kernel: KernelRecord) -> None:
    with process(sys.executable, "-c", "import ctypes; ctypes.string_at(0)") as victim:
        victim.wait()
        event = kernel.only(victim.pid, "signal")
    assert event.signal.signal == signal.SIGSEGV
    assert event.signal.code > 0
    assert not event.signal.HasField("sender")
    assert kernel.only(victim.pid, "exit").exit.signal == signal.SIGSEGV


def test_a_signal_to_one_thread_is_not_to_the_group(kernel: KernelRecord) -> None:
    program = "import signal, threading; signal.pthread_kill(threading.get_ident(), signal.SIGTERM)"
    with process(sys.executable, "-c", program) as victim:
        victim.wait()
        event = kernel.only(victim.pid, "signal")
    assert (event.signal.code, event.signal.group) == (-6, False)  # SI_TKILL
    assert event.signal.sender.pid == victim.pid


def test_a_signal_that_ends_a_process_is_told_whoever_it_is_for(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        strike(victim.pid, signal.SIGUSR1)
        victim.wait()
        event = kernel.only(victim.pid, "signal")
    assert (event.signal.signal, event.signal.fatal) == (signal.SIGUSR1, True)


def test_every_stop_and_continue_is_told(kernel: KernelRecord) -> None:
    with process("sleep", "300") as victim:
        strike(victim.pid, signal.SIGSTOP)
        until(lambda: os.waitid(os.P_PID, victim.pid, os.WSTOPPED | os.WNOHANG) is not None)
        strike(victim.pid, signal.SIGCONT)
        signals = [event.signal.signal for event in kernel.of(victim.pid, "signal")]
    assert signals == [signal.SIGSTOP, signal.SIGCONT]

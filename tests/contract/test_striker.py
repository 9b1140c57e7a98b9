"""The agent's hand on real processes."""

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.facts import FactMissing, Facts, Now, Refusal
from killdeer_agent.core.words import Follow, Record, Revert
from killdeer_agent.journal import Journal, JournalError
from killdeer_agent.kernel import clock
from killdeer_agent.kernel.proc import ProcFacts
from tests.support import strikes as s

# pytest-timeout's other method takes SIGALRM, which is the fuse's.
pytestmark = pytest.mark.timeout(120, method="thread")


@pytest.fixture
def victim() -> Iterator[int]:
    with s.running() as child:
        yield child.pid


def exit_signal(pid: int) -> int:
    """Waits for the child's end; leaves it a zombie."""
    news = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert news is not None
    return news.si_status


def alive(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None


# --- open ---------------------------------------------------------------------------------------------------


def test_r1_an_opened_victim_is_held_and_its_exit_is_readable(victim: int) -> None:
    striker = s.striker()
    assert striker.open(s.opening(s.warrant(s.identity(victim)))) is None
    pidfd = striker.fileno("c1")
    assert pidfd is not None
    assert f"Pid:\t{victim}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    striker.close("c1")
    assert striker.fileno("c1") is None


def test_i1_a_reused_pid_is_refused(victim: int) -> None:
    refusal = s.striker().open(s.opening(s.warrant(s.identity(victim, later_ticks=-7))))
    assert refusal is not None and refusal.reason == Reason.REASON_REUSED


def test_i1_an_earlier_boot_is_refused(victim: int) -> None:
    process = replace(s.identity(victim), boot_id="00000000-0000-0000-0000-000000000000")
    refusal = s.striker().open(s.opening(s.warrant(process)))
    assert refusal is not None and refusal.reason == Reason.REASON_OTHER_BOOT


def test_r5_a_zombie_is_refused(victim: int) -> None:
    right = s.warrant(s.identity(victim))
    os.kill(victim, signal.SIGKILL)
    assert exit_signal(victim) == signal.SIGKILL
    refusal = s.striker().open(s.opening(right))
    assert refusal is not None and refusal.reason == Reason.REASON_ZOMBIE


def test_r5_one_that_somebody_else_stopped_is_refused(victim: int) -> None:
    right = s.warrant(s.identity(victim))
    os.kill(victim, signal.SIGSTOP)
    assert s.stopped(victim)
    refusal = s.striker().open(s.opening(right))
    assert refusal is not None and refusal.reason == Reason.REASON_STOPPED


def test_r5_one_whose_leader_is_dead_is_refused() -> None:
    with s.running(*s.LEADER_DIES_ON_COMMAND) as child:
        right = s.warrant(s.identity(child.pid))
        s.command(child)
        s.until(lambda: ProcFacts(child.pid).state == "Z")
        refusal = s.striker().open(s.opening(right))
        assert refusal is not None and refusal.reason == Reason.REASON_LEADER_DEAD


def test_r5_one_that_is_gone_is_refused() -> None:
    with s.running() as child:
        right = s.warrant(s.identity(child.pid))
        child.kill()
        child.wait()
        refusal = s.striker().open(s.opening(right))
        assert refusal is not None and refusal.reason == Reason.REASON_GONE


@pytest.mark.parametrize("pid", [0, 2**22 + 1, 2**40])
def test_i10_a_pid_that_cannot_be_is_a_named_refusal(victim: int, pid: int) -> None:
    process = replace(s.identity(victim), pid=pid)
    refusal = s.striker().open(s.opening(s.warrant(process)))
    assert refusal is not None and refusal.reason in (Reason.REASON_GONE, Reason.REASON_REUSED)


def test_i1_a_thread_is_no_process() -> None:
    with s.running(*s.LEADER_DIES_ON_COMMAND) as child:
        tasks = Path(f"/proc/{child.pid}/task")
        s.until(lambda: len(list(tasks.iterdir())) > 1)
        thread = next(int(task.name) for task in tasks.iterdir() if int(task.name) != child.pid)
        refusal = s.striker().open(s.opening(s.warrant(replace(s.identity(child.pid), pid=thread))))
        assert refusal is not None and refusal.reason == Reason.REASON_REUSED


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("not a number")])
def test_i10_facts_that_cannot_be_read_are_a_named_refusal_and_leave_no_pidfd(
    victim: int, error: Exception
) -> None:
    def unreadable(pid: int) -> Facts:
        raise error

    right = s.warrant(s.identity(victim))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    refusal = s.striker(facts_of=unreadable).open(s.opening(right))
    assert refusal is not None and refusal.reason == Reason.REASON_UNREADABLE
    assert str(error) in refusal.detail
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_i2_a_command_is_opened_once(victim: int) -> None:
    striker, right = s.striker(), s.warrant(s.identity(victim))
    assert striker.open(s.opening(right)) is None
    refusal = striker.open(s.opening(right))
    assert refusal is not None and refusal.reason == Reason.REASON_KNOWN_COMMAND
    striker.close("c1")


# --- strike -------------------------------------------------------------------------------------------------


def test_r1_a_strike_kills_the_victim_and_says_when(victim: int) -> None:
    striker, right = s.striker(), s.warrant(s.identity(victim))
    assert striker.open(s.opening(right)) is None
    before = clock.boot_ns()
    done = striker.strike(s.blow(right))
    after = clock.boot_ns()
    assert (done.command_id, done.blow, done.refusal, done.changed) == ("c1", 1, None, False)
    assert before < done.sent_boot_ns < after
    assert exit_signal(victim) == signal.SIGKILL
    striker.close("c1")


def test_r4_a_second_blow_looks_again_and_finds_it_gone() -> None:
    with s.running() as child:
        striker, right = s.striker(), s.warrant(s.identity(child.pid))
        assert striker.open(s.opening(right)) is None
        assert striker.strike(s.blow(right, signal.SIGTERM)).refusal is None
        child.wait()
        done = striker.strike(replace(s.blow(right), blow=2))
        assert done.refusal is not None and done.refusal.reason == Reason.REASON_GONE
        assert done.sent_boot_ns == 0
        striker.close("c1")


def test_r5_the_victim_that_becomes_a_zombie_between_open_and_strike_is_refused(victim: int) -> None:
    striker, right = s.striker(), s.warrant(s.identity(victim))
    assert striker.open(s.opening(right)) is None
    os.kill(victim, signal.SIGKILL)
    assert exit_signal(victim) == signal.SIGKILL
    done = striker.strike(s.blow(right))
    assert done.refusal is not None and done.refusal.reason == Reason.REASON_ZOMBIE
    striker.close("c1")


def test_i1_an_exec_between_open_and_strike_is_refused_as_changed() -> None:
    with s.running(*s.EXECS_ON_COMMAND) as child:
        striker, right = s.striker(), s.warrant(s.identity(child.pid))
        assert striker.open(s.opening(right)) is None
        s.command(child)
        s.until(lambda: ProcFacts(child.pid).cmdline == "sleep 300")
        done = striker.strike(s.blow(right))
        assert done.refusal is not None and done.refusal.reason == Reason.REASON_CHANGED
        assert alive(child.pid)
        striker.close("c1")


def last_of_the_last_look(late: type[ProcFacts]) -> Callable[[int], Facts]:
    """Each look reads a process twice, what takes time first: once opened, it is looked at a second time."""
    reads = itertools.count(1)
    return lambda pid: late(pid) if next(reads) == 4 else ProcFacts(pid)


@pytest.mark.parametrize("reason", [Reason.REASON_STOPPED, Reason.REASON_CHANGED])
def test_r1_what_comes_to_pass_while_guard_and_selector_read_their_facts_is_refused(reason: Reason) -> None:
    """An executable or a port takes them milliseconds."""
    with s.running(*s.EXECS_ON_COMMAND) as child:
        opened = False

        def rule(facts: Facts) -> bool:
            if opened and reason == Reason.REASON_STOPPED:
                os.kill(child.pid, signal.SIGSTOP)
                assert s.stopped(child.pid)
            elif opened:
                s.command(child)
                s.until(lambda: ProcFacts(child.pid).cmdline == "sleep 300")
            return True

        striker, right = s.striker(), s.warrant(s.identity(child.pid), rule=rule)
        assert striker.open(s.opening(right)) is None
        opened = True
        done = striker.strike(s.blow(right))
        assert done.refusal is not None and done.refusal.reason == reason
        assert done.sent_boot_ns == 0 and alive(child.pid)
        striker.close("c1")


def test_i1_an_exit_after_the_last_fact_was_read_is_refused_by_the_pidfd(victim: int) -> None:
    class Dies(ProcFacts):
        @property
        def state(self) -> str:
            state = super().state
            os.kill(victim, signal.SIGKILL)
            exit_signal(victim)
            return state

    striker, right = s.striker(facts_of=last_of_the_last_look(Dies)), s.warrant(s.identity(victim))
    assert striker.open(s.opening(right)) is None
    done = striker.strike(s.blow(right, signal.SIGTERM))
    assert done.refusal is not None and done.refusal.reason == Reason.REASON_GONE
    assert done.sent_boot_ns == 0
    striker.close("c1")


def test_i1_an_exec_in_the_instant_of_the_signal_is_struck_changed() -> None:
    """It execs after the last fact was read: that cannot be prevented, only told."""
    with s.running(*s.EXECS_ON_COMMAND) as child:

        class Late(ProcFacts):
            @property
            def state(self) -> str:
                state = super().state
                s.command(child)
                s.until(lambda: ProcFacts(child.pid).cmdline == "sleep 300")
                return state

        striker, right = s.striker(facts_of=last_of_the_last_look(Late)), s.warrant(s.identity(child.pid))
        assert striker.open(s.opening(right)) is None
        done = striker.strike(s.blow(right, signal.SIGSTOP))
        assert done.refusal is None
        assert done.changed
        striker.close("c1")


@pytest.mark.parametrize("number, after, changed", [
    (signal.SIGKILL, [{"program": "other"}], True),
    (signal.SIGSTOP, [{"uid": 65534}], True),
    (signal.SIGSTOP, [{"unit": "other.service"}], True),
    (signal.SIGSTOP, [{"cmdline": ""}, {"program": "other"}], True),  # in the midst of an exec
    (signal.SIGSTOP, [{}], False),
    (signal.SIGKILL, [{"unit": ""}], False),  # how cgroup v1 shows one that is exiting
    (signal.SIGKILL, [{"program": "other", "cmdline": ""}], False),  # its memory is gone
    (signal.SIGKILL, [{"program": "other", "state": "Z"}], False),
    (signal.SIGKILL, [{"program": "other", "start_ticks": 1}], False),  # somebody else has its pid
])  # fmt: skip
def test_i1_what_is_seen_right_after_the_signal_tells_whether_it_was_another(
    victim: int, number: int, after: list[dict[str, object]], changed: bool
) -> None:
    alive = ProcFacts(victim)
    before: dict[str, object] = {
        name: getattr(alive, name) for name in ("pid", "start_ticks", "threads", "program", "uid", "cmdline")
    } | {"unit": "sleep.service", "state": "S"}
    looks = [before, before, before, before, *(before | now for now in after)]

    def facts_of(pid: int) -> Facts:
        return cast(Facts, SimpleNamespace(**(looks.pop(0) if len(looks) > 1 else looks[0])))

    striker, right = s.striker(facts_of=facts_of), s.warrant(s.identity(victim))
    assert striker.open(s.opening(right)) is None
    done = striker.strike(s.blow(right, number))
    assert (done.refusal, done.changed) == (None, changed)
    striker.close("c1")


def test_r1_a_selector_that_no_longer_matches_is_refused(victim: int) -> None:
    matching = True
    right = s.warrant(s.identity(victim), rule=lambda facts: matching)
    striker = s.striker()
    assert striker.open(s.opening(right)) is None
    matching = False
    done = striker.strike(s.blow(right))
    assert done.refusal is not None and done.refusal.reason == Reason.REASON_NOT_MATCHING
    assert alive(victim)
    striker.close("c1")


def test_r14_a_halt_file_between_open_and_strike_is_refused(victim: int, tmp_path: Path) -> None:
    run, var = tmp_path / "run" / "halt", tmp_path / "var-halt"
    striker, right = s.striker(run, var), s.warrant(s.identity(victim))
    assert striker.open(s.opening(right)) is None
    var.touch()
    done = striker.strike(s.blow(right))
    assert done.refusal is not None and done.refusal.reason == Reason.REASON_HALTED_LOCALLY
    var.unlink()
    assert striker.strike(s.blow(right)).refusal is None
    striker.close("c1")


def test_i10_a_halt_file_that_cannot_be_looked_for_counts_as_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert s.striker(tmp_path / "file" / "halt").halted_locally()
    assert not s.striker(tmp_path / "nowhere" / "halt").halted_locally()
    dangling = tmp_path / "dangling"
    dangling.symlink_to("nowhere")
    assert s.striker(dangling).halted_locally()


@pytest.mark.parametrize("lease, not_after, reason", [
    (0, s.SECOND, Reason.REASON_NOT_LEASED),
    (s.SECOND, 0, Reason.REASON_TOO_LATE),
])  # fmt: skip
def test_r2_past_its_right_the_agent_refuses_and_lives(
    victim: int, lease: int, not_after: int, reason: Reason
) -> None:
    striker, process = s.striker(), s.identity(victim)
    assert striker.open(s.opening(s.warrant(process))) is None
    done = striker.strike(s.blow(s.warrant(process, lease_ns=lease, not_after_ns=not_after)))
    assert done.refusal is not None and done.refusal.reason == reason
    assert alive(victim)
    striker.close("c1")


def test_r8_a_host_that_stood_still_is_refused(victim: int) -> None:
    process, frozen_ns = s.identity(victim), 0

    def now() -> Now:
        boot_ns = clock.boot_ns()
        return Now(boot_ns, boot_ns + frozen_ns)

    right = s.warrant(process)
    right = replace(right, lease=replace(right.lease, anchor=now()))
    striker = s.striker(now=now)
    assert striker.open(s.opening(right)) is None
    frozen_ns = 4 * s.SECOND
    done = striker.strike(s.blow(right))
    assert done.refusal is not None and done.refusal.reason == Reason.REASON_NOT_LEASED
    assert alive(victim)
    striker.close("c1")


def test_r3_a_warrant_for_another_process_is_refused(victim: int) -> None:
    with s.running() as other:
        striker = s.striker()
        assert striker.open(s.opening(s.warrant(s.identity(victim)))) is None
        done = striker.strike(s.blow(s.warrant(s.identity(other.pid))))
        assert done.refusal is not None and done.refusal.reason == Reason.REASON_REUSED
        assert alive(victim) and alive(other.pid)
        striker.close("c1")


def test_r4_nothing_is_struck_without_a_held_pidfd(victim: int) -> None:
    done = s.striker().strike(s.blow(s.warrant(s.identity(victim))))
    assert done.refusal is not None and done.refusal.reason == Reason.REASON_CANCELLED
    assert alive(victim)


def test_i1_a_signal_that_the_kernel_refuses_is_named(victim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(pidfd: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    striker, right = s.striker(), s.warrant(s.identity(victim))
    assert striker.open(s.opening(right)) is None
    monkeypatch.setattr(signal, "pidfd_send_signal", refuses)
    done = striker.strike(s.blow(right))
    assert done.refusal is not None and done.refusal.reason == Reason.REASON_NOT_PERMITTED
    assert done.sent_boot_ns == 0
    striker.close("c1")


def test_r2_with_a_handler_for_sigalrm_nothing_is_struck(victim: int) -> None:
    striker, right = s.striker(), s.warrant(s.identity(victim))
    assert striker.open(s.opening(right)) is None
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        done = striker.strike(s.blow(right))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert done.refusal is not None and done.refusal.reason == Reason.REASON_NOT_LEASED
    assert "SIGALRM" in done.refusal.detail
    assert alive(victim)
    striker.close("c1")


def test_r2_with_sigalrm_blocked_nothing_is_struck(victim: int) -> None:
    striker, right = s.striker(), s.warrant(s.identity(victim))
    assert striker.open(s.opening(right)) is None
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        done = striker.strike(s.blow(right))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    assert done.refusal is not None and done.refusal.reason == Reason.REASON_NOT_LEASED
    assert alive(victim)
    striker.close("c1")


# --- revert -------------------------------------------------------------------------------------------------


def resumed(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WCONTINUED) is not None


@pytest.mark.parametrize("held", [True, False], ids=["held", "after a restart"])
def test_r13_a_paused_victim_is_resumed_by_identity_alone(victim: int, tmp_path: Path, held: bool) -> None:
    """Under a halt file and with a guard, a lease and a program that nobody asks about."""
    process = s.identity(victim)
    striker, right = s.striker(), s.warrant(process)
    assert striker.open(s.opening(right)) is None
    assert striker.strike(s.blow(right, signal.SIGSTOP)).refusal is None
    assert s.stopped(victim)
    if not held:
        striker.close("c1")
        (tmp_path / "halt").touch()
        striker = s.striker(tmp_path / "halt")
    reverted = striker.revert(Revert(command_id="c1", process=replace(process, program="")))
    assert (reverted.gone, reverted.problem) == (False, "")
    assert reverted.sent_boot_ns > 0
    assert resumed(victim)
    striker.close("c1")


def test_r13_a_revert_works_when_the_disk_of_the_journal_is_gone(
    victim: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    journal, _, _ = Journal.open(tmp_path)
    striker, right = s.striker(tmp_path / "halt"), s.warrant(s.identity(victim))
    assert striker.open(s.opening(right)) is None
    assert striker.strike(s.blow(right, signal.SIGSTOP)).refusal is None
    assert s.stopped(victim)
    with monkeypatch.context() as gone:
        gone.setattr(os, "fdatasync", fails)
        with pytest.raises(JournalError):
            journal.append(Record("reverting", {"command": "c1"}))
        assert striker.revert(Revert(command_id="c1", process=right.process)).problem == ""
    assert resumed(victim)
    striker.close("c1")
    journal.close()


def test_r13_a_held_victim_is_resumed_when_proc_cannot_be_read(victim: int) -> None:
    broken = False

    def facts_of(pid: int) -> Facts:
        if broken:
            raise OSError(24, "Too many open files")
        return ProcFacts(pid)

    striker, right = s.striker(facts_of=facts_of), s.warrant(s.identity(victim))
    assert striker.open(s.opening(right)) is None
    assert striker.strike(s.blow(right, signal.SIGSTOP)).refusal is None
    assert s.stopped(victim)
    broken = True
    assert striker.revert(Revert(command_id="c1", process=right.process)).problem == ""
    assert resumed(victim)
    striker.close("c1")


def test_r13_a_reused_pid_is_not_resumed(victim: int) -> None:
    os.kill(victim, signal.SIGSTOP)
    assert s.stopped(victim)
    reverted = s.striker().revert(Revert(command_id="c1", process=s.identity(victim, later_ticks=-7)))
    assert (reverted.gone, reverted.sent_boot_ns) == (True, 0)
    assert ProcFacts(victim).state == "T"


def test_r13_nothing_of_an_earlier_boot_is_resumed(victim: int) -> None:
    os.kill(victim, signal.SIGSTOP)
    assert s.stopped(victim)
    process = replace(s.identity(victim), boot_id="00000000-0000-0000-0000-000000000000")
    assert s.striker().revert(Revert(command_id="c1", process=process)).gone
    assert ProcFacts(victim).state == "T"


@pytest.mark.parametrize("reaped", [True, False])
def test_r13_one_that_has_exited_is_gone(reaped: bool) -> None:
    with s.running() as child:
        process = s.identity(child.pid)
        os.kill(child.pid, signal.SIGKILL)
        exit_signal(child.pid)
        if reaped:
            child.wait()
        reverted = s.striker().revert(Revert(command_id="c1", process=process))
        assert (reverted.gone, reverted.problem, reverted.sent_boot_ns) == (True, "", 0)


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        FactMissing(Reason.REASON_UNREADABLE, "cannot be read"),
        FactMissing(Reason.REASON_GONE, "hidden"),
        ValueError(),
    ],
)
def test_i6_a_failed_revert_is_a_problem_and_no_exception(victim: int, error: Exception) -> None:
    def unreadable(pid: int) -> Facts:
        raise error

    reverted = s.striker(facts_of=unreadable).revert(Revert(command_id="c1", process=s.identity(victim)))
    assert not reverted.gone
    assert reverted.problem.startswith(f"cannot resume pid {victim}: ")


def test_i6_a_resume_that_the_kernel_refuses_is_a_problem(victim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(pidfd: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(signal, "pidfd_send_signal", refuses)
    reverted = s.striker().revert(Revert(command_id="c1", process=s.identity(victim)))
    assert "Operation not permitted" in reverted.problem


# --- hold, after a restart ----------------------------------------------------------------------------------


def test_after_a_restart_the_same_process_is_held_again_to_see_its_exit(victim: int) -> None:
    striker = s.striker()
    assert striker.hold("c1", s.identity(victim))
    pidfd = striker.fileno("c1")
    assert pidfd is not None
    assert striker.hold("c1", s.identity(victim)) and striker.fileno("c1") == pidfd
    striker.close("c1")


def test_i8_after_a_restart_one_that_has_exited_or_lost_its_pid_is_gone(victim: int) -> None:
    process, striker = s.identity(victim), s.striker()
    assert not striker.hold("c1", s.identity(victim, later_ticks=-7))
    assert not striker.hold("c1", replace(process, boot_id="00000000-0000-0000-0000-000000000000"))
    os.kill(victim, signal.SIGKILL)
    exit_signal(victim)
    assert not striker.hold("c1", process)
    assert striker.fileno("c1") is None


@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), FactMissing(Reason.REASON_GONE, "hidden by hidepid")]
)
def test_i8_after_a_restart_a_process_that_cannot_be_looked_at_has_not_exited(
    victim: int, error: Exception
) -> None:
    def unreadable(pid: int) -> Facts:
        raise error

    striker = s.striker(facts_of=unreadable)
    assert striker.hold("c1", s.identity(victim))
    assert striker.fileno("c1") is None


def test_i8_after_a_restart_a_pidfd_that_cannot_be_had_is_no_exit(
    victim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(pid: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", none_left)
    striker = s.striker()
    assert striker.hold("c1", s.identity(victim))
    assert striker.fileno("c1") is None


# --- follow: one that has come in the victim's place ----------------------------------------------------------


def follow(pid: int, **changed: object) -> Follow:
    """The look at a process that nobody has seen before."""
    facts = ProcFacts(pid)
    place: dict[str, object] = {"first_sight": True, "service": facts.service, "unit": facts.unit}
    right = s.warrant(replace(s.identity(pid), program=""))
    right = replace(right, **(place | changed))  # type: ignore[arg-type]
    return Follow(command_id="c1", service=facts.service, warrant=right)


def test_i1_a_successor_is_held_in_the_victim_s_place_with_the_program_it_runs(victim: int) -> None:
    with s.running() as successor:
        striker = s.striker()
        assert striker.open(s.opening(s.warrant(s.identity(victim)))) is None
        assert striker.unit("c1") == ProcFacts(victim).unit
        found = striker.follow(follow(successor.pid))
        assert found == s.identity(successor.pid)
        done = striker.strike(s.blow(replace(s.warrant(found), service=ProcFacts(successor.pid).service)))
        assert done.refusal is None and exit_signal(successor.pid) == signal.SIGKILL
        assert alive(victim)
        striker.close("c1")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"service": "/usr/bin/other"}, Reason.REASON_NOT_MATCHING),
        ({"unit": "other.service"}, Reason.REASON_NOT_MATCHING),
        ({"not_after_ns": 0}, Reason.REASON_TOO_LATE),
    ],
)
def test_i1_one_that_may_not_be_struck_leaves_what_is_held(
    victim: int, changed: dict[str, object], reason: Reason
) -> None:
    with s.running() as stranger:
        striker = s.striker()
        assert striker.open(s.opening(s.warrant(s.identity(victim)))) is None
        refused = striker.follow(follow(stranger.pid, **changed))
        assert isinstance(refused, Refusal) and refused.reason == reason
        pidfd = striker.fileno("c1")
        assert f"Pid:\t{victim}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        striker.close("c1")


def test_i1_a_successor_whose_pid_is_another_s_now_is_refused(victim: int) -> None:
    wanted = follow(victim)
    other = replace(wanted.warrant.process, start_ticks=wanted.warrant.process.start_ticks - 7)
    refused = s.striker().follow(replace(wanted, warrant=replace(wanted.warrant, process=other)))
    assert isinstance(refused, Refusal) and refused.reason == Reason.REASON_REUSED


def test_i1_a_successor_that_execs_before_its_blow_is_refused_as_changed() -> None:
    with s.running(*s.EXECS_ON_COMMAND) as successor:
        striker = s.striker()
        found = striker.follow(follow(successor.pid))
        assert not isinstance(found, Refusal)
        s.command(successor)
        s.until(lambda: ProcFacts(successor.pid).name == "sleep")
        done = striker.strike(s.blow(s.warrant(found)))
        assert done.refusal is not None and done.refusal.reason == Reason.REASON_CHANGED
        striker.close("c1")

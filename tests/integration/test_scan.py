"""The scan, on a /proc in a folder and on the kernel's own: whole or a named failure (invariants I1, I7, I10)."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from killdeer.terms import parse_selector
from killdeer.v1.process_pb2 import Action, Candidate, Kill, Pause, Reason, Terminate
from killdeer_agent.core.facts import Now
from killdeer_agent.core.guard import Guard, Rule
from killdeer_agent.core.selector import Matcher, compiled
from killdeer_agent.guardfiles import load_guard
from killdeer_agent.kernel import clock
from killdeer_agent.kernel.proc import ProcFacts, ancestors
from killdeer_agent.kernel.scan import ScanFailed, Scanner, ScanResult
from killdeer_agent.kernel.stat import PF_FORKNOEXEC
from killdeer_agent.kernel.units import Units
from tests.support.proc import HIDDEN_CODE, HIDDEN_STACK, KERNEL_THREAD, USER_PROCESS, FakeProc
from tests.support.rights import as_nobody
from tests.support.strikes import running, until

SECOND = 1_000_000_000
KILL = Action(kill=Kill(signal=signal.SIGKILL))
TERMINATE = Action(terminate=Terminate(grace_ms=1_000))
PAUSE = Action(pause=Pause(length_ms=1_000))
NOW = Now(boot_ns=1_000 * SECOND)
UNIT = "0::/system.slice/{}\n"
TOKENS = Guard(redactions=(compiled(r"token=\S+"),))
SLEEP = os.path.realpath("/bin/sleep")

# Sleeps that only this run's have on their command line.
MARK = f"{86_400 + os.getpid()}.5"


def select(*terms: str) -> Matcher:
    return Matcher(parse_selector(terms))


def guard_that_allows(*terms: str) -> Guard:
    return Guard(allow=(Rule(matcher=select(*terms), source="t", actions=frozenset({"kill"})),))


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


def scanner_of(proc: FakeProc, units: Units | None = None, clock: Callable[[], int] = lambda: 0) -> Scanner:
    return Scanner(host="web-1", boot_id="b", clock=clock, proc_root=str(proc.root), units=units or Units(()))


def scan(
    proc: FakeProc, *terms: str, guard: Guard | None = None, action: Action = KILL, units: Units | None = None
) -> ScanResult:
    return scanner_of(proc, units).scan(select(*terms), guard or Guard(), action, NOW, SECOND)


def found(result: ScanResult) -> list[tuple[int, str, int]]:
    assert result.failure == Reason.REASON_UNSPECIFIED, result.detail
    return [(one.identity.pid, one.service, one.ordinal) for one in result.candidates]


def only(result: ScanResult) -> Candidate:
    assert len(found(result)) == 1
    return result.candidates[0]


def test_a_candidate_says_who_it_is(proc: FakeProc) -> None:
    proc.add(
        70,
        "/usr/bin/pay",
        "--queue",
        "a b",
        comm="pay",
        start_ticks=99_000,
        parent=1,
        uid=0,
        cgroup=UNIT.format("pay@3.service"),
        exe=sys.executable,
    )
    one = only(scan(proc, "unit=pay@*.service"))

    assert (one.identity.host, one.identity.boot_id) == ("web-1", "b")
    assert (one.identity.pid, one.identity.start_ticks) == (70, 99_000)
    assert one.identity.program == ProcFacts(70, str(proc.root)).program
    assert (one.service, one.ordinal, one.unit, one.container) == ("pay@", 0, "pay@3.service", "")
    assert (one.name, one.cmdline, one.user) == ("pay", "/usr/bin/pay --queue a b", "root")
    assert (one.cgroup, one.parent_pid, one.state) == ("/system.slice/pay@3.service", 1, "S")
    assert one.age_ms == 1_000_000 - 990_000


def test_default_deny_is_friendly_the_verdict_names_the_line_and_the_file(proc: FakeProc) -> None:
    proc.add(70, "pay", cgroup=UNIT.format("pay@3.service"), exe=sys.executable)
    verdict = only(scan(proc, "name=worker", action=TERMINATE)).verdict

    assert not verdict.allowed
    assert verdict.reason == Reason.REASON_NOT_ALLOWED
    assert "/pay@.service.d/killdeer.conf" in verdict.remedy
    assert "Allow=terminate" in verdict.remedy


def test_what_the_guard_allows_is_allowed(proc: FakeProc) -> None:
    proc.add(70, "pay", exe=sys.executable)
    result = scan(proc, "name=worker", guard=guard_that_allows("name=worker"))

    assert only(result).verdict.allowed
    assert only(scan(proc, "name=worker", guard=guard_that_allows("name=worker"), action=PAUSE)).verdict.reason == (
        Reason.REASON_ACTION_NOT_ALLOWED
    )


def test_a_command_line_is_redacted_on_the_host(proc: FakeProc) -> None:
    proc.add(70, "pay", "--token=secret", exe=sys.executable)
    result = scan(proc, "cmdline~=pay", guard=TOKENS)

    assert only(result).cmdline == "pay --***"
    assert b"secret" not in only(result).SerializeToString()


@pytest.mark.parametrize("term", ["cmdline~=token=s", "cmdline=*secret*"])
def test_no_selector_finds_out_what_is_redacted(term: str, proc: FakeProc) -> None:
    proc.add(70, "pay", "--token=secret", exe=sys.executable)

    assert scan(proc, term).candidates
    assert not scan(proc, term, guard=TOKENS).candidates


def test_the_guards_own_rules_see_what_is_redacted(proc: FakeProc) -> None:
    proc.add(70, "pay", "--token=secret", exe=sys.executable)
    guard = replace(guard_that_allows("cmdline~=token=secret"), redactions=TOKENS.redactions)

    assert only(scan(proc, "cmdline=pay *", guard=guard)).verdict.allowed


def test_r26_an_ordinal_is_the_place_among_all_of_the_service_not_only_what_matches(proc: FakeProc) -> None:
    for pid, ticks in ((90, 100), (50, 300), (70, 300), (60, 400)):
        proc.add(pid, "w", str(pid), start_ticks=ticks, cgroup=UNIT.format(f"w@{pid}.service"), exe=sys.executable)
    proc.add(40, "w", "40", start_ticks=1, cgroup=UNIT.format("other.service"), exe=sys.executable)

    assert found(scan(proc, "cmdline~=[67]0$")) == [(70, "w@", 2), (60, "w@", 3)]


def test_r26_the_dead_come_after_the_living_so_that_their_end_moves_nobody(proc: FakeProc) -> None:
    proc.add(50, state="Z", start_ticks=1, start_stack=0, cgroup=UNIT.format("w.service"))
    proc.add(60, "w", start_ticks=2, cgroup=UNIT.format("w.service"), exe=sys.executable)
    before = found(scan(proc, "name=worker"))
    proc.remove(50)

    assert before == [(60, "w.service", 0), (50, "w.service", 1)]
    assert found(scan(proc, "name=worker")) == before[:1]


def test_r19_services_outside_of_units_are_told_by_executable(proc: FakeProc) -> None:
    proc.add(50, "w", "a", start_ticks=1, exe="/opt/w", start_stack=0)
    proc.add(60, "w", "b", start_ticks=2, exe="/opt/w (deleted)", start_stack=0)
    proc.add(70, "w", "b", start_ticks=3, exe="/opt/other", start_stack=0)
    proc.add(80, "w", "b", start_ticks=4, exe="/opt/w", start_stack=0, cgroup=UNIT.format("w.service"))
    result = scan(proc, "cmdline=w b")

    assert found(result) == [(70, "/opt/other", 0), (60, "/opt/w", 1), (80, "w.service", 0)]
    assert dict(result.services) == {"/opt/other": 1, "/opt/w": 2, "w.service": 1}


def test_a_service_counts_its_living_and_unstopped_processes(proc: FakeProc) -> None:
    for pid, state in ((50, "S"), (51, "R"), (52, "T"), (53, "t"), (54, "Z"), (55, "D")):
        proc.add(pid, "w", state=state, start_ticks=pid, cgroup=UNIT.format("w.service"), exe=sys.executable)
    result = scan(proc, "unit=w.service")

    assert result.services == (("w.service", 3),)
    assert [one.pid for one in scanner_of(proc).members("w.service")] == [50, 51, 55]


@pytest.mark.parametrize(
    ("comm", "flags"),
    [("systemd", USER_PROCESS | PF_FORKNOEXEC), ("systemd-executo", USER_PROCESS), ("(w)", USER_PROCESS)],
)
def test_r18_what_systemd_has_forked_and_has_not_had_exec_its_program_is_not_ready(
    proc: FakeProc, comm: str, flags: int
) -> None:
    proc.add(1, "/sbin/init", comm="systemd", cgroup="0::/init.scope\n")
    place = UNIT.format("w.service")
    proc.add(50, "w", start_ticks=50, cgroup=place, exe=sys.executable)
    proc.add(51, "/usr/lib/systemd/systemd-executor", comm=comm, flags=flags, cgroup=place, exe=sys.executable)
    assert [one.pid for one in scanner_of(proc).members("w.service")] == [50]
    assert scan(proc, "unit=w.service").services == (("w.service", 1),)


def test_r18_a_worker_that_its_own_master_has_forked_is_ready_without_an_exec(proc: FakeProc) -> None:
    forked = USER_PROCESS | PF_FORKNOEXEC
    proc.add(1, "/sbin/init", comm="systemd", cgroup="0::/init.scope\n")
    proc.add(50, "w", start_ticks=50, flags=forked, cgroup=UNIT.format("w.service"))  # as a daemon of the old kind
    proc.add(51, "w", comm="(w)", parent=50, start_ticks=51, flags=forked, cgroup=UNIT.format("w.service"))
    proc.add(52, "systemd", comm="systemd", start_ticks=52, cgroup=UNIT.format("w.service"))  # a user's own
    assert [one.pid for one in scanner_of(proc).members("w.service")] == [50, 51, 52]


@pytest.mark.parametrize(
    ("state", "threads", "reason"),
    [
        ("Z", 1, Reason.REASON_ZOMBIE),
        ("Z", 4, Reason.REASON_LEADER_DEAD),
        ("T", 1, Reason.REASON_STOPPED),
        ("t", 1, Reason.REASON_STOPPED),
    ],
)
def test_r5_a_state_that_is_not_struck_is_shown_with_its_refusal(
    proc: FakeProc, state: str, threads: int, reason: Reason
) -> None:
    proc.add(70, state=state, threads=threads, start_code=0, start_stack=0)
    verdict = only(scan(proc, "name=worker", guard=guard_that_allows("name=worker"))).verdict

    assert (verdict.allowed, verdict.reason) == (False, reason)


def test_i7_pid_1_kernel_threads_and_killdeers_own_are_each_a_named_refusal_and_stop_no_other(
    proc: FakeProc,
) -> None:
    proc.add(1, "init", comm="init", exe=sys.executable)
    proc.add(9, comm="kworker/0:1", flags=KERNEL_THREAD, start_code=0, start_stack=0)
    proc.add(30, "agent", exe=sys.executable)
    proc.add(40, "w", exe=sys.executable)
    guard = Guard(own=frozenset({30}), allow=guard_that_allows("name=*").allow)
    result = scan(proc, "name=*", guard=guard)

    assert {one.identity.pid: one.verdict.reason for one in result.candidates} == {
        1: Reason.REASON_INIT,
        9: Reason.REASON_KERNEL_THREAD,
        30: Reason.REASON_KILLDEER,
        40: Reason.REASON_UNSPECIFIED,
    }


def test_a_process_that_vanishes_meanwhile_is_passed_over(proc: FakeProc) -> None:
    proc.add(40, "w", exe=sys.executable)
    proc.add(50, "w", exe=sys.executable)
    (proc.root / "50/cgroup").unlink()
    (proc.root / "60").mkdir()

    assert [pid for pid, _, _ in found(scan(proc, "name=worker"))] == [40]
    assert [pid for pid, _, _ in found(scan(proc, "cmdline=w"))] == [40]


def test_i10_a_process_of_which_it_cannot_be_told_is_shown_with_a_refusal(proc: FakeProc) -> None:
    proc.add(40, "w", "x" * 5_000, exe=sys.executable)
    verdict = only(scan(proc, "cmdline!~=production", guard=guard_that_allows("name=*"))).verdict

    assert (verdict.allowed, verdict.reason) == (False, Reason.REASON_UNREADABLE)


def test_i10_a_scan_past_its_deadline_is_a_failure_and_never_a_part_of_a_list(proc: FakeProc) -> None:
    for pid in range(100, 300):
        proc.add(pid, "w", exe=sys.executable)
    ticks = iter(range(10_000))
    scanner = scanner_of(proc, clock=lambda: next(ticks))
    outcomes = []
    for deadline in range(1, 30):
        ticks = iter(range(10_000))
        result = scanner.scan(select("name=worker"), Guard(), KILL, NOW, deadline)
        outcomes.append(bool(result.failure))
        assert len(result.candidates) == (0 if result.failure else 200)
        assert len(result.services) == (0 if result.failure else 1)
        assert ("deadline" in result.detail) == bool(result.failure)

    # Looked at four times in each of matching, counting and judging.
    assert outcomes == [True] * 11 + [False] * 18


def test_i10_no_proc_is_a_failure_and_not_an_empty_host(tmp_path: Path) -> None:
    scanner = Scanner(host="h", boot_id="b", clock=lambda: 0, proc_root=str(tmp_path / "none"))

    assert scanner.scan(select("name=x"), Guard(), KILL, NOW, SECOND).failure == Reason.REASON_UNREADABLE
    with pytest.raises(ScanFailed):
        scanner.members("w.service")


@pytest.mark.parametrize(("term", "pids"), [("oldest", [50]), ("newest", [70]), ("newest=2", [60, 70])])
def test_r6_oldest_and_newest_choose_among_the_living_that_match(
    proc: FakeProc, term: str, pids: list[int]
) -> None:
    for pid, state in ((40, "Z"), (50, "S"), (60, "S"), (70, "S"), (80, "Z")):
        proc.add(pid, "w", state=state, start_ticks=pid, cgroup=UNIT.format("w.service"), exe=sys.executable)
    proc.add(30, "other", comm="other", start_ticks=30, cgroup=UNIT.format("w.service"), exe=sys.executable)

    result = scan(proc, "name=worker", term)

    assert [one.identity.pid for one in result.candidates] == pids


UNIT_FILES = {
    "always.service": "always",
    "failure.service": "on-failure",
    "success.service": "on-success",
    "abort.service": "on-abort",
    "watchdog.service": "on-watchdog",
    "no.service": "no",
}


@pytest.mark.parametrize(
    ("action", "restarted"),
    [
        (KILL, {"always", "failure", "abort"}),
        (TERMINATE, {"always", "success"}),
        (Action(kill=Kill(signal=signal.SIGTERM)), {"always", "success"}),
        (Action(kill=Kill(signal=signal.SIGSEGV)), {"always", "failure", "abort"}),
    ],
)
def test_who_restarts_a_victim_depends_on_how_it_dies(
    proc: FakeProc, tmp_path: Path, action: Action, restarted: set[str]
) -> None:
    units = tmp_path / "units"
    units.mkdir()
    for pid, (unit, policy) in enumerate(UNIT_FILES.items(), 40):
        (units / unit).write_text(f"[Service]\nRestart={policy}\n")
        proc.add(pid, "w", cgroup=UNIT.format(unit), exe=sys.executable)
    proc.add(90, "w", cgroup=UNIT.format("unknown.service"), exe=sys.executable)
    proc.add(91, "w", exe=sys.executable)
    result = scan(proc, "name=worker", units=Units((units,)), action=action)

    assert {one.unit.removesuffix(".service") for one in result.candidates if one.restarts} == restarted


def test_a_drop_in_changes_who_restarts_it_and_a_template_speaks_for_its_instances(tmp_path: Path) -> None:
    (tmp_path / "w@.service").write_text("[Service]\nRestart=no\n")
    (tmp_path / "w@.service.d").mkdir()
    (tmp_path / "w@.service.d/a.conf").write_text("[Service]\n# Restart=no\nRestart=\\\n always\n")
    (tmp_path / "w@2.service.d").mkdir()
    (tmp_path / "w@2.service.d/b.conf").write_text("[Service]\nRestart=no\n")
    units = Units((tmp_path,))

    assert units.restarts("w@1.service", KILL)
    assert not units.restarts("w@2.service", KILL)


# --- the kernel's own /proc ---------------------------------------------------------------------------------


def real_scanner() -> Scanner:
    return Scanner(host="here", boot_id=clock.boot_id(), clock=clock.boot_ns, units=Units(()))


def real_scan(*terms: str, guard: Guard | None = None) -> ScanResult:
    now = Now(clock.boot_ns())
    return real_scanner().scan(select(*terms), guard or Guard(), KILL, now, now.boot_ns + 60 * SECOND)


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running("sleep", MARK, str(number))) for number in range(3)]


def pids(result: ScanResult) -> list[int]:
    assert result.failure == Reason.REASON_UNSPECIFIED, result.detail
    return sorted(one.identity.pid for one in result.candidates)


def test_every_selector_finds_its_processes_on_a_real_host(sleepers: list[subprocess.Popen[bytes]]) -> None:
    all_three = sorted(child.pid for child in sleepers)
    marked = f"cmdline~=^sleep {MARK.replace('.', '[.]')}"

    assert pids(real_scan(marked)) == all_three
    assert pids(real_scan(f"cmdline=sleep {MARK} 1")) == [sleepers[1].pid]
    assert pids(real_scan(marked, f"cmdline!=*{MARK} 1")) == sorted({*all_three} - {sleepers[1].pid})
    for holding in (
        *("name=sleep", "name!=cat", f"user={os.getuid()}", "user!=65533", f"exe={SLEEP}", "exe!=/bin/x"),
        *(
            f"parent={os.getpid()}",
            "parent!=1",
            "port!=1",
            "min_age!=1h",
            "min_age=0s",
            "cgroup=/*",
            "unit!=x.service",
        ),
        *("container!=ffffffff", "newest=3", "oldest=3"),
    ):
        assert pids(real_scan(marked, holding)) == all_three, holding
    for failing in ("name!=sleep", "user!=*", "exe=/bin/x", "parent=1", "port=1", "min_age=1h", "unit=x.service"):
        assert pids(real_scan(marked, failing)) == [], failing


def test_a_real_stopped_process_and_a_real_zombie_are_shown_with_their_refusals(
    sleepers: list[subprocess.Popen[bytes]],
) -> None:
    os.kill(sleepers[0].pid, signal.SIGSTOP)
    os.kill(sleepers[1].pid, signal.SIGKILL)
    until(lambda: ProcFacts(sleepers[0].pid).state == "T" and ProcFacts(sleepers[1].pid).state == "Z")
    guard = guard_that_allows("name=sleep")
    result = real_scan(f"parent={os.getpid()}", "name=sleep", guard=guard)

    verdicts = {one.identity.pid: one.verdict.reason for one in result.candidates}
    assert verdicts == {
        sleepers[0].pid: Reason.REASON_STOPPED,
        sleepers[1].pid: Reason.REASON_ZOMBIE,
        sleepers[2].pid: Reason.REASON_UNSPECIFIED,
    }
    service = real_scanner().members(ProcFacts(sleepers[2].pid).service)
    assert {one.pid for one in service} & set(verdicts) == {sleepers[2].pid}


def test_i7_the_agent_itself_and_what_started_it_are_refused_on_a_real_host() -> None:
    guard = Guard(own=ancestors(os.getpid()), allow=guard_that_allows("name=*").allow)
    now = Now(clock.boot_ns())
    result = real_scanner().scan(select("name=*", "min_age=0s"), guard, KILL, now, now.boot_ns + 60 * SECOND)
    refused = {
        one.identity.pid
        for one in result.candidates
        if one.verdict.reason in (Reason.REASON_KILLDEER, Reason.REASON_INIT)
    }

    assert os.getpid() in refused
    assert os.getppid() in refused | {0}


def test_the_scan_works_as_an_ordinary_user(sleepers: list[subprocess.Popen[bytes]]) -> None:
    expected = sorted(child.pid for child in sleepers)

    assert as_nobody(lambda: pids(real_scan(f"cmdline~=^sleep {MARK}", "user!=nobody"))) == expected


def test_the_scan_and_the_last_look_come_to_the_same_program_for_the_same_rights(
    sleepers: list[subprocess.Popen[bytes]],
) -> None:
    def both() -> tuple[set[tuple[int, str]], set[tuple[int, str]]]:
        scanned = {(one.identity.pid, one.identity.program) for one in real_scan(f"cmdline~={MARK}").candidates}
        return scanned, {(child.pid, ProcFacts(child.pid).program) for child in sleepers}

    scanned, looked = both()
    assert scanned == looked
    scanned_as_nobody, looked_as_nobody = as_nobody(both)
    assert scanned_as_nobody == looked_as_nobody
    assert not scanned & scanned_as_nobody


def test_i10_a_selector_that_this_host_cannot_evaluate_is_a_failure_with_what_to_do(
    sleepers: list[subprocess.Popen[bytes]],
) -> None:
    def told() -> tuple[int, str, int]:
        result = real_scan(f"exe={SLEEP}")
        return result.failure, result.detail, len(result.candidates)

    failure, detail, count = as_nobody(told)

    assert failure == Reason.REASON_CANNOT_EVALUATE
    assert "10-deep.conf" in detail
    assert count == 0


def test_a_cheaper_term_that_says_no_spares_the_question_that_cannot_be_answered() -> None:
    assert as_nobody(lambda: pids(real_scan("name=no-such-name", f"exe={SLEEP}"))) == []


def test_what_cannot_be_read_of_one_process_is_hidden_in_the_folder_as_on_the_host(proc: FakeProc) -> None:
    proc.add(40, "w", start_code=HIDDEN_CODE, start_stack=HIDDEN_STACK)

    assert only(scan(proc, "name=worker")).identity.program


def test_the_remedy_of_a_real_process_opens_it(sleepers: list[subprocess.Popen[bytes]], tmp_path: Path) -> None:
    directory = tmp_path / "guard.d"
    directory.mkdir(mode=0o755)
    guard = load_guard(directory, frozenset(), (tmp_path / "units",), os.getuid())
    selector = f"cmdline=sleep {MARK} 1"
    verdict = only(real_scan(selector, guard=guard)).verdict
    assert verdict.reason == Reason.REASON_NOT_ALLOWED
    where, _, lines = verdict.remedy.partition(":\n")
    file = Path(where.removeprefix("in "))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(lines)
    file.chmod(0o644)

    opened = load_guard(directory, frozenset(), (tmp_path / "units",), os.getuid())
    assert opened.problem == ""
    assert only(real_scan(selector, guard=opened)).verdict.allowed

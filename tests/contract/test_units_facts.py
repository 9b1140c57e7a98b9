"""What an inspection reads, on real processes and over a real bus: signals, limits, children, units, cgroups."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dbus_fast import Variant

from killdeer.terms import parse_selector
from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.guard import Guard, Rule
from killdeer_agent.core.inspecting import findings
from killdeer_agent.core.preparedness import CgroupFacts, ProcessFacts, ServiceFacts, UnitSettings
from killdeer_agent.core.selector import Matcher, compiled
from killdeer_agent.core.words import Inspect, Inspected
from killdeer_agent.kernel import clock
from killdeer_agent.kernel import preparedness as module
from killdeer_agent.kernel.preparedness import Preparedness
from killdeer_agent.kernel.scan import Scanner
from killdeer_agent.kernel.shares import Shares
from killdeer_agent.kernel.statuses import process_facts
from killdeer_agent.kernel.unitbus import Unasked, UnitBus, settings_of
from killdeer_agent.kernel.units import Units
from tests.support.proc import FakeProc
from tests.support.rights import as_nobody
from tests.support.unitbus import FakeSystemd, bus, systemd_on

SECOND = 1_000_000_000
INFINITY = 2**64 - 1
NOBODYS_BUS = UnitBus("unix:path=/nonexistent/bus")


def preparedness(proc: str = "/proc", asked: UnitBus = NOBODYS_BUS) -> Preparedness:
    scanner = Scanner(host="a-1", boot_id="b", clock=clock.boot_ns, proc_root=proc, units=Units(()))
    return Preparedness(scanner, asked, clock.now)


def wanted(*terms: str, guard: Guard | None = None, open_only: bool = False, for_s: int = 30) -> Inspect:
    return Inspect(
        ask="i1",
        matcher=Matcher(parse_selector(terms)),
        open_only=open_only,
        guard=guard or Guard(),
        deadline_boot_ns=clock.boot_ns() + for_s * SECOND,
    )


def whole(inspected: Inspected) -> tuple[ServiceFacts, ...]:
    assert not inspected.failure, inspected.detail
    return inspected.services


@contextmanager
def child(program: str, *, files: int = 0) -> Iterator[int]:
    """A Python of ours that says a line when it is ready; its pid. Its command line holds a mark of its own."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files})); " if files else ""
    source = (
        f"import os, signal, subprocess, sys, threading, time; {limit}\n{program}\nprint('ready', flush=True)\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", f"{source}time.sleep(600)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        yield running.pid
    finally:
        running.kill()
        running.communicate()


def facts_of(pid: int) -> tuple[ServiceFacts, ProcessFacts]:
    """Through everything, as the agent itself asks for it: by the parent, and then the pid."""
    services = whole(preparedness().inspect(wanted(f"parent={os.getpid()}")))
    return next((service, one) for service in services for one in service.processes if one.pid == pid)


def names(pid: int) -> set[str]:
    service, process = facts_of(pid)
    alone = ServiceFacts(service=service.service, processes=(process,), members=service.members)
    return {one.name for one in findings(alone)}


# --- real processes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit())", "term-caught"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "term-ignored"),
        ("", "term-not-caught"),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])", "term-blocked"),
    ],
)
def test_what_becomes_of_it_at_sigterm_is_read_from_its_masks(program: str, name: str) -> None:
    with child(program) as pid:
        assert name in names(pid)


def test_a_thread_that_waits_for_it_is_told_from_a_process_that_blocks_it() -> None:
    """The kernel takes what a thread waits for out of its mask for as long as it waits."""
    program = (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "threading.Thread(target=lambda: signal.sigwait([signal.SIGTERM]), daemon=True).start()\n"
        "waiting = lambda: any('SigBlk:\\t0000000000000000' in open(f'/proc/self/task/{one}/status').read()"
        " for one in os.listdir('/proc/self/task'))\n"
        "while not waiting(): time.sleep(0.01)"
    )
    with child(program) as pid:
        assert "term-waited-for" in names(pid)


def test_a_signalfd_that_hears_it_is_found() -> None:
    program = (
        "import ctypes\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "mask = ctypes.c_uint64(1 << signal.SIGTERM - 1)\n"
        "assert ctypes.CDLL(None).signalfd(-1, ctypes.create_string_buffer(bytes(mask) + bytes(120)), 0) > 0"
    )
    with child(program) as pid:
        _, process = facts_of(pid)
        assert process.blocked >= {signal.SIGTERM}
        assert process.heard == frozenset({int(signal.SIGTERM)})
        assert "term-caught" in names(pid)


def test_open_files_are_counted_against_the_limit_in_force() -> None:
    with child("kept = [open('/dev/null') for _ in range(50)]", files=60) as pid:
        _, process = facts_of(pid)
        assert process.files_soft == process.files_hard == 60
        assert process.open_files is not None
        assert 53 <= process.open_files <= 60
        assert "files" in names(pid)


def test_children_that_nobody_waits_for_are_counted() -> None:
    program = (
        "gone = [subprocess.Popen(['/bin/true']) for _ in range(2)]\n"
        "state = lambda one: open(f'/proc/{one.pid}/stat').read().rpartition(')')[2].split()[0]\n"
        "while any(state(one) != 'Z' for one in gone): time.sleep(0.01)"
    )
    with child(program) as pid:
        _, process = facts_of(pid)
        assert len(process.zombies) == 2
        assert "zombies" in names(pid)


def test_whose_it_is_and_who_started_it() -> None:
    with child("") as pid:
        service, process = facts_of(pid)
        assert process.effective_uid == os.geteuid()
        assert f"(pid {os.getpid()})" in process.parent
        assert process.oom_score_adj == int(Path(f"/proc/{pid}/oom_score_adj").read_text())
        assert not process.first_of_namespace
        assert service.members >= 1


def test_without_the_right_to_count_files_that_is_said_and_the_rest_is_told() -> None:
    """Somebody else's process."""

    def question() -> tuple[object, object, bool]:
        pid = os.getppid()
        services = whole(preparedness().inspect(wanted(f"parent={_parent_of(pid)}")))
        found = next(one for service in services for one in service.processes if one.pid == pid)
        return found.open_files, found.heard, found.files_soft is not None

    assert as_nobody(question) == (None, None, True)


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# --- who is looked at ---------------------------------------------------------------------------------------


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    made = FakeProc(tmp_path / "proc")
    for pid, unit in ((70, "pay@1.service"), (71, "pay@2.service"), (80, "mail.service")):
        made.add(pid, "worker", "--token=secret", cgroup=f"0::/system.slice/{unit}\n", exe=sys.executable)
        _status(made, pid)
    made.add(1, "init", comm="systemd", parent=0)
    return made


def _status(proc: FakeProc, pid: int, *, caught: int = 1 << 14, namespaces: str = "") -> None:
    with (proc.root / str(pid) / "status").open("a") as status:
        status.write(f"SigBlk:\t0\nSigIgn:\t0\nSigCgt:\t{caught:016x}\nCapEff:\t0\nNSpid:\t{namespaces or pid}\n")


def test_with_a_selector_the_guard_has_no_say_and_without_one_it_alone(proc: FakeProc) -> None:
    guard = Guard(allow=(Rule(matcher=Matcher(parse_selector(["unit=mail.service"])), source="t"),))
    chosen = whole(preparedness(str(proc.root)).inspect(wanted("unit=pay@*.service", guard=guard)))
    assert [(one.service, one.unit_names, one.members) for one in chosen] == [
        ("pay@", ("pay@1.service", "pay@2.service"), 2)
    ]
    allowed = whole(preparedness(str(proc.root)).inspect(wanted("name=*", guard=guard, open_only=True)))
    assert [one.service for one in allowed] == ["mail.service"], "opted in, though for no kill"
    nothing = whole(preparedness(str(proc.root)).inspect(wanted("name=*", open_only=True)))
    assert nothing == ()


def test_command_lines_are_redacted(proc: FakeProc) -> None:
    guard = Guard(redactions=(compiled(r"token=\S+"),))
    (service,) = whole(preparedness(str(proc.root)).inspect(wanted("unit=mail.service", guard=guard)))
    assert [one.cmdline for one in service.processes] == ["worker --***"]


def test_the_first_of_a_namespace_is_known_by_its_own_number(proc: FakeProc) -> None:
    proc.add(90, "app", comm="app", cgroup=f"0::/docker/{'ab' * 32}\n", exe=sys.executable)
    _status(proc, 90, caught=0, namespaces="90\t1")
    (service,) = whole(preparedness(str(proc.root)).inspect(wanted("name=app")))
    assert service.processes[0].first_of_namespace
    assert {one.name for one in findings(service)} >= {"term-dropped", "no-reaper", "restart-by-runtime"}


def test_past_its_deadline_nothing_is_concluded(proc: FakeProc) -> None:
    late = preparedness(str(proc.root)).inspect(wanted("name=*", for_s=-1))
    assert (late.failure, late.services) == (Reason.REASON_CANNOT_EVALUATE, ())


def test_a_process_that_goes_meanwhile_is_left_out(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    read = process_facts

    def gone_at_the_first(*arguments: object) -> ProcessFacts:
        if (proc.root / "70").exists():
            proc.remove(70)
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "process_facts", gone_at_the_first)
    (service,) = whole(preparedness(str(proc.root)).inspect(wanted("unit=pay@*.service")))
    assert [one.pid for one in service.processes] == [71]


# --- systemd ------------------------------------------------------------------------------------------------

SAID = {
    "MainPID": Variant("u", 70),
    "Type": Variant("s", "notify"),
    "Restart": Variant("s", "on-failure"),
    "RestartUSec": Variant("t", 2_000_000),
    "TimeoutStopUSec": Variant("t", INFINITY),
    "WatchdogUSec": Variant("t", INFINITY),
    "KillMode": Variant("s", "mixed"),
    "KillSignal": Variant("i", 3),
    "FinalKillSignal": Variant("i", 9),
    "SendSIGKILL": Variant("b", False),
    "StartLimitIntervalUSec": Variant("t", 10_000_000),
    "StartLimitBurst": Variant("u", 5),
    "StartLimitAction": Variant("s", "reboot"),
    "SuccessExitStatus": Variant("(aiai)", [[143], [9]]),
    "NRestarts": Variant("u", 7),
    "Result": Variant("s", "signal"),
    "SubState": Variant("s", "running"),
    "OOMPolicy": Variant("s", "stop"),
    "NeedDaemonReload": Variant("b", True),
    "Environment": Variant("as", ["PASSWORD=secret"]),
}
PAY = UnitSettings(
    name="pay@1.service",
    main_pid=70,
    kind="notify",
    restart="on-failure",
    restart_us=2_000_000,
    stop_us=None,
    watchdog_us=None,
    kill_mode="mixed",
    kill_signal=3,
    sends_kill=False,
    start_interval_us=10_000_000,
    start_burst=5,
    start_action="reboot",
    clean_signals=frozenset({9}),
    restarts=7,
    result="signal",
    state="running",
    oom_policy="stop",
    reload_needed=True,
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bus(tmp_path_factory.mktemp("bus")) as made:
        yield made


def test_units_are_told_as_systemd_says_them(address: str) -> None:
    with systemd_on(address, FakeSystemd({"pay@1.service": SAID, "run-7.scope": {}})) as systemd:
        found = UnitBus(address).settings(["pay@1.service", "run-7.scope", "gone.service", "pay@1.service"])
    assert found == (PAY, UnitSettings(name="run-7.scope"))
    assert {member for member, _ in systemd.asked} == {"GetUnit", "GetAll"}, "it is asked, never told"
    interfaces = {body[0].rpartition(".")[2] for member, body in systemd.asked if member == "GetAll"}
    assert interfaces == {"Unit", "Service", "Scope"}


def test_a_systemd_that_says_little_or_nonsense_is_taken_at_its_defaults() -> None:
    assert settings_of("a.service", {}) == UnitSettings(name="a.service")
    nonsense = {"MainPID": "seventy", "RestartUSec": None, "SuccessExitStatus": [1], "SendSIGKILL": 1}
    assert settings_of("a.service", nonsense) == UnitSettings(name="a.service")


def test_nobody_is_asked_where_there_is_no_unit() -> None:
    assert NOBODYS_BUS.settings([]) == ()


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (NOBODYS_BUS, "cannot ask systemd over unix:path=/nonexistent/bus: No such file or directory"),
        (UnitBus("nonsense"), "cannot ask systemd over nonsense: "),
    ],
)
def test_a_bus_that_is_not_there_is_said(asked: UnitBus, why: str) -> None:
    with pytest.raises(Unasked, match=why):
        asked.settings(["a.service"])


def test_a_bus_without_systemd_is_said(address: str) -> None:
    with pytest.raises(Unasked, match=r"cannot ask systemd about a\.service: .*ServiceUnknown"):
        UnitBus(address).settings(["a.service"])


def test_a_systemd_that_does_not_answer_is_not_waited_for(address: str) -> None:
    with (
        systemd_on(address, FakeSystemd({}, mute=True)),
        pytest.raises(Unasked, match=r"it has not answered in 0\.2 s"),
    ):
        UnitBus(address, patience_s=0.2).settings(["a.service"])


def test_a_bus_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()
        with pytest.raises(Unasked, match=r"it has not answered in 0\.2 s"):
            UnitBus(f"unix:path={tmp_path}/bus", patience_s=0.2).settings(["a.service"])


def test_an_inspection_has_the_units_of_its_services(proc: FakeProc, address: str) -> None:
    with systemd_on(address, FakeSystemd({"pay@1.service": SAID})):
        services = whole(preparedness(str(proc.root), UnitBus(address)).inspect(wanted("name=worker")))
    by_name = {one.service: one for one in services}
    assert (by_name["pay@"].units, by_name["mail.service"].units) == ((PAY,), ())
    assert {one.unasked for one in services} == {""}


def test_without_systemd_the_rest_is_told_and_that_is_said(proc: FakeProc) -> None:
    services = whole(preparedness(str(proc.root)).inspect(wanted("name=worker")))
    assert all("No such file or directory" in one.unasked and one.processes for one in services)
    proc.add(1, "init", comm="runit", parent=0)
    services = whole(preparedness(str(proc.root)).inspect(wanted("name=worker")))
    assert {one.unasked for one in services} == {"cannot ask systemd: pid 1 of this host is runit"}


# --- cgroups ------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(proc: FakeProc, tmp_path: Path) -> Path:
    """A mounted cgroup v2: /system.slice/mail.service."""
    root = tmp_path / "cgroup"
    (root / "system.slice/mail.service").mkdir(parents=True)
    (proc.root / "self").mkdir()
    (proc.root / "self/mountinfo").write_text(f"30 20 0:26 / {root} rw shared:4 - cgroup2 cgroup2 rw\n")
    return root


def told(folder: Path, **files: int | str) -> None:
    for name, value in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{value}\n")


def test_the_nearest_limit_counts_its_own_or_one_above(proc: FakeProc, tree: Path) -> None:
    unit = tree / "system.slice/mail.service"
    told(unit, memory_current=100, memory_max=1_000, memory_high="max", pids_current=4, pids_max="max")
    told(tree / "system.slice", memory_current=900, memory_max=950, pids_current=40, pids_max=50)
    found = Shares(proc.root).of(80)
    assert (found.path, found.read, found.memory_used) == ("/system.slice/mail.service", True, 100)
    assert found.memory is not None
    assert (found.memory.cgroup, found.memory.used, found.memory.most) == ("/system.slice", 900, 950)
    assert found.throttle is None
    assert found.tasks is not None
    assert (found.tasks.used, found.tasks.most) == (40, 50)


def test_no_limit_is_told_from_what_cannot_be_read(proc: FakeProc, tree: Path) -> None:
    assert Shares(proc.root).of(80) == CgroupFacts(path="/system.slice/mail.service")
    told(tree / "system.slice/mail.service", memory_current=100, memory_max="max")
    unlimited = Shares(proc.root).of(80)
    assert unlimited.read
    assert unlimited.memory is None
    assert Shares(Path("/nonexistent")).of(80) == CgroupFacts(path="")


def test_this_kernel_s_own_cgroups_are_read_without_a_fault() -> None:
    found = Shares().of(os.getpid())
    assert found.memory is None or found.memory.most > 0

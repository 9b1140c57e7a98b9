"""`killdeer-agent doctor`: each thing that is wrong is said, with what to do; nothing is changed by looking."""

import os
from pathlib import Path

import pytest

from killdeer_agent import doctor, foundation, surroundings
from killdeer_agent.config import Config
from killdeer_agent.core.words import Record
from killdeer_agent.doctor import render
from killdeer_agent.finding import Finding
from killdeer_agent.journal import Journal, JournalError
from tests.support.proc import FakeProc
from tests.support.rights import as_nobody

GOOD = Finding(name="disk", ok=True, needed=True, fact="plenty", remedy="never shown")
WARN = Finding(name="clock", ok=False, fact="none", remedy="get one")
BAD = Finding(name="certificate", ok=False, needed=True, fact="expired", remedy="renew it")


def config(state: Path, **labels: str) -> Config:
    return Config(coordinators=("c:1",), host="web-1", state=state, labels=labels)


def of_rights(state: Path, proc: Path) -> list[Finding]:
    """Without the fuse's: a test's own timeout may have taken its signal."""
    return [one for one in surroundings.rights(state, proc) if one.name == "rights"]


def test_lines_are_aligned_and_only_what_is_wrong_has_a_remedy() -> None:
    assert render([GOOD, WARN, BAD]).splitlines() == [
        "ok    disk         plenty",
        "warn  clock        none",
        "                   -> get one",
        "FAIL  certificate  expired",
        "                   -> renew it",
    ]


def test_a_finding_as_json_says_all_of_it() -> None:
    assert BAD.as_json() == {
        "name": "certificate",
        "ok": False,
        "needed": True,
        "fact": "expired",
        "remedy": "renew it",
    }


def test_a_host_without_environment_is_told_that_nothing_may_choose_it(tmp_path: Path) -> None:
    found = doctor.configuration(config(tmp_path, zone="a"))
    assert not found.ok
    assert "environment = " in found.remedy
    assert doctor.configuration(config(tmp_path, environment="staging")).ok


def test_looking_at_the_journal_leaves_its_lock_to_the_agent(tmp_path: Path) -> None:
    journal, _, _ = Journal.open(tmp_path)
    journal.append(Record("session", {"token": "t"}))
    with journal.path.open("ab") as file:
        file.write(b"a line that is just being written")
    before = journal.path.read_bytes()
    assert all(one.ok for one in doctor.journaling(tmp_path))
    assert journal.path.read_bytes() == before
    with pytest.raises(JournalError):
        Journal.open(tmp_path)
    journal.close()
    Journal.open(tmp_path)[0].close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"killdeer journal 9\n", "version 9"),
        (b"killdeer journal 1\n00000000 0 {}\n", "line 2 is damaged"),
        (b"\n", "first line is damaged"),
    ],
)
def test_a_journal_that_would_not_be_trusted_is_a_failure(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "journal").write_bytes(content)
    found = next(iter(doctor.journaling(tmp_path)))
    assert (found.ok, found.needed) == (False, True)
    assert said in found.fact


def test_a_journal_directory_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (found,) = doctor.journaling(tmp_path / "none")
    assert (found.ok, found.needed) == (False, True)
    assert "install -d" in found.remedy


def test_a_full_disk_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_MIB", 10**12)
    _, disk = doctor.journaling(tmp_path)
    assert (disk.name, disk.ok, disk.needed) == ("disk", False, True)


def test_any_halt_file_is_named_also_one_that_leads_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "halt"
    assert doctor.halt([file]).ok
    file.symlink_to("nowhere")
    found = doctor.halt([file])
    assert not found.ok
    assert str(file) in found.fact
    assert "rearm" in found.remedy


def test_an_empty_guard_is_no_failure_but_said(tmp_path: Path) -> None:
    found = doctor.guard(tmp_path / "guard.d", unit_dirs=())
    assert found.ok
    assert "nothing is allowed" in found.fact


def test_a_guard_that_cannot_be_used_is_a_failure_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text('[[allow]]\nprocess = ["name=a"]\nactions = ["kil"]\n')
    found = doctor.guard(tmp_path, unit_dirs=(), trusted_uid=os.getuid())
    assert (found.ok, found.needed) == (False, True)
    assert "g.toml:3" in found.fact


def test_the_guards_rules_are_counted(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(
        '[[allow]]\nprocess = ["name=a"]\nactions = ["kill"]\n[rate]\nper_minute = 4\n'
    )
    found = doctor.guard(tmp_path, unit_dirs=(), trusted_uid=os.getuid())
    assert (found.ok, found.fact) == (True, "allow rules: 1, deny rules: 0, at most 4 processes struck a minute")


def test_the_running_agent_is_known_by_its_lock(tmp_path: Path) -> None:
    assert not surroundings.agent(tmp_path).ok
    journal, _, _ = Journal.open(tmp_path)
    found = surroundings.agent(tmp_path)
    journal.close()
    assert found.ok
    assert f"pid {os.getpid()}," in found.fact


def test_rights_other_than_the_running_agents_are_said_with_how_to_ask_as_it(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc").root
    state = tmp_path / "state"
    state.mkdir()
    (proc / "locks").write_text(f"1: FLOCK  ADVISORY  WRITE 77 fe:00:{state.stat().st_ino} 0 EOF\n")
    for name, caps in (("self", 0x1_FFFF_FFFF_FF), ("77", 0xC0_0000_0020)):
        (proc / name).mkdir()
        (proc / name / "status").write_text(f"Uid:\t0\t0\t0\t0\nCapEff:\t{caps:016x}\n")
    own, other = of_rights(state, proc)
    assert own.ok
    assert not other.ok
    assert "AmbientCapabilities='CAP_KILL CAP_PERFMON CAP_BPF'" in other.remedy

    (proc / "self/status").write_text((proc / "77/status").read_text())
    assert len(of_rights(state, proc)) == 1


def test_without_cap_kill_the_right_to_strike_others_is_missing(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc").root
    (proc / "self").mkdir()
    (proc / "self/status").write_text("Uid:\t7\t7\t7\t7\nCapEff:\t0000000000000000\n")
    (own,) = of_rights(tmp_path, proc)
    assert not own.ok
    assert "CAP_KILL" in own.remedy


def test_a_fuse_that_would_not_burn_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.fuse.problem", lambda: "SIGALRM is ignored")
    (found,) = (one for one in surroundings.rights(tmp_path) if one.name == "fuse")
    assert (found.ok, found.needed, found.fact) == (False, True, "SIGALRM is ignored")


def test_a_proc_that_hides_processes_is_a_failure(tmp_path: Path) -> None:
    found = surroundings.processes(FakeProc(tmp_path / "proc").root)
    assert (found.ok, found.needed) == (False, True)
    assert "hidepid" in found.fact


def test_a_proc_of_a_pid_namespace_is_said(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc")
    proc.add(1, "init")
    (proc.root / "self/ns").mkdir(parents=True)
    (proc.root / "self/ns/pid").touch()
    found = surroundings.processes(proc.root)
    assert found.ok
    assert "pid namespace" in found.fact


@pytest.mark.parametrize(
    ("file", "said", "ok"),
    [
        ("fs/cgroup/cgroup.controllers", "version 2", True),
        ("fs/cgroup/systemd", "version 1", True),
        ("fs", "select nothing", False),
    ],
)
def test_the_cgroup_version_is_said(tmp_path: Path, file: str, said: str, ok: bool) -> None:
    (tmp_path / file).mkdir(parents=True)
    found = surroundings.cgroups(tmp_path)
    assert (found.ok, said in found.fact) == (ok, True)


def test_selectors_that_cannot_be_evaluated_are_named_with_the_drop_in() -> None:
    found = as_nobody(surroundings.selectors)
    assert not found.ok
    assert "exe" in found.fact
    assert "port" in found.fact
    assert "10-deep.conf" in found.remedy


def test_one_process_that_is_kept_from_everybody_makes_no_selector_unusable(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path / "proc")
    proc.add(1, "init", uid=os.geteuid() + 1)
    assert not surroundings.selectors(proc.root).ok
    proc.add(2, "worker", uid=os.geteuid() + 1, exe="/bin/worker")
    assert "exe" not in surroundings.selectors(proc.root).fact.split()


def test_evidence_that_cannot_be_had_is_said_with_cause_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.libbpf.NAMES", ("libnowhere.so.1",))
    monkeypatch.setattr("killdeer_agent.kernel.obstacle.look", lambda: None)
    monkeypatch.setattr("killdeer_agent.kernel.bccfind.MARKS", ("nowhere.py",))
    found = surroundings.evidence("auto")
    assert (found.ok, found.needed) == (False, False)
    assert "libbpf" in found.fact
    assert "apt install" in found.remedy
    assert surroundings.evidence("pidfd").ok


def test_a_host_without_a_clock_chip_is_told_what_that_means() -> None:
    assert surroundings.real_time_clock(present=True).ok
    found = surroundings.real_time_clock(present=False)
    assert (found.ok, found.needed) == (False, False)
    assert "frozen" in found.fact


def test_memory_pressure_is_looked_for(tmp_path: Path) -> None:
    assert not surroundings.memory_pressure(tmp_path).ok
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure/memory").touch()
    assert surroundings.memory_pressure(tmp_path).ok


def test_a_host_without_the_unit_is_told_what_that_means(tmp_path: Path) -> None:
    found = surroundings.service(unit_dirs=(tmp_path,))
    assert not found.ok
    assert "deploy/systemd/killdeer-agent.service" in found.remedy


def test_the_kernel_is_asked_for_pidfds_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert foundation.kernel().ok

    def none(pid: int, flags: int = 0) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", none)
    found = foundation.kernel()
    assert (found.ok, found.needed) == (False, True)
    assert "Function not implemented" in found.fact


@pytest.mark.parametrize(("collector", "ok"), [("auto", False), ("core", False), ("bcc", True), ("pidfd", True)])
def test_types_and_libbpf_are_missed_where_the_collector_rests_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collector: str, ok: bool
) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.libbpf.NAMES", ("libnowhere.so.1", "libnowhere.so.0"))
    for found in (foundation.types(collector, tmp_path), foundation.library(collector)):
        assert found.ok is ok
        assert ("not needed" in found.fact) is ok
        assert bool(found.remedy) is not ok


def test_types_that_are_there_are_said_with_their_size(tmp_path: Path) -> None:
    (tmp_path / "kernel/btf").mkdir(parents=True)
    (tmp_path / "kernel/btf/vmlinux").write_bytes(b"\0" * 4096)
    found = foundation.types("auto", tmp_path)
    assert (found.ok, "4 KiB" in found.fact) == (True, True)


NOON_S = 1_795_262_400.0  # 2026-11-21 12:00 UTC


@pytest.mark.parametrize(
    ("chip_s", "kept_right", "ok", "said"),
    [
        (NOON_S, True, True, "the clock chip agrees"),
        (NOON_S + 3_600, True, True, "the clock chip agrees"),  # it is set to local time
        (NOON_S + 20_700, True, True, "the clock chip agrees"),  # in Kathmandu
        (None, True, True, "no clock chip"),
        (NOON_S, None, True, "does not say"),
        (NOON_S, False, False, "nothing keeps it right"),
        (NOON_S + 240, True, False, "240 s behind"),
        (NOON_S - 86_400 * 30, True, False, "2,592,000 s ahead"),
    ],
)
def test_the_time_of_day_is_compared_with_the_chip(
    chip_s: float | None, kept_right: bool | None, ok: bool, said: str
) -> None:
    found = foundation.time_of_day(NOON_S, chip_s, kept_right)
    assert (found.ok, said in found.fact, found.needed) == (ok, True, False), found.fact
    assert "2026-11-21 12:00:00 UTC" in found.fact
    assert ok or "timedatectl" in found.remedy


def test_asking_whether_the_clock_is_kept_right_changes_nothing_and_always_answers() -> None:
    assert foundation.synchronised() in (True, False, None)


def test_every_finding_that_is_not_good_says_what_to_do(tmp_path: Path) -> None:
    found = doctor.examine(config(tmp_path))
    assert {"kernel", "btf", "libbpf", "time", "clock", "journal", "disk", "guard"} <= {one.name for one in found}
    assert [one.name for one in found if not one.ok and not one.remedy and one.name != "fuse"] == []

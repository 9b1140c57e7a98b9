"""deploy/systemd: what it says is what systemd reads, and the rights it gives are enough and no more."""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest

from killdeer.reloads import PATIENCE_S
from killdeer_agent.cli import _parser as agent_parser
from killdeer_agent.config import Config, Loopback, load_config
from killdeer_agent.evidence import KEYS
from killdeer_agent.guardfiles import load_guard
from killdeer_agent.kernel import kernellog
from killdeer_agent.kernel.collector import CollectorUnavailable, load_collector
from killdeer_agent.kernel.units import Setting, Units, parse_unit
from killdeer_agent.surroundings import service
from killdeer_coordinator.cli import _parser as coordinator_parser
from killdeer_coordinator.example import example_toml

PROGRAMS = re.compile(r"/opt/killdeer/bin/killdeer-(?:agent|coordinator)\b")
AGENT, COORDINATOR, DEEP = "killdeer-agent.service", "killdeer-coordinator.service", "10-deep.conf"
# Not beside the unit: what a host has not copied must not count when the unit is looked at.
DROP_INS = "drop-ins"
BASE = {"CAP_KILL", "CAP_BPF", "CAP_PERFMON"}
WITH_DEEP = BASE | {"CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"}
# systemd 252 knows no back-off; it says so, and goes on.
NEWER_THAN_252 = re.compile(r"Unknown key(?: name)? '(?:RestartSteps|RestartMaxDelaySec)' in section")
AGENT_UID, VICTIM_UID = 65_534, 65_533
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
DEADLINE_S = 60  # against hanging only

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives rights away")


@pytest.fixture
def shipped(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath / "deploy" / "systemd"


@pytest.fixture
def units(shipped: Path, tmp_path: Path) -> Path:
    """A copy whose programs are there, without the drop-in."""
    for name in (AGENT, COORDINATOR):
        (tmp_path / name).write_text(PROGRAMS.sub("/bin/true", (shipped / name).read_text()))
    return tmp_path


def analyze(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze (systemd)")
    environment = {**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
    return subprocess.run(
        [program, *arguments],
        check=False,
        cwd=cwd,
        env=environment,
        text=True,
        capture_output=True,
        timeout=DEADLINE_S,
    )


def service_settings(*files: Path) -> list[Setting]:
    return [one for file in files for one in parse_unit(file) if one.section == "Service"]


def values(settings: list[Setting], key: str) -> set[str]:
    return {word for one in settings if one.key == key for word in one.value.split()}


def files_of_the_agent(shipped: Path, deep: bool) -> list[Path]:
    return [shipped / AGENT, *([shipped / DROP_INS / DEEP] if deep else [])]


@pytest.mark.parametrize(("deep", "wanted"), [(False, BASE), (True, WITH_DEEP)])
def test_the_agent_has_these_capabilities_and_no_others(shipped: Path, deep: bool, wanted: set[str]) -> None:
    settings = service_settings(*files_of_the_agent(shipped, deep))
    assert values(settings, "AmbientCapabilities") == wanted
    assert values(settings, "CapabilityBoundingSet") == wanted


def test_the_coordinator_has_no_capability(shipped: Path) -> None:
    settings = service_settings(shipped / COORDINATOR)
    assert [one.value for one in settings if one.key == "CapabilityBoundingSet"] == [""]
    assert [one.value for one in settings if one.key == "AmbientCapabilities"] == [""]


@pytest.mark.parametrize("deep", [False, True])
def test_each_capability_stands_below_its_reason(shipped: Path, deep: bool) -> None:
    for one in service_settings(*files_of_the_agent(shipped, deep)):
        if one.key == "CapabilityBoundingSet":
            above = one.file.read_text().splitlines()[one.line - 2]
            assert above.startswith(f"# {one.value}: to "), f"{one.file.name}:{one.line}"


@pytest.mark.parametrize("name", [AGENT, COORDINATOR])
def test_systemd_reads_the_units_without_a_complaint(units: Path, shipped: Path, name: str) -> None:
    shutil.copytree(shipped / DROP_INS, units / f"{AGENT}.d")
    result = analyze("verify", "--man=no", f"./{name}", cwd=units)
    complaints = [line for line in result.stderr.splitlines() if not NEWER_THAN_252.search(line)]
    assert (result.returncode, complaints) == (0, [])


@pytest.mark.parametrize(
    ("name", "deep", "most"), [(AGENT, False, 1.9), (AGENT, True, 2.0), (COORDINATOR, False, 1.4)]
)
def test_systemd_scores_the_exposure_low(units: Path, shipped: Path, name: str, deep: bool, most: float) -> None:
    if deep:
        (units / f"{AGENT}.d").mkdir()
        shutil.copy(shipped / DROP_INS / DEEP, units / f"{AGENT}.d")
    result = analyze("security", "--offline=true", "--no-pager", f"./{name}", cwd=units)
    found = re.search(rf"exposure level for {re.escape(name)}: ([0-9.]+)", result.stdout)
    assert found, result.stderr
    print(f"{name}{' with ' + DEEP if deep else ''}: {found[1]}")
    assert float(found[1]) <= most, result.stdout


@pytest.mark.parametrize("name", [AGENT, COORDINATOR])
def test_the_system_calls_that_striking_and_serving_need_pass_the_filter(shipped: Path, name: str) -> None:
    allowed: set[str] = set()
    for one in service_settings(shipped / name):
        if one.key == "SystemCallFilter":
            calls = {call for word in one.value.lstrip("~").split() for call in in_the_set(word, shipped)}
            allowed = allowed - calls if one.value.startswith("~") else allowed | calls
    needed = {"pidfd_open", "pidfd_send_signal", "timer_create", "epoll_wait", "fdatasync", "flock", "connect"}
    needed |= {"bpf", "bind", "listen", "accept4"} if name == AGENT else set()
    assert needed <= allowed
    assert allowed.isdisjoint({"ptrace", "mount", "setuid", "perf_event_open", "kexec_load", "chown"})
    assert name == AGENT or "bpf" not in allowed


def in_the_set(word: str, cwd: Path) -> set[str]:
    """A system call's own name, or all that are in a set, sets within it too."""
    if not word.startswith("@"):
        return {word}
    listed = analyze("syscall-filter", "--no-pager", word, cwd=cwd).stdout.splitlines()[1:]
    inner = {line.strip() for line in listed if line.strip() and not line.strip().startswith("#")}
    return {call for one in inner for call in in_the_set(one, cwd)}


def test_doctor_finds_in_the_unit_all_that_an_agent_needs_around_it(shipped: Path) -> None:
    found = service(unit_dirs=(shipped,))
    assert found.ok, found.fact


def test_doctor_says_what_is_missing_in_a_unit(shipped: Path, tmp_path: Path) -> None:
    text = (shipped / AGENT).read_text()
    (tmp_path / AGENT).write_text(re.sub(r"(?m)^(ExecStopPost|WatchdogSec)=.*$", "", text))
    found = service(unit_dirs=(tmp_path,))
    assert not found.ok
    assert "ExecStopPost=" in found.fact
    assert "WatchdogSec=" in found.fact
    assert "Restart=" not in found.fact


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (AGENT, "ExecStart"),
        (AGENT, "ExecReload"),
        (AGENT, "ExecStopPost"),
        (COORDINATOR, "ExecStart"),
        (COORDINATOR, "ExecReload"),
    ],
)
def test_the_units_call_verbs_that_there_are(shipped: Path, name: str, key: str) -> None:
    (line,) = [one.value for one in service_settings(shipped / name) if one.key == key]
    parser = agent_parser() if name == AGENT else coordinator_parser()
    parser.parse_args(line.split()[1:])


@pytest.mark.parametrize("name", [AGENT, COORDINATOR])
def test_a_reload_has_a_directory_for_its_answer_and_the_time_to_wait_for_it(shipped: Path, name: str) -> None:
    said = {one.key: one.value for one in service_settings(shipped / name)}
    assert said["RuntimeDirectory"]
    assert int(said["TimeoutStartSec"].removesuffix("s")) > PATIENCE_S


def test_what_kills_the_agent_brings_it_back(shipped: Path) -> None:
    said = {one.key: one.value for one in parse_unit(shipped / AGENT)}
    assert said["Restart"] == "always"
    assert said["StartLimitIntervalSec"] == "0"
    assert "RestartPreventExitStatus" not in said
    assert "SIGALRM" not in said.get("SuccessExitStatus", "")


def test_a_halt_file_in_the_runtime_directory_outlives_the_agent(shipped: Path) -> None:
    said = {one.key: one.value for one in parse_unit(shipped / AGENT)}
    assert (said["RuntimeDirectory"], said["RuntimeDirectoryPreserve"]) == ("killdeer", "yes")
    assert Config(coordinators=()).runtime == Path("/run/killdeer")
    assert Config(coordinators=()).state == Path("/var/lib") / said["StateDirectory"]


def test_the_agents_metrics_can_be_where_its_example_puts_them(shipped: Path, tmp_path: Path) -> None:
    settings = service_settings(shipped / AGENT)
    named = re.search(r'^# metrics = "off" +# "(.+)", "(.+)"$', (shipped / "agent.toml").read_text(), re.MULTILINE)
    assert named
    (tmp_path / "agent.toml").write_text(f'coordinators = ["c:7442"]\nmetrics = "{named[1]}"\n')
    assert isinstance(load_config(tmp_path / "agent.toml").metrics, Loopback)
    assert "AF_INET" in values(settings, "RestrictAddressFamilies")
    assert not {one.key for one in settings} & {"PrivateNetwork", "SocketBindDeny", "IPAddressDeny"}

    (tmp_path / "agent.toml").write_text(f'coordinators = ["c:7442"]\nmetrics = "{named[2]}"\n')
    file = load_config(tmp_path / "agent.toml").metrics
    assert isinstance(file, Path)
    assert file.parent == Path("/run") / next(iter(values(settings, "RuntimeDirectory")))
    assert values(settings, "RuntimeDirectoryMode") == {"0755"}, "for node_exporter to get there"


def test_the_agents_example_says_every_key_with_its_default(shipped: Path, tmp_path: Path) -> None:
    example = shipped / "agent.toml"
    read = load_config(example)
    assert read == Config(coordinators=read.coordinators, labels={})

    lines = example.read_text().splitlines()
    opened = [re.sub(r"^# (?=[a-z_]+ = )", "", line) for line in lines]
    (tmp_path / "agent.toml").write_text("\n".join(opened))
    all_said = load_config(tmp_path / "agent.toml")
    assert all_said.host == "web-1.example.com"
    assert set(all_said.labels) == {"environment", "zone", "role"}
    assert all_said == Config(coordinators=read.coordinators, host=all_said.host, labels=all_said.labels)
    said = {line.split(" = ")[0] for line in opened if " = " in line}
    assert {field.name for field in fields(Config)} | set(KEYS) <= said | {"labels", "evidence"}


def test_the_coordinators_example_is_what_init_writes(shipped: Path) -> None:
    assert (shipped / "coordinator.toml").read_text() == example_toml()


def test_the_guards_example_is_read_without_a_problem(shipped: Path, tmp_path: Path) -> None:
    folder = tmp_path / "guard.d"
    folder.mkdir(mode=0o755)
    shutil.copy(shipped / "guard.d" / "example.toml", folder)
    guard = load_guard(folder, own=frozenset(), unit_dirs=(), trusted_uid=os.getuid())
    assert guard.problem == ""
    assert (len(guard.allow), len(guard.deny), guard.per_minute) == (2, 1, 6)
    assert guard.redact("worker --PASSWORD=hunter2 -v") == "worker --*** -v"


@needs_root
def test_users_and_keys_come_out_with_these_owners_and_modes(shipped: Path, tmp_path: Path) -> None:
    for program in ("systemd-sysusers", "systemd-tmpfiles"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (systemd)")
    root = tmp_path / "root"
    secrets = ("agent.key", "coordinator.key", "halt-token", "ca.key")
    (root / "etc/killdeer").mkdir(parents=True)
    for name in secrets:
        (root / "etc/killdeer" / name).touch(mode=0o666)
    users = [str(shipped / f"{daemon}.sysusers.conf") for daemon in ("killdeer-agent", "killdeer-coordinator")]
    subprocess.run(["systemd-sysusers", f"--root={root}", *users], check=True, timeout=DEADLINE_S)
    ids = {}
    for line in (root / "etc/group").read_text().splitlines():
        name, _, number = line.split(":")[:3]
        ids[name] = int(number)
    places = [str(path) for path in sorted(shipped.glob("*.tmpfiles.conf"))]
    subprocess.run(["systemd-tmpfiles", f"--root={root}", "--create", *places], check=True, timeout=DEADLINE_S)

    found = {str(path.relative_to(root)): path.stat() for path in root.rglob("*")}
    shown = {name: (one.st_uid, one.st_gid, oct(one.st_mode & 0o777)) for name, one in found.items()}
    assert shown["etc/killdeer/guard.d"] == (0, 0, "0o755")
    assert shown["run/killdeer"] == (ids["killdeer"], ids["killdeer"], "0o755")
    assert shown["etc/killdeer/agent.key"] == (0, ids["killdeer"], "0o640")
    assert shown["etc/killdeer/coordinator.key"] == (0, ids["killdeer-coordinator"], "0o640")
    assert shown["etc/killdeer/halt-token"] == (0, ids["killdeer-coordinator"], "0o640")
    assert shown["etc/killdeer/ca.key"] == (0, 0, "0o600")


# --- the rights, for real --------------------------------------------------------------------------------------


@contextmanager
def victim() -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Another user's process, and a port that it listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            ["sleep", "300"],
            pass_fds=[listener.fileno()],
            user=VICTIM_UID,
            group=VICTIM_UID,
            extra_groups=[],
        )
        try:
            yield process, listener.getsockname()[1]
        finally:
            process.kill()
            process.wait()


def refuse_new_code() -> None:
    """MemoryDenyWriteExecute= as newer kernels have it; it stays over an exec."""
    ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0)


def told_with(capabilities: set[str], root: Path, pid: int, port: int, hidepid: str = "") -> dict[str, object]:
    """What tests/support/as_agent.py says as an ordinary user with exactly these capabilities."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv (util-linux)")
    wanted = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in sorted(capabilities))])
    remount = f'mount -t proc -o hidepid={hidepid} proc /proc && exec "$@"'
    command = [
        *(("unshare", "--mount", "sh", "-c", remount, "sh") if hidepid else ()),
        *("setpriv", f"--reuid={AGENT_UID}", f"--regid={AGENT_UID}", "--clear-groups", "--no-new-privs"),
        *(f"--inh-caps={wanted}", f"--ambient-caps={wanted}", f"--bounding-set={wanted}"),
        *(sys.executable, "-m", "tests.support.as_agent", str(pid), str(port)),
    ]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        command,
        check=False,
        cwd=root,
        env=environment,
        text=True,
        capture_output=True,
        timeout=DEADLINE_S,
        preexec_fn=refuse_new_code,
    )
    assert result.returncode == 0, result.stderr
    told: dict[str, object] = json.loads(result.stdout)
    return told


def kernel_gives_its_record() -> bool:
    try:
        load_collector("core").close()
    except CollectorUnavailable:
        return False
    return True


@needs_root
def test_the_units_capabilities_are_enough_to_look_strike_and_record(
    shipped: Path, pytestconfig: pytest.Config
) -> None:
    granted = values(service_settings(*files_of_the_agent(shipped, False)), "AmbientCapabilities")
    with victim() as (process, port):
        told = told_with(granted, pytestconfig.rootpath, process.pid, port)
        assert (told["uid"], told["cmdline"], told["state"]) == (VICTIM_UID, "sleep 300", "S")
        assert str(told["cgroup"]).startswith("/")
        assert told["cheap"] == [process.pid]
        assert (told["opened"], told["struck"]) == ("yes", "yes")
        assert process.wait(timeout=DEADLINE_S) == -signal.SIGTERM
    # What it has no right to read is a refusal by name, and doctor says so.
    assert (told["exe"], told["port"]) == ("REASON_CANNOT_EVALUATE", "REASON_CANNOT_EVALUATE")
    assert told["doctor_selectors"] is False
    if not kernel_gives_its_record():
        pytest.skip("needs a kernel with BPF and BTF for the rest")
    assert (told["evidence"], told["doctor_evidence"]) == ("EVIDENCE_LEVEL_BPF", True)


@needs_root
def test_with_the_deep_drop_in_every_selector_can_be_evaluated(shipped: Path, pytestconfig: pytest.Config) -> None:
    settings = service_settings(*files_of_the_agent(shipped, True))
    granted = values(settings, "AmbientCapabilities")
    hidden = [one.value for one in settings if one.key == "ProtectProc"][-1]
    with victim() as (process, port):
        told = told_with(granted, pytestconfig.rootpath, process.pid, port, hidepid=hidden)
        assert told["exe"] == told["port"] == told["cheap"] == [process.pid]
        assert told["doctor_selectors"] is True
        assert (told["opened"], told["struck"]) == ("yes", "yes")


@needs_root
@pytest.mark.parametrize("missing", sorted(BASE - {"CAP_KILL"}))
def test_no_capability_of_the_record_can_be_left_out(pytestconfig: pytest.Config, missing: str) -> None:
    with victim() as (process, port):
        told = told_with(BASE - {missing}, pytestconfig.rootpath, process.pid, port)
    assert told["evidence"] == "EVIDENCE_LEVEL_PIDFD"


@needs_root
def test_without_cap_kill_another_users_process_is_refused_by_name(pytestconfig: pytest.Config) -> None:
    with victim() as (process, port):
        told = told_with(BASE - {"CAP_KILL"}, pytestconfig.rootpath, process.pid, port)
        assert "Operation not permitted" in str(told["struck"])
        assert process.poll() is None


def test_the_drop_in_for_the_kernels_log_is_there_and_gives_what_it_takes(shipped: Path) -> None:
    (named,) = re.findall(r"[\w-]+\.conf", kernellog.REMEDY)
    said = service_settings(shipped / AGENT, shipped / DROP_INS / named)
    assert "CAP_SYSLOG" in values(said, "AmbientCapabilities")
    assert "CAP_SYSLOG" in values(said, "CapabilityBoundingSet")
    last = {one.key: one.value for one in said}
    assert (last["ProtectKernelLogs"], last["PrivateDevices"], last["DevicePolicy"]) == ("no", "no", "closed")
    assert last["DeviceAllow"] == f"{kernellog.DEVICE} r"


def test_the_drop_in_that_refusals_name_is_there(shipped: Path) -> None:
    from killdeer_agent.kernel import proc

    named = re.findall(r"[\w-]+\.conf", proc._DEEP)
    assert named == [DEEP]
    assert (shipped / DROP_INS / DEEP).is_file()
    assert Units((shipped,)).names() == [AGENT, COORDINATOR]

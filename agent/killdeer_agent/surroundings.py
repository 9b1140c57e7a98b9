"""What the agent finds around it on this host, for `doctor`: kernel, clock, /proc, service manager, rights."""

import pwd
import sys
from collections.abc import Iterator
from pathlib import Path

from killdeer.terms import NAMES
from killdeer_agent.finding import Finding
from killdeer_agent.kernel import clock, fuse
from killdeer_agent.kernel.collector import CollectorUnavailable, load_collector
from killdeer_agent.kernel.looks import cannot_evaluate
from killdeer_agent.kernel.units import UNIT_DIRS, Units

PROC, SYS = Path("/proc"), Path("/sys")
UNIT = "killdeer-agent.service"
# linux/capability.h
CAPABILITIES = {"CAP_KILL": 5, "CAP_PERFMON": 38, "CAP_BPF": 39, "CAP_SYS_PTRACE": 19, "CAP_DAC_READ_SEARCH": 2}
# The first pid namespace of a machine (PROC_PID_INIT_INO).
FIRST_PID_NAMESPACE = 0xEFFFFFFC

_DEEP = "copy 10-deep.conf to /etc/systemd/system/killdeer-agent.service.d, daemon-reload, restart the agent"


def service(unit_dirs: tuple[Path, ...] = UNIT_DIRS) -> Finding:
    """Who restarts the agent, notices that it hangs, and reverts after it."""
    remedy = f"install deploy/systemd/{UNIT}; without it nothing resumes what a dead agent left paused"
    settings = Units(unit_dirs).settings(UNIT)
    if not settings:
        return Finding(name="service", ok=False, fact=f"there is no {UNIT}", remedy=remedy)
    said = {one.key: one.value for one in settings if one.section == "Service"}
    missing = [
        what
        for what, there in (
            ("does not restart it (Restart=always)", said.get("Restart") == "always"),
            ("does not notice that it hangs (Type=notify, WatchdogSec=)", _watched(said)),
            (
                "does not revert after it (ExecStopPost=killdeer-agent revert)",
                "revert" in said.get("ExecStopPost", ""),
            ),
        )
        if not there
    ]
    fact = f"{UNIT} restarts it, aborts it when it hangs for {said.get('WatchdogSec')}, reverts after it"
    if missing:
        fact = f"{UNIT} {'; '.join(missing)}"
    return Finding(name="service", ok=not missing, fact=fact, remedy=remedy)


def agent(state: Path, proc: Path = PROC) -> Finding:
    """The running agent, known by its lock on the journal's directory: whose it is and what it may do."""
    pid = _locker(state, proc)
    if not pid:
        remedy = "systemctl start killdeer-agent"
        return Finding(name="agent", ok=False, fact=f"none uses {state} now", remedy=remedy)
    try:
        user, held = _rights(proc / str(pid))
    except OSError:
        return Finding(name="agent", ok=True, fact=f"runs as pid {pid}")
    return Finding(name="agent", ok=True, fact=f"runs as pid {pid}, {user}, {_listed(held)}")


def rights(state: Path, proc: Path = PROC) -> Iterator[Finding]:
    """Of this very process, and whether the agent's are others: then all that follows may be, too."""
    user, held = _rights(proc / "self")
    remedy = "run the agent as a service, which has CAP_KILL; without it only processes of its own user are struck"
    yield Finding(
        name="rights", ok="CAP_KILL" in held, fact=f"doctor asks as {user}, {_listed(held)}", remedy=remedy
    )
    pid = _locker(state, proc)
    if pid:
        try:
            differs = _rights(proc / str(pid)) != (user, held)
        except OSError:
            return
        if differs:
            fact = "what follows is what doctor may do, not the running agent"
            yield Finding(name="rights", ok=False, fact=fact, remedy=_as_the_agent(proc / str(pid)))
    problem = fuse.problem()
    if problem:
        yield Finding(name="fuse", ok=False, needed=True, fact=problem)


def processes(proc: Path = PROC) -> Finding:
    """Whether all processes of the host are seen."""
    try:
        (proc / "1/stat").read_bytes()
    except OSError:
        fact = f"{proc} hides other users' processes (hidepid)"
        remedy = "ProtectProc=default in the agent's unit; mount /proc without hidepid"
        return Finding(name="processes", ok=False, needed=True, fact=fact, remedy=remedy)
    if (proc / "self/ns/pid").stat().st_ino != FIRST_PID_NAMESPACE:
        return Finding(name="processes", ok=True, fact="only those of this pid namespace are seen and struck")
    return Finding(name="processes", ok=True, fact="all of this host")


def cgroups(sys_root: Path = SYS) -> Finding:
    if (sys_root / "fs/cgroup/cgroup.controllers").exists():
        return Finding(name="cgroups", ok=True, fact="version 2")
    if (sys_root / "fs/cgroup/systemd").exists():
        return Finding(name="cgroups", ok=True, fact="version 1, units by systemd's own hierarchy")
    fact = "there are none that tell a unit: `unit`, `container` and `cgroup` select nothing"
    return Finding(name="cgroups", ok=False, fact=fact, remedy="boot with systemd, or mount /sys/fs/cgroup")


def selectors(proc: Path = PROC) -> Finding:
    missing = [NAMES[field] for field in cannot_evaluate(str(proc))]
    if not missing:
        return Finding(name="selectors", ok=True, fact="each can be evaluated")
    fact = f"{' and '.join(missing)} cannot be read of other users' processes: such a selector is refused"
    return Finding(name="selectors", ok=False, fact=fact, remedy=_DEEP)


def evidence(configured: str) -> Finding:
    """Loads the programs as the agent would, and takes them away again."""
    if configured == "pidfd":
        return Finding(name="evidence", ok=True, fact="exits of victims only, as configured (collector is pidfd)")
    try:
        collector = load_collector(configured)
    except CollectorUnavailable as unavailable:
        fact = f"exits of victims only, without sender and cause, and no hold-down: {unavailable.cause}"
        return Finding(name="evidence", ok=False, fact=fact, remedy=unavailable.remedy)
    try:
        return Finding(name="evidence", ok=True, fact=f"the kernel's record: {collector.detail}")
    finally:
        collector.close()


def real_time_clock(present: bool | None = None) -> Finding:
    if clock.has_rtc() if present is None else present:
        return Finding(name="clock", ok=True, fact="has a clock chip: a frozen host is noticed")
    fact = "no clock chip can be read: that this host was frozen and thawed is not noticed, its lease runs on"
    remedy = "give the virtual machine one; else bounds hold in this host's running time only"
    return Finding(name="clock", ok=False, fact=fact, remedy=remedy)


def memory_pressure(proc: Path = PROC) -> Finding:
    try:
        (proc / "pressure/memory").read_bytes()
    except OSError:
        fact = "the kernel keeps no memory pressure"
        return Finding(name="pressure", ok=False, fact=fact, remedy="boot with psi=1, if you want it in heartbeats")
    return Finding(name="pressure", ok=True, fact="memory pressure is kept")


def _watched(said: dict[str, str]) -> bool:
    return said.get("Type") == "notify" and said.get("WatchdogSec", "0") not in ("0", "")


def _locker(state: Path, proc: Path) -> int:
    """The pid that holds an exclusive flock on the directory; 0: none. Read, so that nobody is locked out."""
    try:
        inode = str(state.stat().st_ino)
        lines = (proc / "locks").read_text().splitlines()
    except OSError:
        return 0
    for fields in map(str.split, lines):
        if fields[1:2] == ["FLOCK"] and fields[3] == "WRITE" and fields[5].rpartition(":")[2] == inode:
            return max(0, int(fields[4]))
    return 0


def _rights(process: Path) -> tuple[str, tuple[str, ...]]:
    """User, and those of CAPABILITIES that are in force."""
    status = dict(line.partition(":")[::2] for line in (process / "status").read_text().splitlines())
    uid, held = int(status["Uid"].split()[1]), int(status["CapEff"], 16)
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = f"uid {uid}"
    return user, tuple(name for name, bit in CAPABILITIES.items() if held >> bit & 1)


def _listed(held: tuple[str, ...]) -> str:
    return f"with {', '.join(held)}" if held else "without any capability it needs"


def _as_the_agent(process: Path) -> str:
    user, held = _rights(process)
    caps = " ".join(held)
    return (
        "ask as the agent: systemd-run --pipe --wait --quiet "
        f"-p User={user} -p AmbientCapabilities='{caps}' -p CapabilityBoundingSet='{caps}' "
        f"{sys.prefix}/bin/killdeer-agent doctor"
    )

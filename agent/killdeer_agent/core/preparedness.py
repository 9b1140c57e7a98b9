"""What is looked at to tell how well a service is prepared for what a strike does: of its processes, of its units,
of the cgroups that they are in. Facts alone; core/inspecting.py says what they mean.

None stands for what could not be had, and nothing is concluded from it.
"""

from dataclasses import dataclass, field

from killdeer.v1.process_pb2 import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """One process that matches. The sets hold signal numbers, as /proc/PID/status has them.

    `blocked`: by every thread; `held_back`: by some of its threads, and not by all. `heard`: what it reads from a
    signalfd. `effective_uid` and `capabilities` (a mask) are what is in force. `first_of_namespace`: it is pid 1 of
    a pid namespace below this one. `zombies`: children that had exited and were not waited for, at two looks.
    """

    pid: int
    name: str
    cmdline: str = ""  # redacted
    user: str = ""
    age_ms: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    unit: str = ""
    parent: str = ""  # `bash (pid 812)`
    caught: frozenset[int] = frozenset()
    ignored: frozenset[int] = frozenset()
    blocked: frozenset[int] = frozenset()
    held_back: frozenset[int] = frozenset()
    heard: frozenset[int] | None = None
    effective_uid: int = -1
    capabilities: int = 0
    all_capabilities: bool = False  # every one that this kernel knows
    open_files: int | None = None
    files_soft: int | None = None  # RLIMIT_NOFILE
    files_hard: int | None = None
    oom_score_adj: int | None = None
    first_of_namespace: bool = False
    zombies: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSettings:
    """One unit, as systemd says over D-Bus. Times in microseconds; None: never, or without end. What systemd does
    not say, for it is too old or the unit is a scope, is at its default here.

    `clean_signals`: of SuccessExitStatus=; `unrestarted_signals`: RestartPreventExitStatus=;
    `restarted_signals`: RestartForceExitStatus=.
    """

    name: str
    main_pid: int = 0
    kind: str = ""  # Type=
    restart: str = ""
    restart_us: int | None = 100_000
    stop_us: int | None = 90_000_000
    watchdog_us: int | None = None
    kill_mode: str = "control-group"
    kill_signal: int = 15
    final_signal: int = 9
    sends_kill: bool = True
    start_interval_us: int = 0
    start_burst: int = 0
    start_action: str = "none"
    failure_action: str = "none"
    clean_signals: frozenset[int] = frozenset()
    unrestarted_signals: frozenset[int] = frozenset()
    restarted_signals: frozenset[int] = frozenset()
    restarts: int = 0  # NRestarts
    result: str = "success"
    state: str = ""  # SubState
    oom_policy: str = ""
    reload_needed: bool = False

    @property
    def is_service(self) -> bool:
        return self.name.endswith(".service")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a cgroup uses of something, and how much it may: bytes, or tasks."""

    cgroup: str
    used: int
    most: int

    @property
    def part(self) -> float:
        return self.used / self.most if self.most else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupFacts:
    """Of one cgroup and those above it, the limit that is nearest. None: there is none; `read`: whether that could
    be told at all. `memory_used`: bytes. `whole`: the OOM killer ends all of it at once (memory.oom.group)."""

    path: str
    read: bool = False
    memory_used: int | None = None
    memory: Share | None = None
    throttle: Share | None = None  # memory.high
    tasks: Share | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """One service on this host. `members`: its live processes here, those that do not match with them. `unasked`:
    why systemd could not be asked about its units."""

    service: str
    container: str = ""
    processes: tuple[ProcessFacts, ...] = ()
    units: tuple[UnitSettings, ...] = ()
    unit_names: tuple[str, ...] = ()
    cgroups: tuple[CgroupFacts, ...] = ()
    members: int = 0
    unasked: str = ""
    left_out: int = 0

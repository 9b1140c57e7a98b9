"""The agent core's vocabulary: what it is told (inputs), what it asks for (effects), what it keeps (records).

`Core.handle(input, now) -> list[Effect]`. The shell carries effects out in order; one with a result comes
back as the input named in its docstring. A crash can fall between any two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from killdeer.v1 import probe_pb2
from killdeer.v1.agent_pb2 import ConnectRequest, ConnectResponse, Heartbeat, Hello
from killdeer.v1.process_pb2 import Action, Candidate, KernelEvent, Reason
from killdeer_agent.core.facts import Process, Refusal
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.preparedness import ServiceFacts
from killdeer_agent.core.selector import Matcher
from killdeer_agent.core.unit import UnitState
from killdeer_agent.core.warrant import Warrant

# --- records: the journal; the core's state is a fold of them -----------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal. `kind` is one of those that Memory folds; `body` holds plain JSON values only."""

    kind: str
    body: dict[str, object] = field(default_factory=dict)


# --- inputs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """First of all inputs. `records` is the whole journal, oldest first; `journal_problem` says why it cannot
    be trusted for strikes (unknown version, unreadable, disk): then nothing is struck, yet all is reverted.
    `hello` is filled with what does not change while the agent runs: host, boot id, labels, versions, evidence.
    `pid` is the agent's own, as the kernel's record names the sender of its signals; 0: it is not known.
    """

    boot_id: str
    records: tuple[Record, ...]
    journal_problem: str
    hello: Hello
    pid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """The guard, at start and after each reload. An unreadable one allows nothing (rule R29).

    `labels` are the host's, where they were read anew; None: they are as they were."""

    guard: Guard
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Linked:
    """A stream to the coordinator is open; the core says Hello."""


@dataclass(frozen=True, slots=True)
class Unlinked:
    """The stream has ended, for whatever cause."""


@dataclass(frozen=True, slots=True)
class Heard:
    frame: ConnectResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Answers Open. Without a refusal the shell holds a pidfd under the command id, and the kernel watches it.

    `members` are the live processes of the victim's service on this host, the victim among them; `unit` is the
    systemd unit it is in, empty: in none.
    """

    command_id: str
    refusal: Refusal | None = None
    members: tuple[Process, ...] = ()
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Answers Follow. Without a refusal: who it is, with its program, and the live processes of its service; its
    pidfd is held under the command id."""

    command_id: str
    process: Process | None = None
    refusal: Refusal | None = None
    members: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSeen:
    """Answers LookUnit. No state: it cannot be told, for this `problem`."""

    command_id: str
    state: UnitState | None = None
    problem: str = ""
    ask: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStarted:
    """Answers StartUnit. No `problem`: systemd is starting it. `reset`: not so, but it is `failed` no more.
    `denied`: the agent has no right to start it."""

    command_id: str
    problem: str = ""
    reset: bool = False
    denied: bool = False
    ask: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """Answers Write: the record with this token is durable, or cannot be."""

    token: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Compacted:
    """Answers Compact. With a problem the old journal is still in use."""

    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Answers Strike: sent at `sent_boot_ns`, or refused at the last look. `changed`: right after the signal
    the process ran another program or had moved (it could not be prevented, only seen)."""

    command_id: str
    blow: int
    sent_boot_ns: int = 0
    refusal: Refusal | None = None
    changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted:
    """Answers Revert. `problem` empty: it is running again, or it is gone (`gone`)."""

    command_id: str
    sent_boot_ns: int = 0
    gone: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Answers Census: the live, unstopped processes of the service now."""

    service: str
    members: tuple[Process, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """Answers Probe. No answer in time is not met; `detail` says what was found, and never holds a secret."""

    command_id: str
    turn: int
    met: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """Answers Scan. `failure`: nothing may be concluded from it."""

    scan_id: str
    candidates: tuple[Candidate, ...] = ()
    services: tuple[tuple[str, int], ...] = ()
    failure: Reason = Reason.REASON_UNSPECIFIED
    detail: str = ""
    begun_boot_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """Answers Inspect. `failure`: nothing may be concluded from it."""

    ask: str
    services: tuple[ServiceFacts, ...] = ()
    failure: Reason = Reason.REASON_UNSPECIFIED
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One event of the kernel's record, or a pidfd's word that a victim has exited (an ExitSeen whose
    `command_id` is set and whose `code` and `signal` are not known: `source` tells)."""

    event: KernelEvent
    source: str = "bpf"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalHalt:
    """The halt file on this host has appeared or gone (rule R14)."""

    engaged: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; at least ten times a second, and when the core asked for it. Carries the host's metrics
    for the next heartbeat (its stamp unset), and up to when the kernel's record was told in whole; 0: never."""

    metrics: Heartbeat
    told_ns: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """The service is asked to stop: revert all, say goodbye, exit."""

    reason: str


Input = (
    Started | Configured | Linked | Unlinked | Heard | Opened | Followed | Written | Compacted | Done | Reverted
    | UnitSeen | UnitStarted | Counted | Probed | Scanned | Inspected | Seen | LocalHalt | Tick | Stop
)  # fmt: skip


# --- effects ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """A frame for the coordinator; dropped by the shell when there is no stream. `urgent`: before all others."""

    frame: ConnectRequest
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """Make the record durable (append and fdatasync), then Written(token)."""

    token: int
    record: Record


@dataclass(frozen=True, slots=True)
class Compact:
    """Put a journal of these records alone in the place of the present one, in the order of the writes: Compacted.

    Asked for only while no Write is unanswered, so that nothing written is missing from them.
    """

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Open a pidfd of the process, watch it in the kernel, then take a first look: Opened."""

    command_id: str
    service: str
    warrant: Warrant


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """Open a pidfd of a process that has come in a victim's place, take a first look, and hold it under the command
    id instead of the one that has exited: Followed. A refusal leaves what is held as it is."""

    command_id: str
    service: str
    warrant: Warrant


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUnit:
    """Ask systemd how the unit is: UnitSeen. `ask`: for a coordinator that wants it started."""

    command_id: str
    unit: str
    ask: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUnit:
    """Have systemd start a unit that it gave up, whatever its start limit says: UnitStarted."""

    command_id: str
    unit: str
    ask: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """Last look and signal in one synchronous call under the fuse (rules R1 to R3): Done.

    The fuse burns no longer than the earlier of the warrant's lease end and not_after.
    """

    command_id: str
    blow: int
    signal: int
    warrant: Warrant


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """SIGCONT to the same process, by identity alone (rule R13): Reverted."""

    command_id: str
    process: Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """After a restart: watch this process again. If it is gone, or becomes so: Seen, an ExitSeen of a pidfd."""

    command_id: str
    process: Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """Count the live, unstopped processes of the service: Counted."""

    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Ask whether a service is ready, on this host, in `within_ms` of the probe: Probed, with the same turn."""

    command_id: str
    turn: int
    probe: probe_pb2.Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Scan /proc beside the loop with a deadline: Scanned. The guard judges each match for the action."""

    scan_id: str
    matcher: Matcher
    action: Action
    guard: Guard
    deadline_boot_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """Look at how well what matches is prepared, beside the loop with a deadline: Inspected. `open_only`: of it,
    only what the guard lets be hit."""

    ask: str
    matcher: Matcher
    open_only: bool
    guard: Guard
    deadline_boot_ns: int


@dataclass(frozen=True, slots=True)
class Close:
    """The strike is over: close its pidfd, stop watching it."""

    command_id: str


@dataclass(frozen=True, slots=True)
class Unlink:
    """End the stream; the shell dials again after `retry_after_ms`, or after its own back-off when 0."""

    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Exit:
    """Everything is reverted and said: leave. `left` names command ids that could not be reverted."""

    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the log: an event name and its fields."""

    event: str
    fields: dict[str, object] = field(default_factory=dict)
    wrong: bool = False  # somebody should see it


Effect = (
    Send | Write | Compact | Open | Follow | Strike | Revert | LookUnit | StartUnit | Watch | Census | Probe | Scan
    | Inspect | Close | Unlink | Exit | Note
)  # fmt: skip

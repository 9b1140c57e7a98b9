"""The coordinator core's vocabulary: what it is told (inputs) and what it asks for (effects).

`Core.handle(input, now) -> list[Effect]`; `now` is `Now` below, read by the shell as it calls. The shell
carries effects out in order; one with a result comes back as the input named in its docstring. Links number
the agents' streams, asks the operators' calls; both are given by the shell and never used twice.
"""

from dataclasses import dataclass

from google.protobuf.message import Message

from killdeer.halts import Halts
from killdeer.v1.agent_pb2 import ConnectRequest, ConnectResponse, Hello
from killdeer.v1.operator_pb2 import LogLine
from killdeer.v1.probe_pb2 import Deed, Probe, Reading
from killdeer.v1.process_pb2 import KernelEvent, Reason, StorePosition
from killdeer_coordinator.core.books import Books, Decide, FleetLimits, Letter


@dataclass(frozen=True, slots=True)
class Now:
    """`mono_ns` is this machine's CLOCK_BOOTTIME, for every bound; `unix_ms` the wall clock, for records only."""

    mono_ns: int
    unix_ms: int


@dataclass(frozen=True, slots=True)
class Operator:
    """Who asks, as the certificate says: roles are viewer, operator, approver, admin."""

    name: str
    roles: frozenset[str]


# --- inputs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """First of all inputs. `halts` and `position` are those kept outside the store; `books` the store's at the
    start, None when it could not be read (then nothing is granted until it can)."""

    coordinator: str
    limits: FleetLimits  # coordinator.toml's, before operators' changes
    halts: Halts
    position: StorePosition
    books: Books | None
    lease_ms: int
    heartbeat_ms: int
    instance: str = ""  # of this start; empty: no other coordinator shares the store


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """An agent's stream with its Hello; `host` is the name in its certificate, `serial` that one's number. `token`
    is a fresh random session token for it."""

    link: int
    host: str
    hello: Hello
    token: str
    serial: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    link: int
    frame: ConnectRequest


@dataclass(frozen=True, slots=True)
class Left:
    """The stream has ended, whatever the cause. Without a Goodbye before it, the agent is lost."""

    link: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An operator's request: PlanRequest, RunRequest, WatchRunRequest, AbortRunRequest, HaltRequest,
    RearmRequest, ListHostsRequest, AcceptHostRequest, ListCandidatesRequest, InspectRequest, ListLimitsRequest,
    SetLimitRequest, ListPermitsRequest, ClearPermitRequest, AddNoteRequest, GetStatusRequest. (ListRuns, GetRun,
    GetReport, ListAudit and WatchEvents are answered by the edge from the store.) `fresh` is a source of ids: a
    random hex string of 64 digits made by the shell."""

    ask: int
    who: Operator
    request: Message
    fresh: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The operator's call was cancelled or its connection ended."""

    ask: int


@dataclass(frozen=True, slots=True)
class Decided:
    """Answers Transact. `failure` empty: it is committed, `answer` is the function's, `position` the new head."""

    token: int
    answer: object
    position: StorePosition
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """Answers Keep: durable, or why not."""

    token: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class StoreRead:
    """A store read that began at `begun_ns` (mono) has succeeded: what renewals rest on (rule R9)."""

    begun_ns: int
    books: Books


@dataclass(frozen=True, slots=True)
class Posted:
    """Answers Post. `failure` empty: all are in the store."""

    token: int
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Letters that were taken out of the store, in order, by a transaction that began at `begun_ns` (mono); the
    store's clock then said `now_ms`. Nobody else gets them."""

    begun_ns: int
    now_ms: int
    letters: tuple[Letter, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers Measure. The reading's time is the shell's wall clock when the answer was complete."""

    token: int
    reading: Reading


@dataclass(frozen=True, slots=True)
class Performed:
    """Answers Perform. `problem` empty: it is done."""

    token: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """What became of a KeepRecord that the store did not keep; of one that it kept there is no word."""

    kept: "KeepRecord"
    cause: str


@dataclass(frozen=True, slots=True)
class Woken:
    """Another coordinator has written something: the store is worth a look now."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; ten times a second. `fresh` as in Asked."""

    fresh: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain: tell the agents and end the operators' streams."""


Input = (
    Started
    | Joined
    | Heard
    | Left
    | Asked
    | Gone
    | Decided
    | Kept
    | StoreRead
    | Posted
    | Delivered
    | Measured
    | Performed
    | Unrecorded
    | Woken
    | Tick
    | Stop
)


# --- effects ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tell:
    """A frame for one agent. The link's outbox puts Halt and Rearm before Revert before the rest."""

    link: int
    frame: ConnectResponse


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One frame, serialised once, for many agents in this order."""

    links: tuple[int, ...]
    frame: ConnectResponse


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Send a Dismissal and end the stream."""

    link: int
    reason: Reason
    detail: str
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to an ask; `last` ends a stream (unary calls have one reply, which is last)."""

    ask: int
    message: Message
    last: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The ask ends with an error. `code` is a gRPC status name: INVALID_ARGUMENT, FAILED_PRECONDITION,
    NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, …; `field` is the request field at fault, `remedy` what to do."""

    ask: int
    code: str
    message: str
    field: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Transact:
    """Run the pure function in one locked transaction: Decided(token)."""

    token: int
    decide: Decide


@dataclass(frozen=True, slots=True)
class Keep:
    """Make the halts (and the highest store position) durable outside the store: Kept(token)."""

    token: int
    halts: Halts
    position: StorePosition


@dataclass(frozen=True, slots=True)
class ReadStore:
    """Read the books; StoreRead on success, nothing on failure (the core sees that its reads grow old)."""


@dataclass(frozen=True, slots=True)
class Post:
    """Put letters into the store, after all decisions asked for before: Posted(token)."""

    token: int
    letters: tuple[Letter, ...]


@dataclass(frozen=True, slots=True)
class Collect:
    """Take this coordinator's letters out of the store; Delivered if there were any."""

    recipient: str


@dataclass(frozen=True, slots=True)
class Quit:
    """This coordinator must end now, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class KeepEvents:
    """Append kernel events to the store and to those who watch; no answer."""

    host: str
    events: tuple[KernelEvent, ...]


@dataclass(frozen=True, slots=True)
class Measure:
    """Take one reading of a probe that this coordinator takes (rule R30), within its time: Measured(token)."""

    token: int
    probe: Probe


@dataclass(frozen=True, slots=True)
class Perform:
    """Do one deed: Performed(token). `state` is the run as JSON, for a webhook whose body the file leaves open."""

    token: int
    deed: Deed
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRecord:
    """Append readings and lines to a run's record in the store; an answer, Unrecorded, only where it fails."""

    run_id: str
    readings: tuple[Reading, ...] = ()
    lines: tuple[LogLine, ...] = ()
    since_ns: int = 0  # mono: it failed first then; 0: it did not yet


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the log."""

    event: str
    fields: dict[str, object]
    wrong: bool = False  # somebody should see it


Effect = (
    Tell
    | Broadcast
    | Dismiss
    | Reply
    | Refuse
    | Transact
    | Keep
    | ReadStore
    | Post
    | Collect
    | Quit
    | KeepEvents
    | Measure
    | Perform
    | KeepRecord
    | Note
)

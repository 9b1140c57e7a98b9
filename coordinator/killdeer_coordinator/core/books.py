"""What a decision reads and what it changes (rule R17).

The store locks the one fleet row, loads `Books`, calls a pure function `Books -> Decision`, and writes the
changes with their audit entries in the same transaction. Times called `_ms` are the store's clock, Unix ms.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from killdeer.halts import Halts
from killdeer.v1.operator_pb2 import RunNote, StrikeView
from killdeer.v1.process_pb2 import HaltRecord, StorePosition

# Of a host whose open strikes a restored store may not know: nobody is granted anything while there is one (R22).
NOT_HEARD = "the store was restored, and it has not been heard since"
# Of a host that was removed, until it is forgotten: what its row says begins with this.
REMOVED = "it was removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRow:
    """One host that has ever joined. `session` is the token of its last Welcome; `previous` the one before it,
    still good while no heartbeat followed (`heard` false) (rule R23)."""

    host: str
    labels: dict[str, str]
    session: str = ""
    previous: str = ""
    heard: bool = False
    quarantined: str = ""  # why; empty: served. NOT_HEARD ends with its next Hello
    boot_id: str = ""
    longest_lease_ms: int = 0  # the longest lease ever promised; stored before it is used (rule R9)
    version: str = ""
    kernel: str = ""
    last_seen_ms: int = 0
    coordinator: str = ""  # who serves it, or did until its right to act was over
    hello: bytes = b""  # its last Hello, without what belongs to the session

    @property
    def removed(self) -> bool:
        return self.quarantined.startswith(REMOVED)

    @property
    def good_sessions(self) -> frozenset[str]:
        """One of these its next Hello must present; none: it is quarantined, or was accepted and comes as a first
        one."""
        if self.quarantined not in ("", NOT_HEARD):
            return frozenset()
        return frozenset({self.session, "" if self.heard else self.previous} - {""})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """An experiment's own limits; None: not said. Counts are absolute, percentages 1 to 100."""

    in_flight: int | None = 1
    per_host: int | None = 1
    per_service: int | None = None
    per_service_percent: int | None = None
    per_minute: int | None = None
    min_healthy: int | None = None
    min_healthy_percent: int | None = None
    cooldown_ms: int = 0  # between two strikes on one service


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    run_id: str
    key: str  # the client's own id; unique
    source: str  # the experiment file's text
    file: str
    experiment: str
    environment: str
    owner: str
    hypothesis: str
    started_by: str
    seed: int
    plan_hash: str
    limits: RunLimits
    fence: int = 1
    state: int = 1  # operator_pb2.RunState
    verdict: int = 0  # operator_pb2.RunVerdict
    why: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    wave: int = 0  # index of the wave under way
    waves_total: int = 0
    driver: str = ""  # the coordinator that drives it
    findings: bytes = b""  # probe_pb2.Findings, as it ended


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorRow:
    """One coordinator that shares the store. `instance` is that of its latest start."""

    coordinator: str
    instance: str
    since_ms: int  # it has been seen without a break since then, or is gone since then
    seen_ms: int  # 0: it is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A frame that travels between coordinators through the store: told to a host, or heard from it."""

    sender: str
    recipient: str
    host: str
    session: str = ""  # the one it is for; empty: any
    told: bytes = b""  # agent_pb2.ConnectResponse
    heard: bytes = b""  # agent_pb2.ConnectRequest
    until_ms: int = 0  # of a strike: the permit's not_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """The right to one strike, held until the victim has recovered (rule R16).

    Counts in flight while `released_ms` is 0. For the rate it counts until 60 s after `struck_ms` or, while
    that is 0 and nobody said that nothing was sent, 60 s after `not_after_ms` (rule R20).
    """

    permit_id: str
    command_id: str
    run_id: str
    host: str
    service: str
    zone: str  # the host's label; a host without one is a zone of its own
    granted_ms: int
    not_after_ms: int
    struck_ms: int = 0  # of a hold-down that is not over: when its time will be
    never_sent: bool = False  # the agent's durable word that nothing was sent and the id is used up
    released_ms: int = 0
    released_why: str = ""  # refused | recovered | cleared by NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class StrikeRow:
    """One victim of a run, rehearsed or struck, with everything known of it. `view.state` is its outcome."""

    run_id: str
    view: StrikeView
    permit_id: str = ""  # empty for a rehearsal


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """The right to join once. The token itself is known to whoever was shown it, and nowhere kept."""

    token_hash: str  # hex SHA-256
    host: str  # the only name it is good for; empty: any that is new
    created_by: str
    created_ms: int
    expires_ms: int
    used_ms: int = 0
    used_for: str = ""

    @property
    def name(self) -> str:
        """How people and the record call it."""
        return self.token_hash[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRow:
    """A certificate that a running coordinator has issued. Those made by `init` have none."""

    serial: str  # hex
    host: str
    issued_ms: int
    ends_ms: int
    authority: str  # the CA: its key identifier, hex


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalRow:
    """Of this host's certificates, only those that have a row are good: every other was issued before."""

    host: str
    at_ms: int
    who: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLimits:
    """Scope -> most victims at once (`per_minute`: signals in 60 s). Scopes: in_flight, per_host, per_service,
    per_zone, per_minute. A scope that is missing has no limit."""

    limits: dict[str, int]
    sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Everything a decision may read, as one transaction saw it."""

    now_ms: int
    last_decision_ms: int  # if the clock ran back since, nothing is granted (rule R20)
    position: StorePosition
    halts: Halts
    limits: FleetLimits
    hosts: dict[str, HostRow]
    runs: dict[str, RunRow]  # those not ended
    permits: dict[str, Permit]  # held ones, and those released in the last 24 h (for rate and cooldown)
    strikes: dict[str, StrikeRow]  # by command id: those of runs not ended, and those of held permits
    position_known: Callable[[StorePosition], bool]
    """Does the audit chain contain this position? (rule R22)"""
    run_of_key: Callable[[str], str]
    """The run id that was started with this client key, ended ones included; empty: none."""
    ended: dict[str, RunRow] = field(default_factory=dict)
    """Runs that have ended and still hold a permit: their limits go on binding (rule R19)."""
    halted: dict[str, RunRow] = field(default_factory=dict)
    """Runs that ended as halted since the first of the halts in force; empty when none is (rule R30)."""
    coordinators: dict[str, CoordinatorRow] = field(default_factory=dict)
    """Those that share the store, by name; none where it is one coordinator's alone."""
    token_of: Callable[[str], TokenRow | None] = lambda _: None
    """By its hash."""
    certificates_of: Callable[[str], tuple[CertificateRow, ...]] = lambda _: ()
    """Of a host, oldest first: those issued since it was removed last, if ever."""
    removal_of: Callable[[str], RemovalRow | None] = lambda _: None
    """The last one of that host; None: it never was."""
    committed: StorePosition = field(default_factory=StorePosition)
    """Where this coordinator's last decision has led to, heard of or not yet; empty before its first (rule R22)."""

    def lacks(self, seen: StorePosition) -> StorePosition | None:
        """Of `seen` and what was committed last: what the audit chain does not contain any more."""
        marks = (one for one in (seen, self.committed) if one.length and one != self.position)
        return next((one for one in marks if not self.position_known(one)), None)


@dataclass(frozen=True, slots=True)
class Audited:
    """An entry for the audit chain; the store adds number, time and hash. `what` is from a closed list:
    host.joined host.quarantined host.accepted host.removed host.forgotten token.created certificate.issued
    run.started run.ended run.aborted permit.granted permit.released permit.cleared strike.ended halt.engaged
    halt.released limit.set limit.configured note.added store.restored coordinator.started coordinator.gone"""

    who: str
    what: str
    subject: str
    why: str = ""
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PutHost:
    row: HostRow


@dataclass(frozen=True, slots=True)
class PutRun:
    row: RunRow


@dataclass(frozen=True, slots=True)
class PutPermit:
    row: Permit


@dataclass(frozen=True, slots=True)
class PutStrike:
    row: StrikeRow


@dataclass(frozen=True, slots=True)
class PutHalt:
    record: HaltRecord


@dataclass(frozen=True, slots=True)
class ReleaseHalts:
    halt_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetLimit:
    scope: str
    limit: int
    by: str


@dataclass(frozen=True, slots=True)
class PutNote:
    run_id: str
    note: RunNote


@dataclass(frozen=True, slots=True)
class PutCoordinator:
    row: CoordinatorRow


@dataclass(frozen=True, slots=True)
class VoidLetters:
    """Of those not collected yet: the strikes in this coordinator's letters are over, so that their ids are used up
    instead; and the answers that it waited for go."""

    coordinator: str


@dataclass(frozen=True, slots=True)
class PutToken:
    """A token that was used is never put again."""

    row: TokenRow


@dataclass(frozen=True, slots=True)
class PutCertificate:
    row: CertificateRow


@dataclass(frozen=True, slots=True)
class PutRemoval:
    """The rows of the host's certificates go."""

    row: RemovalRow


@dataclass(frozen=True, slots=True)
class ForgetHost:
    host: str


Change = (
    PutHost
    | PutRun
    | PutPermit
    | PutStrike
    | PutHalt
    | ReleaseHalts
    | SetLimit
    | PutNote
    | PutCoordinator
    | VoidLetters
    | PutToken
    | PutCertificate
    | PutRemoval
    | ForgetHost
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a pure function made of the books. `answer` is for whoever asked; the store passes it on."""

    changes: tuple[Change, ...] = ()
    audit: tuple[Audited, ...] = ()
    answer: object = None


Decide = Callable[[Books], Decision]

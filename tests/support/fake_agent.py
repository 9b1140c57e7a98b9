"""An agent as a coordinator sees it: sessions, heartbeats, scans, strikes, halts. Its processes are numbers."""

import itertools
from dataclasses import dataclass, field

from killdeer.halts import Halts
from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import process_pb2 as p

MS = 1_000_000
OVER = (p.STRIKE_STATE_REFUSED, p.STRIKE_STATE_RECOVERED, p.STRIKE_STATE_SURVIVED, p.STRIKE_STATE_LOST)


@dataclass
class FakeAgent:
    """Victims exit at once and are back `recovers_ms` later; `refuses` names the pids it says no to."""

    host: str
    workers: int = 3
    labels: dict[str, str] = field(default_factory=lambda: {"environment": "staging"})
    service: str = "worker@"
    recovers_ms: int | None = 1_000  # None: never
    refuses: dict[int, p.Reason] = field(default_factory=dict)
    denies: set[int] = field(default_factory=set)  # pids that the guard denies
    survives: bool = False
    changes: bool = False
    mute: bool = False  # hears, says nothing
    keeps_victims: bool = False  # a scan goes on finding them
    deaf_to_strikes: bool = False  # a strike gets lost
    answers_scans: bool = True
    boot_id: str = "boot-1"
    session: str = ""
    halts: Halts = field(default_factory=Halts)
    position: p.StorePosition = field(default_factory=p.StorePosition)
    link: int = 0
    got: list[a.ConnectResponse] = field(default_factory=list)
    strikes: dict[str, a.StrikeUpdate] = field(default_factory=dict)  # the last word on each
    most_in_flight: int = 0
    _due: list[tuple[int, str]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _beat_ns: int = 0

    def __post_init__(self) -> None:
        self.pids = {ordinal: 100 + ordinal for ordinal in range(self.workers)}
        self._next_pid = 1_000

    def hello(self) -> a.Hello:
        self._beat_ns = 0
        return a.Hello(
            host=self.host,
            boot_id=self.boot_id,
            session=self.session,
            labels=self.labels,
            version="1",
            evidence=a.EVIDENCE_LEVEL_BPF,
            halts=self.halts.to_wire(),
            open_commands=[k for k, word in self.strikes.items() if word.state not in OVER],
            position=self.position,
            has_rtc=True,
        )

    def tick(self, now_ns: int) -> list[a.ConnectRequest]:
        frames = [self._back(command, now_ns) for due, command in self._due if due <= now_ns]
        self._due = [(due, command) for due, command in self._due if due > now_ns]
        if self.link and self.session and now_ns - self._beat_ns >= 1_000 * MS:
            self._beat_ns = now_ns
            frames.append(a.ConnectRequest(heartbeat=a.Heartbeat(stamp_boot_ns=now_ns)))
        return [] if self.mute else frames

    def hear(self, frame: a.ConnectResponse, now_ns: int) -> list[a.ConnectRequest]:
        self.got.append(frame)
        answers: list[a.ConnectRequest] = []
        match frame.WhichOneof("frame"):
            case "welcome":
                self.session = frame.welcome.session
                self._higher(frame.welcome.position)
                answers += self._stop(Halts.from_wire(frame.welcome.halts))
                answers += [self._word(open_.command_id) for open_ in frame.welcome.open]
            case "lease_renewal":
                self._higher(frame.lease_renewal.position)
                self.halts = self.halts.union(Halts.from_wire(frame.lease_renewal.halts))
            case "scan" if self.answers_scans:
                answers.append(self._scan(frame.scan, now_ns))
            case "strike" if not self.deaf_to_strikes:
                answers += self._strike(frame.strike, now_ns)
            case "revert":
                if frame.revert.command_id in self.strikes:  # a hold ends by stopping
                    self.strikes[frame.revert.command_id].effect_open = False
                answers.append(self._word(frame.revert.command_id))
            case "halt":
                answers += self._stop(Halts().engage(frame.halt.halt))
            case "rearm":
                self.halts = self.halts.release(frame.rearm.released)
        return [] if self.mute else answers

    @property
    def in_flight(self) -> int:
        return sum(1 for word in self.strikes.values() if word.state == p.STRIKE_STATE_GONE)

    def _higher(self, position: p.StorePosition) -> None:
        if position.length > self.position.length:
            self.position = position

    def _stop(self, halts: Halts) -> list[a.ConnectRequest]:
        fresh = [halt.id for halt in halts.active if halt.id not in self.halts.engaged]
        self.halts = self.halts.union(halts)
        return [
            a.ConnectRequest(halt_ack=a.HaltAck(halt_id=halt_id, stage=a.HALT_STAGE_REVERTED)) for halt_id in fresh
        ]

    def _scan(self, scan: a.Scan, now_ns: int) -> a.ConnectRequest:
        ready = [
            p.Candidate(
                identity=p.Identity(host=self.host, boot_id=self.boot_id, pid=pid, start_ticks=pid * 10),
                service=self.service,
                ordinal=ordinal,
                name="worker",
                verdict=p.Verdict(allowed=pid not in self.denies),
                restarts=True,
            )
            for ordinal, pid in sorted(self.pids.items())
        ]
        return a.ConnectRequest(
            candidates=a.Candidates(
                scan_id=scan.scan_id,
                candidates=ready,
                guard_version="g1",
                begun_boot_ns=now_ns,
                services=[a.ServiceCount(service=self.service, ready=len(ready))],
            )
        )

    def _strike(self, strike: a.Strike, now_ns: int) -> list[a.ConnectRequest]:
        command, pid = strike.command_id, strike.victim.pid
        if command in self.strikes:
            return [self._said(command)]
        no = self.refuses.get(pid, p.REASON_UNSPECIFIED)
        if self.halts.active or strike.halts_digest != self.halts.digest:
            no = p.REASON_HALTED if self.halts.active else p.REASON_HALTS_DIFFER
        elif pid not in self.pids.values():
            no = no or p.REASON_GONE
        if no:
            return [self._says(command, p.STRIKE_STATE_REFUSED, reason=no, used_up=True)]
        blows = [p.Blow(number=1, signal=15, sent_boot_ns=now_ns, kernel_verdict="delivered")]
        if self.survives:
            return [self._says(command, p.STRIKE_STATE_SURVIVED, blows=blows, settled=True)]
        if not self.keeps_victims:
            self.pids = {ordinal: other for ordinal, other in self.pids.items() if other != pid}
        if self.recovers_ms is not None:
            self._due.append((now_ns + (self.recovers_ms + strike.action.hold_down.length_ms) * MS, command))
        said = [
            self._says(command, p.STRIKE_STATE_RECORDED),
            self._says(command, p.STRIKE_STATE_STRUCK, blows=blows, changed=self.changes),
            self._says(
                command,
                p.STRIKE_STATE_GONE,
                blows=blows,
                exit=p.Exit(at_boot_ns=now_ns, source="bpf"),
                effect_open=strike.action.HasField("hold_down"),
            ),
        ]
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return said

    def _back(self, command: str, now_ns: int) -> a.ConnectRequest:
        free = (ordinal for ordinal in range(self.workers) if ordinal not in self.pids)
        self.pids[next(free, 0)] = self._next_pid
        self._next_pid += 1
        blows = self.strikes[command].blows
        return self._says(command, p.STRIKE_STATE_RECOVERED, blows=blows, settled=True, at_boot_ns=now_ns)

    def lost(self, command: str) -> a.ConnectRequest:
        """No successor came in time."""
        return self._says(command, p.STRIKE_STATE_LOST, blows=self.strikes[command].blows)

    def _word(self, command: str) -> a.ConnectRequest:
        """Of a strike it is asked about, or that is taken back: an id it has not seen is used up."""
        if command in self.strikes:
            return self._said(command)
        return self._says(command, p.STRIKE_STATE_REFUSED, reason=p.REASON_CANCELLED, used_up=True)

    def _said(self, command: str) -> a.ConnectRequest:
        return a.ConnectRequest(strike_update=self.strikes[command])

    def _says(self, command: str, state: p.StrikeState, **fields: object) -> a.ConnectRequest:
        update = a.StrikeUpdate(number=next(self._numbers), command_id=command, state=state, stopped=True)
        update.MergeFrom(a.StrikeUpdate(**fields))  # type: ignore[arg-type]
        self.strikes[command] = update
        return a.ConnectRequest(strike_update=update)

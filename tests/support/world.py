"""A fleet in memory: the coordinator's core, a store that folds decisions, agents, and one clock for all.

`World.run(ms)` lets time pass in ticks of 100 ms. Nothing sleeps; everything that a real shell would do is done
at once, in order, unless a fault is set: `store.failing`, `store.held`, `world.reads`.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from google.protobuf.message import Message

from killdeer.halts import Halts
from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1.probe_pb2 import Reading
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core import words as w
from killdeer_coordinator.core.books import (
    Audited,
    Books,
    Change,
    CoordinatorRow,
    Decide,
    FleetLimits,
    ForgetHost,
    HostRow,
    Letter,
    Permit,
    PutCoordinator,
    PutHalt,
    PutHost,
    PutPermit,
    PutRemoval,
    PutRun,
    PutStrike,
    ReleaseHalts,
    RemovalRow,
    RunRow,
    SetLimit,
    StrikeRow,
    VoidLetters,
)
from killdeer_coordinator.core.coordinator import Core
from killdeer_coordinator.core.grant import Granted
from tests.support.fake_agent import FakeAgent

MS = 1_000_000
T0_MS = 1_700_000_000_000
LEASE_MS = 10_000
M = TypeVar("M", bound=Message)


@dataclass
class MemoryStore:
    """What the real store does with decisions, without a disk."""

    clock: Callable[[], int]
    limits: FleetLimits
    hosts: dict[str, HostRow] = field(default_factory=dict)
    runs: dict[str, RunRow] = field(default_factory=dict)
    permits: dict[str, Permit] = field(default_factory=dict)
    strikes: dict[str, StrikeRow] = field(default_factory=dict)
    halts: Halts = field(default_factory=Halts)
    audit: list[Audited] = field(default_factory=list)
    heads: list[str] = field(default_factory=lambda: [""])
    coordinators: dict[str, CoordinatorRow] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    removals: dict[str, RemovalRow] = field(default_factory=dict)
    last_decision_ms: int = 0
    failing: str = ""  # every decision and read fails with this
    held: bool = False  # answers wait
    lies_about_the_next_grant: bool = False  # it commits, and says that it failed

    def books(self) -> Books:
        open_runs = {k: run for k, run in self.runs.items() if run.state != o.RunState.RUN_STATE_ENDED}
        held = {permit.command_id for permit in self.permits.values() if not permit.released_ms}
        holding = {permit.run_id for permit in self.permits.values() if not permit.released_ms}
        return Books(
            now_ms=self.clock(),
            last_decision_ms=self.last_decision_ms,
            position=self.position,
            halts=self.halts,
            limits=self.limits,
            hosts=dict(self.hosts),
            runs=open_runs,
            permits=dict(self.permits),
            strikes={k: s for k, s in self.strikes.items() if s.run_id in open_runs or k in held},
            position_known=lambda p: p.length < len(self.heads) and self.heads[p.length] == p.head,
            run_of_key=lambda key: next((k for k, run in self.runs.items() if run.key == key), ""),
            ended={k: run for k, run in self.runs.items() if k in holding - open_runs.keys()},
            halted={
                k: run
                for k, run in self.runs.items()
                if self.halts.active and run.verdict == o.RunVerdict.RUN_VERDICT_HALTED
            },
            coordinators=dict(self.coordinators),
            removal_of=self.removals.get,
        )

    def decide(self, decide: Decide) -> object:
        decision = decide(self.books())
        for change in decision.changes:
            self._apply(change)
        for entry in decision.audit:
            self.audit.append(entry)
            self.heads.append(hashlib.sha256(f"{self.heads[-1]}{entry}".encode()).hexdigest())
        self.last_decision_ms = self.clock()
        return decision.answer

    @property
    def position(self) -> StorePosition:
        return StorePosition(length=len(self.audit), head=self.heads[-1])

    def collect(self, recipient: str) -> tuple[Letter, ...]:
        found = tuple(one for one in self.letters if one.recipient == recipient)
        self.letters = [one for one in self.letters if one.recipient != recipient]
        return found

    def said(self, what: str) -> list[Audited]:
        return [entry for entry in self.audit if entry.what == what]

    @property
    def in_flight(self) -> list[Permit]:
        return [permit for permit in self.permits.values() if not permit.released_ms]

    def _apply(self, change: Change) -> None:
        match change:
            case PutHost(row):
                self.hosts[row.host] = row
            case PutRun(row):
                self.runs[row.run_id] = row
            case PutPermit(row):
                self.permits[row.permit_id] = row
            case PutStrike(row):
                self.strikes[row.view.command_id] = row
            case PutHalt(record):
                self.halts = self.halts.engage(record)
            case ReleaseHalts(ids):
                self.halts = self.halts.release(ids)
            case PutCoordinator(row):
                self.coordinators[row.coordinator] = row
            case PutRemoval(row):
                self.removals[row.host] = row
            case ForgetHost(name):
                self.hosts.pop(name, None)
            case VoidLetters(name):
                kept = [one for one in self.letters if one.told or one.recipient != name]
                ended = [one.sender == name and one.until_ms > 0 for one in kept]
                self.letters = [replace(one, until_ms=1) if e else one for one, e in zip(kept, ended, strict=True)]
            case SetLimit(scope, limit, _):
                self.limits = replace(self.limits, limits={**self.limits.limits, scope: limit})


class World:
    """`shares`: the world whose store this one's coordinator, called `name`, shares."""

    def __init__(
        self,
        agents: Iterable[FakeAgent] = (),
        limits: dict[str, int] | None = None,
        *,
        name: str = "c1",
        instance: str = "",
        shares: "World | None" = None,
    ) -> None:
        self.name, self.instance = name, instance
        self.now_ns: int = shares.now_ns if shares else 1_000_000 * MS
        alone = MemoryStore(lambda: self.unix_ms, FleetLimits(limits=limits or {}))
        self.store: MemoryStore = shares.store if shares else alone
        self.agents = {agent.host: agent for agent in agents}
        self.reads = True  # the store is read
        self.keep_fails = ""  # the state directory fails with this
        self.kept: list[tuple[Halts, StorePosition]] = []
        self.effects: list[w.Effect] = []  # all there ever were
        self.intercept: Callable[[w.Effect], list[w.Input] | None] = lambda _: None  # what comes of it instead
        self.replies: dict[int, list[Message]] = {}
        self.refusals: dict[int, w.Refuse] = {}
        self.ended: set[int] = set()
        self.events: list[w.KeepEvents] = []
        self.outside: dict[str, float | None] = {}  # probe -> what it reads; None, or not there: no answer
        self.deeds: list[str] = []  # done, by name
        self.deeds_fail: dict[str, str] = {}  # name -> the problem
        self.record: list[w.KeepRecord] = []
        self.answers: deque[w.Decided] = deque()  # of a store that is held
        self._asks = 0
        self._links = 0
        self._drawn = 0  # ids handed out
        self._link_host: dict[int, str] = {}
        self.core = Core()

    @property
    def unix_ms(self) -> int:
        return T0_MS + self.now_ns // MS

    @property
    def now(self) -> w.Now:
        return w.Now(self.now_ns, self.unix_ms)

    # --- the shell ------------------------------------------------------------------------------------------

    def start(self, *, join: bool = True, readable: bool = True) -> "World":
        halts, position = self.kept[-1] if self.kept else (Halts(), StorePosition())
        books = self.store.books() if readable and not self.store.failing else None
        started = w.Started(
            coordinator=self.name,
            instance=self.instance,
            limits=self.store.limits,
            halts=halts,
            position=position,
            books=books,
            lease_ms=LEASE_MS,
            heartbeat_ms=1_000,
        )
        self.give(started)
        if join:
            for host in self.agents:
                self.join(host)
            self.run(1_500)
        return self

    def restart(self, *, join: bool = True) -> "World":
        """The coordinator is killed and started again; the agents dial anew."""
        for agent in self.agents.values():
            agent.link = 0
        self._link_host.clear()
        self.answers.clear()
        self.core = Core()
        return self.start(join=join)

    def give(self, what: w.Input) -> None:
        """One input, and all that follows from it."""
        inputs: deque[w.Input] = deque([what])
        while inputs:
            for effect in self.core.handle(inputs.popleft(), self.now):
                self.effects.append(effect)
                instead = self.intercept(effect)
                inputs.extend(self._carry_out(effect) if instead is None else instead)

    def run(self, ms: int, until: Callable[[], bool] | None = None) -> None:
        """Time passes; with `until`, no longer than until it holds, and it must hold in time."""
        for _ in range(max(1, ms // 100)):
            self.now_ns += 100 * MS
            for agent in self.agents.values():
                for frame in agent.tick(self.now_ns):
                    self.hear(agent.host, frame)
            self.give(w.Tick(self._fresh()))
            if until is not None and until():
                return
        assert until is None, f"it did not come to hold in {ms} ms"

    def join(self, host: str) -> int:
        agent = self.agents[host]
        self._links += 1
        agent.link = self._links
        self._link_host[agent.link] = host
        self.give(
            w.Joined(link=agent.link, host=host, hello=agent.hello(), token=f"{self.instance}token-{self._links}")
        )
        return self._links

    def leave(self, host: str) -> None:
        link, self.agents[host].link = self.agents[host].link, 0
        self._link_host.pop(link, None)
        self.give(w.Left(link))

    def hear(self, host: str, frame: a.ConnectRequest) -> None:
        if self.agents[host].link:
            self.give(w.Heard(self.agents[host].link, frame))

    def ask(self, request: Message, *roles: str, name: str = "ada") -> int:
        self._asks += 1
        who = w.Operator(name, frozenset(roles or ("admin",)))
        self.give(w.Asked(ask=self._asks, who=who, request=request, fresh=self._fresh()))
        return self._asks

    def answer(self, ask: int, kind: type[M]) -> M:
        """The last reply to an ask."""
        assert ask not in self.refusals, self.refusals[ask]
        reply = self.replies[ask][-1]
        assert isinstance(reply, kind)
        return reply

    def told(self, host: str, frame: str) -> list[a.ConnectResponse]:
        """Frames of a kind that this host's agent has got."""
        return [got for got in self.agents[host].got if got.WhichOneof("frame") == frame]

    def release_answers(self) -> None:
        """A store that was held answers."""
        self.store.held = False
        while self.answers:
            self.give(self.answers.popleft())

    def _carry_out(self, effect: w.Effect) -> Iterable[w.Input]:
        match effect:
            case w.Transact(token, decide):
                decided = self._decide(token, decide)
                if not self.store.held:
                    yield decided
                else:
                    self.answers.append(decided)
            case w.ReadStore():
                if self.reads and not self.store.failing:
                    yield w.StoreRead(self.now_ns, self.store.books())
            case w.Post(token, letters):
                if not self.store.failing:
                    self.store.letters.extend(letters)
                yield w.Posted(token, self.store.failing)
            case w.Collect(recipient):
                if not self.store.failing and (found := self.store.collect(recipient)):
                    yield w.Delivered(begun_ns=self.now_ns, now_ms=self.store.clock(), letters=found)
            case w.Keep(token, halts, position):
                if not self.keep_fails:
                    self.kept.append((halts, position))
                yield w.Kept(token, self.keep_fails)
            case w.Measure(token, probe):
                value = self.outside.get(probe.name)
                detail = "" if value is not None else "no answer within 2s"
                reading = Reading(probe=probe.name, at_unix_ms=self.unix_ms, value=value, detail=detail)
                yield w.Measured(token, reading)
            case w.Perform(token, deed):
                self.deeds.append(deed.name)
                yield w.Performed(token, self.deeds_fail.get(deed.name, ""))
            case w.KeepRecord():
                self.record.append(effect)
            case w.Tell(link, frame):
                yield from self._deliver(link, frame)
            case w.Broadcast(links, frame):
                for link in links:
                    yield from self._deliver(link, frame)
            case w.Dismiss(link, reason, detail, retry):
                yield from self._dismissed(link, a.Dismissal(reason=reason, detail=detail, retry_after_ms=retry))
            case w.Reply(ask, message, last):
                self.replies.setdefault(ask, []).append(message)
                if last:
                    self.ended.add(ask)
            case w.Refuse():
                self.refusals[effect.ask] = effect
                self.ended.add(effect.ask)
            case w.KeepEvents():
                self.events.append(effect)

    def _decide(self, token: int, decide: Decide) -> w.Decided:
        if self.store.failing:
            return w.Decided(token, None, StorePosition(), self.store.failing)
        answer = self.store.decide(decide)
        if isinstance(answer, Granted) and self.store.lies_about_the_next_grant:
            self.store.lies_about_the_next_grant = False
            return w.Decided(token, None, StorePosition(), "the connection was lost")
        return w.Decided(token, answer, self.store.position)

    def _deliver(self, link: int, frame: a.ConnectResponse) -> Iterable[w.Input]:
        host = self._link_host.get(link)
        if host is None or self.agents[host].link != link:
            return
        for answer in self.agents[host].hear(frame, self.now_ns):
            yield w.Heard(link, answer)

    def _dismissed(self, link: int, dismissal: a.Dismissal) -> Iterable[w.Input]:
        host = self._link_host.pop(link, None)
        if host is not None:
            self.agents[host].got.append(a.ConnectResponse(dismissal=dismissal))
            if self.agents[host].link == link:
                self.agents[host].link = 0
        yield w.Left(link)

    def _fresh(self) -> str:
        self._drawn += 1
        return hashlib.sha256(f"fresh {self._drawn}".encode()).hexdigest()

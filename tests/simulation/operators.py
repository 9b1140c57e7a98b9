"""The people: they start runs, abort, halt twice, rearm in between, clear, accept, change limits. Seeded."""

from collections.abc import Callable

from google.protobuf.message import Message

from killdeer.v1 import operator_pb2 as o
from killdeer.v1.process_pb2 import StrikeState
from killdeer_coordinator.core.ledger import OVER
from killdeer_coordinator.core.words import Operator, Refuse
from tests.simulation.clock import MS, SECOND
from tests.simulation.coordinator import Coordinator
from tests.simulation.experiments import Experiment, Wish, drawn, wished
from tests.simulation.ground import Ground

ADA = Operator("ada", frozenset({"operator"}))
EVE = Operator("eve", frozenset({"approver"}))
IDA = Operator("ida", frozenset({"operator", "approver"}))
SAM = Operator("sam", frozenset({"viewer"}))
PATIENCE_NS = 120 * SECOND
SCOPES = ("in_flight", "per_host", "per_service", "per_zone", "per_minute")

Then = Callable[[Message], None]


class Operators:
    """`busy`: how eager they are to strike; `meddling`: to halt, abort, clear and change; `wish`: for certain
    experiments; `rearmed_s`: how often somebody rearms."""

    def __init__(
        self,
        ground: Ground,
        coordinators: list[Coordinator],
        *,
        environment: str,
        busy: float,
        meddling: float,
        wish: Wish | None = None,
        rearmed_s: float = 8.0,
    ) -> None:
        self._ground = ground
        self._coordinators = coordinators
        self._environment = environment
        self._dice = ground.dice("operators")
        self._busy = busy
        self._meddling = meddling
        self._wish = wish
        self._rearmed_s = rearmed_s
        self._number = 0
        self.keys: dict[str, Experiment] = {}  # by the client's own id of the run
        self.resting = False
        self._started: list[str] = []  # run ids
        self._patient_until_ns = 0  # then what still runs is aborted
        self.settling = False
        self.named: dict[str, str] = {}  # held permits as the last list names them: command -> why
        self.hosts: dict[str, o.HostView] = {}  # as the last list has them

    def begin(self) -> None:
        self._soon(1.0, self._run)
        self._soon(3.0, self._meddle)
        self._soon(self._rearmed_s, self._watch_over)

    def rest(self) -> None:
        """From here on they only mend: rearm, accept, look."""
        self.resting = True
        self._patient_until_ns = self._ground.clock.now_ns + PATIENCE_NS
        self._mend()

    # --- strikes --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self.resting:
            return
        self._soon(8.0 / self._busy, self._run)
        self._number += 1
        wish, environment = self._wish, self._environment
        experiment = wished(self._dice, wish, environment) if wish else drawn(self._dice, environment)
        key = f"key-{self._number}"
        request = o.RunRequest(
            source=experiment.source, file=experiment.file, seed=self._dice.randrange(1_000), key=key
        )
        self.keys[key] = experiment

        who = self._dice.choice((ADA, ADA, ADA, IDA))

        def started(message: Message) -> None:
            if isinstance(message, o.RunResponse):
                self._ground.reach("run started")
                self._started.append(message.run_id)

        def planned(message: Message) -> None:
            if isinstance(message, o.PlanResponse):
                self._ground.reach("run of a plan that was looked at")
                request.plan_hash = message.plan.hash
                self._soon(2.0, lambda: self._ask(request, who, started))

        if self._dice.random() < 0.15:
            plan = o.PlanRequest(source=request.source, file=request.file, seed=request.seed)
            self._ask(plan, who, planned)
            return
        self._ask(request, who, started)
        if self._dice.random() < 0.05:
            self._ground.reach("viewer asks for a run")
            self._ask(request, SAM, started)
        if self._dice.random() < 0.1:  # a client that has lost the answer asks again
            self._soon(0.5, lambda: self._ask(request, who, started))
        if self._dice.random() < 0.1 * self._meddling:
            self._ground.reach("operator halts during a run's start")
            self._soon(0.2, self._halt)

    def aborts(self, run_id: str = "") -> None:
        """Now."""
        if not self.resting:
            self._abort(run_id)

    def halts(self, *, rearming: bool = True, at: Coordinator | None = None) -> None:
        """Now."""
        if not self.resting and rearming:
            self._halt()
        elif not self.resting:
            request = o.HaltRequest(reason="drill", id=self._ground.fresh()[:8])
            for coordinator in self._coordinators if at is None else [at]:
                self._ask(request, ADA, lambda message: None, at=coordinator)

    def rearms(self, *, at: Coordinator | None = None) -> None:
        """Now."""
        if not self.resting:
            self._rearm(at)

    # --- meddling -------------------------------------------------------------------------------------------

    def _meddle(self) -> None:
        if self.resting:
            return
        self._soon(6.0 / max(self._meddling, 0.01), self._meddle)
        if not self._meddling:
            return
        kinds: tuple[Callable[[], None], ...] = (
            self._halt,
            self._abort,
            self._rearm,
            self._rearm,
            self._accept,
            self._clear,
            self._limit,
            self._crossing,
            self._look_around,
        )
        self._dice.choice(kinds)()

    def _watch_over(self) -> None:
        """So that no history is spent halted."""
        if not self.resting:
            self._soon(self._rearmed_s, self._watch_over)
            self._rearm()
            self._accept()

    def _halt(self) -> None:
        self._ground.reach("operator halts")
        request = o.HaltRequest(reason="drill", id=self._ground.fresh()[:8])
        who = self._dice.choice((ADA, EVE, SAM))
        coordinators = self._coordinators if self._dice.random() < 0.7 else [self._any()]
        for coordinator in coordinators:  # `killdeer halt` tries every one
            self._ask(request, who, lambda message: None, at=coordinator)
        if self._dice.random() < 0.3:
            self._ground.reach("operator halts twice")
            again = request if self._dice.random() < 0.5 else o.HaltRequest(id=self._ground.fresh()[:8])
            self._soon(self._dice.random(), lambda: self._ask(again, SAM, lambda message: None))
        if self._dice.random() < 0.8:
            self._soon(self._dice.uniform(0.5, 12.0), self._rearm)

    def _crossing(self) -> None:
        """Two halts and a rearm that cross."""
        self._ground.reach("operator halts during a rearm")
        for then in self._dice.sample((self._halt, self._rearm, self._halt, self._rearm), 4):
            self._soon(self._dice.random() * 0.1, then)

    def _rearm(self, at: Coordinator | None = None) -> None:
        self._ground.reach("operator rearms")
        self._ask(o.RearmRequest(reason="all is well"), EVE, lambda message: None, at=at)

    def _abort(self, run_id: str = "") -> None:
        self._ground.reach("operator aborts")
        # Where others may drive it, the edge has looked its id up.
        run = self._started[-1] if self._started and len(self._coordinators) > 1 else "latest"
        self._ask(o.AbortRunRequest(run=run_id or run, reason="enough"), ADA, lambda message: None)

    def _accept(self) -> None:
        self._ask(o.ListHostsRequest(), EVE, self._accept_all)

    def _accept_all(self, message: Message) -> None:
        if not isinstance(message, o.ListHostsResponse):
            return
        self.hosts = {host.host: host for host in message.hosts}
        for host in message.hosts:
            if host.quarantined:
                self._ground.reach("operator accepts a host")
                accept = o.AcceptHostRequest(host=host.host, reason="looked at it")
                self._ask(accept, EVE, lambda message: None)

    def _clear(self) -> None:
        """Permits of strikes that are over, by name."""

        def listed(message: Message) -> None:
            over = (StrikeState.STRIKE_STATE_LOST, StrikeState.STRIKE_STATE_UNKNOWN)
            permits = message.permits if isinstance(message, o.ListPermitsResponse) else ()
            found = [permit for permit in permits if permit.state in over]
            if found:
                permit = self._dice.choice(found)
                self._ground.reach("operator clears a permit")
                clear = o.ClearPermitRequest(permit_id=permit.permit_id, reason="the service is well")
                self._ask(clear, self._dice.choice((EVE, IDA)), lambda message: None)

        self._ask(o.ListPermitsRequest(), EVE, listed)

    def _limit(self) -> None:
        self._ground.reach("operator sets a limit")
        scope = self._dice.choice(SCOPES)
        most = self._dice.randint(4, 60) if scope == "per_minute" else self._dice.randint(1, 4)
        self._ask(o.SetLimitRequest(scope=scope, limit=most, reason="as agreed"), EVE, lambda message: None)

    def _look_around(self) -> None:
        for request in (o.GetStatusRequest(), o.ListLimitsRequest(), o.ListHostsRequest()):
            self._ask(request, SAM, lambda message: None)

    # --- mending --------------------------------------------------------------------------------------------

    def _mend(self) -> None:
        """Every few seconds of the calm: what an operator would do in the morning after."""
        if self.settling:
            self._soon(5.0, self._mend)
            if self._ground.clock.now_ns > self._patient_until_ns:
                for run_id in self._started:
                    self._ask(o.AbortRunRequest(run=run_id), ADA, lambda message: None)
                self._started = []
            self._ask(o.ListPermitsRequest(), EVE, self._note_permits)
            self._ask(o.ListHostsRequest(), EVE, self._accept_all)
            self._ask(o.RearmRequest(reason="the morning after"), EVE, lambda message: None)
        else:
            self._soon(1.0, self._mend)

    def _note_permits(self, message: Message) -> None:
        """A permit that is named in two lists as held after its strike is over is cleared."""
        if not isinstance(message, o.ListPermitsResponse):
            return
        for permit in message.permits:
            again = permit.state in OVER and self.named.get(permit.command_id) == permit.why
            if again and self._ground.clock.now_ns > self._patient_until_ns:
                self._ground.reach("operator clears a permit in the end")
                clear = o.ClearPermitRequest(permit_id=permit.permit_id, reason="the morning after")
                self._ask(clear, EVE, lambda message: None)
        self.named = {permit.command_id: permit.why for permit in message.permits}

    # --- asking ---------------------------------------------------------------------------------------------

    def _ask(self, request: Message, who: Operator, then: Then, *, at: Coordinator | None = None) -> None:
        coordinator = at or self._any()

        def answered(message: Message | Refuse, last: bool) -> None:
            if isinstance(message, Refuse):
                self._ground.reach(f"refused: {message.code}")
            else:
                then(message)

        coordinator.ask(request, who, answered)

    def _any(self) -> Coordinator:
        return self._dice.choice(self._coordinators)

    def _soon(self, seconds: float, then: Callable[[], None]) -> None:
        ns = int(seconds * SECOND)
        self._ground.clock.after(self._dice.randint(ns // 2, ns * 3 // 2) + MS, then)

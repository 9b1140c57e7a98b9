"""I6, I10: whose runs others end. Those of a coordinator that is gone, in time; those of one that lives, never
(rule R24)."""

from killdeer.v1 import operator_pb2 as o
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core.books import Books, Decision, PutCoordinator, PutRun
from tests.simulation.clock import SECOND
from tests.simulation.coordinator import Coordinator
from tests.simulation.ground import Ground, Witness

# Seen in the store so lately, no coordinator is away; a few jumps of the store's clock are in it.
SEEN_NS = 8 * SECOND
# Who has been there for so long is not away, whatever the store did to all.
THERE_NS = 40 * SECOND
# To be seen without a break, to see that another is not, and to end its runs: from when one is able to.
IN_TIME_NS = 30 * SECOND


class TakeOvers(Witness):
    def __init__(self, ground: Ground, coordinators: list[Coordinator]) -> None:
        self._ground = ground
        self._coordinators = coordinators
        self._seen_ns: dict[str, int] = {}  # coordinator -> when it put itself into the store last
        self._gone_ns: dict[str, int] = {}  # coordinator -> since when it is not there, or cannot act
        self._there_ns: dict[str, int] = {}  # coordinator -> since when nothing but the store keeps it from acting
        self._able_ns: dict[str, int] = {}  # coordinator -> since when nothing keeps it from its store
        self._driven: dict[str, str] = {}  # run that goes on -> its driver
        self._restored = False  # since then whoever notices it ends what runs

    def committed(self, coordinator: str, books: Books, decision: Decision) -> None:
        for change in decision.changes:
            match change:
                case PutRun(row) if row.state == o.RUN_STATE_ENDED:
                    known = books.runs.get(row.run_id)
                    if known is not None and known.fence < row.fence and known.driver not in ("", coordinator):
                        self._taken_over(coordinator, row.run_id, known.driver)
                    self._driven.pop(row.run_id, None)
                case PutRun(row):
                    self._driven[row.run_id] = row.driver
                case PutCoordinator(row) if row.coordinator == coordinator and row.seen_ms:
                    self._seen_ns[coordinator] = self._ground.clock.now_ns

    def restored(self, position: StorePosition) -> None:
        """What runs by an old copy is void, whoever drives it; and some of it nobody drives."""
        self._driven.clear()
        self._restored = True

    def swept(self) -> None:
        if len(self._coordinators) == 1:
            return
        now, failing = self._ground.clock.now_ns, self._coordinators[0].store_fails
        for one in self._coordinators:
            if one.able:
                self._gone_ns.pop(one.name, None)
                self._there_ns.setdefault(one.name, now)
            else:
                self._gone_ns.setdefault(one.name, now)
                self._there_ns.pop(one.name, None)
            if one.able and not failing:
                self._able_ns.setdefault(one.name, now)
            else:
                self._able_ns.pop(one.name, None)
        for run_id, driver in self._driven.items():
            gone_ns = self._gone_ns.get(driver, now)
            since_ns = [max(gone_ns, able_ns) for name, able_ns in self._able_ns.items() if name != driver]
            if since_ns and now - min(since_ns) > IN_TIME_NS:
                what = f"{driver} is gone since {gone_ns}, and nobody has ended its run {run_id}"
                raise self._ground.broken("I6", "R24", what)

    def _taken_over(self, coordinator: str, run_id: str, driver: str) -> None:
        self._ground.reach("run ended for another coordinator")
        left = next((one for one in self._coordinators if one.name == driver and one.stopping), None)
        seen_ns = self._seen_ns.get(driver, 0)
        if self._restored or left is not None:
            return
        there_ns = self._there_ns.get(driver)
        now = self._ground.clock.now_ns
        if now - seen_ns < SEEN_NS or (there_ns is not None and now - there_ns > THERE_NS):
            what = f"{coordinator} has ended run {run_id} of {driver}, which was seen at {seen_ns}"
            raise self._ground.broken("I10", "R24", what)

"""Why something died: the newest deaths that are meant, each with what befell its service around it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import Connection

from killdeer.v1.operator_pb2 import Explanation, StrikeView, WatchEventsResponse
from killdeer.v1.process_pb2 import ExecSeen, Identity, KernelEvent, Party, Successor
from killdeer_coordinator.store import rows, statements
from killdeer_coordinator.store.deaths import is_meant, service_of
from killdeer_coordinator.store.rows import AnyRow

SECOND_NS = 1_000_000_000
MINUTE_MS = 60_000
BEFORE_NS = 10 * SECOND_NS
# Long enough for a unit that waits before it restarts.
AFTER_NS = 30 * SECOND_NS
AROUND_MOST = 20
# Events of the host that are looked through on either side of a death.
NEARBY_MOST = 2_000


def explain(connection: Connection, host: str, process: str, limit: int) -> list[Explanation]:
    """The newest first; none: nothing that is kept of this host fits."""
    read = connection.execution_options(yield_per=1000).execute(statements.DEATHS_OF_HOST, {"host": host})
    found = list(islice((row for row in read if is_meant(row, process)), limit))
    read.close()
    return [_explanation(connection, row) for row in found]


def told_since_ms(connection: Connection, host: str) -> int:
    """When the oldest event that is kept of this host came in; 0: none is kept."""
    return connection.scalar(statements.OLDEST_OF_HOST, {"host": host}) or 0


def _explanation(connection: Connection, row: AnyRow) -> Explanation:
    one = rows.event_of(connection.execute(statements.EVIDENCE_OF_NUMBER, {"number": row.number}).one())
    near = Surroundings(one.event, _nearby(connection, row))
    made = Explanation(
        death=one.event.death,
        at_unix_ms=row.at_ms,
        at_boot_ns=one.event.at_boot_ns,
        around=near.events(),
        deaths_in_hour=_deaths(connection, row, 60 * MINUTE_MS),
        successor=near.successor(),
    )
    if one.run_id:
        _add_strike(connection, one, made)
    return made


def _add_strike(connection: Connection, one: WatchEventsResponse, made: Explanation) -> None:
    asked = {"command_id": one.event.command_id}
    strike = StrikeView.FromString(connection.execute(statements.STRIKE_OF_COMMAND, asked).scalar_one())
    if strike.victim.host != one.event.host:  # an agent speaks of its own strikes only
        return
    run = rows.run_of(connection.execute(statements.RUN_OF_ID, {"run_id": one.run_id}).one())
    made.run_id, made.started_by, made.experiment = run.run_id, run.started_by, run.experiment
    if strike.HasField("successor"):
        made.successor.CopyFrom(strike.successor)


def _nearby(connection: Connection, row: AnyRow) -> list[WatchEventsResponse]:
    asked = {"host": row.host, "number": row.number, "limit": NEARBY_MOST}
    found = [
        rows.event_of(near)
        for statement in (statements.EVIDENCE_BEFORE, statements.EVIDENCE_AFTER)
        for near in connection.execute(statement, asked)
    ]
    return sorted(found, key=lambda one: (one.event.at_boot_ns, one.number))


def _deaths(connection: Connection, row: AnyRow, within_ms: int) -> int:
    span = {"host": row.host, "service": row.service, "since_ms": row.at_ms - within_ms, "until_ms": row.at_ms}
    return connection.scalar(statements.COUNT_DEATHS, span) or 0


@dataclass(slots=True)
class Surroundings:
    """Events of the host near a death, and which of them have to do with it. Pure.

    They are told apart by the host's own clock; `near` is in its order.
    """

    event: KernelEvent
    near: list[WatchEventsResponse]
    _kin: set[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        at_ns, service = self.event.at_boot_ns, service_of(self.event.death)
        self.near = [one for one in self.near if at_ns - BEFORE_NS <= one.event.at_boot_ns <= at_ns + AFTER_NS]
        deaths = [one.event.death for one in self.near if one.event.HasField("death")]
        self._kin = {_key(death.process) for death in deaths if service_of(death) == service}
        self._kin.add(_key(self.event.death.process))
        self._kin.update(_key(one.event.exec.process) for one in self._taking_over())

    def events(self) -> list[WatchEventsResponse]:
        """Those nearest to the death, oldest first."""
        found = [one for one in self.near if self._concerns(one.event)]
        found.sort(key=lambda one: abs(one.event.at_boot_ns - self.event.at_boot_ns))
        return sorted(found[:AROUND_MOST], key=lambda one: (one.event.at_boot_ns, one.number))

    def successor(self) -> Successor | None:
        """The first that took its place, as far as programs started show: a fork alone is not seen."""
        for one in self._taking_over():
            process = one.event.exec.process
            kept_cgroup = self._same("cgroup_id", process)
            return Successor(
                identity=Identity(host=self.event.host, pid=process.pid, start_ticks=process.start_ticks),
                at_boot_ns=one.event.at_boot_ns,
                after_exit_ns=one.event.at_boot_ns - self.event.at_boot_ns,
                source="bpf" if kept_cgroup else "bpf, by its name and parent",
            )
        return None

    def _taking_over(self) -> Iterable[WatchEventsResponse]:
        at_ns = self.event.at_boot_ns
        return (
            one
            for one in self.near
            if one.event.HasField("exec") and one.event.at_boot_ns > at_ns and self._takes_over(one.event.exec)
        )

    def _takes_over(self, seen: ExecSeen) -> bool:
        """Two of three are the same: a unit's new cgroup has another id, and some processes rename themselves."""
        if _key(seen.process) == _key(self.event.death.process):
            return False
        return sum(self._same(what, seen.process) for what in ("name", "parent_pid", "cgroup_id")) >= 2

    def _same(self, what: str, process: Party) -> bool:
        was = getattr(self.event.death.process, what)
        return bool(was) and was == getattr(process, what)

    def _concerns(self, event: KernelEvent) -> bool:
        match event.WhichOneof("kind"):
            case "signal":
                return self._akin(event.signal.target)
            case "exit":
                return self._akin(event.exit.process)
            case "exec":
                return self._akin(event.exec.process)
            case "oom":
                return self._akin(event.oom.victim) or self._akin(event.oom.trigger)
            case "oom_counted":
                return self._akin(event.oom_counted.process)
            case "death":
                return service_of(event.death) == service_of(self.event.death)
            case "lost":  # whatever is missing may be what mattered
                return True
            case _:
                return False

    def _akin(self, party: Party) -> bool:
        if _key(party) in self._kin:
            return True
        # A cgroup is the service's own where the service is a unit or a container; else it holds others too.
        death = self.event.death
        return bool(death.unit or death.container) and self._same("cgroup_id", party)


def _key(party: Party) -> tuple[int, int]:
    return party.pid or -party.host_pid, party.start_ticks

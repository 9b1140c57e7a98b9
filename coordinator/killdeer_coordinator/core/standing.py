"""How a service stands by the latest scans, and which victims those scans could still have counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from killdeer.v1.operator_pb2 import StrikeView
from killdeer_coordinator.core.books import Permit


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Hosts without a lease count zero, so they are left out (rule R21)."""

    service: str
    ready_by_host: dict[str, int]
    begun_ms: int  # store's clock: when the oldest of the scans it rests on was begun
    begun_boot_ns: dict[str, int] = field(default_factory=dict)
    """Candidates.begun_boot_ns of every host scanned, by that host's own clock, as exits and blows are. A host that
    is missing: none of its victims is taken as gone, which makes percentages stricter."""

    @property
    def ready(self) -> int:
        return sum(self.ready_by_host.values())

    def missed(self, view: StrikeView) -> bool:
        """Had the victim exited, or was it paused, before its host's scan began? Then it is not among the ready. In
        the very instant is not before: it may have been counted."""
        begun = self.begun_boot_ns.get(view.victim.host, 0)
        if view.HasField("exit"):
            return view.exit.at_boot_ns < begun
        if not view.action.HasField("pause") or not view.blows or any(blow.revert for blow in view.blows):
            return False
        return 0 < view.blows[0].sent_boot_ns < begun

    def lacks(self, view: StrikeView) -> bool:
        """Is the service one short for this victim: gone, with no successor that the scan could have counted?

        A successor counts from its host's report. One that the scan saw and no report has told of yet makes the
        service look larger by one until then, at a time when it is not short of that one.
        """
        begun = self.begun_boot_ns.get(view.victim.host, 0)
        replaced = view.HasField("successor") and view.successor.at_boot_ns <= begun
        return self.missed(view) and not replaced

    def dooms(self, view: StrikeView) -> bool:
        """Is the victim still among the ready, though it may go at any moment?"""
        return view.victim.host in self.ready_by_host and not self.missed(view)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The asked service, as its standing and its victims in flight have it."""

    flying: Sequence[Permit]
    ready: int
    lacking: int  # victims that are gone and not replaced, by what the scans could see
    going: int  # victims that the scans may have counted as ready

    @classmethod
    def of(cls, standing: Standing, flying: Sequence[Permit], views: Sequence[StrikeView]) -> "Service":
        """`views` are of those victims of which anything is known; the others may be among the ready."""
        return cls(
            flying=flying,
            ready=standing.ready,
            lacking=sum(standing.lacks(view) for view in views),
            going=sum(standing.dooms(view) for view in views) + len(flying) - len(views),
        )

    @property
    def whole(self) -> int:
        """Processes there would be without us: never more than there are (a limit of harm is a share of it)."""
        return self.ready + self.lacking

    @property
    def most(self) -> int:
        """The same, never fewer than there are (what must be left is a share of it)."""
        return self.ready + len(self.flying)

    def binds(self, owner: str, asker: str) -> bool:
        """Do this run's limits on the service bind: does it ask, or hold a victim of it?"""
        return owner == asker or any(permit.run_id == owner for permit in self.flying)

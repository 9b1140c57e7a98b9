"""How a service stands by the latest scans, and which victims those scans could still have counted."""

from dataclasses import dataclass, field

from killdeer.v1.operator_pb2 import StrikeView


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
        """Had the victim exited, or was it paused, before its host's scan began? Then it is not among the ready."""
        begun = self.begun_boot_ns.get(view.victim.host, 0)
        if view.HasField("exit"):
            return view.exit.at_boot_ns <= begun
        if not view.action.HasField("pause") or not view.blows or any(blow.revert for blow in view.blows):
            return False
        return 0 < view.blows[0].sent_boot_ns <= begun

    def lacks(self, view: StrikeView) -> bool:
        """Is the service one short for this victim: gone, with no successor that the scan could have counted?"""
        begun = self.begun_boot_ns.get(view.victim.host, 0)
        replaced = view.HasField("successor") and view.successor.at_boot_ns <= begun
        return self.missed(view) and not replaced

    def dooms(self, view: StrikeView) -> bool:
        """Is the victim still among the ready, though it may go at any moment?"""
        return view.victim.host in self.ready_by_host and not self.missed(view)

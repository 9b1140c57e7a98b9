"""Hosts that were removed: their streams end at once, and they are forgotten once nothing of them is open."""

from functools import partial

from killdeer.v1.process_pb2 import Reason
from killdeer_coordinator.core.books import HostRow
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.joining import forgotten
from killdeer_coordinator.core.limits import held
from killdeer_coordinator.core.roster import Roster
from killdeer_coordinator.core.sessions import Sessions
from killdeer_coordinator.core.words import Decided

LOOK_EVERY_NS = 2_000_000_000


class Departures:
    def __init__(self, roster: Roster, errands: Errands, sessions: Sessions) -> None:
        self._roster = roster
        self._errands = errands
        self._sessions = sessions
        self._due_ns = 0
        self._asked: set[str] = set()

    def removed(self, row: HostRow) -> None:
        self._roster.put(row)
        for link in [link for link in self._roster.links.values() if link.host == row.host]:
            self._sessions.turned_away(link, Reason.REASON_NOT_PERMITTED, row.quarantined)

    def tick(self) -> None:
        """Whether one may still act, by its lease or for a permit, is for the store to say."""
        now_ns, books = self._errands.now.mono_ns, self._roster.books
        if books is None or now_ns < self._due_ns:
            return
        self._due_ns = now_ns + LOOK_EVERY_NS
        gone = {row.host for row in books.hosts.values() if row.removed} - self._asked
        busy = {permit.host for permit in held(books)} if gone else set()
        for host in sorted(gone - busy):
            if self._roster.way_to(host) is None:
                self._asked.add(host)
                self._errands.transact(forgotten(host, self._roster.lease_ms), partial(self._forgotten, host))

    def _forgotten(self, host: str, decided: Decided) -> None:
        self._asked.discard(host)
        if decided.answer is True:
            self._roster.forget(host)

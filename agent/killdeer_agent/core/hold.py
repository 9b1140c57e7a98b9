"""A hold: the place of one victim is kept empty, its successors struck as they appear, until its time is over.

One place at a time: the next blow falls only after whom the last one hit has exited, and only while as many others
of the service are there as the first blow left. So a hold is never more than the one victim it has a permit for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.facts import Process
from killdeer_agent.core.recovery import Key, key_of

# Each blow is an intent on the disk, and each update names them all. Who restarts more often than this is in no
# back-off at all, and more blows would show nothing new.
MOST_BLOWS = 300
# Execs that wait for the place to be empty; the oldest is given up first.
MOST_APPEARED = 64
# A successor that started so shortly before the end may not have been struck any more.
LAST_NS = 1_000_000_000

# A successor that says one of these at its last look is not struck, and the next one may be.
PASSING = frozenset(
    {
        Reason.REASON_GONE,
        Reason.REASON_REUSED,
        Reason.REASON_CHANGED,
        Reason.REASON_NOT_MATCHING,
        Reason.REASON_ZOMBIE,
        Reason.REASON_STOPPED,
        Reason.REASON_LEADER_DEAD,
    }
)


@dataclass(slots=True, kw_only=True)
class Hold:
    length_ns: int
    unit: str = ""  # the victim's: a successor is in the same
    starts: bool = False  # that unit was active when struck: it is started should it fail by our blows
    begun_ns: int = 0  # the first blow
    ended_ns: int = 0  # no blow falls any more
    cut_short: bool = False  # before its time, or its place may not have been empty for all of it
    filled: str = ""  # why it may not have been
    target: Process | None = None  # the successor of the blow under way or last; None: the victim
    struck: dict[Key, int] = field(default_factory=dict)  # successors, and the blow of each
    vacant_ns: int = 0  # since when whom the last blow hit is gone; 0: not yet
    appeared: dict[Key, None] = field(default_factory=dict)  # execs that were not looked at yet, oldest first
    following: bool = False  # a Follow is out
    together: bool = False  # the service is one unit or one container, which ends as a whole
    others: int | None = None  # how many of the service the first blow left
    asking: bool = False  # a LookUnit or a StartUnit is out
    due_ns: int = 0  # when the unit is looked at (again)
    started: bool = False
    reset: bool = False  # it is `inactive` by our own doing

    @property
    def goes_on(self) -> bool:
        return bool(self.begun_ns) and not self.ended_ns

    @property
    def until_ns(self) -> int:
        return self.begun_ns + self.length_ns

    @property
    def may_follow(self) -> bool:
        return self.goes_on and bool(self.vacant_ns) and not self.following

    def has_appeared(self, key: Key) -> None:
        """It has become another program; a process may do so more than once before it is one of the service."""
        self.appeared.pop(key, None)
        self.appeared[key] = None
        if len(self.appeared) > MOST_APPEARED:
            del self.appeared[next(iter(self.appeared))]
            self.filled = self.filled or f"more than {MOST_APPEARED} execs came before they could be looked at"

    def next_key(self) -> Key | None:
        """The oldest that was not struck since."""
        while self.appeared:
            key = next(iter(self.appeared))
            del self.appeared[key]
            if key not in self.struck:
                return key
        return None

    def leaves_enough(self, successor: Key, members: Iterable[Process], before: set[Key], gone: set[Key]) -> bool:
        """Would the blow leave as many others as the first one did? In a unit or a container what goes down with
        the victim is found missing when its first successor is here. Elsewhere nothing ties the processes of a
        service to one another: one that is missing is so for a reason of its own. `before`: the others before the
        first blow; `gone`: the victims of other strikes on the service that are not replaced yet.
        """
        there = {key_of(member) for member in members} - self.struck.keys() - {successor}
        if self.others is None:
            self.others = len(there | before & gone) if self.together else len(before)
        enough = len(there) >= self.others
        if not enough:
            self.filled = self.filled or "a successor was left alone while others of its service were missing"
        return enough

    def take(self, successor: Process, blow: int) -> None:
        """The place is taken: the next blow is for this one."""
        self.target, self.vacant_ns = successor, 0
        self.struck[key_of(successor)] = blow

    def spare(self) -> None:
        """It was not struck after all."""
        if self.target is not None:
            self.struck.pop(key_of(self.target), None)

    def end(self, now_ns: int, *, cut_short: bool) -> None:
        self.ended_ns, self.cut_short = now_ns, cut_short or bool(self.filled)
        self.appeared.clear()

"""A warrant: everything the last look needs to say yes, frozen (rule R3).

The core cannot read /proc at the moment of the signal. It issues a warrant; the kernel port gathers facts,
asks `refuses`, and signals, synchronously. The real and the simulated port call the same predicate.
"""

from dataclasses import dataclass

from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.facts import FactMissing, Facts, Now, Process, Refusal
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.lease import Lease
from killdeer_agent.core.selector import Matcher

# Stopped or traced by somebody else, or no longer alive (rule R5).
_UNSTRUCK = {
    "T": Refusal(Reason.REASON_STOPPED, "it is stopped already, by somebody else"),
    "t": Refusal(Reason.REASON_STOPPED, "it is stopped by a tracer"),
    "Z": Refusal(Reason.REASON_ZOMBIE, "it has exited and waits for its parent to reap it"),
    "X": Refusal(Reason.REASON_GONE, "it has exited"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Warrant:
    """The right to one blow on one process. Times are CLOCK_BOOTTIME nanoseconds of this host."""

    process: Process
    boot_id: str
    selector: Matcher
    guard: Guard
    action: str  # kill | terminate | pause | hold-down
    lease: Lease
    not_after_ns: int
    service: str = ""  # a successor's: it is in the same as the victim was, and in the same unit
    unit: str = ""
    first_sight: bool = False  # nobody has seen the process before: its program is what this look finds

    def refuses(self, facts: Facts, now: Now, *, halted_locally: bool) -> Refusal | None:
        """The checklist of the last look. The first no is the answer; what cannot be checked is a no (I10)."""
        if halted_locally:
            return Refusal(Reason.REASON_HALTED_LOCALLY, "the halt file is on this host")
        if not self.lease.holds(now):
            return Refusal(Reason.REASON_NOT_LEASED, "the lease is over")
        if now.boot_ns >= self.not_after_ns:
            return Refusal(Reason.REASON_TOO_LATE, "past the command's not_after")
        if self.process.boot_id != self.boot_id:
            return Refusal(Reason.REASON_OTHER_BOOT, "the host has been booted since it was chosen")
        try:
            return self._refuses_process(facts, now)
        except FactMissing as missing:
            return Refusal(missing.reason, missing.detail)

    def refuses_still(self, facts: Facts, program: str) -> Refusal | None:
        """The end of the last look: what may have come to pass while guard and selector read their facts, which is
        milliseconds for an executable or a port. `program` is the one that they were asked about."""
        try:
            if facts.start_ticks != self.process.start_ticks:
                return Refusal(Reason.REASON_REUSED, f"pid {facts.pid} belongs to another process now")
            if facts.program != program:
                return Refusal(Reason.REASON_CHANGED, f"it runs another program now: {facts.name}")
            return unstruck(facts)
        except FactMissing as missing:
            return Refusal(missing.reason, missing.detail)

    def _refuses_process(self, facts: Facts, now: Now) -> Refusal | None:
        if facts.start_ticks != self.process.start_ticks:
            return Refusal(Reason.REASON_REUSED, f"pid {facts.pid} belongs to another process now")
        refused = unstruck(facts) or self.guard.refuses_always(facts)
        if refused is not None:
            return refused
        if self.service and (facts.service, facts.unit) != (self.service, self.unit):
            return Refusal(Reason.REASON_NOT_MATCHING, f"it is none of {self.unit or self.service}")
        if not self.first_sight and facts.program != self.process.program:
            return Refusal(Reason.REASON_CHANGED, f"it runs another program now: {facts.name}")
        if not self.selector.matches(facts, now, self.guard.hide):
            return Refusal(Reason.REASON_NOT_MATCHING, "the selector no longer matches it")
        return self.guard.refuses(facts, now, self.action)


def unstruck(facts: Facts) -> Refusal | None:
    """The states that are not struck (rule R5)."""
    if facts.state == "Z" and facts.threads > 1:
        return Refusal(Reason.REASON_LEADER_DEAD, "its first thread has exited, others run on")
    return _UNSTRUCK.get(facts.state)

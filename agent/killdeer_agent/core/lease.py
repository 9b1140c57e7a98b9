"""The agent's time-limited right to act, counted from when it sent the heartbeat (rules R7 and R8)."""

from dataclasses import dataclass

from killdeer_agent.core.facts import Now

# A host whose real-time clock ran further ahead of CLOCK_BOOTTIME than this stood still in between.
FROZEN_NS = 3_000_000_000


@dataclass(frozen=True, slots=True)
class Lease:
    """Until `until_ns` (CLOCK_BOOTTIME). `anchor` is both clocks when the answered heartbeat was made."""

    until_ns: int = 0
    anchor: Now | None = None

    def holds(self, now: Now) -> bool:
        return now.boot_ns < self.until_ns and not self._stood_still(now)

    def renewed(self, heartbeat: Now, lease_ms: int) -> "Lease":
        """From the stamp of the heartbeat that was answered; an older answer shortens nothing."""
        until = heartbeat.boot_ns + lease_ms * 1_000_000
        return Lease(until, heartbeat) if until > self.until_ns else self

    def _stood_still(self, now: Now) -> bool:
        """Rule R8. A clock chip that was there when the lease was granted and cannot be read now tells nothing:
        what cannot be checked has failed (I10)."""
        if self.anchor is None or self.anchor.rtc_ns is None:
            return False
        if now.rtc_ns is None:
            return True
        return (now.rtc_ns - self.anchor.rtc_ns) - (now.boot_ns - self.anchor.boot_ns) > FROZEN_NS

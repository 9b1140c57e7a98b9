"""Which certificates are about to end, in words for operators: while there is time to make others. Pure.

What is renewed by itself and works is never named: it has more of its life left.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

DAY_S: Final = 86_400
SOON_DAYS: Final = 30
# All others end with it, and a fleet takes its time to change to another.
CA_SOON_DAYS: Final = 180
# Of one that lives for days. It is renewed with a third of its life left.
LEAST_LEFT: Final = 1 / 5
NAMED_MOST: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Of a certificate: seconds since the epoch."""

    begins_s: float
    ends_s: float

    def ends_soon(self, now_s: float) -> bool:
        return self.ends_s - now_s < min(SOON_DAYS * DAY_S, (self.ends_s - self.begins_s) * LEAST_LEFT)

    def left(self, now_s: float) -> str:
        left_s = self.ends_s - now_s
        if left_s < 0:
            return "has ended"
        return f"in {left_s // DAY_S:.0f} days" if left_s >= 3 * DAY_S else f"in {left_s // 3_600:.0f} hours"


def life_of(certificate: bytes) -> Life:
    """Of the first in a PEM. Raises ValueError."""
    read = x509.load_pem_x509_certificate(certificate)
    return Life(begins_s=read.not_valid_before_utc.timestamp(), ends_s=read.not_valid_after_utc.timestamp())


def of_hosts(lives: Mapping[str, Life], now_s: float) -> str:
    """Those that end soon, the first first; empty: none does."""
    ending = sorted((life.ends_s, host) for host, life in lives.items() if life.ends_soon(now_s))
    if not ending:
        return ""
    named = ", ".join(f"{host} {lives[host].left(now_s)}" for _, host in ending[:NAMED_MOST])
    more = f" and {len(ending) - NAMED_MOST:,} more" if len(ending) > NAMED_MOST else ""
    return (
        f"certificates of hosts end soon: {named}{more}; where one has joined, killdeer-agent doctor says why it "
        "is not renewed; one of `init --agent` is to join, or to be made anew"
    )


def of_authorities(bundle: bytes, now_s: float) -> str:
    """Where the last of the CAs ends soon, and no other has been made yet; else empty. Raises ValueError."""
    last_s = max(one.not_valid_after_utc.timestamp() for one in x509.load_pem_x509_certificates(bundle))
    if last_s - now_s >= CA_SOON_DAYS * DAY_S:
        return ""
    day = dt.datetime.fromtimestamp(last_s, dt.UTC).date()
    return (
        f"the fleet's CA ends on {day}, and every certificate with it: killdeer-coordinator ca rotate, in good time"
    )


def of_coordinator(certificate: bytes, file: Path, now_s: float) -> str:
    """Raises ValueError."""
    if life_of(certificate).ends_s - now_s >= SOON_DAYS * DAY_S:
        return ""
    return (
        f"the coordinator's certificate ends within {SOON_DAYS} days: move {file} and its key away, run "
        "killdeer-coordinator init again, and restart"
    )

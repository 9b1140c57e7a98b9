"""Is a service ready again? What one strike's `recovery.ready` has said since its victim's successor is there.

Only readings of one and the same successor count, taken while as many processes are there as before. No answer is
not met (I8): a reading either says that it is met, or it does not count.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from killdeer.v1.probe_pb2 import HttpSource, Probe, Summary, Take

# Where the probe says nothing of it.
EVERY_MS = 1_000
# Ticks come no more often.
LEAST_EVERY_MS = 100

_NS_PER_MS = 1_000_000
_METHODS = ("", "GET", "HEAD")


@dataclass(slots=True, kw_only=True, eq=False)
class Readiness:
    """Times are CLOCK_BOOTTIME nanoseconds; 0: never."""

    probe: Probe
    turn: int = 0  # the last question's
    asked: bool = False  # it is out
    asked_ns: int = 0
    stands: tuple[int, int] | None = None  # pid and start_ticks of the successor, while the service is whole
    met_since_ns: int = 0  # all readings since then were met
    met_ns: int = 0  # the newest of them
    detail: str = ""  # of the newest reading that was not met
    _void: int = 0  # answers up to this turn are about somebody else

    def stood(self, successor: tuple[int, int] | None) -> None:
        """From a count: who stands in for the victim while the service is whole; None: it is not."""
        if successor != self.stands:
            self.stands = successor
            self.met_since_ns = self.met_ns = 0
            self._void = self.turn

    def is_due(self, now_ns: int, least_ns: int = 0) -> bool:
        every_ns = max(self.probe.every_ms or EVERY_MS, LEAST_EVERY_MS) * _NS_PER_MS
        waited = not self.asked_ns or now_ns - self.asked_ns >= max(every_ns, least_ns)
        return self.stands is not None and not self.asked and waited

    def ask(self, now_ns: int) -> int:
        """The turn of this question."""
        self.turn, self.asked, self.asked_ns = self.turn + 1, True, now_ns
        return self.turn

    def answered(self, turn: int, *, met: bool, detail: str, now_ns: int) -> bool:
        """Whether it is met, by the one that stands there now."""
        if turn != self.turn:
            return False
        self.asked = False
        if turn <= self._void:
            return False
        if met:
            self.met_since_ns, self.met_ns = self.met_since_ns or now_ns, now_ns
        else:
            self.met_since_ns, self.met_ns, self.detail = 0, 0, detail
        return met

    def met_for(self, ns: int) -> bool:
        """Were the newest readings met, the first and the last of them so far apart?"""
        return bool(self.met_since_ns) and self.met_ns - self.met_since_ns >= ns

    def lacks(self, *, ever: bool) -> str:
        """What was missing by the end of the time; empty: not this. `ever`: some reading was met."""
        if self.stands is None:
            return ""
        never = "did not stay met for long enough" if ever else "was never met"
        why = f" ({self.detail})" if self.detail else ""
        return f"its successor is there, and {self.probe.name or 'ready'} {never}{why}"


def unaskable(probe: Probe) -> str:
    """Why this cannot be asked on a host as a check of readiness; empty: it can.

    It is for looking at what the host itself serves: it sends nothing that could change anything.
    """
    name = f"ready: {probe.name!r}"
    kind = probe.WhichOneof("source")
    if kind not in ("http", "tcp", "grpc"):
        return f"{name} is no http, tcp or grpc probe, and others are not taken on a host"
    if probe.take not in (Take.TAKE_UNSPECIFIED, Take.TAKE_MET) or probe.summary != Summary.SUMMARY_UNSPECIFIED:
        return f"{name} takes a number, and what is asked is whether it is met"
    if kind == "http":
        return f"{name}: {fault}" if (fault := _http_fault(probe.http)) else ""
    host, port = (probe.tcp.host, probe.tcp.port) if kind == "tcp" else host_and_port(probe.grpc.address)
    return "" if host and 0 < port < 65_536 else f"{name} names no HOST and PORT"


def host_and_port(address: str) -> tuple[str, int]:
    """Of HOST:PORT or [HOST]:PORT; a port of 0: it is none."""
    host, _, port = address.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else 0
    return host.removeprefix("[").removesuffix("]"), number


def _http_fault(source: HttpSource) -> str:
    try:
        url = urlsplit(source.url)
        port = url.port  # raises for one that is none
    except ValueError:
        return "its URL cannot be read"
    if url.scheme not in ("http", "https") or not url.hostname or port == 0 or not source.url.isascii():
        return "its URL is not http://HOST… or https://HOST… in ASCII"
    if url.username is not None:
        return "its URL holds a user; say it in a header, with from_env or from_file"
    if source.method not in _METHODS or source.body:
        return "on a host only GET and HEAD are sent, without a body"
    return ""

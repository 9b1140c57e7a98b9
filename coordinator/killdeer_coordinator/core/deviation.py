"""When a run's first strike fell, when its steady state deviated, and when it held again. Pure; times are this
machine's CLOCK_BOOTTIME, ns."""

from dataclasses import dataclass

from killdeer.v1.probe_pb2 import Findings, Standing
from killdeer_coordinator.core.series import NS_PER_MS


@dataclass(slots=True)
class Deviation:
    struck_ns: int = 0  # of the first strike; 0: there was none
    _met_ns: int | None = None  # the steady state is met since
    _unmet_ns: int | None = None  # it was seen unmet, with victims struck, first
    _back_ns: int | None = None  # and is met again since

    @property
    def seen(self) -> bool:
        return self._unmet_ns is not None

    def nothing_struck(self) -> None:
        """After all: then nothing deviated by it."""
        self.struck_ns, self._unmet_ns, self._back_ns = 0, None, None

    def follow(self, standing: Standing, now_ns: int, *, met: bool) -> str:
        """`met`: now, without the grace that is in `standing`. What is news of it: deviates, back, or nothing."""
        self._met_ns = (now_ns if self._met_ns is None else self._met_ns) if met else None
        if not self.struck_ns:
            return ""
        news = ""
        if standing == Standing.STANDING_UNMET and self._unmet_ns is None:
            self._unmet_ns, news = now_ns, "deviates"
        if self._unmet_ns is not None:
            if met and self._back_ns is None:
                news = "back"
            self._back_ns = (now_ns if self._back_ns is None else self._back_ns) if met else None
        return news

    def met_for(self, length_ns: int, now_ns: int) -> bool:
        """On end, up to now."""
        return self._met_ns is not None and now_ns - self._met_ns >= length_ns

    def tell(self, found: Findings) -> None:
        if self._unmet_ns is None:
            return
        found.detected_after_ms = (self._unmet_ns - self.struck_ns) // NS_PER_MS
        if self._back_ns is not None:
            found.recovered_after_ms = (self._back_ns - self._unmet_ns) // NS_PER_MS

"""One sentence of the file held against what is measured: whether it is met, and what became of it in all. Pure.

An expectation (a precondition, the steady state) has to hold. With `for D` it may fail for less than D: once it has
held, it is met until it has failed for D on end. Before it has ever held there is no such grace: nothing is struck
on the strength of a state that nobody has seen. A stretch of D in which it was neither known to hold nor known to
fail for so long is unknown.

A factor of a baseline of 0 is 0: all but nothing is above it, and nothing below. Only a floor changes that.

An abort rule has come true once its comparison was true for D on end, and stays so. A false reading begins anew; an
unknown one does neither: the clock stands still while nothing is known. A rule of which nothing is known for long
guards nothing, which must not pass for fine: `blind` tells of it.
"""

import math
import operator

from killdeer.durations import format_duration
from killdeer.v1 import probe_pb2
from killdeer.v1.probe_pb2 import Finding, Part, Standing, Unit
from killdeer_coordinator.core.measures import shown_apart
from killdeer_coordinator.core.series import NS_PER_MS, Value
from killdeer_experiment.expectations import Expectation

MET, UNMET, UNKNOWN = probe_pb2.STANDING_MET, probe_pb2.STANDING_UNMET, probe_pb2.STANDING_UNKNOWN

BLIND_NS = 30_000 * NS_PER_MS
"""A sentence of which nothing was known for longer than this, and longer than its own `for`, has judged nothing."""

_HOLDS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

# What `healthy` and `not healthy` stand for.
_BARE = {(">=", "met"): "met", ("<", "met"): "not met"}


class Judge:
    """Looks come in the order of their times; what one finds lasts until the next."""

    def __init__(self, expectation: Expectation, part: Part, unit: Unit = probe_pb2.UNIT_UNSPECIFIED) -> None:
        """`unit`: the probe's, for the words of the finding alone."""
        self.expectation = expectation
        self.part = part
        self.comparison: Standing = probe_pb2.STANDING_UNSPECIFIED
        """The newest, without regard to `for`: a gate asks for this, so as not to open on a grace."""
        self.standing: Standing = probe_pb2.STANDING_UNSPECIFIED
        self.relapsed = False  # it had held, and then did not, while nothing was hit
        self._unit = unit
        self._for_ns = expectation.for_ms * NS_PER_MS
        self._aborts = part == probe_pb2.PART_ABORT_WHEN
        self._ill = MET if self._aborts else UNMET
        self._looked_ns: int | None = None
        self._struck = False  # at the last look
        self._held = False
        self._ill_ns = 0  # on end, times of which nothing was known left out
        self._doubtful_ns = 0  # not known to be well, on end
        self._unknown_since_ns: int | None = None
        self._unmet_unix_ms = 0
        self._unmet_ns = 0
        self._unknown_ns = 0  # with victims struck
        self._measured = ""  # in words: the newest
        self._worst: tuple[float, str] | None = None  # how far off, with victims struck, and in words

    @property
    def unknown_for_ns(self) -> int:
        """For how long, up to the last look, nothing was known; 0 if something was known then."""
        if self._unknown_since_ns is None or self._looked_ns is None:
            return 0
        return self._looked_ns - self._unknown_since_ns

    @property
    def blind(self) -> bool:
        """Nothing was known for so long that this sentence judges nothing: the run is inconclusive."""
        return self.unknown_for_ns > max(BLIND_NS, self._for_ns)

    def look(
        self, value: Value, baseline: float | None, at_ns: int, unix_ms: int = 0, *, struck: bool = False
    ) -> Standing:
        """What the sentence comes to with this value; of an abort rule MET says that it has come true.

        `baseline`: of the sentence's probe, None where there is none. `struck`: victims are struck, or were: only
        then does what is not met count against the hypothesis. `unix_ms` is for the record alone.
        """
        bound = self._bound(baseline)
        comparison = self._compare(value, bound)
        self._pass_time(at_ns, comparison)
        if not (self._aborts and self.standing == MET):  # else the words stay those of when it came true
            self._measured = self._in_words(value, bound)
        self.comparison, self._struck = comparison, struck
        self.standing = self._judged()
        if not struck and self._held and self.standing == UNMET:
            self.relapsed = True
        if struck and self._is_ill():
            self._unmet_unix_ms = self._unmet_unix_ms or unix_ms
            off = abs(value.value - bound)
            if not self._aborts and (self._worst is None or off > self._worst[0]):
                self._worst = (off, self._measured)
        return self.standing

    def finding(self) -> Finding:
        """What became of the sentence so far: its times are those of the standing, so they begin after its `for`.
        `detail` is what was measured last or, once it counts against the hypothesis, at worst."""
        detail = self._measured
        if self._worst is not None:
            detail = f"{self._worst[1]}; now {detail}" if self.standing == UNKNOWN else self._worst[1]
        return Finding(
            part=self.part,
            sentence=self.expectation.sentence,
            standing=self.standing,
            unmet_unix_ms=self._unmet_unix_ms,
            unmet_ms=self._unmet_ns // NS_PER_MS,
            unknown_ms=self._unknown_ns // NS_PER_MS,
            detail=detail,
        )

    def _bound(self, baseline: float | None) -> float:
        """NaN: there is no baseline to hold it against."""
        if not self.expectation.of_baseline:
            return self.expectation.bound
        if baseline is None:
            return math.nan
        times = self.expectation.bound * baseline
        return times if self.expectation.floor is None else max(times, self.expectation.floor)

    def _compare(self, value: Value, bound: float) -> Standing:
        if math.isnan(value.value) or math.isnan(bound):
            return UNKNOWN
        sign = self.expectation.comparison
        if value.known:
            return MET if _HOLDS[sign](value.value, bound) else UNMET
        # Only what is true of every number from there on.
        if sign in (">", ">=", "!="):
            certain = value.value > bound or (sign == ">=" and value.value == bound)
            return MET if certain else UNKNOWN
        certain = value.value > bound or (sign == "<" and value.value == bound)
        return UNMET if certain else UNKNOWN

    def _pass_time(self, at_ns: int, comparison: Standing) -> None:
        """What was found at the last look held until now; what is found now begins to."""
        passed_ns = at_ns - self._looked_ns if self._looked_ns is not None else 0
        well = UNMET if self._aborts else MET
        if self._struck and self._is_ill():
            self._unmet_ns += passed_ns
        elif self._struck and self.standing == UNKNOWN:
            self._unknown_ns += passed_ns
        self._ill_ns += passed_ns if self.comparison == self._ill else 0
        self._doubtful_ns += passed_ns if self.comparison != well else 0
        if comparison == well:
            self._ill_ns = self._doubtful_ns = 0
        if comparison != UNKNOWN:
            self._unknown_since_ns = None
        elif self._unknown_since_ns is None:
            self._unknown_since_ns = at_ns
        self._looked_ns = at_ns

    def _judged(self) -> Standing:
        if self._aborts:
            return self._come_true()
        if self.comparison == MET:
            self._held = True
        if self.comparison == MET or not self._held:
            return self.comparison
        if self._ill_ns >= self._for_ns or self._doubtful_ns >= self._for_ns:
            return self.comparison if self._ill_ns >= self._for_ns else UNKNOWN
        return MET

    def _come_true(self) -> Standing:
        if self.standing == MET:
            return MET
        if self.comparison == MET:
            return MET if self._ill_ns >= self._for_ns else UNMET
        return self.comparison

    def _is_ill(self) -> bool:
        return self.standing == self._ill == self.comparison

    def _in_words(self, value: Value, bound: float) -> str:
        """`errors 2.3%, wanted < 0.1%`."""
        expected = self.expectation
        measured, limit = shown_apart(value.value, bound, self._unit)
        detail = f" ({value.detail})" if value.detail else ""
        if not value.known:
            at_least = "" if math.isnan(value.value) else f", at least {measured}"
            measured, detail = f"is unknown{at_least}", f": {value.detail}" if value.detail else ""
        if expected.of_baseline:
            least = "at least " if bound == expected.floor else ""
            limit = f"{expected.bound:g}x baseline" + ("" if math.isnan(bound) else f" ({least}{limit})")
        limit = _BARE.get((expected.comparison, limit)) or f"{expected.comparison} {limit}"
        if self._aborts:
            lasting = f" for {format_duration(expected.for_ms)}" if expected.for_ms else ""
            return f"{expected.probe} {measured}{detail}, aborts when {limit}{lasting}"
        no_baseline = ", of which there is none" if expected.of_baseline and math.isnan(bound) else ""
        return f"{expected.probe} {measured}{detail}, wanted {limit}{no_baseline}"

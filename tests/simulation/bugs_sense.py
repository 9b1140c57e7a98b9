"""Which deliberate bugs would have made a difference in a history, without living it once for each of them.

A cut in a function that only answers, and changes nothing, is asked beside the whole function: where the two
differ, that history is worth living with the bug.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, GeneratorType
from typing import Any

from tests.simulation.bugs import BUGS

# Functions that only answer. All others cannot be asked twice.
ANSWERS = frozenset(
    {
        *("Warrant.refuses", "Warrant._refuses_process", "unstruck", "Matcher.choose", "Lease.holds", "first_no"),
        *("no_more", "_wrong_victim", "digest", "refuses_always", "newer_than_me", "_whole", "right_until"),
        *("told_by", "_binding", "_fleets", "_signal_ms", "in_rate", "_unfit", "_cooldown", "_fresh", "_healthy"),
        *("share", "share_kept", "lost_position", "_unknown_session", "open_strike", "command", "judged", "_no"),
        *("_may_go_on", "over_rate", "answer_of", "UnitState.failed_by", "Standing.dooms", "_gone", "away"),
        *("first_broken", "opened"),
    }
)


@contextmanager
def sensing(names: list[str]) -> Iterator[set[str]]:
    """Fills the set with the names of bugs that would have answered otherwise."""
    differ: set[str] = set()
    twins: dict[FunctionType, list[tuple[str, FunctionType]]] = defaultdict(list)
    for name in names:
        for function, code in BUGS[name].codes():
            if is_answer(code):
                twins[function].append((name, _copy(function, code)))
    whole = [(function, function.__code__) for function in twins]
    try:
        for function, of_bugs in twins.items():
            _listen(function, of_bugs, differ)
        yield differ
    finally:
        for function, code in whole:
            function.__code__ = code


def can_be_sensed(name: str) -> bool:
    """Whether all of its cuts are in functions that only answer."""
    return all(is_answer(code) for _, code in BUGS[name].codes())


def is_answer(code: CodeType) -> bool:
    return code.co_name in ANSWERS or code.co_qualname in ANSWERS


def _copy(function: FunctionType, code: CodeType) -> FunctionType:
    copy = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _listen(function: FunctionType, of_bugs: list[tuple[str, FunctionType]], differ: set[str]) -> None:
    whole = _copy(function, function.__code__)

    def asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        answer = whole(*args, **kwargs)
        is_stream = isinstance(answer, GeneratorType)
        answer = list(answer) if is_stream else answer
        for name, twin in of_bugs:
            if name not in differ and _other(twin, args, kwargs, answer, is_stream):
                differ.add(name)
        return iter(answer) if is_stream else answer

    place = f"__asked_{function.__qualname__.replace('.', '_')}"
    function.__globals__[place] = asked
    namespace: dict[str, Any] = {}
    exec(f"def {function.__name__}(*args, **kwargs): return {place}(args, kwargs)", namespace)
    function.__code__ = namespace[function.__name__].__code__


def _other(twin: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any, is_stream: bool) -> bool:
    try:
        other = twin(*args, **kwargs)
        return bool((list(other) if is_stream else other) != answer)
    except Exception:
        return True

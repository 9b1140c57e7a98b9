"""What is typed on the command line as a person writes it -> wire things."""

import datetime
import difflib
from collections.abc import Sequence

from killdeer.durations import DurationError, parse_duration
from killdeer.terms import TermError, parse_selector
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.wording import words_of
from killdeer_cli.exits import Refused

ACTIONS = {
    "kill": p.Action(kill=p.Kill(signal=9)),
    "terminate": p.Action(terminate=p.Terminate(grace_ms=10_000)),
    "pause": p.Action(pause=p.Pause(length_ms=30_000)),
    "hold-down": p.Action(hold_down=p.HoldDown(length_ms=30_000)),
}
"""To ask a guard about; signal, grace and length make no difference to it."""


def selector(words: Sequence[str]) -> p.Selector:
    try:
        return parse_selector(words)
    except TermError as error:
        raise Refused(str(error)) from error


def host_labels(text: str) -> list[o.LabelMatch]:
    """`role=payment,zone=a,zone=b`: each key must match, by any of its values."""
    values: dict[str, list[str]] = {}
    for part in filter(None, text.split(",")):
        key, sign, value = part.strip().partition("=")
        if not (key and sign and value):
            raise Refused(
                f"cannot read {part!r} of --on: write KEY=VALUE, such as role=payment,zone=a; host=NAME is a host"
            )
        values.setdefault(key, []).append(value)
    return [o.LabelMatch(key=key, values=values[key]) for key in values]


def action(name: str) -> p.Action:
    if name not in ACTIONS:
        raise Refused(f"cannot ask about the action {name!r}: known are {', '.join(ACTIONS)}")
    return ACTIONS[name]


def causes() -> dict[str, p.Cause]:
    """By the words for them: `strike`, `oom-cgroup`, `signal`, …"""
    values: list[p.Cause] = p.Cause.values()  # type: ignore[assignment]
    known = dict(zip(words_of(p.Cause), values, strict=True))
    del known["unspecified"]
    return {word.replace(" ", "-"): value for word, value in known.items()}


def cause(name: str) -> p.Cause:
    """Empty: any."""
    if not name:
        return p.CAUSE_UNSPECIFIED
    known = causes()
    wanted = name.lower().replace("_", "-").replace(" ", "-")
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        listed = f"{hint}known are {', '.join(known)}"
        raise Refused(f"cannot look for the cause {name!r}: there is none of that name", listed)
    return known[wanted]


def since(text: str, now_ms: int) -> int:
    """`10m` ago, `14:02` today or else yesterday, `2026-11-20 14:02`, here -> Unix ms. Empty: 0, always."""
    if not text:
        return 0
    try:
        return max(1, now_ms - parse_duration(text))
    except DurationError:
        pass
    now = datetime.datetime.fromtimestamp(now_ms / 1_000).astimezone()
    try:
        # A time alone is one of today; the parser takes the day and the time in one.
        moment = datetime.datetime.fromisoformat(f"{now.date()}T{text}" if text[2:3] == ":" else text).astimezone()
    except ValueError as error:
        raise Refused(
            f"cannot read {text!r} of --since: write how long ago, such as 10m, or a time, such as 14:02 or"
            " '2026-11-20 14:02'"
        ) from error
    if text[2:3] == ":" and moment > now:
        moment -= datetime.timedelta(days=1)
    return max(1, round(moment.timestamp() * 1_000))

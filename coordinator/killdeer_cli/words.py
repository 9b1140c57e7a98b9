"""What is typed on the command line as a person writes it -> wire things."""

from collections.abc import Sequence

from killdeer.terms import TermError, parse_selector
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_cli.exits import Refused

ACTIONS = {
    "kill": p.Action(kill=p.Kill(signal=9)),
    "terminate": p.Action(terminate=p.Terminate(grace_ms=10_000)),
    "pause": p.Action(pause=p.Pause(length_ms=30_000)),
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

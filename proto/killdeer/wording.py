"""Wire things in words, the same for whoever shows them. Pure."""

import signal
from typing import Any

from killdeer.durations import format_duration
from killdeer.v1 import process_pb2 as p

# What would steer a terminal, as pictures. Those without one: C1, which some terminals obey, and what turns the
# direction of writing round. Each becomes one character, so that places and columns stay what they were.
PICTURES = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
PICTURES |= dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
NOT_ON_RECORD = "not on the record: "
"""How a line of a run's log begins that says what the store did not keep of it."""

IN_LINES = {code: shown for code, shown in PICTURES.items() if chr(code) not in "\n\t"}
"""The same, but line ends and tabs stay."""


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def action_text(action: p.Action, reader: str) -> str:
    """`kill with SIGKILL`; `reader` is who does not know an action that is newer: `this program`."""
    match action.WhichOneof("kind"):
        case "kill":
            return f"kill with {signal_name(action.kill.signal)}"
        case "terminate" if action.terminate.grace_ms:
            return f"terminate, SIGKILL after {format_duration(action.terminate.grace_ms)}"
        case "terminate":
            return "terminate, no SIGKILL"
        case "pause":
            return f"pause for {format_duration(action.pause.length_ms)}"
        case "hold_down":
            return f"hold down for {format_duration(action.hold_down.length_ms)}"
        case _:
            return f"an action newer than {reader}"


def words_of(enum: Any) -> list[str]:
    """The names of a wire's enum as people read them: RUN_VERDICT_NOT_RECOVERED is `not recovered`."""
    names: list[str] = enum.keys()
    prefix = names[0].removesuffix("UNSPECIFIED")
    return [name.removeprefix(prefix).replace("_", " ").lower() for name in names]


def word(enum: Any, value: int) -> str:
    """Of one value; one newer than this program is `unknown (99)`."""
    known: dict[int, str] = dict(zip(enum.values(), words_of(enum), strict=True))
    return known.get(value, f"unknown ({value})")


def process_text(host: str, service: str, ordinal: int) -> str:
    """The same words as the coordinator's log has: `a-1 worker@[3]`."""
    return f"{host} {service}[{ordinal}]"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 victim`, `1,204 victims`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"

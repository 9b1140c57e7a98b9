"""What is done to a victim: `kill`, `{terminate: {grace: 10s}}`, `{pause: 30s}`, `{hold-down: 30s}`."""

from collections.abc import Callable
from dataclasses import dataclass

from killdeer.durations import format_duration
from killdeer.v1 import process_pb2 as wire
from killdeer_experiment.faults import Problem, Unfit, nearest, read_at, short, unfit, unknown_key
from killdeer_experiment.plain import found
from killdeer_experiment.scalars import as_mapping, read_duration, read_length
from killdeer_experiment.signals import NUMBERS, read_signal, signal_name

_WANTED = "wants kill, terminate, {pause: 30s} or {hold-down: 30s}"

DEFAULT_GRACE_MS = 10_000


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One signal, 1 to 64; SIGKILL unless told otherwise."""

    signal: int = 9

    def to_wire(self) -> wire.Action:
        return wire.Action(kill=wire.Kill(signal=self.signal))

    @property
    def written(self) -> object:
        """As a file has it."""
        return "kill" if self.signal == 9 else {"kill": signal_name(self.signal)}


@dataclass(frozen=True, kw_only=True)
class Terminate:
    """SIGTERM and, if the victim lives on after the grace, SIGKILL. A grace of 0 asks for no SIGKILL."""

    grace_ms: int = DEFAULT_GRACE_MS

    def to_wire(self) -> wire.Action:
        return wire.Action(terminate=wire.Terminate(grace_ms=self.grace_ms))

    @property
    def written(self) -> object:
        return {"terminate": {"grace": format_duration(self.grace_ms)}}


@dataclass(frozen=True, kw_only=True)
class Pause:
    """SIGSTOP and, after the length, SIGCONT."""

    length_ms: int

    def to_wire(self) -> wire.Action:
        return wire.Action(pause=wire.Pause(length_ms=self.length_ms))

    @property
    def written(self) -> object:
        return {"pause": format_duration(self.length_ms)}


@dataclass(frozen=True, kw_only=True)
class HoldDown:
    """SIGKILL to the victim and, for the length, to each successor as it appears."""

    length_ms: int

    def to_wire(self) -> wire.Action:
        return wire.Action(hold_down=wire.HoldDown(length_ms=self.length_ms))

    @property
    def written(self) -> object:
        return {"hold-down": format_duration(self.length_ms)}


Action = Kill | Terminate | Pause | HoldDown


def read_action(value: object) -> Action:
    """The action a file's value means. Raises Unfit."""
    match value:
        case "kill":
            return Kill()
        case "terminate":
            return Terminate()
        case "pause" | "hold-down":
            raise unfit(f"a {value} needs a length: write {{{value}: 30s}}")
        case str():
            near = nearest(value, _READERS)
            hint = f": did you mean {near!r}?" if near else ""
            raise Unfit(Problem(message=f"{_WANTED}, found {found(value)}{hint}", nearest=near))
        case dict() if len(value) == 1:
            ((key, inner),) = value.items()
            if key not in _READERS:
                raise Unfit(unknown_key(key, tuple(_READERS), (key,)))
            return read_at((key,), _READERS[key], inner)
        case dict():
            raise unfit(f"wants exactly one action, found {' and '.join(short(k) for k in value) or 'none'}")
        case _:
            raise unfit(f"{_WANTED}, found {found(value)}")


def _kill(inner: object) -> Kill:
    if isinstance(inner, bool) or not isinstance(inner, str | int):
        raise unfit(f"wants a signal such as SIGHUP, or its number, found {found(inner)}")
    return Kill(signal=read_signal(inner))


def _terminate(inner: object) -> Terminate:
    parts = _parts(inner, "grace", "wants {grace: 10s}")
    grace_ms = read_at(("grace",), read_duration, parts["grace"]) if parts else DEFAULT_GRACE_MS
    return Terminate(grace_ms=grace_ms)


def _length(inner: object) -> int:
    """`30s`, or `{for: 30s}`."""
    if isinstance(inner, str):
        return read_length(inner)
    parts = _parts(inner, "for", "wants a length such as 30s")
    if not parts:
        raise unfit("wants a length such as 30s, found none")
    return read_at(("for",), read_length, parts["for"])


_READERS: dict[str, Callable[[object], Action]] = {
    "kill": _kill,
    "terminate": _terminate,
    "pause": lambda inner: Pause(length_ms=_length(inner)),
    "hold-down": lambda inner: HoldDown(length_ms=_length(inner)),
}


_LENGTH = {"type": "string", "examples": ["30s"]}


def _or_for(key: str) -> dict[str, object]:
    """A length, or the mapping that has it under the key."""
    said = {key: _LENGTH | {"description": "how long"}}
    inside = {"type": "object", "properties": said, "additionalProperties": False}
    return {"anyOf": [_LENGTH, inside]}


# One of these, for editors. The readers above decide.
ACTION_SCHEMA: dict[str, object] = {
    "anyOf": [
        {"enum": ["kill", "terminate"]},
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {
                "kill": {
                    "anyOf": [
                        {"enum": [*NUMBERS]},
                        {"type": "string"},
                        {"type": "integer", "minimum": 1, "maximum": 64},
                    ],
                    "description": "a signal, by name or number",
                },
                "terminate": {
                    "type": "object",
                    "properties": {
                        "grace": _LENGTH | {"description": "SIGKILL comes that long after SIGTERM; 10s"}
                    },
                    "additionalProperties": False,
                    "description": "SIGTERM and, after the grace, SIGKILL",
                },
                "pause": _or_for("for") | {"description": "SIGSTOP and, after the length, SIGCONT"},
                "hold-down": _or_for("for") | {"description": "SIGKILL to each successor too, for the length"},
            },
        },
    ],
    "examples": ["kill", {"terminate": {"grace": "10s"}}, {"pause": "30s"}, {"hold-down": "30s"}],
}


def _parts(inner: object, name: str, wanted: str) -> dict[str, object]:
    """The mapping inside an action, which may have the one key `name`."""
    parts = as_mapping(inner, wanted)
    unknown = [unknown_key(key, (name,), (key,)) for key in parts if key != name]
    if unknown:
        raise Unfit(*unknown)
    return parts

"""What a host's labels say of it."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from killdeer.v1.operator_pb2 import LabelMatch


def zone_of(host: str, labels: Mapping[str, str]) -> str:
    """The label `zone`; a host without one is a zone of its own."""
    return labels.get("zone") or f"host:{host}"


def matches(host: str, labels: Mapping[str, str], wanted: Iterable[LabelMatch]) -> bool:
    """Does every one hold, by any of its values (globs)? The key `host` is the host's name; a label that is
    missing matches nothing. None wanted: every host."""
    return all(_holds(host if match.key == "host" else labels.get(match.key), match.values) for match in wanted)


def _holds(value: str | None, globs: Iterable[str]) -> bool:
    return value is not None and any(fnmatchcase(value, glob) for glob in globs)

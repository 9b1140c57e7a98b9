"""What an answer is worth as a reading: a number, or why there is none."""

import errno
import json
import math
import os
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

MET, NOT_MET = 1.0, 0.0
_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Taken:
    """A value in the probe's unit, and what is to be said of it."""

    value: float
    detail: str = ""


class Unknown(Exception):
    """There is no value. The message says why; it quotes nothing that was answered and no secret."""


def number_in(text: bytes, what: str) -> float:
    """`what`: the body, the output. Raises Unknown."""
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        raise Unknown(f"{what} is not one number")
    return finite(float(stripped), what)


def number_at(text: bytes, path: Sequence[str], what: str) -> float:
    """The number or boolean at a path of keys and indices in JSON. Raises Unknown."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise Unknown(f"{what} is not JSON") from None
    for depth, key in enumerate(path):
        below = _child(found, key)
        if below is None:
            above = f" in {'.'.join(path[:depth])}" if depth else ""
            raise Unknown(f"{what} has no {'.'.join(path)}: there is no {key!r}{above}")
        found = below[0]
    place = f"{'.'.join(path) or 'the whole'} of {what}"
    if not isinstance(found, bool | int | float):
        raise Unknown(f"{place} is {_KINDS.get(type(found), 'no number')}, not a number or a boolean")
    try:
        return finite(float(found), place)
    except OverflowError:
        raise Unknown(f"{place} is too large a number") from None


_KINDS: dict[type, str] = {str: "text", dict: "an object", list: "a list", type(None): "null"}


def _child(above: object, key: str) -> tuple[object] | None:
    if isinstance(above, dict) and key in above:
        return (above[key],)
    # Few digits: a long row of them is no index, and Python refuses to read it.
    if isinstance(above, list) and re.fullmatch(r"[0-9]{1,9}", key) and int(key) < len(above):
        return (above[int(key)],)
    return None


def finite(value: float, what: str) -> float:
    """Raises Unknown for what no bound can be held against."""
    if math.isnan(value):
        raise Unknown(f"{what} is not a number (NaN), as of a division of nothing by nothing")
    if math.isinf(value):
        raise Unknown(f"{what} is infinite, as of a division by nothing")
    return value


def status_line(status: int) -> str:
    """`503 Service Unavailable`, in the standard's words: the server's own could be anything."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def why(error: BaseException) -> str:
    """The cause in plain words and never the error's own text, which may quote what was sent or answered."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {cause.verify_message.rstrip('.')}"
            case ssl.SSLError():
                reason = (cause.reason or "no handshake").lower().replace("_", " ")
                return f"TLS failed: {reason}"
            case socket.gaierror() if cause.errno == socket.EAI_AGAIN:
                return "the name service does not answer"
            case socket.gaierror():
                return "its name is not known"
            case OSError(errno=int(number)) if number in errno.errorcode:
                return os.strerror(number).lower()
    return "the connection was cut"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Innermost first: what a library wraps around says less."""
    inner = error.__cause__ or error.__context__
    if inner is not None:
        yield from _causes(inner)
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    yield error

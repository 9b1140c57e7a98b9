"""Where something is asked: URLs, HOST:PORT, files of authorities, and headers whose secrets stay elsewhere."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, PlainValidator

from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.faults import Problem, Unfit, each, nearest, read_all, unfit, unknown_key
from killdeer_experiment.plain import found
from killdeer_experiment.scalars import as_mapping, read_line, read_prose, read_term_value

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s:/@\[\]]+):(?P<port>[0-9]{1,5})")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token", "private-token")
_SECRET_PARAMETERS = ("token", "access_token", "api_key", "apikey", "key", "password", "secret", "auth")
_BY_REFERENCE = "{env: NAME} or {file: /PATH}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header's value, or the environment variable or the file, on the machine that asks, that keeps it."""

    name: str
    kind: str  # value, env or file
    text: str

    def to_wire(self) -> wire.Header:
        match self.kind:
            case "env":
                return wire.Header(name=self.name, from_env=self.text)
            case "file":
                return wire.Header(name=self.name, from_file=self.text)
            case _:
                return wire.Header(name=self.name, value=self.text)

    @property
    def written(self) -> object:
        """As a file has it."""
        return self.text if self.kind == "value" else {self.kind: self.text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """HOST:PORT; the host without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def written_headers(headers: Iterable[Header]) -> dict[str, object]:
    return {header.name: header.written for header in headers}


def read_url(value: object) -> str:
    """An http or https URL, without a secret in it."""
    text = value if isinstance(value, str) else ""
    if not text.startswith(("http://", "https://")):
        raise unfit(f"wants a URL such as http://127.0.0.1:8080/healthz, found {found(value)}")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise unfit(f"wants a URL of plain characters, others as %20, found {found(text)}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise unfit(f"cannot read the URL {text!r:.60}: {error}") from error
    if not parts.hostname or port == 0:
        raise unfit(f"wants a URL such as http://127.0.0.1:8080/healthz, found {found(text)}")
    if "@" in parts.netloc:
        raise unfit(f"a password in a URL is stored and shown: give it as a header, Authorization: {_BY_REFERENCE}")
    for name, _secret in parse_qsl(parts.query, keep_blank_values=True):
        if name.lower() in _SECRET_PARAMETERS:
            raise unfit(f"{name!r} in a URL is stored and shown: give it as a header, by {_BY_REFERENCE}")
    return text


def read_address(value: object) -> Address:
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise unfit(f"wants HOST:PORT, such as 127.0.0.1:5432, found {found(value)}")
    port = int(match["port"])
    if not 1 <= port <= 65_535:
        raise unfit(f"wants a port from 1 to 65535, found {port}")
    return Address(host=match["host"].strip("[]"), port=port)


def read_headers(value: object) -> tuple[Header, ...]:
    headers = as_mapping(value, "wants a mapping such as {Authorization: {env: TOKEN}}")
    return tuple(read_all(_read_header, [((name,), (name, inner)) for name, inner in headers.items()]))


def _read_header(item: object) -> Header:
    name, value = item if isinstance(item, tuple) else ("", item)
    if not _TOKEN.fullmatch(name):
        raise Unfit(Problem(message=f"cannot send a header named {name!r:.60}", of_key=True))
    if not isinstance(value, dict):
        if name.lower() in _SECRET_HEADERS:
            raise unfit(
                f"a file is stored and shown, and {name!r} is a secret: write {{env: NAME}} or {{file: /PATH}}"
            )
        text = read_term_value(value)
        return Header(name=name, kind="value", text=read_line(text))
    if len(value) != 1:
        raise unfit(f"wants text, {_BY_REFERENCE}, found {' and '.join(value) or 'an empty mapping'}")
    ((kind, inner),) = value.items()
    if kind not in ("env", "file"):
        raise Unfit(unknown_key(kind, ("env", "file"), (kind,)))
    try:
        return Header(name=name, kind=kind, text=read_path(inner) if kind == "file" else _read_variable(inner))
    except Unfit as fault:
        raise Unfit(*(Problem(message=one.message, path=(kind,)) for one in fault.problems)) from fault


def _read_variable(value: object) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise unfit(f"wants the name of an environment variable, such as PAYMENTS_TOKEN, found {found(value)}")
    return value


def read_path(value: object) -> str:
    """An absolute path, on the machine that asks."""
    text = read_line(value)
    if not text.startswith("/"):
        raise unfit(f"wants a path from the root, such as /etc/killdeer/ca.pem, found {found(text)}")
    return text


def read_method(value: object) -> str:
    if isinstance(value, str) and value in METHODS:
        return value
    near = nearest(value.upper(), METHODS) if isinstance(value, str) else ""
    hint = f": did you mean {near!r}?" if near else ""
    raise Unfit(Problem(message=f"wants one of {', '.join(METHODS)}, found {found(value)}{hint}", nearest=near))


def read_statuses(value: object) -> tuple[int, ...]:
    """One HTTP status, or a list of them."""
    if value == []:
        raise unfit("wants at least one status, found an empty list")
    return tuple(read_all(_read_status, each(value)))


def _read_status(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 100 <= value <= 599:
        raise unfit(f"wants an HTTP status from 100 to 599, found {found(value)}")
    return value


_REFERENCE = {
    "type": "object",
    "properties": {
        "env": {"type": "string", "description": "the environment variable that keeps the value"},
        "file": {"type": "string", "description": "the file that keeps the value"},
    },
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}
Url = Annotated[
    str,
    PlainValidator(
        read_url,
        json_schema_input_type=Annotated[
            str, Field(pattern="^https?://", examples=["http://127.0.0.1:8080/healthz"])
        ],
    ),
]
OptionalUrl = Annotated[
    str, PlainValidator(read_url, json_schema_input_type=Annotated[str, Field(pattern="^https?://")])
]
HostPort = Annotated[
    Address, PlainValidator(read_address, json_schema_input_type=Annotated[str, Field(examples=["127.0.0.1:5432"])])
]
Method = Annotated[
    str,
    PlainValidator(
        read_method, json_schema_input_type=Annotated[str, Field(json_schema_extra={"enum": [*METHODS]})]
    ),
]
Statuses = Annotated[
    tuple[int, ...],
    PlainValidator(
        read_statuses,
        json_schema_input_type=Annotated[int, Field(ge=100, le=599)] | list[Annotated[int, Field(ge=100, le=599)]],
    ),
]
Headers = Annotated[
    tuple[Header, ...],
    PlainValidator(
        read_headers,
        json_schema_input_type=Annotated[
            dict[str, object],
            Field(json_schema_extra={"additionalProperties": {"anyOf": [{"type": "string"}, _REFERENCE]}}),
        ],
    ),
]
AuthorityFile = Annotated[
    str, PlainValidator(read_path, json_schema_input_type=Annotated[str, Field(pattern="^/")])
]
Body = Annotated[str, PlainValidator(read_prose, json_schema_input_type=str)]

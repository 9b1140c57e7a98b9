"""Probes: what is measured of the outside world, each said once in the file and called by name."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from killdeer.durations import format_duration
from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.addresses import Address, written_headers
from killdeer_experiment.commands import Command
from killdeer_experiment.faults import Problem, Unfit, read_all, short, unfit
from killdeer_experiment.probe_keys import (
    DEFAULT_EVERY_MS,
    DEFAULT_WITHIN_MS,
    EVENTS,
    METRICS,
    SUMMARIES,
    TAKEN_OF,
    TAKES,
    ProbeKeys,
    between_keys,
)
from killdeer_experiment.reading import reader
from killdeer_experiment.scalars import as_mapping
from killdeer_experiment.sources import Grpc, Http

# What `oom in target` and its like count, since the first strike.
BUILT_IN = {"oom": wire.EVENT_KIND_OOM, "death": wire.EVENT_KIND_DEATH, "restart": wire.EVENT_KIND_RESTART}

# Words of the sentences that call probes by name.
RESERVED = ("not", "in", "for", "baseline", "target")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,59}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One measurement, by its name."""

    name: str
    keys: ProbeKeys

    @property
    def source(self) -> str:
        """http, tcp, grpc, prometheus, host, events or command."""
        return self.keys.source

    @property
    def unit(self) -> wire.Unit:
        """Of its readings."""
        return self.keys.unit_of_readings

    def to_wire(self) -> wire.Probe:
        keys = self.keys
        source: dict[str, Any] = {keys.source: _source_to_wire(keys)}
        return wire.Probe(
            name=self.name,
            within_ms=keys.within_ms,
            every_ms=keys.every_ms,
            take=_take_to_wire(keys),
            path=keys.take.split(".")[1:] if keys.take.startswith("json.") else (),
            summary=SUMMARIES.get(keys.summary, wire.SUMMARY_UNSPECIFIED),
            over_ms=keys.over_ms,
            fresh_within_ms=keys.fresh_within_ms,
            unit=self.unit,
            **source,
        )

    @property
    def written(self) -> dict[str, Any]:
        """As a file has it."""
        keys = self.keys
        whole: dict[str, Any] = {keys.source: _written_source(keys)}
        whole |= {"server": keys.server} if keys.server else {}
        whole |= {"headers": written_headers(keys.headers)} if keys.headers else {}
        whole |= {"ca_file": keys.ca_file} if keys.ca_file else {}
        whole |= {"unit": keys.unit} if keys.unit else {}
        whole |= {"within": format_duration(keys.within_ms), "every": format_duration(keys.every_ms)}
        whole |= {"take": keys.take} if keys.take not in ("", "met") else {}
        whole |= {"as": keys.summary} if keys.summary else {}
        lengths = {"over": keys.over_ms, "fresh_within": keys.fresh_within_ms}
        return whole | {key: format_duration(length) for key, length in lengths.items() if length}


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """The probe behind `oom in target` and its like, which is that sentence's own name for it."""

    name: str

    @property
    def unit(self) -> wire.Unit:
        return wire.UNIT_UNSPECIFIED

    def to_wire(self) -> wire.Probe:
        return wire.Probe(
            name=self.name,
            events=wire.EventsSource(kind=BUILT_IN[self.name.split()[0]]),
            within_ms=DEFAULT_WITHIN_MS,
            every_ms=DEFAULT_EVERY_MS,
        )


_read_keys = reader(
    ProbeKeys, "wants a mapping such as {http: http://127.0.0.1:8080/healthz}", between=between_keys
)


def read_probe(name: str, value: object) -> Probe:
    """Raises Unfit, with every problem in it."""
    if name in RESERVED or not _NAME.fullmatch(name):
        cause = (
            "sentences use it as a word" if name in RESERVED else "a name is letters, digits and _ . -, at most 60"
        )
        raise Unfit(Problem(message=f"cannot name a probe {short(name)}: {cause}", of_key=True))
    return Probe(name=name, keys=_read_keys(value))


def read_probes(value: object) -> tuple[Probe, ...]:
    """The probes of a file, in its order. Raises Unfit, with every problem in them."""
    mapping = as_mapping(value, "wants a mapping such as {healthy: {http: http://127.0.0.1:8080/healthz}}")
    if not mapping:
        raise unfit("wants at least one probe: leave the key out for none")
    return tuple(read_all(_read_item, [((name,), (name, inner)) for name, inner in mapping.items()]))


def readable_probes(value: object) -> dict[str, Probe | None]:
    """The names of a file's probes, each with what can be read of it, or None."""
    probes: dict[str, Probe | None] = {}
    for name, inner in value.items() if isinstance(value, dict) else ():
        try:
            probes[name] = read_probe(name, inner)
        except Unfit:
            probes[name] = None
    return probes


def _read_item(item: Any) -> Probe:
    return read_probe(*item)


def _take_to_wire(keys: ProbeKeys) -> wire.Take:
    if keys.take.startswith("json."):
        return wire.TAKE_JSON
    return TAKES[keys.take or "met"] if keys.source in TAKEN_OF else wire.TAKE_UNSPECIFIED


def _source_to_wire(keys: ProbeKeys) -> object:
    match keys:
        case ProbeKeys(http=Http() as http):
            return http.to_wire()
        case ProbeKeys(tcp=Address() as address):
            return wire.TcpSource(host=address.host, port=address.port)
        case ProbeKeys(grpc=Grpc() as grpc):
            return grpc.to_wire()
        case ProbeKeys(command=Command() as command):
            return command.to_wire()
        case ProbeKeys(host=metric) if metric:
            return wire.HostSource(metric=METRICS[metric])
        case ProbeKeys(events=kind) if kind:
            return wire.EventsSource(kind=EVENTS[kind], unit=keys.unit)
        case _:
            headers = [header.to_wire() for header in keys.headers]
            query, server = keys.prometheus, keys.server
            return wire.PrometheusSource(server=server, query=query, headers=headers, ca_file=keys.ca_file)


def _written_source(keys: ProbeKeys) -> object:
    match keys:
        case ProbeKeys(http=Http() as http):
            return http.written()
        case ProbeKeys(tcp=Address() as address):
            return str(address)
        case ProbeKeys(grpc=Grpc() as grpc):
            return grpc.written
        case ProbeKeys(command=Command() as command):
            return command.written
        case _:
            return keys.prometheus or keys.host or keys.events


Probes = Annotated[
    tuple[Probe, ...],
    PlainValidator(read_probes, json_schema_input_type=Annotated[dict[str, ProbeKeys], Field(min_length=1)]),
]

"""One probe as the file has it: the keys of its mapping."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.addresses import AuthorityFile, Headers, OptionalUrl
from killdeer_experiment.commands import OptionalCommand
from killdeer_experiment.faults import Problem, Unfit, nearest, unfit
from killdeer_experiment.parts import Length, Line, Part
from killdeer_experiment.plain import found
from killdeer_experiment.scalars import read_length
from killdeer_experiment.sources import OptionalAddress, OptionalGrpc, OptionalHttp

SOURCES = ("http", "tcp", "grpc", "prometheus", "host", "events", "command")
ASKED_BY_A_HOST = ("http", "tcp", "grpc")  # what an agent can take (rule R30)
METRICS = {
    "cpu_percent": wire.HOST_METRIC_CPU_PERCENT,
    "memory_percent": wire.HOST_METRIC_MEMORY_PERCENT,
    "memory_pressure": wire.HOST_METRIC_MEMORY_PRESSURE,
    "load_1m": wire.HOST_METRIC_LOAD,
}
EVENTS = {"oom": wire.EVENT_KIND_OOM, "deaths": wire.EVENT_KIND_DEATH, "restarts": wire.EVENT_KIND_RESTART}
TAKES = {
    "met": wire.TAKE_MET,
    "status": wire.TAKE_STATUS,
    "latency": wire.TAKE_LATENCY,
    "number": wire.TAKE_NUMBER,
}
SUMMARIES = {
    "p50": wire.SUMMARY_P50,
    "p95": wire.SUMMARY_P95,
    "p99": wire.SUMMARY_P99,
    "max": wire.SUMMARY_MAX,
    "rate": wire.SUMMARY_RATE,
}
# What of an answer may be taken. The sources that are not here give one number, and nothing else.
TAKEN_OF = {
    "http": ("met", "status", "latency", "number", "json"),
    "tcp": ("met", "latency"),
    "grpc": ("met", "latency"),
    "command": ("met", "status", "number", "json"),
}

DEFAULT_WITHIN_MS = 2_000
DEFAULT_EVERY_MS = 1_000
_LEAST_EVERY_MS = 100  # faster is load, and no measure


def _one_of(names: Mapping[str, int]) -> PlainValidator:
    """A reader of one of the names."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        near = nearest(value, names) if isinstance(value, str) else ""
        hint = f": did you mean {near!r}?" if near else ""
        raise Unfit(Problem(message=f"wants one of {', '.join(names)}, found {found(value)}{hint}", nearest=near))

    return PlainValidator(read, json_schema_input_type=Annotated[str, Field(json_schema_extra={"enum": [*names]})])


def _read_take(value: object) -> str:
    if isinstance(value, str):
        if value in TAKES:
            return value
        if value.startswith("json.") and all(value.split(".")) and value.isprintable():
            return value
    near = nearest(value, TAKES) if isinstance(value, str) else ""
    hint = f": did you mean {near!r}?" if near else ""
    wanted = f"wants one of {', '.join(TAKES)}, or json.PATH such as json.queue.depth"
    raise Unfit(Problem(message=f"{wanted}, found {found(value)}{hint}", nearest=near))


def _read_every(value: object) -> int:
    every = read_length(value)
    if every < _LEAST_EVERY_MS:
        raise unfit(f"wants {_LEAST_EVERY_MS}ms or more, found {value}: probing faster is load, and no measure")
    return every


_Take = Annotated[
    str,
    PlainValidator(
        _read_take,
        json_schema_input_type=Annotated[
            str,
            Field(
                pattern=r"^(met|status|latency|number|json\..+)$",
                examples=["latency", "status", "number", "met", "json.queue.depth"],
            ),
        ],
    ),
]
_Every = Annotated[
    int, PlainValidator(_read_every, json_schema_input_type=Annotated[str, Field(examples=["1s", "500ms"])])
]


class ProbeKeys(Part):
    """One source, and how its answers become readings."""

    http: OptionalHttp = Field(default=None, description="a URL that is asked, or a mapping that says more")
    tcp: OptionalAddress = Field(default=None, description="the HOST:PORT that is to take a connection")
    grpc: OptionalGrpc = Field(default=None, description="the HOST:PORT whose gRPC health service is asked")
    prometheus: Line = Field(default="", description="a query that gives one number, asked of `server`")
    server: OptionalUrl = Field(default="", description="the Prometheus server, such as http://127.0.0.1:9090")
    headers: Headers = Field(default=(), description="headers for the Prometheus server; secrets by {env: NAME}")
    ca_file: AuthorityFile = Field(default="", description="authorities to trust the Prometheus server by")
    host: Annotated[str, _one_of(METRICS)] = Field(
        default="", description="a metric of the target's hosts; the highest of them is the reading"
    )
    events: Annotated[str, _one_of(EVENTS)] = Field(
        default="", description="what the kernels tell of, counted since the first strike, or within `over`"
    )
    unit: Line = Field(
        default="", description="only events of these units, a glob; unless said, the target's services"
    )
    command: OptionalCommand = Field(
        default=None, description="a command by its name under [commands] in coordinator.toml, or [NAME, ARGUMENT…]"
    )
    within_ms: Length = Field(
        default=DEFAULT_WITHIN_MS, alias="within", description="no answer by then is unknown; 2s unless said"
    )
    every_ms: _Every = Field(
        default=DEFAULT_EVERY_MS, alias="every", description="how often it is measured; 1s unless said"
    )
    take: _Take = Field(
        default="", description="which value of the answer is the reading; unless said, whether it is met"
    )
    summary: Annotated[str, _one_of(SUMMARIES)] = Field(
        default="", alias="as", description="what the readings within `over` come to; unless said, the newest"
    )
    over_ms: Length = Field(
        default=0, alias="over", description="the window that `as`, or a count of events, is of"
    )
    fresh_within_ms: Length = Field(
        default=0,
        alias="fresh_within",
        description="a value older than this is unknown; unless said, any age will do",
    )

    @property
    def source(self) -> str:
        """Which of SOURCES it has."""
        return next(name for name in SOURCES if getattr(self, name))

    @property
    def unit_of_readings(self) -> wire.Unit:
        if self.take == "latency":
            return wire.UNIT_SECONDS
        if self.source == "host":
            return wire.UNIT_UNSPECIFIED if self.host == "load_1m" else wire.UNIT_FRACTION
        return wire.UNIT_MET if self.source in TAKEN_OF and self.take in ("", "met") else wire.UNIT_UNSPECIFIED


def between_keys(mapping: Mapping[str, Any]) -> list[Problem]:
    """What is wrong between the keys of one probe's mapping, each right by itself."""
    sources = [key for key in mapping if key in SOURCES]
    if not sources:
        if not all(_is_missing(source, mapping) for source in SOURCES):  # a misspelt one is the fault
            return []
        return [Problem(message=f"a probe needs a source: one of {', '.join(SOURCES)}")]
    if len(sources) > 1:
        message = f"one probe, one source: it has {sources[0]!r} already"
        return [Problem(message=message, path=(sources[1],), of_key=True)]
    return [*_beside(mapping, sources[0]), *_taken(mapping, sources[0]), *_summed_up(mapping, sources[0])]


def _is_missing(key: str, mapping: Mapping[str, Any]) -> bool:
    """Whether the key is not there, nor an unknown one that was probably meant to be it."""
    known = {field.alias or name for name, field in ProbeKeys.model_fields.items()}
    return key not in mapping and not any(nearest(other, known) == key for other in mapping if other not in known)


def _beside(mapping: Mapping[str, Any], source: str) -> list[Problem]:
    problems = []
    for key, other in (
        ("server", "prometheus"),
        ("headers", "prometheus"),
        ("ca_file", "prometheus"),
        ("unit", "events"),
    ):
        if key in mapping and source != other:
            inside = source == "http" or (source == "grpc" and key == "ca_file")
            hint = (
                f": write it inside, {source}: {{…, {key}: …}}" if inside and key in ("headers", "ca_file") else ""
            )
            problems.append(Problem(message=f"{key!r} goes with {other!r}{hint}", path=(key,), of_key=True))
    if source == "prometheus" and _is_missing("server", mapping):
        message = "missing key 'server': the Prometheus server, such as http://127.0.0.1:9090"
        problems.append(Problem(message=message, of_key=True))
    return problems


def _taken(mapping: Mapping[str, Any], source: str) -> list[Problem]:
    take = mapping.get("take")
    if not isinstance(take, str):
        return []
    kind = "json" if take.startswith("json.") else take
    known = TAKEN_OF.get(source)
    if known is None:
        message = f"{source!r} gives one number, and nothing to take of it: leave the key out"
        return [Problem(message=message, path=("take",), of_key=True)]
    if kind in (*TAKES, "json") and kind not in known:
        shown = ["json.PATH" if one == "json" else one for one in known]
        message = f"cannot take {take!r:.60} of {source!r}: it gives {', '.join(shown[:-1])} or {shown[-1]}"
        return [Problem(message=message, path=("take",))]
    return []


def _summed_up(mapping: Mapping[str, Any], source: str) -> list[Problem]:
    summary, take, problems = mapping.get("as"), mapping.get("take"), list[Problem]()
    if summary is None:
        if "over" in mapping and source != "events":
            message = "'over' needs 'as' beside it: as: p95, over: 30s is the 95th percentile of 30 seconds"
            problems.append(Problem(message=message, path=("over",), of_key=True))
        return problems
    if _is_missing("over", mapping):
        message = f"'as' needs 'over' beside it, such as over: 30s: {summary} of which readings?"
        problems.append(Problem(message=message, path=("as",), of_key=True))
    if source == "events":
        problems.append(Problem(message="'events' are counted: over: 30s alone says within what", path=("as",)))
    elif source in TAKEN_OF and take in (None, "met"):
        hint = "take: latency" if source in ("tcp", "grpc") else "take a number"
        problems.append(Problem(message=f"whether it is met has no {summary}: {hint}", path=("as",)))
    elif summary == "rate" and (take == "latency" or mapping.get("host") in METRICS):
        problems.append(Problem(message="rate is of a counter that grows, and this is none: try max", path=("as",)))
    try:
        too_short = read_length(mapping.get("over")) < read_length(mapping.get("every", "1s"))
    except Unfit:
        too_short = False
    if too_short:
        message = f"shorter than it is measured (every {mapping.get('every', '1s')}): no reading would be in it"
        problems.append(Problem(message=message, path=("over",)))
    return problems

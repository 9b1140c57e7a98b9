from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Take(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TAKE_UNSPECIFIED: _ClassVar[Take]
    TAKE_MET: _ClassVar[Take]
    TAKE_STATUS: _ClassVar[Take]
    TAKE_LATENCY: _ClassVar[Take]
    TAKE_JSON: _ClassVar[Take]
    TAKE_NUMBER: _ClassVar[Take]

class Summary(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SUMMARY_UNSPECIFIED: _ClassVar[Summary]
    SUMMARY_P50: _ClassVar[Summary]
    SUMMARY_P95: _ClassVar[Summary]
    SUMMARY_P99: _ClassVar[Summary]
    SUMMARY_MAX: _ClassVar[Summary]
    SUMMARY_RATE: _ClassVar[Summary]

class Unit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNIT_UNSPECIFIED: _ClassVar[Unit]
    UNIT_MET: _ClassVar[Unit]
    UNIT_SECONDS: _ClassVar[Unit]
    UNIT_FRACTION: _ClassVar[Unit]

class HostMetric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOST_METRIC_UNSPECIFIED: _ClassVar[HostMetric]
    HOST_METRIC_CPU_PERCENT: _ClassVar[HostMetric]
    HOST_METRIC_MEMORY_PERCENT: _ClassVar[HostMetric]
    HOST_METRIC_MEMORY_PRESSURE: _ClassVar[HostMetric]
    HOST_METRIC_LOAD: _ClassVar[HostMetric]

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_OOM: _ClassVar[EventKind]
    EVENT_KIND_DEATH: _ClassVar[EventKind]
    EVENT_KIND_RESTART: _ClassVar[EventKind]

class Standing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STANDING_UNSPECIFIED: _ClassVar[Standing]
    STANDING_MET: _ClassVar[Standing]
    STANDING_UNMET: _ClassVar[Standing]
    STANDING_UNKNOWN: _ClassVar[Standing]

class Part(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PART_UNSPECIFIED: _ClassVar[Part]
    PART_PRECONDITION: _ClassVar[Part]
    PART_STEADY_STATE: _ClassVar[Part]
    PART_ABORT_WHEN: _ClassVar[Part]
    PART_READY: _ClassVar[Part]
TAKE_UNSPECIFIED: Take
TAKE_MET: Take
TAKE_STATUS: Take
TAKE_LATENCY: Take
TAKE_JSON: Take
TAKE_NUMBER: Take
SUMMARY_UNSPECIFIED: Summary
SUMMARY_P50: Summary
SUMMARY_P95: Summary
SUMMARY_P99: Summary
SUMMARY_MAX: Summary
SUMMARY_RATE: Summary
UNIT_UNSPECIFIED: Unit
UNIT_MET: Unit
UNIT_SECONDS: Unit
UNIT_FRACTION: Unit
HOST_METRIC_UNSPECIFIED: HostMetric
HOST_METRIC_CPU_PERCENT: HostMetric
HOST_METRIC_MEMORY_PERCENT: HostMetric
HOST_METRIC_MEMORY_PRESSURE: HostMetric
HOST_METRIC_LOAD: HostMetric
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_OOM: EventKind
EVENT_KIND_DEATH: EventKind
EVENT_KIND_RESTART: EventKind
STANDING_UNSPECIFIED: Standing
STANDING_MET: Standing
STANDING_UNMET: Standing
STANDING_UNKNOWN: Standing
PART_UNSPECIFIED: Part
PART_PRECONDITION: Part
PART_STEADY_STATE: Part
PART_ABORT_WHEN: Part
PART_READY: Part

class Probe(_message.Message):
    __slots__ = ("name", "http", "tcp", "grpc", "prometheus", "host", "events", "command", "within_ms", "every_ms", "take", "path", "summary", "over_ms", "fresh_within_ms", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HTTP_FIELD_NUMBER: _ClassVar[int]
    TCP_FIELD_NUMBER: _ClassVar[int]
    GRPC_FIELD_NUMBER: _ClassVar[int]
    PROMETHEUS_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    EVERY_MS_FIELD_NUMBER: _ClassVar[int]
    TAKE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    OVER_MS_FIELD_NUMBER: _ClassVar[int]
    FRESH_WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    http: HttpSource
    tcp: TcpSource
    grpc: GrpcSource
    prometheus: PrometheusSource
    host: HostSource
    events: EventsSource
    command: CommandSource
    within_ms: int
    every_ms: int
    take: Take
    path: _containers.RepeatedScalarFieldContainer[str]
    summary: Summary
    over_ms: int
    fresh_within_ms: int
    unit: Unit
    def __init__(self, name: _Optional[str] = ..., http: _Optional[_Union[HttpSource, _Mapping]] = ..., tcp: _Optional[_Union[TcpSource, _Mapping]] = ..., grpc: _Optional[_Union[GrpcSource, _Mapping]] = ..., prometheus: _Optional[_Union[PrometheusSource, _Mapping]] = ..., host: _Optional[_Union[HostSource, _Mapping]] = ..., events: _Optional[_Union[EventsSource, _Mapping]] = ..., command: _Optional[_Union[CommandSource, _Mapping]] = ..., within_ms: _Optional[int] = ..., every_ms: _Optional[int] = ..., take: _Optional[_Union[Take, str]] = ..., path: _Optional[_Iterable[str]] = ..., summary: _Optional[_Union[Summary, str]] = ..., over_ms: _Optional[int] = ..., fresh_within_ms: _Optional[int] = ..., unit: _Optional[_Union[Unit, str]] = ...) -> None: ...

class HttpSource(_message.Message):
    __slots__ = ("url", "method", "headers", "body", "status", "contains", "ca_file")
    URL_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CONTAINS_FIELD_NUMBER: _ClassVar[int]
    CA_FILE_FIELD_NUMBER: _ClassVar[int]
    url: str
    method: str
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    body: str
    status: _containers.RepeatedScalarFieldContainer[int]
    contains: str
    ca_file: str
    def __init__(self, url: _Optional[str] = ..., method: _Optional[str] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., body: _Optional[str] = ..., status: _Optional[_Iterable[int]] = ..., contains: _Optional[str] = ..., ca_file: _Optional[str] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("name", "value", "from_env", "from_file")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FROM_ENV_FIELD_NUMBER: _ClassVar[int]
    FROM_FILE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    from_env: str
    from_file: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ..., from_env: _Optional[str] = ..., from_file: _Optional[str] = ...) -> None: ...

class TcpSource(_message.Message):
    __slots__ = ("host", "port")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    host: str
    port: int
    def __init__(self, host: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class GrpcSource(_message.Message):
    __slots__ = ("address", "service", "tls", "ca_file")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    CA_FILE_FIELD_NUMBER: _ClassVar[int]
    address: str
    service: str
    tls: bool
    ca_file: str
    def __init__(self, address: _Optional[str] = ..., service: _Optional[str] = ..., tls: _Optional[bool] = ..., ca_file: _Optional[str] = ...) -> None: ...

class PrometheusSource(_message.Message):
    __slots__ = ("server", "query", "headers", "ca_file")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    CA_FILE_FIELD_NUMBER: _ClassVar[int]
    server: str
    query: str
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    ca_file: str
    def __init__(self, server: _Optional[str] = ..., query: _Optional[str] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., ca_file: _Optional[str] = ...) -> None: ...

class HostSource(_message.Message):
    __slots__ = ("metric",)
    METRIC_FIELD_NUMBER: _ClassVar[int]
    metric: HostMetric
    def __init__(self, metric: _Optional[_Union[HostMetric, str]] = ...) -> None: ...

class EventsSource(_message.Message):
    __slots__ = ("kind", "unit")
    KIND_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    kind: EventKind
    unit: str
    def __init__(self, kind: _Optional[_Union[EventKind, str]] = ..., unit: _Optional[str] = ...) -> None: ...

class CommandSource(_message.Message):
    __slots__ = ("command", "arguments")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    command: str
    arguments: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, command: _Optional[str] = ..., arguments: _Optional[_Iterable[str]] = ...) -> None: ...

class Deed(_message.Message):
    __slots__ = ("name", "webhook", "command", "within_ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    webhook: HttpSource
    command: CommandSource
    within_ms: int
    def __init__(self, name: _Optional[str] = ..., webhook: _Optional[_Union[HttpSource, _Mapping]] = ..., command: _Optional[_Union[CommandSource, _Mapping]] = ..., within_ms: _Optional[int] = ...) -> None: ...

class Reading(_message.Message):
    __slots__ = ("probe", "at_unix_ms", "value", "detail")
    PROBE_FIELD_NUMBER: _ClassVar[int]
    AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    probe: str
    at_unix_ms: int
    value: float
    detail: str
    def __init__(self, probe: _Optional[str] = ..., at_unix_ms: _Optional[int] = ..., value: _Optional[float] = ..., detail: _Optional[str] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("part", "sentence", "standing", "unmet_unix_ms", "unmet_ms", "detail", "unknown_ms")
    PART_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    UNMET_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    UNMET_MS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_MS_FIELD_NUMBER: _ClassVar[int]
    part: Part
    sentence: str
    standing: Standing
    unmet_unix_ms: int
    unmet_ms: int
    detail: str
    unknown_ms: int
    def __init__(self, part: _Optional[_Union[Part, str]] = ..., sentence: _Optional[str] = ..., standing: _Optional[_Union[Standing, str]] = ..., unmet_unix_ms: _Optional[int] = ..., unmet_ms: _Optional[int] = ..., detail: _Optional[str] = ..., unknown_ms: _Optional[int] = ...) -> None: ...

class Baseline(_message.Message):
    __slots__ = ("probe", "median", "readings", "lowest", "highest", "mean")
    PROBE_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_FIELD_NUMBER: _ClassVar[int]
    READINGS_FIELD_NUMBER: _ClassVar[int]
    LOWEST_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    probe: str
    median: float
    readings: int
    lowest: float
    highest: float
    mean: float
    def __init__(self, probe: _Optional[str] = ..., median: _Optional[float] = ..., readings: _Optional[int] = ..., lowest: _Optional[float] = ..., highest: _Optional[float] = ..., mean: _Optional[float] = ...) -> None: ...

class Impact(_message.Message):
    __slots__ = ("probe", "repetitions", "mean", "deviation", "lowest", "highest")
    PROBE_FIELD_NUMBER: _ClassVar[int]
    REPETITIONS_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    DEVIATION_FIELD_NUMBER: _ClassVar[int]
    LOWEST_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    probe: str
    repetitions: int
    mean: float
    deviation: float
    lowest: float
    highest: float
    def __init__(self, probe: _Optional[str] = ..., repetitions: _Optional[int] = ..., mean: _Optional[float] = ..., deviation: _Optional[float] = ..., lowest: _Optional[float] = ..., highest: _Optional[float] = ...) -> None: ...

class Findings(_message.Message):
    __slots__ = ("findings", "baselines", "detected_after_ms", "recovered_after_ms", "deeds", "impacts")
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    BASELINES_FIELD_NUMBER: _ClassVar[int]
    DETECTED_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    DEEDS_FIELD_NUMBER: _ClassVar[int]
    IMPACTS_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    baselines: _containers.RepeatedCompositeFieldContainer[Baseline]
    detected_after_ms: int
    recovered_after_ms: int
    deeds: _containers.RepeatedScalarFieldContainer[str]
    impacts: _containers.RepeatedCompositeFieldContainer[Impact]
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., baselines: _Optional[_Iterable[_Union[Baseline, _Mapping]]] = ..., detected_after_ms: _Optional[int] = ..., recovered_after_ms: _Optional[int] = ..., deeds: _Optional[_Iterable[str]] = ..., impacts: _Optional[_Iterable[_Union[Impact, _Mapping]]] = ...) -> None: ...

from killdeer.v1 import process_pb2 as _process_pb2
from killdeer.v1 import probe_pb2 as _probe_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EvidenceLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVIDENCE_LEVEL_UNSPECIFIED: _ClassVar[EvidenceLevel]
    EVIDENCE_LEVEL_PIDFD: _ClassVar[EvidenceLevel]
    EVIDENCE_LEVEL_BPF: _ClassVar[EvidenceLevel]

class HaltStage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HALT_STAGE_UNSPECIFIED: _ClassVar[HaltStage]
    HALT_STAGE_STOPPED: _ClassVar[HaltStage]
    HALT_STAGE_REVERTED: _ClassVar[HaltStage]

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_INFO: _ClassVar[Severity]
    SEVERITY_WARNING: _ClassVar[Severity]
    SEVERITY_PROBLEM: _ClassVar[Severity]
EVIDENCE_LEVEL_UNSPECIFIED: EvidenceLevel
EVIDENCE_LEVEL_PIDFD: EvidenceLevel
EVIDENCE_LEVEL_BPF: EvidenceLevel
HALT_STAGE_UNSPECIFIED: HaltStage
HALT_STAGE_STOPPED: HaltStage
HALT_STAGE_REVERTED: HaltStage
SEVERITY_UNSPECIFIED: Severity
SEVERITY_INFO: Severity
SEVERITY_WARNING: Severity
SEVERITY_PROBLEM: Severity

class ConnectRequest(_message.Message):
    __slots__ = ("hello", "heartbeat", "candidates", "strike_update", "evidence", "halt_ack", "goodbye", "unit_started", "certificate_request", "inspected")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    STRIKE_UPDATE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    HALT_ACK_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    UNIT_STARTED_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    INSPECTED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    candidates: Candidates
    strike_update: StrikeUpdate
    evidence: Evidence
    halt_ack: HaltAck
    goodbye: Goodbye
    unit_started: UnitStarted
    certificate_request: CertificateRequest
    inspected: Inspected
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., candidates: _Optional[_Union[Candidates, _Mapping]] = ..., strike_update: _Optional[_Union[StrikeUpdate, _Mapping]] = ..., evidence: _Optional[_Union[Evidence, _Mapping]] = ..., halt_ack: _Optional[_Union[HaltAck, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., unit_started: _Optional[_Union[UnitStarted, _Mapping]] = ..., certificate_request: _Optional[_Union[CertificateRequest, _Mapping]] = ..., inspected: _Optional[_Union[Inspected, _Mapping]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("welcome", "lease_renewal", "scan", "strike", "revert", "halt", "rearm", "ack", "dismissal", "start_unit", "certificate_issued", "inspect")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    LEASE_RENEWAL_FIELD_NUMBER: _ClassVar[int]
    SCAN_FIELD_NUMBER: _ClassVar[int]
    STRIKE_FIELD_NUMBER: _ClassVar[int]
    REVERT_FIELD_NUMBER: _ClassVar[int]
    HALT_FIELD_NUMBER: _ClassVar[int]
    REARM_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    DISMISSAL_FIELD_NUMBER: _ClassVar[int]
    START_UNIT_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_ISSUED_FIELD_NUMBER: _ClassVar[int]
    INSPECT_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    lease_renewal: LeaseRenewal
    scan: Scan
    strike: Strike
    revert: Revert
    halt: Halt
    rearm: Rearm
    ack: Ack
    dismissal: Dismissal
    start_unit: StartUnit
    certificate_issued: CertificateIssued
    inspect: Inspect
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., lease_renewal: _Optional[_Union[LeaseRenewal, _Mapping]] = ..., scan: _Optional[_Union[Scan, _Mapping]] = ..., strike: _Optional[_Union[Strike, _Mapping]] = ..., revert: _Optional[_Union[Revert, _Mapping]] = ..., halt: _Optional[_Union[Halt, _Mapping]] = ..., rearm: _Optional[_Union[Rearm, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., dismissal: _Optional[_Union[Dismissal, _Mapping]] = ..., start_unit: _Optional[_Union[StartUnit, _Mapping]] = ..., certificate_issued: _Optional[_Union[CertificateIssued, _Mapping]] = ..., inspect: _Optional[_Union[Inspect, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("host", "boot_id", "session", "labels", "version", "kernel", "evidence", "evidence_detail", "cannot_evaluate", "halts", "open_commands", "position", "has_rtc", "guard_version", "problem")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HOST_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_DETAIL_FIELD_NUMBER: _ClassVar[int]
    CANNOT_EVALUATE_FIELD_NUMBER: _ClassVar[int]
    HALTS_FIELD_NUMBER: _ClassVar[int]
    OPEN_COMMANDS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    HAS_RTC_FIELD_NUMBER: _ClassVar[int]
    GUARD_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    host: str
    boot_id: str
    session: str
    labels: _containers.ScalarMap[str, str]
    version: str
    kernel: str
    evidence: EvidenceLevel
    evidence_detail: str
    cannot_evaluate: _containers.RepeatedScalarFieldContainer[_process_pb2.Field]
    halts: _process_pb2.HaltSet
    open_commands: _containers.RepeatedScalarFieldContainer[str]
    position: _process_pb2.StorePosition
    has_rtc: bool
    guard_version: str
    problem: str
    def __init__(self, host: _Optional[str] = ..., boot_id: _Optional[str] = ..., session: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., version: _Optional[str] = ..., kernel: _Optional[str] = ..., evidence: _Optional[_Union[EvidenceLevel, str]] = ..., evidence_detail: _Optional[str] = ..., cannot_evaluate: _Optional[_Iterable[_Union[_process_pb2.Field, str]]] = ..., halts: _Optional[_Union[_process_pb2.HaltSet, _Mapping]] = ..., open_commands: _Optional[_Iterable[str]] = ..., position: _Optional[_Union[_process_pb2.StorePosition, _Mapping]] = ..., has_rtc: _Optional[bool] = ..., guard_version: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("stamp_boot_ns", "load_1m", "cpu_percent", "memory_percent", "memory_pressure", "reverts_left", "events_lost", "halted_locally", "guard_version", "notice", "journal_bytes", "state_free_bytes", "revert_problems")
    STAMP_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    LOAD_1M_FIELD_NUMBER: _ClassVar[int]
    CPU_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    REVERTS_LEFT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_LOST_FIELD_NUMBER: _ClassVar[int]
    HALTED_LOCALLY_FIELD_NUMBER: _ClassVar[int]
    GUARD_VERSION_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    STATE_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    REVERT_PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    stamp_boot_ns: int
    load_1m: float
    cpu_percent: float
    memory_percent: float
    memory_pressure: float
    reverts_left: _containers.RepeatedScalarFieldContainer[str]
    events_lost: int
    halted_locally: bool
    guard_version: str
    notice: str
    journal_bytes: int
    state_free_bytes: int
    revert_problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, stamp_boot_ns: _Optional[int] = ..., load_1m: _Optional[float] = ..., cpu_percent: _Optional[float] = ..., memory_percent: _Optional[float] = ..., memory_pressure: _Optional[float] = ..., reverts_left: _Optional[_Iterable[str]] = ..., events_lost: _Optional[int] = ..., halted_locally: _Optional[bool] = ..., guard_version: _Optional[str] = ..., notice: _Optional[str] = ..., journal_bytes: _Optional[int] = ..., state_free_bytes: _Optional[int] = ..., revert_problems: _Optional[_Iterable[str]] = ...) -> None: ...

class Candidates(_message.Message):
    __slots__ = ("scan_id", "candidates", "guard_version", "failure", "failure_detail", "begun_boot_ns", "services")
    SCAN_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    GUARD_VERSION_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_DETAIL_FIELD_NUMBER: _ClassVar[int]
    BEGUN_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    scan_id: str
    candidates: _containers.RepeatedCompositeFieldContainer[_process_pb2.Candidate]
    guard_version: str
    failure: _process_pb2.Reason
    failure_detail: str
    begun_boot_ns: int
    services: _containers.RepeatedCompositeFieldContainer[ServiceCount]
    def __init__(self, scan_id: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[_process_pb2.Candidate, _Mapping]]] = ..., guard_version: _Optional[str] = ..., failure: _Optional[_Union[_process_pb2.Reason, str]] = ..., failure_detail: _Optional[str] = ..., begun_boot_ns: _Optional[int] = ..., services: _Optional[_Iterable[_Union[ServiceCount, _Mapping]]] = ...) -> None: ...

class ServiceCount(_message.Message):
    __slots__ = ("service", "ready")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    service: str
    ready: int
    def __init__(self, service: _Optional[str] = ..., ready: _Optional[int] = ...) -> None: ...

class StrikeUpdate(_message.Message):
    __slots__ = ("number", "command_id", "state", "reason", "detail", "blows", "exit", "successor", "used_up", "effect_open", "changed", "at_boot_ns", "events_lost", "settled", "cut_short", "stopped", "ready_after_ns")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    BLOWS_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    USED_UP_FIELD_NUMBER: _ClassVar[int]
    EFFECT_OPEN_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    AT_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_LOST_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    CUT_SHORT_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    READY_AFTER_NS_FIELD_NUMBER: _ClassVar[int]
    number: int
    command_id: str
    state: _process_pb2.StrikeState
    reason: _process_pb2.Reason
    detail: str
    blows: _containers.RepeatedCompositeFieldContainer[_process_pb2.Blow]
    exit: _process_pb2.Exit
    successor: _process_pb2.Successor
    used_up: bool
    effect_open: bool
    changed: bool
    at_boot_ns: int
    events_lost: int
    settled: bool
    cut_short: bool
    stopped: bool
    ready_after_ns: int
    def __init__(self, number: _Optional[int] = ..., command_id: _Optional[str] = ..., state: _Optional[_Union[_process_pb2.StrikeState, str]] = ..., reason: _Optional[_Union[_process_pb2.Reason, str]] = ..., detail: _Optional[str] = ..., blows: _Optional[_Iterable[_Union[_process_pb2.Blow, _Mapping]]] = ..., exit: _Optional[_Union[_process_pb2.Exit, _Mapping]] = ..., successor: _Optional[_Union[_process_pb2.Successor, _Mapping]] = ..., used_up: _Optional[bool] = ..., effect_open: _Optional[bool] = ..., changed: _Optional[bool] = ..., at_boot_ns: _Optional[int] = ..., events_lost: _Optional[int] = ..., settled: _Optional[bool] = ..., cut_short: _Optional[bool] = ..., stopped: _Optional[bool] = ..., ready_after_ns: _Optional[int] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_process_pb2.KernelEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[_process_pb2.KernelEvent, _Mapping]]] = ...) -> None: ...

class HaltAck(_message.Message):
    __slots__ = ("halt_id", "stage", "reverted", "left")
    HALT_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    REVERTED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    halt_id: str
    stage: HaltStage
    reverted: int
    left: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, halt_id: _Optional[str] = ..., stage: _Optional[_Union[HaltStage, str]] = ..., reverted: _Optional[int] = ..., left: _Optional[_Iterable[str]] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("halts", "session", "lease_ms", "position", "open", "heartbeat_ms")
    HALTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MS_FIELD_NUMBER: _ClassVar[int]
    halts: _process_pb2.HaltSet
    session: str
    lease_ms: int
    position: _process_pb2.StorePosition
    open: _containers.RepeatedCompositeFieldContainer[OpenStrike]
    heartbeat_ms: int
    def __init__(self, halts: _Optional[_Union[_process_pb2.HaltSet, _Mapping]] = ..., session: _Optional[str] = ..., lease_ms: _Optional[int] = ..., position: _Optional[_Union[_process_pb2.StorePosition, _Mapping]] = ..., open: _Optional[_Iterable[_Union[OpenStrike, _Mapping]]] = ..., heartbeat_ms: _Optional[int] = ...) -> None: ...

class OpenStrike(_message.Message):
    __slots__ = ("command_id", "victim", "action", "doubtful")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    VICTIM_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DOUBTFUL_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    victim: _process_pb2.Identity
    action: _process_pb2.Action
    doubtful: bool
    def __init__(self, command_id: _Optional[str] = ..., victim: _Optional[_Union[_process_pb2.Identity, _Mapping]] = ..., action: _Optional[_Union[_process_pb2.Action, _Mapping]] = ..., doubtful: _Optional[bool] = ...) -> None: ...

class LeaseRenewal(_message.Message):
    __slots__ = ("heartbeat_boot_ns", "lease_ms", "halts", "position")
    HEARTBEAT_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    HALTS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    heartbeat_boot_ns: int
    lease_ms: int
    halts: _process_pb2.HaltSet
    position: _process_pb2.StorePosition
    def __init__(self, heartbeat_boot_ns: _Optional[int] = ..., lease_ms: _Optional[int] = ..., halts: _Optional[_Union[_process_pb2.HaltSet, _Mapping]] = ..., position: _Optional[_Union[_process_pb2.StorePosition, _Mapping]] = ...) -> None: ...

class Scan(_message.Message):
    __slots__ = ("scan_id", "selector", "action", "deadline_ms")
    SCAN_ID_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    scan_id: str
    selector: _process_pb2.Selector
    action: _process_pb2.Action
    deadline_ms: int
    def __init__(self, scan_id: _Optional[str] = ..., selector: _Optional[_Union[_process_pb2.Selector, _Mapping]] = ..., action: _Optional[_Union[_process_pb2.Action, _Mapping]] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class Strike(_message.Message):
    __slots__ = ("command_id", "run_id", "run_fence", "permit_id", "victim", "service", "selector", "action", "not_after_boot_ns", "halts_digest", "position", "recover_within_ms", "stable_for_ms", "ready")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FENCE_FIELD_NUMBER: _ClassVar[int]
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    VICTIM_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    HALTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RECOVER_WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    STABLE_FOR_MS_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    run_id: str
    run_fence: int
    permit_id: str
    victim: _process_pb2.Identity
    service: str
    selector: _process_pb2.Selector
    action: _process_pb2.Action
    not_after_boot_ns: int
    halts_digest: str
    position: _process_pb2.StorePosition
    recover_within_ms: int
    stable_for_ms: int
    ready: _probe_pb2.Probe
    def __init__(self, command_id: _Optional[str] = ..., run_id: _Optional[str] = ..., run_fence: _Optional[int] = ..., permit_id: _Optional[str] = ..., victim: _Optional[_Union[_process_pb2.Identity, _Mapping]] = ..., service: _Optional[str] = ..., selector: _Optional[_Union[_process_pb2.Selector, _Mapping]] = ..., action: _Optional[_Union[_process_pb2.Action, _Mapping]] = ..., not_after_boot_ns: _Optional[int] = ..., halts_digest: _Optional[str] = ..., position: _Optional[_Union[_process_pb2.StorePosition, _Mapping]] = ..., recover_within_ms: _Optional[int] = ..., stable_for_ms: _Optional[int] = ..., ready: _Optional[_Union[_probe_pb2.Probe, _Mapping]] = ...) -> None: ...

class Revert(_message.Message):
    __slots__ = ("command_id",)
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    def __init__(self, command_id: _Optional[str] = ...) -> None: ...

class StartUnit(_message.Message):
    __slots__ = ("command_id", "service", "ask")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ASK_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    service: str
    ask: str
    def __init__(self, command_id: _Optional[str] = ..., service: _Optional[str] = ..., ask: _Optional[str] = ...) -> None: ...

class UnitStarted(_message.Message):
    __slots__ = ("ask", "problem")
    ASK_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    ask: str
    problem: str
    def __init__(self, ask: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...

class Halt(_message.Message):
    __slots__ = ("halt",)
    HALT_FIELD_NUMBER: _ClassVar[int]
    halt: _process_pb2.HaltRecord
    def __init__(self, halt: _Optional[_Union[_process_pb2.HaltRecord, _Mapping]] = ...) -> None: ...

class Rearm(_message.Message):
    __slots__ = ("released", "by")
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    released: _containers.RepeatedScalarFieldContainer[str]
    by: str
    def __init__(self, released: _Optional[_Iterable[str]] = ..., by: _Optional[str] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class Dismissal(_message.Message):
    __slots__ = ("reason", "detail", "retry_after_ms")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    reason: _process_pb2.Reason
    detail: str
    retry_after_ms: int
    def __init__(self, reason: _Optional[_Union[_process_pb2.Reason, str]] = ..., detail: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class CertificateRequest(_message.Message):
    __slots__ = ("signing_request",)
    SIGNING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    signing_request: bytes
    def __init__(self, signing_request: _Optional[bytes] = ...) -> None: ...

class CertificateIssued(_message.Message):
    __slots__ = ("certificate", "authorities", "problem")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    authorities: bytes
    problem: str
    def __init__(self, certificate: _Optional[bytes] = ..., authorities: _Optional[bytes] = ..., problem: _Optional[str] = ...) -> None: ...

class Inspect(_message.Message):
    __slots__ = ("ask", "selector", "deadline_ms")
    ASK_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    ask: str
    selector: _process_pb2.Selector
    deadline_ms: int
    def __init__(self, ask: _Optional[str] = ..., selector: _Optional[_Union[_process_pb2.Selector, _Mapping]] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class Inspected(_message.Message):
    __slots__ = ("ask", "subjects", "failure", "failure_detail")
    ASK_FIELD_NUMBER: _ClassVar[int]
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_DETAIL_FIELD_NUMBER: _ClassVar[int]
    ask: str
    subjects: _containers.RepeatedCompositeFieldContainer[Subject]
    failure: _process_pb2.Reason
    failure_detail: str
    def __init__(self, ask: _Optional[str] = ..., subjects: _Optional[_Iterable[_Union[Subject, _Mapping]]] = ..., failure: _Optional[_Union[_process_pb2.Reason, str]] = ..., failure_detail: _Optional[str] = ...) -> None: ...

class Subject(_message.Message):
    __slots__ = ("service", "units", "container", "processes", "findings", "unasked", "left_out", "stop_ms", "restart_ms")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    UNASKED_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    STOP_MS_FIELD_NUMBER: _ClassVar[int]
    RESTART_MS_FIELD_NUMBER: _ClassVar[int]
    service: str
    units: _containers.RepeatedScalarFieldContainer[str]
    container: str
    processes: _containers.RepeatedCompositeFieldContainer[SubjectProcess]
    findings: _containers.RepeatedCompositeFieldContainer[InspectionFinding]
    unasked: str
    left_out: int
    stop_ms: int
    restart_ms: int
    def __init__(self, service: _Optional[str] = ..., units: _Optional[_Iterable[str]] = ..., container: _Optional[str] = ..., processes: _Optional[_Iterable[_Union[SubjectProcess, _Mapping]]] = ..., findings: _Optional[_Iterable[_Union[InspectionFinding, _Mapping]]] = ..., unasked: _Optional[str] = ..., left_out: _Optional[int] = ..., stop_ms: _Optional[int] = ..., restart_ms: _Optional[int] = ...) -> None: ...

class SubjectProcess(_message.Message):
    __slots__ = ("pid", "name", "cmdline", "user", "age_ms", "main", "verdict")
    PID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CMDLINE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    MAIN_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    pid: int
    name: str
    cmdline: str
    user: str
    age_ms: int
    main: bool
    verdict: _process_pb2.Verdict
    def __init__(self, pid: _Optional[int] = ..., name: _Optional[str] = ..., cmdline: _Optional[str] = ..., user: _Optional[str] = ..., age_ms: _Optional[int] = ..., main: _Optional[bool] = ..., verdict: _Optional[_Union[_process_pb2.Verdict, _Mapping]] = ...) -> None: ...

class InspectionFinding(_message.Message):
    __slots__ = ("severity", "name", "fact", "change", "section", "directive", "units", "pids")
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FACT_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    SECTION_FIELD_NUMBER: _ClassVar[int]
    DIRECTIVE_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    PIDS_FIELD_NUMBER: _ClassVar[int]
    severity: Severity
    name: str
    fact: str
    change: str
    section: str
    directive: str
    units: _containers.RepeatedScalarFieldContainer[str]
    pids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, severity: _Optional[_Union[Severity, str]] = ..., name: _Optional[str] = ..., fact: _Optional[str] = ..., change: _Optional[str] = ..., section: _Optional[str] = ..., directive: _Optional[str] = ..., units: _Optional[_Iterable[str]] = ..., pids: _Optional[_Iterable[int]] = ...) -> None: ...

from killdeer.v1 import process_pb2 as _process_pb2
from killdeer.v1 import agent_pb2 as _agent_pb2
from killdeer.v1 import probe_pb2 as _probe_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATE_UNSPECIFIED: _ClassVar[RunState]
    RUN_STATE_RUNNING: _ClassVar[RunState]
    RUN_STATE_ABORTING: _ClassVar[RunState]
    RUN_STATE_ENDED: _ClassVar[RunState]

class RunVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_VERDICT_UNSPECIFIED: _ClassVar[RunVerdict]
    RUN_VERDICT_HELD: _ClassVar[RunVerdict]
    RUN_VERDICT_DEVIATED: _ClassVar[RunVerdict]
    RUN_VERDICT_INCONCLUSIVE: _ClassVar[RunVerdict]
    RUN_VERDICT_NOT_RECOVERED: _ClassVar[RunVerdict]
    RUN_VERDICT_ABORTED: _ClassVar[RunVerdict]
    RUN_VERDICT_HALTED: _ClassVar[RunVerdict]
    RUN_VERDICT_REFUSED: _ClassVar[RunVerdict]

class RunPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_PHASE_UNSPECIFIED: _ClassVar[RunPhase]
    RUN_PHASE_LOADING: _ClassVar[RunPhase]
    RUN_PHASE_BASELINE: _ClassVar[RunPhase]
    RUN_PHASE_WAVES: _ClassVar[RunPhase]
    RUN_PHASE_GATE: _ClassVar[RunPhase]
    RUN_PHASE_RECOVERY: _ClassVar[RunPhase]
    RUN_PHASE_CLOSING: _ClassVar[RunPhase]
RUN_STATE_UNSPECIFIED: RunState
RUN_STATE_RUNNING: RunState
RUN_STATE_ABORTING: RunState
RUN_STATE_ENDED: RunState
RUN_VERDICT_UNSPECIFIED: RunVerdict
RUN_VERDICT_HELD: RunVerdict
RUN_VERDICT_DEVIATED: RunVerdict
RUN_VERDICT_INCONCLUSIVE: RunVerdict
RUN_VERDICT_NOT_RECOVERED: RunVerdict
RUN_VERDICT_ABORTED: RunVerdict
RUN_VERDICT_HALTED: RunVerdict
RUN_VERDICT_REFUSED: RunVerdict
RUN_PHASE_UNSPECIFIED: RunPhase
RUN_PHASE_LOADING: RunPhase
RUN_PHASE_BASELINE: RunPhase
RUN_PHASE_WAVES: RunPhase
RUN_PHASE_GATE: RunPhase
RUN_PHASE_RECOVERY: RunPhase
RUN_PHASE_CLOSING: RunPhase

class PlanRequest(_message.Message):
    __slots__ = ("source", "file", "seed")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    source: str
    file: str
    seed: int
    def __init__(self, source: _Optional[str] = ..., file: _Optional[str] = ..., seed: _Optional[int] = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: PlanView
    def __init__(self, plan: _Optional[_Union[PlanView, _Mapping]] = ...) -> None: ...

class PlanView(_message.Message):
    __slots__ = ("experiment", "environment", "seed", "hash", "waves", "hosts", "warnings", "refusals", "production")
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    WAVES_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    PRODUCTION_FIELD_NUMBER: _ClassVar[int]
    experiment: str
    environment: str
    seed: int
    hash: str
    waves: _containers.RepeatedCompositeFieldContainer[PlannedWave]
    hosts: _containers.RepeatedCompositeFieldContainer[PlannedHost]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    refusals: _containers.RepeatedScalarFieldContainer[str]
    production: bool
    def __init__(self, experiment: _Optional[str] = ..., environment: _Optional[str] = ..., seed: _Optional[int] = ..., hash: _Optional[str] = ..., waves: _Optional[_Iterable[_Union[PlannedWave, _Mapping]]] = ..., hosts: _Optional[_Iterable[_Union[PlannedHost, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., refusals: _Optional[_Iterable[str]] = ..., production: _Optional[bool] = ...) -> None: ...

class PlannedWave(_message.Message):
    __slots__ = ("name", "strikes", "dry_run", "action", "victims", "spread_ms", "repetition")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STRIKES_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    VICTIMS_FIELD_NUMBER: _ClassVar[int]
    SPREAD_MS_FIELD_NUMBER: _ClassVar[int]
    REPETITION_FIELD_NUMBER: _ClassVar[int]
    name: str
    strikes: int
    dry_run: bool
    action: _process_pb2.Action
    victims: _containers.RepeatedCompositeFieldContainer[PlannedVictim]
    spread_ms: int
    repetition: int
    def __init__(self, name: _Optional[str] = ..., strikes: _Optional[int] = ..., dry_run: _Optional[bool] = ..., action: _Optional[_Union[_process_pb2.Action, _Mapping]] = ..., victims: _Optional[_Iterable[_Union[PlannedVictim, _Mapping]]] = ..., spread_ms: _Optional[int] = ..., repetition: _Optional[int] = ...) -> None: ...

class PlannedVictim(_message.Message):
    __slots__ = ("host", "service", "ordinal", "pid", "name")
    HOST_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    host: str
    service: str
    ordinal: int
    pid: int
    name: str
    def __init__(self, host: _Optional[str] = ..., service: _Optional[str] = ..., ordinal: _Optional[int] = ..., pid: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class PlannedHost(_message.Message):
    __slots__ = ("host", "verdict", "candidates")
    HOST_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    host: str
    verdict: _process_pb2.Verdict
    candidates: _containers.RepeatedCompositeFieldContainer[_process_pb2.Candidate]
    def __init__(self, host: _Optional[str] = ..., verdict: _Optional[_Union[_process_pb2.Verdict, _Mapping]] = ..., candidates: _Optional[_Iterable[_Union[_process_pb2.Candidate, _Mapping]]] = ...) -> None: ...

class RunRequest(_message.Message):
    __slots__ = ("source", "file", "seed", "plan_hash", "key")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PLAN_HASH_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    source: str
    file: str
    seed: int
    plan_hash: str
    key: str
    def __init__(self, source: _Optional[str] = ..., file: _Optional[str] = ..., seed: _Optional[int] = ..., plan_hash: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class RunResponse(_message.Message):
    __slots__ = ("run_id", "plan")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    plan: PlanView
    def __init__(self, run_id: _Optional[str] = ..., plan: _Optional[_Union[PlanView, _Mapping]] = ...) -> None: ...

class RunView(_message.Message):
    __slots__ = ("run_id", "experiment", "environment", "owner", "started_by", "seed", "state", "verdict", "why", "started_unix_ms", "ended_unix_ms", "wave", "strikes", "hypothesis", "plan_hash", "waves_done", "waves_total", "phase", "findings", "latest", "phase_ends_unix_ms", "permits_held", "last_strike_unix_ms")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    STARTED_BY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    ENDED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    WAVE_FIELD_NUMBER: _ClassVar[int]
    STRIKES_FIELD_NUMBER: _ClassVar[int]
    HYPOTHESIS_FIELD_NUMBER: _ClassVar[int]
    PLAN_HASH_FIELD_NUMBER: _ClassVar[int]
    WAVES_DONE_FIELD_NUMBER: _ClassVar[int]
    WAVES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    PHASE_ENDS_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    PERMITS_HELD_FIELD_NUMBER: _ClassVar[int]
    LAST_STRIKE_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    experiment: str
    environment: str
    owner: str
    started_by: str
    seed: int
    state: RunState
    verdict: RunVerdict
    why: str
    started_unix_ms: int
    ended_unix_ms: int
    wave: str
    strikes: _containers.RepeatedCompositeFieldContainer[StrikeView]
    hypothesis: str
    plan_hash: str
    waves_done: int
    waves_total: int
    phase: RunPhase
    findings: _probe_pb2.Findings
    latest: _containers.RepeatedCompositeFieldContainer[_probe_pb2.Reading]
    phase_ends_unix_ms: int
    permits_held: int
    last_strike_unix_ms: int
    def __init__(self, run_id: _Optional[str] = ..., experiment: _Optional[str] = ..., environment: _Optional[str] = ..., owner: _Optional[str] = ..., started_by: _Optional[str] = ..., seed: _Optional[int] = ..., state: _Optional[_Union[RunState, str]] = ..., verdict: _Optional[_Union[RunVerdict, str]] = ..., why: _Optional[str] = ..., started_unix_ms: _Optional[int] = ..., ended_unix_ms: _Optional[int] = ..., wave: _Optional[str] = ..., strikes: _Optional[_Iterable[_Union[StrikeView, _Mapping]]] = ..., hypothesis: _Optional[str] = ..., plan_hash: _Optional[str] = ..., waves_done: _Optional[int] = ..., waves_total: _Optional[int] = ..., phase: _Optional[_Union[RunPhase, str]] = ..., findings: _Optional[_Union[_probe_pb2.Findings, _Mapping]] = ..., latest: _Optional[_Iterable[_Union[_probe_pb2.Reading, _Mapping]]] = ..., phase_ends_unix_ms: _Optional[int] = ..., permits_held: _Optional[int] = ..., last_strike_unix_ms: _Optional[int] = ...) -> None: ...

class StrikeView(_message.Message):
    __slots__ = ("command_id", "wave", "dry_run", "victim", "service", "ordinal", "name", "action", "state", "reason", "detail", "blows", "exit", "successor", "changed", "recovered_after_ns", "evidence", "events_lost", "step", "cut_short", "ready_after_ns", "struck_unix_ms")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    WAVE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    VICTIM_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    BLOWS_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_AFTER_NS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_LOST_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    CUT_SHORT_FIELD_NUMBER: _ClassVar[int]
    READY_AFTER_NS_FIELD_NUMBER: _ClassVar[int]
    STRUCK_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    wave: str
    dry_run: bool
    victim: _process_pb2.Identity
    service: str
    ordinal: int
    name: str
    action: _process_pb2.Action
    state: _process_pb2.StrikeState
    reason: _process_pb2.Reason
    detail: str
    blows: _containers.RepeatedCompositeFieldContainer[_process_pb2.Blow]
    exit: _process_pb2.Exit
    successor: _process_pb2.Successor
    changed: bool
    recovered_after_ns: int
    evidence: _agent_pb2.EvidenceLevel
    events_lost: int
    step: int
    cut_short: bool
    ready_after_ns: int
    struck_unix_ms: int
    def __init__(self, command_id: _Optional[str] = ..., wave: _Optional[str] = ..., dry_run: _Optional[bool] = ..., victim: _Optional[_Union[_process_pb2.Identity, _Mapping]] = ..., service: _Optional[str] = ..., ordinal: _Optional[int] = ..., name: _Optional[str] = ..., action: _Optional[_Union[_process_pb2.Action, _Mapping]] = ..., state: _Optional[_Union[_process_pb2.StrikeState, str]] = ..., reason: _Optional[_Union[_process_pb2.Reason, str]] = ..., detail: _Optional[str] = ..., blows: _Optional[_Iterable[_Union[_process_pb2.Blow, _Mapping]]] = ..., exit: _Optional[_Union[_process_pb2.Exit, _Mapping]] = ..., successor: _Optional[_Union[_process_pb2.Successor, _Mapping]] = ..., changed: _Optional[bool] = ..., recovered_after_ns: _Optional[int] = ..., evidence: _Optional[_Union[_agent_pb2.EvidenceLevel, str]] = ..., events_lost: _Optional[int] = ..., step: _Optional[int] = ..., cut_short: _Optional[bool] = ..., ready_after_ns: _Optional[int] = ..., struck_unix_ms: _Optional[int] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunView]
    def __init__(self, runs: _Optional[_Iterable[_Union[RunView, _Mapping]]] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class GetRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ...) -> None: ...

class WatchRunRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class WatchRunResponse(_message.Message):
    __slots__ = ("run", "log")
    RUN_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    log: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ..., log: _Optional[_Iterable[str]] = ...) -> None: ...

class AbortRunRequest(_message.Message):
    __slots__ = ("run", "reason")
    RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run: str
    reason: str
    def __init__(self, run: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class AbortRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ...) -> None: ...

class GetReportRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class GetReportResponse(_message.Message):
    __slots__ = ("run", "source", "file", "readings", "log", "notes", "earlier")
    RUN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    READINGS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    EARLIER_FIELD_NUMBER: _ClassVar[int]
    run: RunView
    source: str
    file: str
    readings: _containers.RepeatedCompositeFieldContainer[_probe_pb2.Reading]
    log: _containers.RepeatedCompositeFieldContainer[LogLine]
    notes: _containers.RepeatedCompositeFieldContainer[RunNote]
    earlier: _containers.RepeatedCompositeFieldContainer[RunView]
    def __init__(self, run: _Optional[_Union[RunView, _Mapping]] = ..., source: _Optional[str] = ..., file: _Optional[str] = ..., readings: _Optional[_Iterable[_Union[_probe_pb2.Reading, _Mapping]]] = ..., log: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ..., notes: _Optional[_Iterable[_Union[RunNote, _Mapping]]] = ..., earlier: _Optional[_Iterable[_Union[RunView, _Mapping]]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("at_unix_ms", "line")
    AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    at_unix_ms: int
    line: str
    def __init__(self, at_unix_ms: _Optional[int] = ..., line: _Optional[str] = ...) -> None: ...

class RunNote(_message.Message):
    __slots__ = ("at_unix_ms", "who", "text", "action", "run")
    AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    at_unix_ms: int
    who: str
    text: str
    action: str
    run: str
    def __init__(self, at_unix_ms: _Optional[int] = ..., who: _Optional[str] = ..., text: _Optional[str] = ..., action: _Optional[str] = ..., run: _Optional[str] = ...) -> None: ...

class AddNoteRequest(_message.Message):
    __slots__ = ("run", "text", "action")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    run: str
    text: str
    action: str
    def __init__(self, run: _Optional[str] = ..., text: _Optional[str] = ..., action: _Optional[str] = ...) -> None: ...

class AddNoteResponse(_message.Message):
    __slots__ = ("note",)
    NOTE_FIELD_NUMBER: _ClassVar[int]
    note: RunNote
    def __init__(self, note: _Optional[_Union[RunNote, _Mapping]] = ...) -> None: ...

class HaltRequest(_message.Message):
    __slots__ = ("reason", "id")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    reason: str
    id: str
    def __init__(self, reason: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class HaltResponse(_message.Message):
    __slots__ = ("halt_id", "hosts", "complete", "stopped", "reverted", "total", "elapsed_ms", "stored")
    HALT_ID_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    REVERTED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_MS_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    halt_id: str
    hosts: _containers.RepeatedCompositeFieldContainer[HaltHost]
    complete: bool
    stopped: int
    reverted: int
    total: int
    elapsed_ms: int
    stored: bool
    def __init__(self, halt_id: _Optional[str] = ..., hosts: _Optional[_Iterable[_Union[HaltHost, _Mapping]]] = ..., complete: _Optional[bool] = ..., stopped: _Optional[int] = ..., reverted: _Optional[int] = ..., total: _Optional[int] = ..., elapsed_ms: _Optional[int] = ..., stored: _Optional[bool] = ...) -> None: ...

class HaltHost(_message.Message):
    __slots__ = ("host", "stage", "reverted", "left", "connected", "stops_by_unix_ms", "bound_passed", "no_rtc")
    HOST_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    REVERTED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    STOPS_BY_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    BOUND_PASSED_FIELD_NUMBER: _ClassVar[int]
    NO_RTC_FIELD_NUMBER: _ClassVar[int]
    host: str
    stage: _agent_pb2.HaltStage
    reverted: int
    left: _containers.RepeatedScalarFieldContainer[str]
    connected: bool
    stops_by_unix_ms: int
    bound_passed: bool
    no_rtc: bool
    def __init__(self, host: _Optional[str] = ..., stage: _Optional[_Union[_agent_pb2.HaltStage, str]] = ..., reverted: _Optional[int] = ..., left: _Optional[_Iterable[str]] = ..., connected: _Optional[bool] = ..., stops_by_unix_ms: _Optional[int] = ..., bound_passed: _Optional[bool] = ..., no_rtc: _Optional[bool] = ...) -> None: ...

class RearmRequest(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class RearmResponse(_message.Message):
    __slots__ = ("released",)
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    released: _containers.RepeatedCompositeFieldContainer[_process_pb2.HaltRecord]
    def __init__(self, released: _Optional[_Iterable[_Union[_process_pb2.HaltRecord, _Mapping]]] = ...) -> None: ...

class HostView(_message.Message):
    __slots__ = ("host", "labels", "connected", "quarantined", "problem", "version", "kernel", "evidence", "evidence_detail", "lease_left_ms", "load_1m", "cpu_percent", "memory_percent", "victims", "reverts_left", "events_lost", "halted_locally", "cannot_evaluate", "has_rtc", "last_seen_unix_ms", "memory_pressure", "notice", "journal_bytes", "state_free_bytes", "revert_problems")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HOST_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_DETAIL_FIELD_NUMBER: _ClassVar[int]
    LEASE_LEFT_MS_FIELD_NUMBER: _ClassVar[int]
    LOAD_1M_FIELD_NUMBER: _ClassVar[int]
    CPU_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    VICTIMS_FIELD_NUMBER: _ClassVar[int]
    REVERTS_LEFT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_LOST_FIELD_NUMBER: _ClassVar[int]
    HALTED_LOCALLY_FIELD_NUMBER: _ClassVar[int]
    CANNOT_EVALUATE_FIELD_NUMBER: _ClassVar[int]
    HAS_RTC_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    STATE_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    REVERT_PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    host: str
    labels: _containers.ScalarMap[str, str]
    connected: bool
    quarantined: bool
    problem: str
    version: str
    kernel: str
    evidence: _agent_pb2.EvidenceLevel
    evidence_detail: str
    lease_left_ms: int
    load_1m: float
    cpu_percent: float
    memory_percent: float
    victims: int
    reverts_left: _containers.RepeatedScalarFieldContainer[str]
    events_lost: int
    halted_locally: bool
    cannot_evaluate: _containers.RepeatedScalarFieldContainer[_process_pb2.Field]
    has_rtc: bool
    last_seen_unix_ms: int
    memory_pressure: float
    notice: str
    journal_bytes: int
    state_free_bytes: int
    revert_problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, host: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., connected: _Optional[bool] = ..., quarantined: _Optional[bool] = ..., problem: _Optional[str] = ..., version: _Optional[str] = ..., kernel: _Optional[str] = ..., evidence: _Optional[_Union[_agent_pb2.EvidenceLevel, str]] = ..., evidence_detail: _Optional[str] = ..., lease_left_ms: _Optional[int] = ..., load_1m: _Optional[float] = ..., cpu_percent: _Optional[float] = ..., memory_percent: _Optional[float] = ..., victims: _Optional[int] = ..., reverts_left: _Optional[_Iterable[str]] = ..., events_lost: _Optional[int] = ..., halted_locally: _Optional[bool] = ..., cannot_evaluate: _Optional[_Iterable[_Union[_process_pb2.Field, str]]] = ..., has_rtc: _Optional[bool] = ..., last_seen_unix_ms: _Optional[int] = ..., memory_pressure: _Optional[float] = ..., notice: _Optional[str] = ..., journal_bytes: _Optional[int] = ..., state_free_bytes: _Optional[int] = ..., revert_problems: _Optional[_Iterable[str]] = ...) -> None: ...

class ListHostsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListHostsResponse(_message.Message):
    __slots__ = ("hosts",)
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    hosts: _containers.RepeatedCompositeFieldContainer[HostView]
    def __init__(self, hosts: _Optional[_Iterable[_Union[HostView, _Mapping]]] = ...) -> None: ...

class AcceptHostRequest(_message.Message):
    __slots__ = ("host", "reason")
    HOST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    host: str
    reason: str
    def __init__(self, host: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class AcceptHostResponse(_message.Message):
    __slots__ = ("host",)
    HOST_FIELD_NUMBER: _ClassVar[int]
    host: HostView
    def __init__(self, host: _Optional[_Union[HostView, _Mapping]] = ...) -> None: ...

class RemoveHostRequest(_message.Message):
    __slots__ = ("host", "reason")
    HOST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    host: str
    reason: str
    def __init__(self, host: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RemoveHostResponse(_message.Message):
    __slots__ = ("host", "permits")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PERMITS_FIELD_NUMBER: _ClassVar[int]
    host: HostView
    permits: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, host: _Optional[_Union[HostView, _Mapping]] = ..., permits: _Optional[_Iterable[str]] = ...) -> None: ...

class LabelMatch(_message.Message):
    __slots__ = ("key", "values")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    key: str
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, key: _Optional[str] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...

class ListCandidatesRequest(_message.Message):
    __slots__ = ("hosts", "selector", "action")
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    hosts: _containers.RepeatedCompositeFieldContainer[LabelMatch]
    selector: _process_pb2.Selector
    action: _process_pb2.Action
    def __init__(self, hosts: _Optional[_Iterable[_Union[LabelMatch, _Mapping]]] = ..., selector: _Optional[_Union[_process_pb2.Selector, _Mapping]] = ..., action: _Optional[_Union[_process_pb2.Action, _Mapping]] = ...) -> None: ...

class ListCandidatesResponse(_message.Message):
    __slots__ = ("hosts",)
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    hosts: _containers.RepeatedCompositeFieldContainer[PlannedHost]
    def __init__(self, hosts: _Optional[_Iterable[_Union[PlannedHost, _Mapping]]] = ...) -> None: ...

class InspectRequest(_message.Message):
    __slots__ = ("host", "selector")
    HOST_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    host: str
    selector: _process_pb2.Selector
    def __init__(self, host: _Optional[str] = ..., selector: _Optional[_Union[_process_pb2.Selector, _Mapping]] = ...) -> None: ...

class InspectResponse(_message.Message):
    __slots__ = ("host", "subjects")
    HOST_FIELD_NUMBER: _ClassVar[int]
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    host: str
    subjects: _containers.RepeatedCompositeFieldContainer[_agent_pb2.Subject]
    def __init__(self, host: _Optional[str] = ..., subjects: _Optional[_Iterable[_Union[_agent_pb2.Subject, _Mapping]]] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("follow", "host", "run", "limit", "unit", "cause", "since_unix_ms")
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    SINCE_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    follow: bool
    host: str
    run: str
    limit: int
    unit: str
    cause: _process_pb2.Cause
    since_unix_ms: int
    def __init__(self, follow: _Optional[bool] = ..., host: _Optional[str] = ..., run: _Optional[str] = ..., limit: _Optional[int] = ..., unit: _Optional[str] = ..., cause: _Optional[_Union[_process_pb2.Cause, str]] = ..., since_unix_ms: _Optional[int] = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("number", "event", "run_id", "received_unix_ms")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    number: int
    event: _process_pb2.KernelEvent
    run_id: str
    received_unix_ms: int
    def __init__(self, number: _Optional[int] = ..., event: _Optional[_Union[_process_pb2.KernelEvent, _Mapping]] = ..., run_id: _Optional[str] = ..., received_unix_ms: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("host", "process", "limit")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    host: str
    process: str
    limit: int
    def __init__(self, host: _Optional[str] = ..., process: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("explanations", "nothing")
    EXPLANATIONS_FIELD_NUMBER: _ClassVar[int]
    NOTHING_FIELD_NUMBER: _ClassVar[int]
    explanations: _containers.RepeatedCompositeFieldContainer[Explanation]
    nothing: str
    def __init__(self, explanations: _Optional[_Iterable[_Union[Explanation, _Mapping]]] = ..., nothing: _Optional[str] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("death", "at_unix_ms", "at_boot_ns", "run_id", "started_by", "experiment", "around", "deaths_in_hour", "successor")
    DEATH_FIELD_NUMBER: _ClassVar[int]
    AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    AT_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_BY_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    AROUND_FIELD_NUMBER: _ClassVar[int]
    DEATHS_IN_HOUR_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    death: _process_pb2.Death
    at_unix_ms: int
    at_boot_ns: int
    run_id: str
    started_by: str
    experiment: str
    around: _containers.RepeatedCompositeFieldContainer[WatchEventsResponse]
    deaths_in_hour: int
    successor: _process_pb2.Successor
    def __init__(self, death: _Optional[_Union[_process_pb2.Death, _Mapping]] = ..., at_unix_ms: _Optional[int] = ..., at_boot_ns: _Optional[int] = ..., run_id: _Optional[str] = ..., started_by: _Optional[str] = ..., experiment: _Optional[str] = ..., around: _Optional[_Iterable[_Union[WatchEventsResponse, _Mapping]]] = ..., deaths_in_hour: _Optional[int] = ..., successor: _Optional[_Union[_process_pb2.Successor, _Mapping]] = ...) -> None: ...

class LimitView(_message.Message):
    __slots__ = ("scope", "limit", "used", "where", "source")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    scope: str
    limit: int
    used: int
    where: str
    source: str
    def __init__(self, scope: _Optional[str] = ..., limit: _Optional[int] = ..., used: _Optional[int] = ..., where: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class ListLimitsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLimitsResponse(_message.Message):
    __slots__ = ("limits",)
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    limits: _containers.RepeatedCompositeFieldContainer[LimitView]
    def __init__(self, limits: _Optional[_Iterable[_Union[LimitView, _Mapping]]] = ...) -> None: ...

class SetLimitRequest(_message.Message):
    __slots__ = ("scope", "limit", "reason")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    scope: str
    limit: int
    reason: str
    def __init__(self, scope: _Optional[str] = ..., limit: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class SetLimitResponse(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: LimitView
    def __init__(self, limit: _Optional[_Union[LimitView, _Mapping]] = ...) -> None: ...

class PermitView(_message.Message):
    __slots__ = ("permit_id", "run_id", "command_id", "victim", "service", "zone", "state", "held_ms", "why")
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    VICTIM_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    HELD_MS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    run_id: str
    command_id: str
    victim: _process_pb2.Identity
    service: str
    zone: str
    state: _process_pb2.StrikeState
    held_ms: int
    why: str
    def __init__(self, permit_id: _Optional[str] = ..., run_id: _Optional[str] = ..., command_id: _Optional[str] = ..., victim: _Optional[_Union[_process_pb2.Identity, _Mapping]] = ..., service: _Optional[str] = ..., zone: _Optional[str] = ..., state: _Optional[_Union[_process_pb2.StrikeState, str]] = ..., held_ms: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class ListPermitsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPermitsResponse(_message.Message):
    __slots__ = ("permits",)
    PERMITS_FIELD_NUMBER: _ClassVar[int]
    permits: _containers.RepeatedCompositeFieldContainer[PermitView]
    def __init__(self, permits: _Optional[_Iterable[_Union[PermitView, _Mapping]]] = ...) -> None: ...

class ClearPermitRequest(_message.Message):
    __slots__ = ("permit_id", "reason")
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    reason: str
    def __init__(self, permit_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ClearPermitResponse(_message.Message):
    __slots__ = ("permit",)
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    permit: PermitView
    def __init__(self, permit: _Optional[_Union[PermitView, _Mapping]] = ...) -> None: ...

class AuditEntry(_message.Message):
    __slots__ = ("number", "at_unix_ms", "who", "what", "subject", "why", "details", "hash")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    number: int
    at_unix_ms: int
    who: str
    what: str
    subject: str
    why: str
    details: str
    hash: str
    def __init__(self, number: _Optional[int] = ..., at_unix_ms: _Optional[int] = ..., who: _Optional[str] = ..., what: _Optional[str] = ..., subject: _Optional[str] = ..., why: _Optional[str] = ..., details: _Optional[str] = ..., hash: _Optional[str] = ...) -> None: ...

class ListAuditRequest(_message.Message):
    __slots__ = ("limit", "verify")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    limit: int
    verify: bool
    def __init__(self, limit: _Optional[int] = ..., verify: _Optional[bool] = ...) -> None: ...

class ListAuditResponse(_message.Message):
    __slots__ = ("entries", "verified", "problem", "length")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[AuditEntry]
    verified: bool
    problem: str
    length: int
    def __init__(self, entries: _Optional[_Iterable[_Union[AuditEntry, _Mapping]]] = ..., verified: _Optional[bool] = ..., problem: _Optional[str] = ..., length: _Optional[int] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("version", "halts", "hosts_connected", "hosts_known", "hosts_quarantined", "runs_active", "permits_held", "store_ok", "store_detail", "position", "store_bytes", "name", "roles", "evidence_rows", "notices", "unix_ms", "evidence_since_unix_ms", "retention_days")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HALTS_FIELD_NUMBER: _ClassVar[int]
    HOSTS_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    HOSTS_KNOWN_FIELD_NUMBER: _ClassVar[int]
    HOSTS_QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    RUNS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    PERMITS_HELD_FIELD_NUMBER: _ClassVar[int]
    STORE_OK_FIELD_NUMBER: _ClassVar[int]
    STORE_DETAIL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    STORE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_ROWS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_SINCE_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    RETENTION_DAYS_FIELD_NUMBER: _ClassVar[int]
    version: str
    halts: _containers.RepeatedCompositeFieldContainer[_process_pb2.HaltRecord]
    hosts_connected: int
    hosts_known: int
    hosts_quarantined: int
    runs_active: int
    permits_held: int
    store_ok: bool
    store_detail: str
    position: _process_pb2.StorePosition
    store_bytes: int
    name: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    evidence_rows: int
    notices: _containers.RepeatedScalarFieldContainer[str]
    unix_ms: int
    evidence_since_unix_ms: int
    retention_days: int
    def __init__(self, version: _Optional[str] = ..., halts: _Optional[_Iterable[_Union[_process_pb2.HaltRecord, _Mapping]]] = ..., hosts_connected: _Optional[int] = ..., hosts_known: _Optional[int] = ..., hosts_quarantined: _Optional[int] = ..., runs_active: _Optional[int] = ..., permits_held: _Optional[int] = ..., store_ok: _Optional[bool] = ..., store_detail: _Optional[str] = ..., position: _Optional[_Union[_process_pb2.StorePosition, _Mapping]] = ..., store_bytes: _Optional[int] = ..., name: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., evidence_rows: _Optional[int] = ..., notices: _Optional[_Iterable[str]] = ..., unix_ms: _Optional[int] = ..., evidence_since_unix_ms: _Optional[int] = ..., retention_days: _Optional[int] = ...) -> None: ...

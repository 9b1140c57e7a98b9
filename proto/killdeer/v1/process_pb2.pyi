from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Field(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FIELD_UNSPECIFIED: _ClassVar[Field]
    FIELD_UNIT: _ClassVar[Field]
    FIELD_NAME: _ClassVar[Field]
    FIELD_CMDLINE: _ClassVar[Field]
    FIELD_USER: _ClassVar[Field]
    FIELD_PORT: _ClassVar[Field]
    FIELD_EXE: _ClassVar[Field]
    FIELD_CGROUP: _ClassVar[Field]
    FIELD_CONTAINER: _ClassVar[Field]
    FIELD_PARENT: _ClassVar[Field]
    FIELD_MIN_AGE: _ClassVar[Field]
    FIELD_OLDEST: _ClassVar[Field]
    FIELD_NEWEST: _ClassVar[Field]

class Match(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MATCH_UNSPECIFIED: _ClassVar[Match]
    MATCH_GLOB: _ClassVar[Match]
    MATCH_PATTERN: _ClassVar[Match]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_NOT_LEASED: _ClassVar[Reason]
    REASON_HALTED: _ClassVar[Reason]
    REASON_HALTED_LOCALLY: _ClassVar[Reason]
    REASON_HALTS_DIFFER: _ClassVar[Reason]
    REASON_TOO_LATE: _ClassVar[Reason]
    REASON_KNOWN_COMMAND: _ClassVar[Reason]
    REASON_OLD_FENCE: _ClassVar[Reason]
    REASON_NEWER_THAN_ME: _ClassVar[Reason]
    REASON_REVERT_PENDING: _ClassVar[Reason]
    REASON_JOURNAL: _ClassVar[Reason]
    REASON_HOST_RATE: _ClassVar[Reason]
    REASON_CANCELLED: _ClassVar[Reason]
    REASON_STOPPING: _ClassVar[Reason]
    REASON_NO_EVIDENCE: _ClassVar[Reason]
    REASON_GONE: _ClassVar[Reason]
    REASON_REUSED: _ClassVar[Reason]
    REASON_OTHER_BOOT: _ClassVar[Reason]
    REASON_CHANGED: _ClassVar[Reason]
    REASON_NOT_MATCHING: _ClassVar[Reason]
    REASON_ZOMBIE: _ClassVar[Reason]
    REASON_STOPPED: _ClassVar[Reason]
    REASON_BUSY: _ClassVar[Reason]
    REASON_LEADER_DEAD: _ClassVar[Reason]
    REASON_CANNOT_EVALUATE: _ClassVar[Reason]
    REASON_UNREADABLE: _ClassVar[Reason]
    REASON_NOT_PERMITTED: _ClassVar[Reason]
    REASON_NOT_ALLOWED: _ClassVar[Reason]
    REASON_DENIED: _ClassVar[Reason]
    REASON_INIT: _ClassVar[Reason]
    REASON_KERNEL_THREAD: _ClassVar[Reason]
    REASON_KILLDEER: _ClassVar[Reason]
    REASON_PROTECTED: _ClassVar[Reason]
    REASON_LOGIN_SESSION: _ClassVar[Reason]
    REASON_GUARD_UNREADABLE: _ClassVar[Reason]
    REASON_ACTION_NOT_ALLOWED: _ClassVar[Reason]
    REASON_ENVIRONMENT: _ClassVar[Reason]
    REASON_LIMIT: _ClassVar[Reason]
    REASON_NOT_CONNECTED: _ClassVar[Reason]
    REASON_QUARANTINED: _ClassVar[Reason]
    REASON_NO_ANSWER: _ClassVar[Reason]

class StrikeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STRIKE_STATE_UNSPECIFIED: _ClassVar[StrikeState]
    STRIKE_STATE_PLANNED: _ClassVar[StrikeState]
    STRIKE_STATE_PERMITTED: _ClassVar[StrikeState]
    STRIKE_STATE_SENT: _ClassVar[StrikeState]
    STRIKE_STATE_REFUSED: _ClassVar[StrikeState]
    STRIKE_STATE_RECORDED: _ClassVar[StrikeState]
    STRIKE_STATE_STRUCK: _ClassVar[StrikeState]
    STRIKE_STATE_GONE: _ClassVar[StrikeState]
    STRIKE_STATE_SURVIVED: _ClassVar[StrikeState]
    STRIKE_STATE_RECOVERED: _ClassVar[StrikeState]
    STRIKE_STATE_LOST: _ClassVar[StrikeState]
    STRIKE_STATE_EXPIRED: _ClassVar[StrikeState]
    STRIKE_STATE_HALTED: _ClassVar[StrikeState]
    STRIKE_STATE_UNKNOWN: _ClassVar[StrikeState]

class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAUSE_UNSPECIFIED: _ClassVar[Cause]
    CAUSE_STRIKE: _ClassVar[Cause]
    CAUSE_OOM_CGROUP: _ClassVar[Cause]
    CAUSE_OOM_GLOBAL: _ClassVar[Cause]
    CAUSE_SIGNAL: _ClassVar[Cause]
    CAUSE_SUPERVISOR: _ClassVar[Cause]
    CAUSE_NAMESPACE: _ClassVar[Cause]
    CAUSE_FAULT: _ClassVar[Cause]
    CAUSE_EXIT: _ClassVar[Cause]
    CAUSE_UNKNOWN: _ClassVar[Cause]
    CAUSE_ITSELF: _ClassVar[Cause]
    CAUSE_KERNEL: _ClassVar[Cause]
FIELD_UNSPECIFIED: Field
FIELD_UNIT: Field
FIELD_NAME: Field
FIELD_CMDLINE: Field
FIELD_USER: Field
FIELD_PORT: Field
FIELD_EXE: Field
FIELD_CGROUP: Field
FIELD_CONTAINER: Field
FIELD_PARENT: Field
FIELD_MIN_AGE: Field
FIELD_OLDEST: Field
FIELD_NEWEST: Field
MATCH_UNSPECIFIED: Match
MATCH_GLOB: Match
MATCH_PATTERN: Match
REASON_UNSPECIFIED: Reason
REASON_NOT_LEASED: Reason
REASON_HALTED: Reason
REASON_HALTED_LOCALLY: Reason
REASON_HALTS_DIFFER: Reason
REASON_TOO_LATE: Reason
REASON_KNOWN_COMMAND: Reason
REASON_OLD_FENCE: Reason
REASON_NEWER_THAN_ME: Reason
REASON_REVERT_PENDING: Reason
REASON_JOURNAL: Reason
REASON_HOST_RATE: Reason
REASON_CANCELLED: Reason
REASON_STOPPING: Reason
REASON_NO_EVIDENCE: Reason
REASON_GONE: Reason
REASON_REUSED: Reason
REASON_OTHER_BOOT: Reason
REASON_CHANGED: Reason
REASON_NOT_MATCHING: Reason
REASON_ZOMBIE: Reason
REASON_STOPPED: Reason
REASON_BUSY: Reason
REASON_LEADER_DEAD: Reason
REASON_CANNOT_EVALUATE: Reason
REASON_UNREADABLE: Reason
REASON_NOT_PERMITTED: Reason
REASON_NOT_ALLOWED: Reason
REASON_DENIED: Reason
REASON_INIT: Reason
REASON_KERNEL_THREAD: Reason
REASON_KILLDEER: Reason
REASON_PROTECTED: Reason
REASON_LOGIN_SESSION: Reason
REASON_GUARD_UNREADABLE: Reason
REASON_ACTION_NOT_ALLOWED: Reason
REASON_ENVIRONMENT: Reason
REASON_LIMIT: Reason
REASON_NOT_CONNECTED: Reason
REASON_QUARANTINED: Reason
REASON_NO_ANSWER: Reason
STRIKE_STATE_UNSPECIFIED: StrikeState
STRIKE_STATE_PLANNED: StrikeState
STRIKE_STATE_PERMITTED: StrikeState
STRIKE_STATE_SENT: StrikeState
STRIKE_STATE_REFUSED: StrikeState
STRIKE_STATE_RECORDED: StrikeState
STRIKE_STATE_STRUCK: StrikeState
STRIKE_STATE_GONE: StrikeState
STRIKE_STATE_SURVIVED: StrikeState
STRIKE_STATE_RECOVERED: StrikeState
STRIKE_STATE_LOST: StrikeState
STRIKE_STATE_EXPIRED: StrikeState
STRIKE_STATE_HALTED: StrikeState
STRIKE_STATE_UNKNOWN: StrikeState
CAUSE_UNSPECIFIED: Cause
CAUSE_STRIKE: Cause
CAUSE_OOM_CGROUP: Cause
CAUSE_OOM_GLOBAL: Cause
CAUSE_SIGNAL: Cause
CAUSE_SUPERVISOR: Cause
CAUSE_NAMESPACE: Cause
CAUSE_FAULT: Cause
CAUSE_EXIT: Cause
CAUSE_UNKNOWN: Cause
CAUSE_ITSELF: Cause
CAUSE_KERNEL: Cause

class Identity(_message.Message):
    __slots__ = ("host", "boot_id", "pid", "start_ticks", "program")
    HOST_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    START_TICKS_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    host: str
    boot_id: str
    pid: int
    start_ticks: int
    program: str
    def __init__(self, host: _Optional[str] = ..., boot_id: _Optional[str] = ..., pid: _Optional[int] = ..., start_ticks: _Optional[int] = ..., program: _Optional[str] = ...) -> None: ...

class Term(_message.Message):
    __slots__ = ("field", "match", "negated", "values")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    NEGATED_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    field: Field
    match: Match
    negated: bool
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, field: _Optional[_Union[Field, str]] = ..., match: _Optional[_Union[Match, str]] = ..., negated: _Optional[bool] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...

class Selector(_message.Message):
    __slots__ = ("terms",)
    TERMS_FIELD_NUMBER: _ClassVar[int]
    terms: _containers.RepeatedCompositeFieldContainer[Term]
    def __init__(self, terms: _Optional[_Iterable[_Union[Term, _Mapping]]] = ...) -> None: ...

class Action(_message.Message):
    __slots__ = ("kill", "terminate", "pause", "hold_down")
    KILL_FIELD_NUMBER: _ClassVar[int]
    TERMINATE_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    HOLD_DOWN_FIELD_NUMBER: _ClassVar[int]
    kill: Kill
    terminate: Terminate
    pause: Pause
    hold_down: HoldDown
    def __init__(self, kill: _Optional[_Union[Kill, _Mapping]] = ..., terminate: _Optional[_Union[Terminate, _Mapping]] = ..., pause: _Optional[_Union[Pause, _Mapping]] = ..., hold_down: _Optional[_Union[HoldDown, _Mapping]] = ...) -> None: ...

class Kill(_message.Message):
    __slots__ = ("signal",)
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    signal: int
    def __init__(self, signal: _Optional[int] = ...) -> None: ...

class Terminate(_message.Message):
    __slots__ = ("grace_ms",)
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    grace_ms: int
    def __init__(self, grace_ms: _Optional[int] = ...) -> None: ...

class Pause(_message.Message):
    __slots__ = ("length_ms",)
    LENGTH_MS_FIELD_NUMBER: _ClassVar[int]
    length_ms: int
    def __init__(self, length_ms: _Optional[int] = ...) -> None: ...

class HoldDown(_message.Message):
    __slots__ = ("length_ms",)
    LENGTH_MS_FIELD_NUMBER: _ClassVar[int]
    length_ms: int
    def __init__(self, length_ms: _Optional[int] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("allowed", "reason", "detail", "remedy")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    reason: Reason
    detail: str
    remedy: str
    def __init__(self, allowed: _Optional[bool] = ..., reason: _Optional[_Union[Reason, str]] = ..., detail: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("identity", "service", "ordinal", "name", "cmdline", "user", "unit", "container", "cgroup", "parent_pid", "state", "age_ms", "verdict", "restarts")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CMDLINE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    PARENT_PID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    identity: Identity
    service: str
    ordinal: int
    name: str
    cmdline: str
    user: str
    unit: str
    container: str
    cgroup: str
    parent_pid: int
    state: str
    age_ms: int
    verdict: Verdict
    restarts: bool
    def __init__(self, identity: _Optional[_Union[Identity, _Mapping]] = ..., service: _Optional[str] = ..., ordinal: _Optional[int] = ..., name: _Optional[str] = ..., cmdline: _Optional[str] = ..., user: _Optional[str] = ..., unit: _Optional[str] = ..., container: _Optional[str] = ..., cgroup: _Optional[str] = ..., parent_pid: _Optional[int] = ..., state: _Optional[str] = ..., age_ms: _Optional[int] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ..., restarts: _Optional[bool] = ...) -> None: ...

class HaltRecord(_message.Message):
    __slots__ = ("id", "by", "reason", "at_unix_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    by: str
    reason: str
    at_unix_ms: int
    def __init__(self, id: _Optional[str] = ..., by: _Optional[str] = ..., reason: _Optional[str] = ..., at_unix_ms: _Optional[int] = ...) -> None: ...

class HaltSet(_message.Message):
    __slots__ = ("engaged", "released")
    ENGAGED_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    engaged: _containers.RepeatedCompositeFieldContainer[HaltRecord]
    released: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, engaged: _Optional[_Iterable[_Union[HaltRecord, _Mapping]]] = ..., released: _Optional[_Iterable[str]] = ...) -> None: ...

class StorePosition(_message.Message):
    __slots__ = ("length", "head")
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    length: int
    head: str
    def __init__(self, length: _Optional[int] = ..., head: _Optional[str] = ...) -> None: ...

class Blow(_message.Message):
    __slots__ = ("number", "signal", "sent_boot_ns", "seen_boot_ns", "kernel_verdict", "sender_pid", "revert", "pid", "start_ticks")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SENT_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    SEEN_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_VERDICT_FIELD_NUMBER: _ClassVar[int]
    SENDER_PID_FIELD_NUMBER: _ClassVar[int]
    REVERT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    START_TICKS_FIELD_NUMBER: _ClassVar[int]
    number: int
    signal: int
    sent_boot_ns: int
    seen_boot_ns: int
    kernel_verdict: str
    sender_pid: int
    revert: bool
    pid: int
    start_ticks: int
    def __init__(self, number: _Optional[int] = ..., signal: _Optional[int] = ..., sent_boot_ns: _Optional[int] = ..., seen_boot_ns: _Optional[int] = ..., kernel_verdict: _Optional[str] = ..., sender_pid: _Optional[int] = ..., revert: _Optional[bool] = ..., pid: _Optional[int] = ..., start_ticks: _Optional[int] = ...) -> None: ...

class Exit(_message.Message):
    __slots__ = ("at_boot_ns", "code", "signal", "core_dumped", "after_blow_ns", "source")
    AT_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    CORE_DUMPED_FIELD_NUMBER: _ClassVar[int]
    AFTER_BLOW_NS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    at_boot_ns: int
    code: int
    signal: int
    core_dumped: bool
    after_blow_ns: int
    source: str
    def __init__(self, at_boot_ns: _Optional[int] = ..., code: _Optional[int] = ..., signal: _Optional[int] = ..., core_dumped: _Optional[bool] = ..., after_blow_ns: _Optional[int] = ..., source: _Optional[str] = ...) -> None: ...

class Successor(_message.Message):
    __slots__ = ("identity", "at_boot_ns", "after_exit_ns", "source")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    AT_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    AFTER_EXIT_NS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    identity: Identity
    at_boot_ns: int
    after_exit_ns: int
    source: str
    def __init__(self, identity: _Optional[_Union[Identity, _Mapping]] = ..., at_boot_ns: _Optional[int] = ..., after_exit_ns: _Optional[int] = ..., source: _Optional[str] = ...) -> None: ...

class KernelEvent(_message.Message):
    __slots__ = ("at_boot_ns", "host", "signal", "exit", "exec", "oom", "lost", "death", "oom_counted", "command_id")
    AT_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    EXEC_FIELD_NUMBER: _ClassVar[int]
    OOM_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    DEATH_FIELD_NUMBER: _ClassVar[int]
    OOM_COUNTED_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    at_boot_ns: int
    host: str
    signal: SignalSeen
    exit: ExitSeen
    exec: ExecSeen
    oom: OomSeen
    lost: EventsLost
    death: Death
    oom_counted: OomCounted
    command_id: str
    def __init__(self, at_boot_ns: _Optional[int] = ..., host: _Optional[str] = ..., signal: _Optional[_Union[SignalSeen, _Mapping]] = ..., exit: _Optional[_Union[ExitSeen, _Mapping]] = ..., exec: _Optional[_Union[ExecSeen, _Mapping]] = ..., oom: _Optional[_Union[OomSeen, _Mapping]] = ..., lost: _Optional[_Union[EventsLost, _Mapping]] = ..., death: _Optional[_Union[Death, _Mapping]] = ..., oom_counted: _Optional[_Union[OomCounted, _Mapping]] = ..., command_id: _Optional[str] = ...) -> None: ...

class Death(_message.Message):
    __slots__ = ("process", "cause", "why", "killer", "code", "signal", "core_dumped", "age_ms", "unit", "container", "cgroup", "service", "limit_cgroup", "limit_kb", "memory_group", "evidence", "restarts")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    KILLER_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    CORE_DUMPED_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_CGROUP_FIELD_NUMBER: _ClassVar[int]
    LIMIT_KB_FIELD_NUMBER: _ClassVar[int]
    MEMORY_GROUP_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    process: Party
    cause: Cause
    why: str
    killer: Party
    code: int
    signal: int
    core_dumped: bool
    age_ms: int
    unit: str
    container: str
    cgroup: str
    service: str
    limit_cgroup: str
    limit_kb: int
    memory_group: bool
    evidence: _containers.RepeatedCompositeFieldContainer[KernelEvent]
    restarts: Restarts
    def __init__(self, process: _Optional[_Union[Party, _Mapping]] = ..., cause: _Optional[_Union[Cause, str]] = ..., why: _Optional[str] = ..., killer: _Optional[_Union[Party, _Mapping]] = ..., code: _Optional[int] = ..., signal: _Optional[int] = ..., core_dumped: _Optional[bool] = ..., age_ms: _Optional[int] = ..., unit: _Optional[str] = ..., container: _Optional[str] = ..., cgroup: _Optional[str] = ..., service: _Optional[str] = ..., limit_cgroup: _Optional[str] = ..., limit_kb: _Optional[int] = ..., memory_group: _Optional[bool] = ..., evidence: _Optional[_Iterable[_Union[KernelEvent, _Mapping]]] = ..., restarts: _Optional[_Union[Restarts, _Mapping]] = ...) -> None: ...

class Restarts(_message.Message):
    __slots__ = ("count", "within_ms", "loop")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    count: int
    within_ms: int
    loop: bool
    def __init__(self, count: _Optional[int] = ..., within_ms: _Optional[int] = ..., loop: _Optional[bool] = ...) -> None: ...

class Party(_message.Message):
    __slots__ = ("pid", "host_pid", "tid", "start_ticks", "name", "uid", "parent_pid", "cgroup_id", "cgroup", "pid_namespace", "executable", "container")
    PID_FIELD_NUMBER: _ClassVar[int]
    HOST_PID_FIELD_NUMBER: _ClassVar[int]
    TID_FIELD_NUMBER: _ClassVar[int]
    START_TICKS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    PARENT_PID_FIELD_NUMBER: _ClassVar[int]
    CGROUP_ID_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    PID_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    EXECUTABLE_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    pid: int
    host_pid: int
    tid: int
    start_ticks: int
    name: str
    uid: int
    parent_pid: int
    cgroup_id: int
    cgroup: str
    pid_namespace: int
    executable: str
    container: str
    def __init__(self, pid: _Optional[int] = ..., host_pid: _Optional[int] = ..., tid: _Optional[int] = ..., start_ticks: _Optional[int] = ..., name: _Optional[str] = ..., uid: _Optional[int] = ..., parent_pid: _Optional[int] = ..., cgroup_id: _Optional[int] = ..., cgroup: _Optional[str] = ..., pid_namespace: _Optional[int] = ..., executable: _Optional[str] = ..., container: _Optional[str] = ...) -> None: ...

class SignalSeen(_message.Message):
    __slots__ = ("sender", "target", "signal", "code", "group", "verdict", "fatal", "internal", "running", "exiting", "namespace_init")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    FATAL_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    EXITING_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_INIT_FIELD_NUMBER: _ClassVar[int]
    sender: Party
    target: Party
    signal: int
    code: int
    group: bool
    verdict: str
    fatal: bool
    internal: bool
    running: Party
    exiting: bool
    namespace_init: bool
    def __init__(self, sender: _Optional[_Union[Party, _Mapping]] = ..., target: _Optional[_Union[Party, _Mapping]] = ..., signal: _Optional[int] = ..., code: _Optional[int] = ..., group: _Optional[bool] = ..., verdict: _Optional[str] = ..., fatal: _Optional[bool] = ..., internal: _Optional[bool] = ..., running: _Optional[_Union[Party, _Mapping]] = ..., exiting: _Optional[bool] = ..., namespace_init: _Optional[bool] = ...) -> None: ...

class ExitSeen(_message.Message):
    __slots__ = ("process", "code", "signal", "core_dumped", "age_ms", "unread")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    CORE_DUMPED_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    process: Party
    code: int
    signal: int
    core_dumped: bool
    age_ms: int
    unread: bool
    def __init__(self, process: _Optional[_Union[Party, _Mapping]] = ..., code: _Optional[int] = ..., signal: _Optional[int] = ..., core_dumped: _Optional[bool] = ..., age_ms: _Optional[int] = ..., unread: _Optional[bool] = ...) -> None: ...

class ExecSeen(_message.Message):
    __slots__ = ("process", "file")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    process: Party
    file: str
    def __init__(self, process: _Optional[_Union[Party, _Mapping]] = ..., file: _Optional[str] = ...) -> None: ...

class OomSeen(_message.Message):
    __slots__ = ("victim", "trigger", "total_vm_kb", "anon_rss_kb", "file_rss_kb", "shmem_rss_kb", "page_tables_kb", "oom_score_adj", "memory_cgroup", "limit_cgroup_id", "limit_kb", "group", "limit_cgroup")
    VICTIM_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    TOTAL_VM_KB_FIELD_NUMBER: _ClassVar[int]
    ANON_RSS_KB_FIELD_NUMBER: _ClassVar[int]
    FILE_RSS_KB_FIELD_NUMBER: _ClassVar[int]
    SHMEM_RSS_KB_FIELD_NUMBER: _ClassVar[int]
    PAGE_TABLES_KB_FIELD_NUMBER: _ClassVar[int]
    OOM_SCORE_ADJ_FIELD_NUMBER: _ClassVar[int]
    MEMORY_CGROUP_FIELD_NUMBER: _ClassVar[int]
    LIMIT_CGROUP_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_KB_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    LIMIT_CGROUP_FIELD_NUMBER: _ClassVar[int]
    victim: Party
    trigger: Party
    total_vm_kb: int
    anon_rss_kb: int
    file_rss_kb: int
    shmem_rss_kb: int
    page_tables_kb: int
    oom_score_adj: int
    memory_cgroup: bool
    limit_cgroup_id: int
    limit_kb: int
    group: bool
    limit_cgroup: str
    def __init__(self, victim: _Optional[_Union[Party, _Mapping]] = ..., trigger: _Optional[_Union[Party, _Mapping]] = ..., total_vm_kb: _Optional[int] = ..., anon_rss_kb: _Optional[int] = ..., file_rss_kb: _Optional[int] = ..., shmem_rss_kb: _Optional[int] = ..., page_tables_kb: _Optional[int] = ..., oom_score_adj: _Optional[int] = ..., memory_cgroup: _Optional[bool] = ..., limit_cgroup_id: _Optional[int] = ..., limit_kb: _Optional[int] = ..., group: _Optional[bool] = ..., limit_cgroup: _Optional[str] = ...) -> None: ...

class OomCounted(_message.Message):
    __slots__ = ("process", "cgroup", "kills", "limit_cgroup", "limit_kb", "since_boot_ns")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    KILLS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_CGROUP_FIELD_NUMBER: _ClassVar[int]
    LIMIT_KB_FIELD_NUMBER: _ClassVar[int]
    SINCE_BOOT_NS_FIELD_NUMBER: _ClassVar[int]
    process: Party
    cgroup: str
    kills: int
    limit_cgroup: str
    limit_kb: int
    since_boot_ns: int
    def __init__(self, process: _Optional[_Union[Party, _Mapping]] = ..., cgroup: _Optional[str] = ..., kills: _Optional[int] = ..., limit_cgroup: _Optional[str] = ..., limit_kb: _Optional[int] = ..., since_boot_ns: _Optional[int] = ...) -> None: ...

class EventsLost(_message.Message):
    __slots__ = ("kind", "count")
    KIND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    count: int
    def __init__(self, kind: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

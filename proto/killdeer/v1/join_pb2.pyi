from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class IntroduceRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class IntroduceResponse(_message.Message):
    __slots__ = ("authorities",)
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    authorities: bytes
    def __init__(self, authorities: _Optional[bytes] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("token", "host", "signing_request")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    SIGNING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    token: str
    host: str
    signing_request: bytes
    def __init__(self, token: _Optional[str] = ..., host: _Optional[str] = ..., signing_request: _Optional[bytes] = ...) -> None: ...

class JoinResponse(_message.Message):
    __slots__ = ("certificate", "authorities", "coordinators", "agents_port")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    COORDINATORS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_PORT_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    authorities: bytes
    coordinators: _containers.RepeatedScalarFieldContainer[str]
    agents_port: int
    def __init__(self, certificate: _Optional[bytes] = ..., authorities: _Optional[bytes] = ..., coordinators: _Optional[_Iterable[str]] = ..., agents_port: _Optional[int] = ...) -> None: ...

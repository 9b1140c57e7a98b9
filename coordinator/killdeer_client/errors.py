"""What can go wrong between an operator and the coordinator, as one exception that a caller can act on."""

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

CERTIFICATE = "certificate"
"""The `field` of an error that lies in somebody's keys."""

_UNREACHED = frozenset({"UNAVAILABLE", "UNAUTHENTICATED", "DEADLINE_EXCEEDED"})
_REFUSED = frozenset(
    {
        "ALREADY_EXISTS",
        "FAILED_PRECONDITION",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "OUT_OF_RANGE",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "UNIMPLEMENTED",
    }
)


class ClientError(Exception):
    """The coordinator refused, or could not be reached.

    `code` is the gRPC status name, `message` one sentence, `field` what is at fault (may be empty),
    `remedy` what to do next (may be empty).
    """

    def __init__(self, code: str, message: str, *, field: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.remedy = remedy

    @property
    def refused(self) -> bool:
        """The coordinator understood and said no: nothing was hit, and asking again changes nothing."""
        return self.code in _REFUSED

    @property
    def unreached(self) -> bool:
        """Nothing is known of what the coordinator thinks: it was not reached, or does not know us."""
        return self.code in _UNREACHED

    @property
    def passing(self) -> bool:
        """Another try, or another coordinator, may do better."""
        return self.code == "UNAVAILABLE" and self.field != CERTIFICATE


def from_answer(error: grpc.RpcError, address: str) -> ClientError:
    """What a coordinator that was reached answered, with its own details where it gave some."""
    code, details = error.code().name, error.details() or ""
    field, remedy = _rich_details(error)
    if code == "DEADLINE_EXCEEDED" and not remedy:
        details = f"cannot get an answer from the coordinator at {address}: it took too long"
        remedy = "look at it with: killdeer status"
    if code == "UNAUTHENTICATED" and not remedy:
        remedy = "use an operator's certificate that this coordinator's CA has signed"
    return ClientError(code, details or f"the coordinator answered {code}", field=field, remedy=remedy)


def _rich_details(call: grpc.RpcError) -> tuple[str, str]:
    """(field, remedy) of the google.rpc.ErrorInfo among the details; empty where there is none."""
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # details that contradict the status are not believed
        return "", ""
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.metadata.get("field", ""), info.metadata.get("remedy", "")
    return "", ""

"""A named no of the core: what a pure function answers when it cannot do what was asked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """`code` is a gRPC status name (INVALID_ARGUMENT, FAILED_PRECONDITION, NOT_FOUND, PERMISSION_DENIED).
    `message` reads "cannot VERB OBJECT: CAUSE"; `field` is the request field at fault, empty if none;
    `remedy` what the operator can do next."""

    code: str
    message: str
    field: str = ""
    remedy: str = ""

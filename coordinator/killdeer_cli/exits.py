"""What the command line's exit codes mean, and the errors that lead to them."""

from killdeer.v1 import operator_pb2 as o
from killdeer_client.errors import ClientError

DONE = 0
"""Held, or done."""
DEVIATED = 1
REFUSED = 2
"""Refused or invalid: nothing was hit."""
ABORTED = 3
"""Aborted or halted, or a halt that is not yet complete."""
UNREACHED = 4
"""The coordinator cannot be reached."""
INCONCLUSIVE = 5
NOT_RECOVERED = 6

LEGEND = (
    "Exit codes: 0 held or done; 1 deviated; 2 refused or invalid, nothing was hit; 3 aborted or halted, or a halt"
    " not yet complete; 4 can't reach the coordinator; 5 inconclusive; 6 not recovered."
)

_OF_VERDICT = {
    o.RUN_VERDICT_HELD: DONE,
    o.RUN_VERDICT_DEVIATED: DEVIATED,
    o.RUN_VERDICT_INCONCLUSIVE: INCONCLUSIVE,
    o.RUN_VERDICT_NOT_RECOVERED: NOT_RECOVERED,
    o.RUN_VERDICT_ABORTED: ABORTED,
    o.RUN_VERDICT_HALTED: ABORTED,
    o.RUN_VERDICT_REFUSED: REFUSED,
}


class Refused(Exception):
    """The command line itself says no; nothing was hit."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class BadFile(Refused):
    """A file is no experiment; the message is its faults, each beginning with its place."""


def of_verdict(verdict: o.RunVerdict) -> int:
    """A verdict that this command line does not know is none to build on."""
    return _OF_VERDICT.get(verdict, INCONCLUSIVE)


def of_error(error: ClientError) -> int:
    """An answer that is neither a no nor a yes, such as INTERNAL, says as little as none."""
    return REFUSED if error.refused else UNREACHED

"""Letters: frames that travel between coordinators, as rows of the store they share."""

from killdeer.v1.agent_pb2 import ConnectRequest, ConnectResponse, Revert
from killdeer_coordinator.core.books import Letter
from killdeer_coordinator.core.flight import NOT_AFTER_MS
from killdeer_coordinator.core.roster import NS_PER_MS, Link


def to_host(sender: str, link: Link, frame: ConnectResponse, until_ms: int) -> Letter:
    """For a host that another coordinator serves. `until_ms` is a strike's end, by the store's clock."""
    return Letter(
        sender=sender,
        recipient=link.far,
        host=link.host,
        session=link.token,
        told=frame.SerializeToString(),
        until_ms=until_ms,
    )


def from_host(sender: str, recipient: str, link: Link, frame: ConnectRequest) -> Letter:
    """A host's answer, for the coordinator that waits for it."""
    return Letter(
        sender=sender, recipient=recipient, host=link.host, session=link.token, heard=frame.SerializeToString()
    )


def void(letter: Letter) -> Letter:
    """The same letter, and where it holds a strike, the end of that: its id is to be used up."""
    frame = ConnectResponse.FromString(letter.told)
    if not letter.told or not frame.HasField("strike"):
        return letter
    revert = ConnectResponse(revert=Revert(command_id=frame.strike.command_id))
    return Letter(
        sender=letter.sender, recipient=letter.recipient, host=letter.host, told=revert.SerializeToString()
    )


def opened(letter: Letter, link: Link, store_ms: int, now_ns: int, *, halted: bool) -> ConnectResponse | None:
    """What its host is told; None: nothing. `store_ms` is the store's clock now, at the latest.

    A strike is told as long as its permit lasts, for the session that it was meant for; else its id is used up,
    so that the host's own word gives the permit back. A revert is told in any case.
    """
    frame = ConnectResponse.FromString(letter.told)
    match frame.WhichOneof("frame"):
        case "revert":
            return frame
        case "scan" | "inspect":
            return frame if link.token == letter.session and link.leased(now_ns) else None
        case "strike":
            left_ms = letter.until_ms - store_ms
            in_time = 0 < left_ms <= NOT_AFTER_MS
            if not in_time or halted or link.token != letter.session or not link.leased(now_ns):
                return ConnectResponse(revert=Revert(command_id=frame.strike.command_id))
            frame.strike.not_after_boot_ns = link.answered_boot_ns + left_ms * NS_PER_MS
            return frame
        case _:
            return None

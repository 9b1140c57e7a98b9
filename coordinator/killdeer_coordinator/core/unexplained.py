"""Why there is no death to explain, in one sentence."""

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime

from killdeer.v1.agent_pb2 import EVIDENCE_LEVEL_BPF, EVIDENCE_LEVEL_PIDFD
from killdeer.v1.operator_pb2 import HostView


def why_nothing(host: str, process: str, hosts: Sequence[HostView], since_ms: int) -> str:
    """`since_ms`: when the oldest event that is kept of the host came in; 0: none is kept."""
    view = next((one for one in hosts if one.host == host), None)
    if view is None:
        near = difflib.get_close_matches(host, [one.host for one in hosts], n=1)
        hint = f"did you mean {near[0]}?" if near else "`killdeer hosts` lists those that have ever joined"
        return f"there is no host {host!r}; {hint}"
    lacks = _lacks(view)
    if not since_ms:
        return f"{host} has reported no kernel event yet{lacks or ', so nothing that is watched has died'}"
    since = datetime.fromtimestamp(since_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"no death of {process!r} on {host} has been reported since {since}, the oldest event kept of it{lacks}"


def _lacks(view: HostView) -> str:
    """What keeps the host from telling."""
    if not view.connected:
        return "; it is not connected now"
    if view.evidence == EVIDENCE_LEVEL_BPF:
        return ""
    level = "pidfd only, which tells no causes" if view.evidence == EVIDENCE_LEVEL_PIDFD else "none"
    return f"; its evidence is {level}" + (f": {view.evidence_detail}" if view.evidence_detail else "")

"""Scans that a coordinator asks for: who matches, and what the guard says of each."""

from killdeer.newer import newer_than_me
from killdeer.v1 import agent_pb2
from killdeer.v1.agent_pb2 import ConnectRequest
from killdeer.v1.process_pb2 import Reason, Verdict
from killdeer_agent.core.desk import Desk
from killdeer_agent.core.facts import Refusal
from killdeer_agent.core.intake import unheld
from killdeer_agent.core.selector import Matcher, SelectorError
from killdeer_agent.core.strike import NS_PER_MS
from killdeer_agent.core.strikes import Strikes
from killdeer_agent.core.words import Scan, Scanned

# A frame of 4 MiB and more ends the link; the rest of it is small.
ANSWER_MOST_BYTES = 4 * 1024 * 1024 - 1024


class Scans:
    def __init__(self, desk: Desk, strikes: Strikes) -> None:
        self._desk = desk
        self._strikes = strikes

    def asked(self, scan: agent_pb2.Scan) -> None:
        if newer := newer_than_me(scan):
            detail = f"this agent does not know all of it: {newer}"
            self._refuse(scan.scan_id, Refusal(Reason.REASON_NEWER_THAN_ME, detail))
            return
        try:
            matcher = Matcher(scan.selector)
        except SelectorError as error:
            self._refuse(scan.scan_id, Refusal(Reason.REASON_CANNOT_EVALUATE, str(error)))
            return
        if (unseen := unheld(scan.action, self._desk)) is not None:
            self._refuse(scan.scan_id, unseen)
            return
        self._desk.emit(
            Scan(
                scan_id=scan.scan_id,
                matcher=matcher,
                action=scan.action,
                guard=self._strikes.guard,
                deadline_boot_ns=self._desk.now.boot_ns + scan.deadline_ms * NS_PER_MS,
            )
        )

    def scanned(self, scanned: Scanned) -> None:
        busy = Verdict(reason=Reason.REASON_BUSY, detail="it is in an open strike")
        for candidate in scanned.candidates:
            if self._strikes.busy(candidate.identity.pid, candidate.identity.start_ticks):
                candidate.verdict.CopyFrom(busy)
        answer = agent_pb2.Candidates(
            scan_id=scanned.scan_id,
            candidates=scanned.candidates,
            guard_version=self._strikes.guard.version,
            failure=scanned.failure,
            failure_detail=scanned.detail,
            begun_boot_ns=scanned.begun_boot_ns,
            services=[agent_pb2.ServiceCount(service=name, ready=ready) for name, ready in scanned.services],
        )
        if answer.ByteSize() > ANSWER_MOST_BYTES:
            detail = (
                f"{len(scanned.candidates):,} processes match here, more than one answer can carry: "
                "narrow the selector, by unit, user or cmdline"
            )
            self._refuse(scanned.scan_id, Refusal(Reason.REASON_CANNOT_EVALUATE, detail))
            return
        self._desk.send(ConnectRequest(candidates=answer))

    def _refuse(self, scan_id: str, refusal: Refusal) -> None:
        """From such an answer nothing may be concluded."""
        failure = agent_pb2.Candidates(scan_id=scan_id, failure=refusal.reason, failure_detail=refusal.detail)
        self._desk.send(ConnectRequest(candidates=failure))

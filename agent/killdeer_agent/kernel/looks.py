"""The scanner in the core's words: Scan is answered by Scanned, Census by a tuple of processes."""

from killdeer.v1.process_pb2 import Field
from killdeer_agent.core.facts import FactMissing, Process
from killdeer_agent.core.words import Scan, Scanned
from killdeer_agent.kernel import clock
from killdeer_agent.kernel.proc import ProcFacts
from killdeer_agent.kernel.scan import ScanFailed, Scanner


class Looks:
    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner

    def scan(self, effect: Scan) -> Scanned:
        result = self._scanner.scan(
            effect.matcher, effect.guard, effect.action, clock.now(), effect.deadline_boot_ns
        )
        return Scanned(
            scan_id=effect.scan_id,
            candidates=result.candidates,
            services=result.services,
            failure=result.failure,
            detail=result.detail,
            begun_boot_ns=result.begun_boot_ns,
        )

    def members(self, service: str) -> tuple[Process, ...]:
        """Raises OSError when they cannot be counted: then nothing is concluded."""
        try:
            return tuple(self._scanner.members(service))
        except ScanFailed as failed:
            raise OSError(failed.detail) from failed


def cannot_evaluate(pid: int = 1) -> tuple[Field, ...]:
    """The fields this agent cannot read of another user's process, tried on the first process of the host."""
    facts, missing = ProcFacts(pid), []
    for field, read in ((Field.FIELD_EXE, lambda: facts.exe), (Field.FIELD_PORT, lambda: facts.ports)):
        try:
            read()
        except FactMissing:
            missing.append(field)
    return tuple(missing)

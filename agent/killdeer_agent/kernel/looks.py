"""The scanner in the core's words: Scan is answered by Scanned, Census by a tuple of processes."""

import os
from collections.abc import Callable

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


def cannot_evaluate(root: str = "/proc") -> tuple[Field, ...]:
    """The fields that this agent can read of no other user's process; none where it sees only its own user's.

    Not by one process alone: a security module may keep a single one, such as pid 1, even from root.
    """
    others = [facts for facts in _everybody(root) if _is_others(facts)]
    missing = []
    for field, read in (
        (Field.FIELD_EXE, lambda facts: facts.exe),
        (Field.FIELD_PORT, lambda facts: facts.ports),
    ):
        if others and not any(_can(read, facts) for facts in others):
            missing.append(field)
    return tuple(missing)


def _everybody(root: str) -> list[ProcFacts]:
    return [ProcFacts(int(entry), root) for entry in os.listdir(root) if entry.isdecimal()]  # noqa: PTH208


def _is_others(facts: ProcFacts) -> bool:
    try:
        return not facts.kernel_thread and facts.state not in "ZX" and facts.uid != os.geteuid()
    except FactMissing:
        return False


def _can(read: Callable[[ProcFacts], object], facts: ProcFacts) -> bool:
    try:
        read(facts)
    except FactMissing:
        return False
    return True

"""An experiment file as the core takes it in: no pydantic model goes further than this module."""

from dataclasses import dataclass

from killdeer.v1.operator_pb2 import LabelMatch
from killdeer.v1.process_pb2 import Action, Selector
from killdeer_coordinator.core.books import RunLimits
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.schedule import WaveSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """One experiment, read and checked."""

    source: str
    file: str
    name: str
    owner: str
    environment: str
    hypothesis: str
    seed: int | None  # the file's own; None: not said
    hosts: tuple[LabelMatch, ...]  # none: every host
    selector: Selector
    waves: tuple[WaveSpec, ...]
    limits: RunLimits
    recover_within_ms: int
    stable_for_ms: int
    canonical: str  # the file without comments, order and spelling: what the plan hash covers

    @property
    def actions(self) -> tuple[Action, ...]:
        """The distinct actions of the waves, in order: each needs a scan of its own (the guard's verdict)."""
        found: dict[bytes, Action] = {}
        for wave in self.waves:
            found.setdefault(wave.action.SerializeToString(deterministic=True), wave.action)
        return tuple(found.values())


def take_in(source: str, file: str) -> Intake | Refused:
    """The file's text as an Intake, or INVALID_ARGUMENT with file, line and column."""
    raise NotImplementedError

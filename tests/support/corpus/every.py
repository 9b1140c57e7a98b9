"""All kinds of death. Which of them this machine can make is decided when they are imported."""

from tests.support.corpus import by_itself, by_kernel, by_memory, by_others, by_service_manager
from tests.support.corpus.kinds import IN_GUEST, KINDS, NOT_HERE, Kind, label, ready

__all__ = ["IN_GUEST", "KINDS", "NOT_HERE", "Kind", "label", "ready"]
MADE_IN = (by_others, by_itself, by_kernel, by_memory, by_service_manager)

"""The coordinator's store: one fleet row, one lock, one decision at a time (rule R17)."""

from killdeer_coordinator.store.async_store import AsyncStore
from killdeer_coordinator.store.errors import (
    AmbiguousRun,
    NewerStore,
    NoSuchRun,
    StoreError,
    StoreFailure,
    StoreInUse,
)
from killdeer_coordinator.store.store import Committed, Store

__all__ = [
    "AmbiguousRun",
    "AsyncStore",
    "Committed",
    "NewerStore",
    "NoSuchRun",
    "Store",
    "StoreError",
    "StoreFailure",
    "StoreInUse",
]

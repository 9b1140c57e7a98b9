"""What the store can say no with."""


class StoreError(Exception):
    """Base of all that the store raises by itself; a decision's own exceptions pass through as they are."""


class StoreFailure(StoreError):
    """The database did not do its part. Whoever asked fails closed: nothing was granted.

    Raised `from` the driver's own error. After a failed commit it is not known whether it was written; the
    next decision reads what is there.
    """


class StoreInUse(StoreFailure):
    """Another coordinator has this SQLite directory open (rule R30)."""


class NewerStore(StoreFailure):
    """The store was written by a later version of Killdeer."""


class NoSuchRun(StoreError):
    """No run has that id or prefix."""


class AmbiguousRun(StoreError):
    """More than one run begins with that prefix."""

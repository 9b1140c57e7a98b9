"""Standard output whose reader has gone, as `head` does: nothing is said of it, as other programs do.

It stands beside the wire because the command lines share nothing else.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NOBODY_READS = 141
"""128 + SIGPIPE, as shells have it."""


def nobody_reads() -> int:
    """The exit code; the interpreter finds nothing to complain of as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return NOBODY_READS


@contextmanager
def quietly() -> Iterator[None]:
    """Around a program's main function."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        sys.exit(nobody_reads())

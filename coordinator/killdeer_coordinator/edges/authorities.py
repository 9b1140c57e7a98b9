"""Files of certificate authorities, which an experiment names: of any path, so none is read on trust."""

import errno
import os
import stat
from pathlib import Path

# The whole list of a public root program is a fifth of it.
MOST_BYTES = 1024 * 1024


def age(path: str) -> int:
    """Of a file that can be read to its end: another number whenever it was written anew. Raises OSError.

    A device or a pipe has no end, and whoever read it would take all memory, or never be done.
    """
    found = Path(path).stat()
    if stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if found.st_size > MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return found.st_mtime_ns


def read(path: str) -> bytes:
    """As PEM. Raises OSError."""
    age(path)
    with Path(path).open("rb") as file:
        return file.read(MOST_BYTES)

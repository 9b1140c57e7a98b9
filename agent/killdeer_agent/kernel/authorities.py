"""Whom to trust: files of certificate authorities. An experiment names them, of any path, so none is read on trust.

A device or a pipe has no end: whoever read it would take all memory of the agent, or never be done.
"""

import errno
import ssl
import stat
from pathlib import Path

# The whole list of a public root program is a fifth of it.
MOST_BYTES = 1024 * 1024


def trusting(ca_file: str) -> ssl.SSLContext:
    """Those of the file alone, or the system's where it is empty. Raises OSError."""
    _check(ca_file)
    return ssl.create_default_context(cafile=ca_file or None)


def read(ca_file: str) -> bytes | None:
    """As PEM; None: gRPC's own list, where the system has no file of its own. Raises OSError."""
    _check(ca_file)
    file: str | None = ca_file or ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file else None


def _check(ca_file: str) -> None:
    if not ca_file:
        return
    found = Path(ca_file).stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if found.st_size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it is longer than {MOST_BYTES} bytes")

"""A TLS handshake in memory: what a certificate is worth to those who would be shown it, before anybody is."""

import contextlib
import ssl
from typing import Any


def met(here: ssl.SSLContext, there: ssl.SSLContext) -> dict[str, Any]:
    """What the far end learns of the near one's certificate. Raises ssl.SSLError."""
    outward, inward = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = here.wrap_bio(inward, outward)
    far = there.wrap_bio(outward, inward, server_side=True)
    for _ in range(2):
        for end in (near, far):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return far.getpeercert() or {}

"""The same question asked by somebody with fewer rights."""

import os
import pickle
from collections.abc import Callable
from typing import TypeVar, cast

import pytest

Answer = TypeVar("Answer")
NOBODY = 65_534


def as_nobody(question: Callable[[], Answer]) -> Answer:
    """Asks in a forked child that has become `nobody`. Needs root; skips without."""
    if os.getuid() != 0:
        pytest.skip("needs root, to become another user")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writer, pickle.dumps(question()))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        raw = answer.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, "the question raised; it answers with values only"
    return cast(Answer, pickle.loads(raw))

"""What `killdeer hosts` says below its table: what is wrong with a host, and what to do (R13)."""

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer_cli.hosts import notes


@pytest.mark.parametrize(
    ("left", "problems", "said"),
    [
        (
            ["c1"],
            ["cannot start w.service: Access denied; name it"],
            "c1 (cannot start w.service: Access denied; name it)",
        ),
        (["c1", "c2"], ["EPERM", "EIO"], "c1 (EPERM), c2 (EIO)"),
        (["c1", "c2"], [], "c1, c2"),  # an older agent
        (["c1", "c2"], ["", "EIO"], "c1, c2 (EIO)"),
    ],
)
def test_r13_what_is_not_reverted_is_named_with_its_cause_and_remedy(
    left: list[str], problems: list[str], said: str
) -> None:
    view = o.HostView(host="web-1", reverts_left=left, revert_problems=problems, evidence=2)  # type: ignore[arg-type]
    assert notes(view) == [f"not reverted yet: {said}"]

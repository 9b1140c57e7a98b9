"""Watching a run to its end, over broken streams."""

from collections.abc import Iterator
from typing import cast

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer_client.client import Client
from killdeer_client.errors import CERTIFICATE, ClientError
from killdeer_client.following import Lost, follow

TURNED_AWAY = ClientError("UNAVAILABLE", "it closed the connection", field=CERTIFICATE)
RUNNING = o.WatchRunResponse(run=o.RunView(run_id="r7f3", state=o.RUN_STATE_RUNNING))
ENDED = o.WatchRunResponse(run=o.RunView(run_id="r7f3", state=o.RUN_STATE_ENDED))


class Streams:
    """One after the other: what each brings, and the error that it ends with."""

    def __init__(self, *streams: list[o.WatchRunResponse | ClientError]) -> None:
        self.streams = list(streams)

    def watch_run(self, run: str) -> Iterator[o.WatchRunResponse]:
        for one in self.streams.pop(0):
            if isinstance(one, ClientError):
                raise one
            yield one


def followed(*streams: list[o.WatchRunResponse | ClientError]) -> list[o.WatchRunResponse | Lost]:
    return list(follow(cast(Client, Streams(*streams)), "latest", pause=lambda seconds: None))


def test_a_connection_that_closes_as_its_coordinator_stops_is_taken_up_again() -> None:
    """It closes in the same way where an operator's certificate is turned away."""
    said = followed([RUNNING, TURNED_AWAY], [TURNED_AWAY], [ENDED])
    assert [type(one) for one in said] == [o.WatchRunResponse, Lost, Lost, o.WatchRunResponse]


def test_keys_that_were_never_good_are_said_at_once() -> None:
    with pytest.raises(ClientError) as ended:
        followed([TURNED_AWAY])
    assert ended.value is TURNED_AWAY


def test_a_refusal_ends_it_also_in_the_midst() -> None:
    with pytest.raises(ClientError):
        followed([RUNNING, ClientError("NOT_FOUND", "no such run")])

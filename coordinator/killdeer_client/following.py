"""Watching a run to its end, over broken streams."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from killdeer.v1 import operator_pb2 as o
from killdeer_client.client import Client
from killdeer_client.errors import ClientError

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Between one failure and the next try; after as many failures in a row watching ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """The stream broke; it is tried again."""

    error: ClientError


def follow(
    client: Client, run: str, *, pause: Callable[[float], None] = time.sleep
) -> Iterator[o.WatchRunResponse | Lost]:
    """Each state of the run, until one has the state ended. A broken stream is taken up again, whole run
    first. Raises ClientError when it could not be for PAUSES_S, or the coordinator refuses.
    """
    failures, seen = 0, False
    while True:
        try:
            for update in client.watch_run(run):
                failures, seen = 0, True
                run = update.run.run_id or run  # `latest` may mean another run after a break
                yield update
                if update.run.state == o.RUN_STATE_ENDED:
                    return
            error = ClientError("UNAVAILABLE", "the coordinator ended the stream before the run's end")
        except ClientError as broken:
            # Keys that were good for this run are good: a coordinator that stops closes a connection just as one
            # that turns it away.
            if not (broken.passing or (seen and broken.unreached)) or failures == len(PAUSES_S):
                raise
            error = broken
        if failures == len(PAUSES_S):
            raise error
        yield Lost(error=error)
        pause(PAUSES_S[failures])
        failures += 1

"""An experiment from its start to its report in one call, for pipelines and scripts."""

import uuid
from collections.abc import Callable

from killdeer.v1 import operator_pb2 as o
from killdeer_client.client import Client
from killdeer_client.errors import ClientError
from killdeer_client.following import Lost, follow

Change = o.WatchRunResponse | Lost


def _unheard(change: Change) -> None:
    pass


def conduct(
    client: Client,
    source: str,
    *,
    file: str,
    seed: int | None = None,
    plan_hash: str = "",
    on_change: Callable[[Change], None] = _unheard,
) -> o.GetReportResponse:
    """Runs the experiment that the text `source` is, and stays to its end; `file` is its name, for messages.
    `on_change` is called with each state of the run, and with each break in the way to it, which is taken up again.

    Where it is left before the run's end, by KeyboardInterrupt or an exception of `on_change`, the run is aborted
    and what lasts is reverted. A way that stays broken aborts nothing: the run goes on (`killdeer watch`). Raises
    ClientError: `code` UNAVAILABLE is the way; where the start itself was `refused`, nothing was hit.
    """
    started = client.run(source, file, key=str(uuid.uuid4()), seed=seed, plan_hash=plan_hash)
    changes = follow(client, started.run_id)
    try:
        for change in changes:
            on_change(change)
    except ClientError:
        raise
    except BaseException as cause:
        _abort(client, started.run_id, cause)
        raise
    return client.report(started.run_id)


def _abort(client: Client, run: str, cause: BaseException) -> None:
    try:
        client.abort_run(run, f"left by its pipeline: {type(cause).__name__}")
    except ClientError as error:
        cause.add_note(f"run {run} goes on: {error.message}; abort it with: killdeer abort {run}")

"""Does what an experiment asks of the outside world besides strikes: a webhook, or a command that is allowed."""

import asyncio
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from killdeer.durations import format_duration
from killdeer.v1.probe_pb2 import Deed, HttpSource
from killdeer_coordinator.edges.answers import Unknown
from killdeer_coordinator.edges.aside import Aside, Names
from killdeer_coordinator.edges.commands import Commands
from killdeer_coordinator.edges.http_probe import Http, not_as_it_should_be, question_of
from killdeer_coordinator.edges.secrets import Secrets

log = structlog.get_logger()

# Of a deed that says none. The file always does.
WITHIN_MS = 10_000


class Deeds:
    """They wait for no probe, and for no place among them: what stops a load must always run."""

    def __init__(self, commands: Mapping[str, Sequence[str]], secrets: Path | None = None) -> None:
        """As for Probes."""
        aside = Aside()
        self._secrets = Secrets(aside, secrets)
        self._http = Http(aside, Names(aside))
        self._commands = Commands(commands)

    async def perform(self, deed: Deed, state: str) -> str:
        """Empty when it is done, or else the problem. `state`: the run as JSON, where the file gives no body."""
        within_s = (deed.within_ms or WITHIN_MS) / 1_000
        try:
            async with asyncio.timeout(within_s):
                return await self._perform(deed, state)
        except TimeoutError:
            return f"it was not done within {format_duration(within_s * 1_000)}"
        except Unknown as problem:
            return str(problem)
        except Exception as error:  # as in Probes.take
            where = traceback.extract_tb(error.__traceback__)[-1]
            log.error(
                "deed_failed", deed=deed.name, why=type(error).__name__, at=f"{where.filename}:{where.lineno}"
            )
            return f"it cannot be done: {type(error).__name__}; the coordinator's log says where"

    async def close(self) -> None:
        await self._http.close()

    async def _perform(self, deed: Deed, state: str) -> str:
        match deed.WhichOneof("deed"):
            case "webhook":
                return await self._call(deed.webhook, state)
            case "command":
                ended = await self._commands.run(deed.command, keep_output=False)
                return ended.problem
        return "it says nothing to do; write a webhook or a command"

    async def _call(self, webhook: HttpSource, state: str) -> str:
        posted = HttpSource()
        posted.CopyFrom(webhook)
        posted.method = webhook.method or "POST"
        answer = await self._http.ask(
            await question_of(posted, self._secrets, body=state, content_type="application/json")
        )
        return not_as_it_should_be(posted, answer)

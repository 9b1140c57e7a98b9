"""What the coordinator's shell tells its core of what could not be carried out."""

import asyncio
from typing import Any, cast

from killdeer.v1.probe_pb2 import Reading
from killdeer_coordinator.core.words import Effect, Input, KeepRecord, Now, Tick, Unrecorded
from killdeer_coordinator.shell import Shell, WaysOut
from killdeer_coordinator.store.errors import StoreFailure


class Core:
    """Asks for what it is given, at the first tick."""

    def __init__(self, effect: Effect) -> None:
        self.effects = [effect]
        self.heard: list[Input] = []

    def handle(self, what: Input, now: Now) -> list[Effect]:
        self.heard.append(what)
        asked, self.effects = self.effects, []
        return asked


class FullStore:
    async def append_record(self, *_: Any) -> None:
        raise StoreFailure("cannot append: the disk is full")


def test_i9_a_record_that_is_not_kept_goes_back_to_the_core() -> None:
    kept = KeepRecord(run_id="r1", readings=(Reading(probe="p95", value=1.0),))
    core = Core(kept)

    async def ticked() -> None:
        shell = Shell(cast(Any, core))
        others = dict.fromkeys(("outside", "agents", "asks", "feed", "probes", "deeds"), cast(Any, None))
        shell.connect(WaysOut(store=cast(Any, FullStore()), clock=lambda: Now(0, 0), **others))
        shell.post(Tick("fresh"))
        await shell.settle()

    asyncio.run(ticked())
    assert core.heard[1:] == [Unrecorded(kept, "cannot append: the disk is full")]

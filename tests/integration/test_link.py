"""The agent's link to its coordinator, against the real agents' edge over TLS."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1.process_pb2 import REASON_STOPPING, KernelEvent
from killdeer_agent import link as linking
from killdeer_agent.link import Link
from killdeer_agent.outbox import Outbox
from killdeer_coordinator.core.words import Heard, Joined, Left
from tests.support.coordinator import make_keys
from tests.support.edges import Edge, edge
from tests.support.operator import DEADLINE_S, free_address
from tests.support.peers import link_of


class Recorded(random.Random):
    """Draws as its seed says, and lets nobody wait for it."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.drawn: list[tuple[float, float]] = []
        """(the most, what was drawn)"""

    def uniform(self, a: float, b: float) -> float:
        self.drawn.append((b, super().uniform(a, b)))
        return 0.0


class Story:
    """What a link told, in order; frames that came are words of their own."""

    def __init__(self) -> None:
        self.link: Link
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.frames: list[a.ConnectResponse] = []

    async def next(self) -> str:
        async with asyncio.timeout(DEADLINE_S):
            return await self.told.get()


@asynccontextmanager
async def linked(keys: Path, address: str, **more: Any) -> AsyncIterator[Story]:
    """Runs a link that introduces itself as `host`."""
    story = Story()

    def opened() -> None:
        story.told.put_nowait("open")
        story.link.send(a.ConnectRequest(hello=a.Hello(host="host")), urgent=False)

    def heard(frame: a.ConnectResponse) -> None:
        story.frames.append(frame)
        if frame.HasField("dismissal"):
            story.link.end(frame.dismissal.retry_after_ms)

    given = {"on_open": opened, "on_frame": heard, "on_close": story.told.put_nowait, "jitter": Recorded(1)}
    story.link = link_of(keys, "host", address, **(given | more))
    running = asyncio.ensure_future(story.link.run())
    try:
        yield story
        assert not running.done(), "the link has ended by itself"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def with_edge(tmp_path: Path, story: Callable[[Edge, Story], Coroutine[Any, Any, None]], **more: Any) -> None:
    async def run() -> None:
        async with edge(tmp_path, "host") as served, linked(served.keys, served.address, **more) as told:
            await story(served, told)

    asyncio.run(run())


async def second_link(served: Edge, story: Story) -> None:
    """The link has come back by itself."""
    assert await story.next() == "open"
    await served.until(Joined, 2)


# --- dialling again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("coordinators", "most"),
    [(1, [1, 2, 4, 8, 16, 32, 60, 60]), (2, [1, 1, 2, 2, 4, 4, 8, 8])],
)
def test_pauses_are_full_jitter_under_a_back_off_that_doubles_with_each_round(
    tmp_path: Path, coordinators: int, most: list[float]
) -> None:
    keys, jitter = make_keys(tmp_path, ("host",)).folder, Recorded(20261120)
    nobody = tuple(free_address() for _ in range(coordinators))

    async def run() -> None:
        async with linked(keys, "", coordinators=nobody, jitter=jitter) as story:
            for tried in range(len(most) + 1):
                assert nobody[tried % coordinators] in await story.next()

    asyncio.run(run())
    again = random.Random(20261120)
    assert jitter.drawn[: len(most)] == [(bound, again.uniform(0, bound)) for bound in most]


def test_a_healthy_stream_starts_the_back_off_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jitter = Recorded(1)

    async def run() -> None:
        async with edge(tmp_path, "host") as served:
            nobody = free_address()
            coordinators = (nobody, nobody, nobody, served.address)
            async with linked(served.keys, "", coordinators=coordinators, jitter=jitter) as story:
                for _ in range(3):
                    assert nobody in await story.next()
                assert await story.next() == "open"
                monkeypatch.setattr(linking, "HEALTHY_S", 0.0)
                monkeypatch.setattr(linking, "BACKOFF_FIRST_S", 5.0)
                story.link.end()
                await story.next()
                await story.next()

    asyncio.run(run())
    assert [most for most, _ in jitter.drawn[:4]] == [1, 1, 1, 5]


def test_the_next_coordinator_of_the_list_is_tried(tmp_path: Path) -> None:
    async def run() -> None:
        async with edge(tmp_path, "host") as served:
            coordinators = (free_address(), served.address)
            async with linked(served.keys, "", coordinators=coordinators) as story:
                assert coordinators[0] in await story.next()
                assert await story.next() == "open"
                await served.until(Joined)

    asyncio.run(run())


def test_a_dismissed_agent_comes_back_no_sooner_than_it_was_told(tmp_path: Path) -> None:
    changes: list[float] = []

    async def run() -> None:
        now = asyncio.get_running_loop().time
        async with edge(tmp_path, "host") as served:

            def changed(*said: str) -> None:
                changes.append(now())
                story.told.put_nowait(*said or ("open",))

            async with linked(served.keys, served.address, on_open=changed, on_close=changed) as story:
                assert await story.next() == "open"
                story.link.send(a.ConnectRequest(hello=a.Hello(host="host")), urgent=False)
                (joined,) = await served.until(Joined)
                served.agents.dismiss(joined.link, REASON_STOPPING, "this coordinator stops", 400)
                assert await story.next() == "ended by this agent"
                assert await story.next() == "open"

    asyncio.run(run())
    _, closed, opened = changes
    assert opened - closed >= 0.399


def test_the_time_that_was_asked_for_counts_once(tmp_path: Path) -> None:
    jitter = Recorded(1)

    async def story(served: Edge, told: Story) -> None:
        await told.next()
        told.link.end(1)
        assert await told.next() == "ended by this agent"
        assert await told.next() == "open"
        told.link.end()
        assert await told.next() == "ended by this agent"
        assert await told.next() == "open"

    with_edge(tmp_path, story, jitter=jitter)
    assert [most for most, _ in jitter.drawn] == [1, 2]


def test_keys_are_read_anew_at_each_dial(tmp_path: Path) -> None:
    foreign = make_keys(tmp_path / "foreign", ("host",)).folder / "agents" / "host"

    async def run() -> None:
        async with edge(tmp_path / "ours", "host") as served:
            own = served.keys / "agents" / "host"
            kept = shutil.copytree(own, tmp_path / "kept")
            for file in ("agent.pem", "agent.key"):
                shutil.copy(foreign / file, own / file)
            async with linked(served.keys, served.address) as story:
                assert "cannot reach" in await _until_closed(story)
                (own / "agent.key").unlink()
                while "agent.key" not in (why := await _until_closed(story)):
                    pass
                assert why.startswith("cannot read")
                shutil.copytree(kept, own, dirs_exist_ok=True)
                await served.until(Joined)

    asyncio.run(run())


async def _until_closed(story: Story) -> str:
    """With TLS 1.3 a client has finished its handshake before its certificate is looked at."""
    while (why := await story.next()) == "open":
        pass
    return why


# --- ends of streams ----------------------------------------------------------------------------------------


def test_a_stream_that_merely_ends_is_told_and_dialled_again(tmp_path: Path) -> None:
    async def story(served: Edge, told: Story) -> None:
        await told.next()
        (joined,) = await served.until(Joined)
        served.agents.dismiss(joined.link, REASON_STOPPING, "unheard", 60_000)
        assert await told.next() == "the coordinator ended the stream"
        await second_link(served, told)

    with_edge(tmp_path, story, on_frame=lambda frame: None)


def test_a_frame_that_cannot_be_read_ends_the_stream_and_not_the_agent(tmp_path: Path) -> None:
    class Garbage:
        def WhichOneof(self, group: str) -> str:
            return "ack"

        def SerializeToString(self) -> bytes:
            return b"\xff\xff\xff"

    async def story(served: Edge, told: Story) -> None:
        await told.next()
        (joined,) = await served.until(Joined)
        served.agents.tell(joined.link, cast(a.ConnectResponse, Garbage()))
        assert (await told.next()).startswith("cannot read a frame")
        await second_link(served, told)

    with_edge(tmp_path, story)


def test_a_frame_too_large_to_send_ends_the_stream_and_not_the_agent(tmp_path: Path) -> None:
    async def story(served: Edge, told: Story) -> None:
        await told.next()
        await served.until(Joined)
        event = KernelEvent(host="x" * (linking.FRAME_MOST_BYTES + 1))
        told.link.send(a.ConnectRequest(evidence=a.Evidence(events=[event])), urgent=False)
        assert "larger than max" in await told.next()
        await second_link(served, told)

    with_edge(tmp_path, story)


def test_a_coordinator_that_does_not_drain_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "Outbox", partial(Outbox, 2))

    async def story(served: Edge, told: Story) -> None:
        await told.next()
        await served.until(Joined)
        for number in range(3):  # in one breath: none of them is written yet
            update = a.ConnectRequest(strike_update=a.StrikeUpdate(number=number))
            told.link.send(update, urgent=False)
        assert await told.next() == "ended by this agent"
        await second_link(served, told)

    with_edge(tmp_path, story)


def test_evidence_that_the_link_dropped_is_told_as_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "Outbox", partial(Outbox, 2))

    async def story(served: Edge, told: Story) -> None:
        await told.next()
        await served.until(Joined)
        for _ in range(4):
            told.link.send(a.ConnectRequest(evidence=a.Evidence(events=[KernelEvent()] * 3)), urgent=False)
        told.link.send(a.ConnectRequest(heartbeat=a.Heartbeat(events_lost=100)), urgent=False)
        told.link.end()
        await told.next()
        await second_link(served, told)
        told.link.send(a.ConnectRequest(heartbeat=a.Heartbeat(events_lost=100)), urgent=False)
        while not (beats := [said for said in served.of(Heard) if said.frame.HasField("heartbeat")]):
            await served.until(Heard, len(served.of(Heard)) + 1)
        assert beats[-1].frame.heartbeat.events_lost >= 100 + 2 * 3

    with_edge(tmp_path, story)


def test_leaving_returns_once_the_coordinator_has_the_last_frame(tmp_path: Path) -> None:
    goodbye = a.ConnectRequest(goodbye=a.Goodbye(reason="stopped"))

    async def story(served: Edge, told: Story) -> None:
        await told.next()
        (joined,) = await served.until(Joined)
        told.link.send(goodbye, urgent=False)
        async with asyncio.timeout(DEADLINE_S):
            await told.link.leave()
        assert served.inputs[1:] == [Heard(joined.link, goodbye), Left(joined.link)]

    with_edge(tmp_path, story)


def test_leaving_without_a_stream_returns_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with linked(make_keys(tmp_path, ("host",)).folder, free_address()) as story:
            await story.next()
            async with asyncio.timeout(DEADLINE_S):
                await story.link.leave()

    asyncio.run(run())

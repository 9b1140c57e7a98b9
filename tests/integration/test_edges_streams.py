"""Streams of agents on a real gRPC server with TLS: bounded, fair, and without gRPC's two silent traps."""

import asyncio
import itertools
import os
import signal
from pathlib import Path
from typing import Any, cast

import grpc.aio
import psutil
import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1.process_pb2 import REASON_STOPPING, HaltRecord
from killdeer_agent import link
from killdeer_coordinator.core.words import Heard, Input, Joined, Left
from killdeer_coordinator.edges import options
from killdeer_coordinator.edges.agents import Agents
from tests.support.edges import Edge, connect, edge, hello
from tests.support.operator import DEADLINE_S
from tests.support.peers import link_of, peer

HALT = a.ConnectResponse(halt=a.Halt(halt=HaltRecord(id="h1", reason="drill")))
LONG = a.ConnectResponse(halt=a.Halt(halt=HaltRecord(id="long", reason="x" * 60_000)))


async def joined(served: Edge, host: str, *more: tuple[str, Any]) -> tuple[grpc.aio.Channel, Any, int]:
    """(channel, stream, link)"""
    channel = served.channel(host, ("grpc.use_local_subchannel_pool", 1), *more)
    stream = connect(channel)
    await stream.write(hello(host))
    while not (found := [said for said in served.of(Joined) if said.host == host]):
        await served.until(Joined, len(served.of(Joined)) + 1)
    return channel, stream, found[-1].link


# --- the outbox, on the wire --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "settings"),
    [
        pytest.param(400, {"outbox_most": 100}, id="its outbox is full"),
        pytest.param(400, {"write_most_s": 0.3}, id="a write takes too long"),
    ],
)
def test_an_agent_that_does_not_read_is_dropped_and_holds_up_nobody(
    tmp_path: Path, frames: int, settings: dict[str, Any]
) -> None:
    async def run() -> None:
        async with edge(tmp_path, "slow", "quick", **settings) as served:
            slow, _unread, slow_link = await joined(served, "slow")
            quick, stream, quick_link = await joined(served, "quick")
            for _ in range(frames):
                served.agents.tell(slow_link, LONG)
            served.agents.tell(quick_link, HALT)
            assert await stream.read() == HALT
            assert await served.until(Left) == [Left(slow_link)]
            served.agents.tell(quick_link, HALT)
            assert await stream.read() == HALT
            served.agents.tell(slow_link, HALT)  # to a link that has left: nothing happens
            await quick.close()
            await slow.close()

    asyncio.run(run())


def test_a_broadcast_is_serialised_once_and_reaches_all(tmp_path: Path) -> None:
    class Counted:
        times = 0

        def WhichOneof(self, group: str) -> str | None:
            return "halt"

        def SerializeToString(self) -> bytes:
            self.times += 1
            return HALT.SerializeToString()

    async def run() -> None:
        frame = Counted()
        async with edge(tmp_path, "one", "two", "three") as served:
            all_joined = [await joined(served, host) for host in ("one", "two", "three")]
            links = [number for _, _, number in all_joined]
            await served.agents.broadcast(links, cast(a.ConnectResponse, frame))
            for channel, stream, _ in all_joined:
                assert await stream.read() == HALT
                await channel.close()
        assert frame.times == 1

    asyncio.run(run())


def test_a_dismissed_agent_gets_all_that_was_queued_then_its_dismissal_then_the_end(tmp_path: Path) -> None:
    async def run() -> None:
        async with edge(tmp_path, "host") as served:
            channel, stream, number = await joined(served, "host")
            for ack in range(50):
                served.agents.tell(number, a.ConnectResponse(ack=a.Ack(number=ack)))
            served.agents.dismiss(number, REASON_STOPPING, "this coordinator stops", 700)
            served.agents.tell(number, HALT)  # too late
            told = [frame async for frame in stream]
            assert [frame.ack.number for frame in told[:-1]] == list(range(50))
            assert told[-1].dismissal.retry_after_ms == 700
            assert told[-1].dismissal.detail == "this coordinator stops"
            assert await stream.code() is grpc.StatusCode.OK
            await served.until(Left)
            await channel.close()
            assert served.of(Left) == [Left(number)]

    asyncio.run(run())


def test_an_agent_that_never_says_hello_is_dismissed(tmp_path: Path) -> None:
    async def run() -> None:
        async with edge(tmp_path, "host", hello_within_s=0.1) as served:
            channel = served.channel("host")
            stream = connect(channel)
            await stream.wait_for_connection()
            frame = await stream.read()
            assert "no Hello came" in frame.dismissal.detail
            await served.until(Left)
            await channel.close()

    asyncio.run(run())


def test_the_end_of_a_stream_is_told_after_its_last_frame(tmp_path: Path) -> None:
    async def run() -> None:
        async with edge(tmp_path, "host") as served:
            channel, stream, number = await joined(served, "host")
            goodbye = a.ConnectRequest(goodbye=a.Goodbye(reason="stopped"))
            await stream.write(goodbye.SerializeToString())
            await stream.done_writing()
            await served.until(Left)
            assert served.inputs[1:] == [Heard(number, goodbye), Left(number)]
            await channel.close()

    asyncio.run(run())


# --- the storm trap -----------------------------------------------------------------------------------------


def test_a_storm_of_streams_is_let_in_whole(tmp_path: Path) -> None:
    """With gRPC's defaults some fifty of these are reset: the queue of calls not yet accepted overflows."""
    streams, connections = 1_500, 5

    async def run() -> None:
        async with edge(tmp_path, "host") as served:

            def welcome(message: Input) -> None:
                if isinstance(message, Joined):
                    welcome = a.Welcome(session=message.token)
                    served.agents.tell(message.link, a.ConnectResponse(welcome=welcome))

            served.answers = welcome
            channels = [served.channel("host", ("grpc.use_local_subchannel_pool", 1)) for _ in range(connections)]

            async def one(channel: grpc.aio.Channel) -> str:
                stream = connect(channel)
                await stream.write(hello("host"))
                frame = await stream.read()
                return str(frame.welcome.session)

            storm = (one(channel) for channel, _ in zip(itertools.cycle(channels), range(streams), strict=False))
            async with asyncio.timeout(DEADLINE_S * 2):
                sessions = await asyncio.gather(*storm)
            assert len(set(sessions)) == streams
            for channel in channels:
                await channel.close()

    asyncio.run(run())


def test_channels_with_a_subchannel_pool_of_their_own_share_no_connection(tmp_path: Path) -> None:
    """Else those of equal arguments may be one connection, and a storm of them none."""

    async def run() -> None:
        async with edge(tmp_path, "host") as served:
            channels = [served.channel("host", ("grpc.use_local_subchannel_pool", 1)) for _ in range(3)]
            for channel in channels:
                await connect(channel).write(hello("host"))
            await served.until(Joined, 3)
            port = int(served.address.rpartition(":")[2])
            ours = psutil.Process().net_connections("tcp")
            assert sum(bool(one.raddr) and one.raddr.port == port for one in ours) == 3
            for channel in channels:
                await channel.close()

    asyncio.run(run())


def test_every_dial_of_an_agent_is_a_connection_of_its_own() -> None:
    assert dict(link.OPTIONS)["grpc.use_local_subchannel_pool"] == 1


@pytest.mark.parametrize("listener", [options.AGENTS_OPTIONS, options.OPERATORS_OPTIONS])
def test_both_listeners_hold_a_storm(listener: tuple[tuple[str, int], ...]) -> None:
    assert dict(listener)["grpc.server.max_pending_requests"] >= 10_000
    assert dict(listener)["grpc.server.max_pending_requests_hard_limit"] >= 10_000
    assert dict(listener)["grpc.so_reuseport"] == 0


# --- the keepalive trap -------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [options.AGENTS_OPTIONS, options.OPERATORS_OPTIONS, link.OPTIONS])
def test_a_ping_s_own_timeout_is_set_with_keepalive_s_on_each_side(side: Any) -> None:
    """keepalive_timeout_ms below http2.ping_timeout_ms (a minute by default) has no effect."""
    timers = dict(side)
    assert timers["grpc.http2.ping_timeout_ms"] == timers["grpc.keepalive_timeout_ms"] <= 5_000
    assert timers["grpc.keepalive_time_ms"] <= 10_000
    assert timers["grpc.keepalive_permit_without_calls"] == 1
    assert timers["grpc.http2.max_pings_without_data"] == 0


def test_a_listener_takes_the_pings_that_agents_send() -> None:
    allowed = dict(options.AGENTS_OPTIONS)["grpc.http2.min_ping_interval_without_data_ms"]
    assert allowed < link.PING_EVERY_MS == dict(link.OPTIONS)["grpc.keepalive_time_ms"]


def test_a_frozen_agent_is_noticed_by_pings_long_before_a_minute_and_holds_up_nobody(tmp_path: Path) -> None:
    """`until` gives up before the minute that gRPC takes without ping_timeout_ms."""
    short = options.listener_options(ping_every_ms=500, ping_answer_ms=500)

    async def run() -> None:
        async with edge(tmp_path, "host", "quick", options=short) as served:
            quick, stream, quick_link = await joined(served, "quick")
            with peer("agent", str(served.keys), "host", served.address) as agent:
                (frozen,) = [said.link for said in await served.until(Joined, 2) if said.host == "host"]
                os.kill(agent.pid, signal.SIGSTOP)
                served.agents.tell(frozen, LONG)
                served.agents.tell(quick_link, HALT)
                assert await stream.read() == HALT
                assert await served.until(Left) == [Left(frozen)]
                served.agents.tell(quick_link, HALT)
                assert await stream.read() == HALT
            await quick.close()

    asyncio.run(run())


def test_a_frozen_coordinator_is_noticed_by_pings_long_before_a_minute(tmp_path: Path) -> None:
    async def run() -> str:
        with peer("coordinator", str(tmp_path)) as coordinator:
            assert coordinator.stdout is not None
            said = await asyncio.to_thread(coordinator.stdout.readline)
            closed: asyncio.Queue[str] = asyncio.Queue()
            dialled = link_of(
                tmp_path,
                "host",
                said.removeprefix("ready ").strip(),
                on_open=lambda: os.kill(coordinator.pid, signal.SIGSTOP),
                on_close=closed.put_nowait,
                options=link.channel_options(ping_every_ms=500, ping_answer_ms=500),
            )
            linking = asyncio.ensure_future(dialled.run())
            try:
                async with asyncio.timeout(DEADLINE_S * 2):
                    return await closed.get()
            finally:
                linking.cancel()
                await asyncio.gather(linking, return_exceptions=True)

    assert "ping timeout" in asyncio.run(run())


def test_agents_edge_keeps_what_each_host_was_shown(tmp_path: Path) -> None:
    async def run() -> Agents:
        async with edge(tmp_path, "host") as served:
            channel = served.channel("host")
            stream = connect(channel)
            frame = a.ConnectRequest(hello=a.Hello(host="host"))
            frame.hello.position.length, frame.hello.position.head = 7, "abc"
            await stream.write(frame.SerializeToString())
            await served.until(Joined)
            await channel.close()
            return served.agents

    shown = asyncio.run(run()).shown
    assert (shown["host"].length, shown["host"].head) == (7, "abc")

"""Every agent of a fleet comes at once, to a real coordinator over real TLS (section 4, rules R9, R11)."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1.operator_pb2_grpc import OperatorServiceStub
from tests.support.coordinator import SERVER_NAME, Coordinator, coordinator
from tests.support.edges import connect
from tests.support.operator import DEADLINE_S

HOSTS = tuple(f"host-{number}" for number in range(200))


@asynccontextmanager
async def channel(made: Coordinator, address: str, pair: Any) -> AsyncIterator[grpc.aio.Channel]:
    credentials = grpc.ssl_channel_credentials(made.ca, pair.key, pair.certificate)
    options = [("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(address, credentials, options) as opened:
        yield opened


class Agent:
    """Says Hello, beats when it is told to, acknowledges each halt."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.got: list[a.ConnectResponse] = []
        self.news = asyncio.Condition()
        self.stamps = itertools.count(1)

    async def run(self, made: Coordinator) -> None:
        async with channel(made, made.agents, made.agent(self.host)) as opened:
            self.stream = connect(opened)
            await self.send(a.ConnectRequest(hello=a.Hello(host=self.host, boot_id="boot")))
            async for frame in self.stream:
                for halt in [frame.halt.halt, *frame.welcome.halts.engaged]:
                    for stage in (a.HALT_STAGE_STOPPED, a.HALT_STAGE_REVERTED) if halt.id else ():
                        await self.send(a.ConnectRequest(halt_ack=a.HaltAck(halt_id=halt.id, stage=stage)))
                async with self.news:
                    self.got.append(frame)
                    self.news.notify_all()

    async def send(self, frame: a.ConnectRequest) -> None:
        await self.stream.write(frame.SerializeToString())

    async def until(self, kind: str, times: int = 1) -> None:
        async with self.news:
            await self.news.wait_for(lambda: sum(f.WhichOneof("frame") == kind for f in self.got) >= times)

    async def beat(self) -> None:
        """A heartbeat, and the renewal that answers it."""
        stamp = next(self.stamps)
        await self.send(a.ConnectRequest(heartbeat=a.Heartbeat(stamp_boot_ns=stamp)))
        async with self.news:
            await self.news.wait_for(lambda: self.got[-1].lease_renewal.heartbeat_boot_ns == stamp)


def test_a_storm_of_agents_keeps_neither_a_lease_nor_a_halt_waiting(tmp_path: Path) -> None:
    async def run(made: Coordinator) -> None:
        good = Agent("good")
        storm = [Agent(host) for host in HOSTS]
        async with asyncio.timeout(DEADLINE_S * 3), asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(good.run(made))]
            await good.until("welcome")
            running += [tasks.create_task(agent.run(made)) for agent in storm]
            served: asyncio.Future[Any] = asyncio.gather(*(agent.until("welcome") for agent in storm))
            renewed = 0
            while not served.done() and renewed < 20:  # one after the other: each is answered in the storm
                await good.beat()
                renewed += 1
            assert renewed
            async with channel(made, made.operators, made.operator()) as opened:
                operators: Any = OperatorServiceStub(opened)
                async for answer in operators.Halt(o.HaltRequest(reason="drill")):
                    if answer.complete and answer.reverted == answer.total and answer.stored:
                        break
                await served
                hosts = (await operators.ListHosts(o.ListHostsRequest())).hosts
            assert answer.stopped == answer.total and answer.stored
            assert {host.host for host in hosts if host.connected} == {"good", *HOSTS}
            for task in running:
                task.cancel()

    with coordinator(tmp_path, "good", *HOSTS, lease="20s") as made:
        asyncio.run(run(made))
        assert "Traceback" not in made.said

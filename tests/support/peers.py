"""The other end of a stream as a process of its own, to be frozen."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from killdeer.v1 import agent_pb2 as a
from killdeer_agent.link import Link
from tests.support.coordinator import SERVER_NAME
from tests.support.edges import edge


@contextmanager
def peer(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """It says `ready …` on its output once it is connected, or can be."""
    command = [sys.executable, "-m", "tests.support.peers", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def link_of(keys: Path, host: str, address: str, **calls: object) -> Link:
    own = keys / "agents" / host
    given: dict[str, object] = {
        "on_open": lambda: None,
        "on_frame": lambda frame: None,
        "on_close": lambda why: None,
        "jitter": random.Random(1),
        "coordinators": (address,),
    }
    return Link(
        ca=own / "ca.pem",
        cert=own / "agent.pem",
        key=own / "agent.key",
        server_name=SERVER_NAME,
        **(given | calls),  # type: ignore[arg-type]  # as each test needs them
    )


async def _agent(keys: Path, host: str, address: str) -> None:
    def opened() -> None:
        link.send(a.ConnectRequest(hello=a.Hello(host=host)), urgent=False)

    link = link_of(keys, host, address, on_open=opened)
    await link.run()


async def _coordinator(folder: Path) -> None:
    async with edge(folder, "host") as served:
        print(f"ready {served.address}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "agent":
        asyncio.run(_agent(Path(sys.argv[2]), sys.argv[3], sys.argv[4]))
    else:
        asyncio.run(_coordinator(Path(sys.argv[2])))

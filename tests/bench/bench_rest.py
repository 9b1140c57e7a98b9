"""What the daemons take while nothing happens: the agent's memory and processor time, the coordinator's memory.

References, in the same run: a bare grpc.aio client after one call and the server that answered it, both with mutual
TLS as everything here has. Memory is the resident set in MiB of one process each.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.support.fleet import fleet

AT_REST_S = 10.0

_SERVER = """
import asyncio, grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio
from pathlib import Path
import sys
ca, cert, key = (Path(name).read_bytes() for name in sys.argv[1:4])
async def main():
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(aio.HealthServicer(), server)
    credentials = grpc.ssl_server_credentials([(key, cert)], ca, True)
    print(server.add_secure_port("127.0.0.1:0", credentials), flush=True)
    await server.start()
    await server.wait_for_termination()
asyncio.run(main())
"""

_CLIENT = """
import asyncio, sys, grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pathlib import Path
ca, cert, key = (Path(name).read_bytes() for name in sys.argv[2:5])
async def main():
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    async with grpc.aio.secure_channel("localhost:" + sys.argv[1], credentials) as channel:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        print("done", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


def run() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder, fleet(Path(folder), "--agents", "1") as started:
        client, server = _bare(Path(folder) / "keys")
        agent, coordinator = started.agent("sandbox-1"), started.coordinator()
        before = sum(agent.cpu_times()[:2])
        began = time.monotonic()
        time.sleep(AT_REST_S)  # the measure itself
        busy = (sum(agent.cpu_times()[:2]) - before) / (time.monotonic() - began)
        return [
            _row("agent memory at rest", _mib(agent), client, "a bare grpc.aio client after one call", 1.3),
            _row("coordinator memory at rest", _mib(coordinator), server, "a bare grpc.aio server", None),
            _row("agent processor time at rest", busy * 100, 1.0, "percent of a core, against one percent", 0.5),
        ]


def _row(name: str, ours: float, reference: float, against: str, to_hold: float | None) -> dict[str, object]:
    ratio = round(ours / reference, 2)
    return {
        "name": name,
        "ours": round(ours, 2),
        "reference": round(reference, 2),
        "against": against,
        "ratio": ratio,
        "to_hold": to_hold,
    }


def _bare(keys: Path) -> tuple[float, float]:
    theirs = [str(keys / name) for name in ("ca.pem", "coordinator.pem", "coordinator.key")]
    ours = [str(keys / name) for name in ("ca.pem", "operators/sandbox.pem", "operators/sandbox.key")]
    server = subprocess.Popen([sys.executable, "-c", _SERVER, *theirs], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    client = subprocess.Popen([sys.executable, "-c", _CLIENT, port, *ours], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    client.stdout.readline()
    try:
        return _mib(psutil.Process(client.pid)), _mib(psutil.Process(server.pid))
    finally:
        for process in (client, server):
            process.kill()
            process.communicate()


def _mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / (1024 * 1024)

"""An agent's metrics against what was really done on its host; and a restart loop, wherever it is looked for."""

import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.fleet import Fleet, fleet, wait_until

LISTENS, WRITES = "sandbox-1", "sandbox-2"


@dataclass(frozen=True)
class Metered:
    """A fleet of two: one agent listens, the other writes a file."""

    fleet: Fleet
    address: str
    file: Path

    def text(self, host: str) -> str:
        if host == WRITES:
            return self.file.read_text()
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=20) as answer:
            text: str = answer.read().decode()
        return text

    def totals(self, host: str) -> Counter[tuple[str, str]]:
        """Over all units, of each metric by what else it is told by: its name and the other labels' values."""
        found: Counter[tuple[str, str]] = Counter()
        for family in text_string_to_metric_families(self.text(host)):
            for sample in family.samples:
                others = [value for label, value in sorted(sample.labels.items()) if label != "unit"]
                found[sample.name, "/".join(others)] += sample.value  # type: ignore[assignment]
        return found

    def worker(self, host: str) -> psutil.Process:
        """The oldest worker of the host."""
        return next(one for one in self.fleet.workers() if self.fleet.host_of(one) == host)

    def newest(self, host: str) -> psutil.Process:
        return [one for one in self.fleet.workers() if self.fleet.host_of(one) == host][-1]

    def deaths(self, host: str) -> list[Any]:
        said = self.fleet.killdeer("events", "--json", "--host", host, "--limit", "1000")
        return [line["event"]["death"] for line in said.lines if "death" in line["event"]]


@pytest.fixture(scope="module")
def metered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metered]:
    with fleet(tmp_path_factory.mktemp("fleet"), "--agents", "2") as started:
        with socket.create_server(("127.0.0.1", 0)) as free:
            made = Metered(
                started, f"127.0.0.1:{free.getsockname()[1]}", started.folder / "hosts" / WRITES / "killdeer.prom"
            )
        for host, where in ((LISTENS, made.address), (WRITES, str(made.file))):
            configure(started, host, where)
        wait_until(lambda: answers(made), "both tell their metrics")
        wait_until(lambda: started.connected() == 2, "both agents are back")
        yield made


def configure(started: Fleet, host: str, where: str) -> None:
    """As an operator does: a line in agent.toml, before its tables, and a restart."""
    agent = started.agent(host)
    file = started.folder / "hosts" / host / "agent.toml"
    file.write_text(f'metrics = "{where}"\n{file.read_text()}')
    agent.send_signal(signal.SIGTERM)
    psutil.wait_procs([agent], timeout=60)


def answers(made: Metered) -> bool:
    try:
        return bool(made.text(LISTENS) and made.text(WRITES))
    except OSError:
        return False


def has_record(metered: Metered, host: str) -> bool:
    return bool(metered.totals(host)["killdeer_agent_info", f"bpf/{version(metered, host)}"])


def version(metered: Metered, host: str) -> str:
    hosts = metered.fleet.killdeer("hosts", "--json").json["hosts"]
    return str(next(one["version"] for one in hosts if one["host"] == host))


def kill(metered: Metered, worker: psutil.Process) -> None:
    """By hand; until its supervisor has started another."""
    host, before = metered.fleet.host_of(worker), {one.pid for one in metered.fleet.workers()}
    worker.kill()
    wait_until(
        lambda: any(
            one.pid not in before and metered.fleet.host_of(one) == host for one in metered.fleet.workers()
        ),
        "a worker took over",
    )


def test_deaths_restarts_and_strikes_are_those_that_there_were(metered: Metered) -> None:
    if not has_record(metered, LISTENS):
        pytest.skip("needs a kernel with BPF and BTF: without its record only strikes are counted")
    before = metered.totals(LISTENS)
    kill(metered, metered.worker(LISTENS))
    kill(metered, metered.worker(LISTENS))
    metered.fleet.killdeer("strike", LISTENS, "name=sandbox-worker", "oldest", "--terminate", "--yes")
    (strike,) = metered.fleet.strikes()

    def grown() -> Counter[tuple[str, str]]:
        return metered.totals(LISTENS) - before

    wait_until(lambda: grown()["killdeer_strikes_total", "terminate/recovered"], "the strike is over")
    wait_until(lambda: grown()["killdeer_deaths_total", "strike"], "the last death is told")
    more = grown()
    assert more["killdeer_deaths_total", "signal"] == 2
    assert more["killdeer_deaths_total", "strike"] == 1
    assert sum(count for (name, _), count in more.items() if name == "killdeer_deaths_total") == 3
    assert more["killdeer_restarts_total", ""] == 3
    assert more["killdeer_death_to_successor_seconds_count", ""] == 3
    assert more["killdeer_term_to_exit_seconds_count", ""] == 1
    took = more["killdeer_term_to_exit_seconds_sum", ""]
    assert took == pytest.approx(int(strike["exit"]["after_blow_ns"]) / 1e9)
    assert not more["killdeer_terms_ignored_total", ""]
    assert not more["killdeer_kernel_events_lost_total", "waiting"]
    assert more["killdeer_kernel_events_seen_total", "exit"] >= 3
    assert metered.totals(LISTENS)["killdeer_leased", ""] == 1


def test_five_deaths_in_turn_are_a_restart_loop_wherever_it_is_looked_for(metered: Metered) -> None:
    if not has_record(metered, LISTENS):
        pytest.skip("needs a kernel with BPF and BTF: without its record no successor's line is known")
    victims = []
    for _ in range(5):
        victims.append(metered.newest(LISTENS))
        kill(metered, victims[-1])
    pids = [one.pid for one in victims]

    def told() -> list[Any]:
        mine = [one for one in metered.deaths(LISTENS) if one["process"]["host_pid"] in pids]
        return mine if len(mine) == 5 else []

    deaths = {one["process"]["host_pid"]: one for one in wait_until(told, "all five are told")}
    loops = [deaths[pid].get("restarts", {}).get("loop", False) for pid in pids]
    assert loops == [False, False, False, False, True]
    restarts = int(deaths[pids[-1]]["restarts"]["count"])
    assert restarts >= 4
    assert metered.totals(LISTENS)["killdeer_restart_loop", ""] >= 1

    pid = str(deaths[pids[-1]]["process"]["pid"])
    last = metered.fleet.killdeer("why", LISTENS, pid).out.splitlines()[-1]
    assert f"was restarted {restarts} times in " in last
    assert last.endswith(": a restart loop")
    explained = metered.fleet.killdeer("why", LISTENS, pid, "--json").json["explanations"][0]
    assert explained["death"]["restarts"]["loop"] is True


def test_a_halt_is_seen_in_the_metrics(metered: Metered) -> None:
    metered.fleet.killdeer("halt", "--reason", "a drill")
    assert metered.totals(LISTENS)["killdeer_halted", "fleet"] == 1
    metered.fleet.killdeer("rearm", "--reason", "over")
    wait_until(lambda: not metered.totals(LISTENS)["killdeer_halted", "fleet"], "the agent is rearmed")


def test_the_listener_is_on_loopback_alone_and_the_other_agent_has_none(metered: Metered) -> None:
    def listeners(host: str) -> list[Any]:
        connections = metered.fleet.agent(host).net_connections(kind="inet")
        return [tuple(one.laddr) for one in connections if one.status == psutil.CONN_LISTEN]

    address, _, port = metered.address.rpartition(":")
    assert listeners(LISTENS) == [(address, int(port))]
    assert listeners(WRITES) == []


def test_the_file_tells_the_same_and_is_gone_after_a_stop(metered: Metered) -> None:
    """The last: it takes the agent's metrics away."""
    names = {name for name, _ in metered.totals(WRITES)}
    assert {"killdeer_leased", "killdeer_strikes_open", "killdeer_term_to_exit_seconds_count"} <= names
    agent = metered.fleet.agent(WRITES)
    config = metered.fleet.folder / "hosts" / WRITES / "agent.toml"
    config.write_text(config.read_text().replace(f'metrics = "{metered.file}"', 'metrics = "off"'))
    agent.send_signal(signal.SIGTERM)
    psutil.wait_procs([agent], timeout=60)
    assert not metered.file.exists()


def test_an_agent_without_metrics_does_not_load_the_library() -> None:
    code = "import sys, killdeer_agent.daemon; print('prometheus_client' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"

"""Metrics as Prometheus and node_exporter get them: by HTTP from this host alone, or from a file."""

import asyncio
import http.client
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strictly
from prometheus_client.parser import text_string_to_metric_families as plainly

from killdeer.v1.agent_pb2 import EVIDENCE_LEVEL_BPF
from killdeer_agent import exposition
from killdeer_agent.config import Loopback
from killdeer_agent.core.tally import MOST_UNITS, OTHER
from killdeer_agent.exposition import Exposition, expose
from killdeer_agent.kernel.collector import Collector
from tests.support import host as h
from tests.support.deaths import AT_NS, death, oom, party
from tests.support.operator import DEADLINE_S

PLAIN = "text/plain"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Record:
    """A collector that has let pass what it is told to."""

    level = EVIDENCE_LEVEL_BPF

    def filtered(self) -> dict[str, int]:
        return {"signal": 12}


@pytest.fixture
def told() -> Exposition:
    """Of an agent that has seen a few things."""
    host = h.leased()
    host.coordinator.order("c1", host.world.first, "terminate")
    host.run(3 * h.SECOND)
    tally = host.core.tally
    tally.event(oom(party(), at_ns=AT_NS))
    for number in range(MOST_UNITS + 5):
        tally.death(death(number + 1, unit=f"u{number}.service", service=f"u{number}.service"))
    tally.lost_events("waiting", 3)
    return Exposition(host.core, cast(Collector, Record()))


@pytest.fixture
def where() -> Loopback:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return Loopback("127.0.0.1", free.getsockname()[1])


def scraped(where: Loopback, accept: str = PLAIN) -> str:
    connection = http.client.HTTPConnection(where.host, where.port, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept})
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - a port, a file or a log has no event to wait for
            await asyncio.sleep(0.01)


def is_open(where: Loopback) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((where.host, where.port)) == 0


def exposed(told: Exposition, where: Loopback | Path, then: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        exposing = asyncio.ensure_future(expose(told, where))
        try:
            await then()
        finally:
            exposing.cancel()
            await asyncio.gather(exposing, return_exceptions=True)

    asyncio.run(run())


def listened(told: Exposition, where: Loopback, *accept: str) -> list[str]:
    """What one listener answers to a scrape for each of these formats."""
    texts: list[str] = []

    async def then() -> None:
        await until(lambda: is_open(where))
        for one in accept:
            texts.append(await asyncio.to_thread(scraped, where, one))

    exposed(told, where, then)
    return texts


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in plainly(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def value(text: str, name: str, **labels: str) -> float:
    (found,) = [one[2] for one in samples(text) if one[0] == name and one[1] == labels]
    return found


def test_all_that_was_counted_is_told(told: Exposition, where: Loopback) -> None:
    (text,) = listened(told, where, PLAIN)
    assert value(text, "killdeer_deaths_total", cause="oom-cgroup", unit="u0.service") == 1
    assert value(text, "killdeer_oom_kills_total", scope="cgroup") == 1
    assert value(text, "killdeer_strikes_total", action="terminate", outcome="recovered") == 1
    assert value(text, "killdeer_term_to_exit_seconds_count") == 1
    assert value(text, "killdeer_term_to_exit_seconds_bucket", le="+Inf") == 1
    assert value(text, "killdeer_death_to_successor_seconds_sum") == pytest.approx(0.5)
    assert value(text, "killdeer_death_to_successor_seconds_bucket", le="0.25") == 0
    assert value(text, "killdeer_death_to_successor_seconds_bucket", le="0.5") == 1
    assert value(text, "killdeer_terms_ignored_total") == 0
    assert value(text, "killdeer_kernel_events_seen_total", kind="oom") == 1
    assert value(text, "killdeer_kernel_events_filtered_total", kind="signal") == 12
    assert value(text, "killdeer_kernel_events_lost_total", kind="waiting") == 3
    assert value(text, "killdeer_leased") == 1
    assert value(text, "killdeer_halted", by="fleet") == 0
    assert value(text, "killdeer_halted", by="host") == 0


def test_units_beyond_the_cap_are_one_label_and_their_number_a_metric(told: Exposition, where: Loopback) -> None:
    (text,) = listened(told, where, PLAIN)
    units = {labels["unit"] for _, labels, _ in samples(text) if "unit" in labels}
    assert len(units) == MOST_UNITS + 1
    assert OTHER in units
    folded = value(text, "killdeer_units_folded")
    named = sum(unit.startswith("u") for unit in units)
    assert folded == MOST_UNITS + 5 - named


def test_the_formats_own_rules_are_kept(told: Exposition, where: Loopback) -> None:
    """OpenMetrics' parser checks names, suffixes, buckets and their order; promtool, if it is there, the rest."""
    open_metrics, text = listened(told, where, OPENMETRICS, PLAIN)
    names = {family.name for family in strictly(open_metrics)}  # type: ignore[no-untyped-call]
    assert names == {family.name for family in plainly(text)}
    if promtool := shutil.which("promtool"):
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=text, text=True, capture_output=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_scrape_from_ipv6s_loopback_is_answered(told: Exposition) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
            where = Loopback("::1", free.getsockname()[1])
    except OSError as error:
        pytest.skip(f"needs IPv6 on the loopback interface: {error}")
    texts: list[str] = []

    async def then() -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not texts:
                try:
                    texts.append(await asyncio.to_thread(scraped, where))
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)

    exposed(told, where, then)
    assert value(texts[0], "killdeer_leased") == 1


def test_who_connects_and_says_nothing_keeps_nobody_else_waiting_for_long(
    told: Exposition, where: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "CLIENT_S", 0.1)
    texts: list[str] = []

    async def then() -> None:
        await until(lambda: is_open(where))
        with socket.create_connection((where.host, where.port)):
            texts.append(await asyncio.to_thread(scraped, where))

    exposed(told, where, then)
    assert value(texts[0], "killdeer_leased") == 1


def test_a_port_that_is_taken_is_served_once_it_is_free(
    told: Exposition, where: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "EVERY_S", 0.01)
    said: list[str] = []
    monkeypatch.setattr(exposition.log, "error", lambda event, **fields: said.append(fields["problem"]))
    texts: list[str] = []

    async def then() -> None:
        with socket.create_server((where.host, where.port)):
            await until(lambda: said)
        await until(lambda: is_open(where))
        texts.append(await asyncio.to_thread(scraped, where))

    exposed(told, where, then)
    assert said == [f"cannot serve metrics on {where}: Address already in use"], "said once"
    assert value(texts[0], "killdeer_leased") == 1


# --- a file -----------------------------------------------------------------------------------------------------


def test_the_file_is_whole_at_any_time_readable_by_others_and_goes_with_the_agent(
    told: Exposition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "EVERY_S", 0)
    file = tmp_path / "killdeer.prom"
    texts: list[str] = []

    async def then() -> None:
        await until(file.exists)
        for _ in range(50):
            texts.append(file.read_text())
            await asyncio.sleep(0)
        assert file.stat().st_mode & 0o777 == 0o644

    exposed(told, file, then)
    assert all(text.endswith('killdeer_kernel_events_lost_total{kind="waiting"} 3.0\n') for text in texts)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_named_and_tried_again(
    told: Exposition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "EVERY_S", 0.01)
    said: list[str] = []
    monkeypatch.setattr(exposition.log, "error", lambda event, **fields: said.append(fields["problem"]))
    file = tmp_path / "later" / "killdeer.prom"

    async def then() -> None:
        await until(lambda: said)
        file.parent.mkdir()
        await until(file.exists)

    exposed(told, file, then)
    assert len(said) == 1
    assert said[0].startswith(f"cannot write metrics to {file}: ")
    assert "No such file" in said[0]


def test_a_link_in_the_place_of_the_new_file_is_not_followed(
    told: Exposition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(exposition.log, "error", lambda event, **fields: said.append(fields["problem"]))
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "killdeer.prom.new").symlink_to(other)
    exposed(told, tmp_path / "killdeer.prom", lambda: until(lambda: said))
    assert other.read_text() == "mine"

"""Queries to a real Prometheus that scrapes a real service: one number, no older than was asked for."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge

from killdeer.v1 import probe_pb2 as p
from tests.support import prometheus as prometheus_server
from tests.support.probed import Answer, Probed, json_answer, service
from tests.support.probing import WITHIN_MS, take, value
from tests.support.prometheus import Prometheus, prometheus

FRESH_MS = 3_000
DEADLINE_S = 60.0


def asks(
    server: str,
    query: str,
    *,
    fresh_within_ms: int = 0,
    headers: list[p.Header] | None = None,
    what: p.Take = p.TAKE_UNSPECIFIED,
    secrets: Path | None = None,
) -> p.Reading:
    source = p.PrometheusSource(server=server, query=query, headers=headers or [])
    return take(
        p.Probe(name="prom", prometheus=source, take=what, within_ms=WITHIN_MS, fresh_within_ms=fresh_within_ms),
        secrets=secrets,
    )


def eventually(taken: Callable[[], p.Reading], holds: Callable[[p.Reading], bool]) -> p.Reading:
    until = time.monotonic() + DEADLINE_S
    while not holds(reading := taken()):
        assert time.monotonic() < until, reading
        time.sleep(0.05)
    return reading


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    if missing := prometheus_server.missing():
        pytest.skip(missing)


@pytest.fixture(scope="module")
def shop() -> Iterator[Probed]:
    with service() as probed:
        depth = Gauge("queue_depth", "Waiting.", ["queue"], registry=probed.registry)
        depth.labels("paid").set(3)
        depth.labels("sent").set(4)
        Counter("requests", "All.", registry=probed.registry).inc(10)
        yield probed


@pytest.fixture(scope="module")
def server(shop: Probed) -> Iterator[Prometheus]:
    with prometheus(shop.address) as made:
        yield made


@pytest.mark.parametrize("fresh_within_ms", [0, 20_000])
@pytest.mark.parametrize(
    ("query", "number"),
    [
        ('queue_depth{queue="paid"}', 3),
        ("sum(queue_depth)", 7),
        ("scalar(sum(queue_depth)) * 2 + 0 * requests_total", None),  # several labels, one sample
        ("max_over_time(requests_total[1m])", 10),
        ("sum(rate(requests_total[1m]))", 0),
        ('sum(queue_depth) + (sum(queue_depth{queue="none"}) or vector(0))', 7),
    ],
)
def test_one_sample_is_the_reading(
    server: Prometheus, query: str, number: float | None, fresh_within_ms: int
) -> None:
    reading = asks(server.url, query, fresh_within_ms=fresh_within_ms)
    assert value(reading) == (14 if number is None else number)
    assert reading.detail == ""
    assert value(asks(f"{server.url}/", query)) is not None


def test_a_scalar_is_one_too(server: Prometheus) -> None:
    assert value(asks(server.url, "scalar(sum(queue_depth))", fresh_within_ms=20_000)) == 7
    assert value(asks(server.url, "5")) == 5
    reading = asks(server.url, "5", fresh_within_ms=FRESH_MS)
    assert value(reading) is None
    assert "nothing that is scraped now is in it" in reading.detail


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("queue_depth", "the query gives 2 samples, and a reading is one; aggregate them, as with sum(…)"),
        ("no_such_metric", "the query gives no sample: no series of that name and labels is there"),
        ("queue_depth[1m]", "the query gives samples over time, and a reading is one"),
        ('"text"', "the query gives no number"),
        ("sum(queue_depth) * 0 / 0", "the result is not a number (NaN), as of a division of nothing by nothing"),
        ("sum(queue_depth) / 0", "the result is infinite"),
        ("sum(queue_depth", "Prometheus refuses the query (bad_data): "),
        ("", "Prometheus refuses the query (bad_data): "),
    ],
)
def test_anything_but_one_number_is_unknown(server: Prometheus, query: str, said: str) -> None:
    reading = asks(server.url, query)
    assert value(reading) is None
    assert reading.detail.startswith(said)


def test_a_long_query_is_asked_too(server: Prometheus) -> None:
    assert value(asks(server.url, f'sum(queue_depth{{queue!="{"x" * 100_000}"}})')) == 7


@pytest.mark.parametrize("what", [p.TAKE_MET, p.TAKE_LATENCY, p.TAKE_JSON])
def test_a_query_gives_a_number_and_nothing_else(server: Prometheus, what: p.Take) -> None:
    assert "a prometheus probe gives no " in asks(server.url, "up", what=what).detail


def test_a_service_that_died_is_in_a_rate_for_long_but_not_in_a_fresh_one() -> None:
    with service() as probed:
        Counter("requests", "All.", registry=probed.registry).inc(10)
        with prometheus(probed.address) as server:
            rate, newest = "sum(rate(requests_total[5m]))", "sum(requests_total)"
            for query in (rate, newest):
                assert value(asks(server.url, query, fresh_within_ms=20_000)) is not None
            probed.stop()
            gone = eventually(
                lambda: asks(server.url, rate, fresh_within_ms=FRESH_MS), lambda reading: value(reading) is None
            )
            assert gone.detail == "requests_total has had no sample for 3s, its fresh_within"
            assert value(asks(server.url, rate)) is not None
            gone = asks(server.url, newest, fresh_within_ms=FRESH_MS)
            assert "the query gives no sample" in gone.detail
            zero = asks(server.url, f"{newest} or vector(0)", fresh_within_ms=FRESH_MS)
            assert value(zero) is None, "nobody counts, so nobody knows that there was none"
            assert value(asks(server.url, f"{newest} or vector(0)")) == 0
            probed.start()
            eventually(
                lambda: asks(server.url, rate, fresh_within_ms=FRESH_MS), lambda reading: value(reading) is not None
            )


def test_a_prometheus_that_stopped_scraping_has_no_fresh_values(shop: Probed) -> None:
    with prometheus(shop.address) as server:
        queries = ("sum(queue_depth)", "sum(rate(requests_total[5m]))", "max_over_time(sum(queue_depth)[1m:1s])")
        for query in queries:
            assert value(asks(server.url, query, fresh_within_ms=20_000)) is not None
        server.restart(scrape_every="1d")
        for query in queries:
            old = eventually(
                lambda query=query: asks(server.url, query, fresh_within_ms=FRESH_MS),  # type: ignore[misc]
                lambda reading: value(reading) is None,
            )
            assert "fresh_within" in old.detail
            assert value(asks(server.url, query)) is not None, "Prometheus itself says nothing of it"


def test_the_last_word_of_an_exporter_that_dates_its_samples_grows_old() -> None:
    """Such samples have no end: Prometheus goes on showing the last one for five minutes."""
    with service() as probed:
        probed.metrics_text = f"orders 5 {time.time_ns() // 1_000_000}\n"
        with prometheus(probed.address) as server:
            server.wait_for(lambda: server.query("orders"), "orders")
            old = eventually(
                lambda: asks(server.url, "orders", fresh_within_ms=FRESH_MS), lambda reading: value(reading) is None
            )
            assert old.detail.startswith("the newest sample of orders is ")
            assert value(asks(server.url, "orders")) == 5


def test_one_of_several_that_died_leaves_the_others_fresh(shop: Probed) -> None:
    """Which is what an experiment does to it: the newest sample counts."""
    with service() as other:
        Gauge("queue_depth", "Waiting.", ["queue"], registry=other.registry).labels("paid").set(5)
        with prometheus(shop.address, other.address) as server:
            query = "sum(queue_depth) + 0 * sum(rate(queue_depth[5m]))"
            assert value(asks(server.url, query, fresh_within_ms=20_000)) == 12
            other.stop()
            eventually(lambda: asks(server.url, query, fresh_within_ms=20_000), lambda reading: value(reading) == 7)


# --- what is no Prometheus, or not in order -------------------------------------------------------------------


@pytest.fixture
def web() -> Iterator[Probed]:
    with service() as probed:
        yield probed


def test_what_is_no_prometheus_is_unknown(web: Probed) -> None:
    for answer, said in (
        (Answer(status=404), "404 Not Found, and not from Prometheus; look at `server`"),
        (Answer(body=b"<html>"), "200 OK, and not from Prometheus"),
        (json_answer([1]), "200 OK, and not from Prometheus"),
        (json_answer({"status": "success"}), "Prometheus answered without a result"),
        (json_answer({"status": "success", "data": {"resultType": "vector"}}), "the query gives no number"),
        (
            json_answer({"status": "success", "data": {"resultType": "scalar", "result": [1, "x"]}}),
            "what is no number",
        ),
        (json_answer({"status": "error"}, 503), "Prometheus refuses the query: try it in its own console"),
    ):
        web.answer = answer
        reading = asks(web.url, "up")
        assert value(reading) is None
        assert said in reading.detail
    web.stop()
    assert asks(web.url, "up").detail == "no answer: connection refused"


def test_its_warnings_are_told_with_the_value(web: Probed) -> None:
    one = {"resultType": "vector", "result": [{"metric": {}, "value": [1, "5"]}]}
    web.answer = json_answer(
        {
            "status": "success",
            "data": one,
            "warnings": ["partial\nresponse"],
            "infos": ["not a counter " + "x" * 500],
        }
    )
    reading = asks(web.url, "a")
    assert value(reading) == 5
    assert reading.detail.startswith("partial response; not a counter xxx")
    assert len(reading.detail) <= 201


def test_a_secret_is_sent_and_no_word_is_repeated_of_who_got_it(
    web: Probed, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "token").write_text("Bearer tr0ub4dor\n")
    header = p.Header(name="Authorization", from_file=str(tmp_path / "token"))
    echoed = {"error": "tr0ub4dor", "errorType": "tr0ub4dor", "warnings": ["tr0ub4dor"], "infos": ["tr0ub4dor"]}
    one = {"resultType": "vector", "result": [{"metric": {"killdeer": "tr0ub4dor"}, "value": [1, "5"]}]}
    for answer in (
        json_answer({"status": "error", **echoed}, 400),
        json_answer({"status": "success", "data": one, **echoed}),
        json_answer({"status": "success", "data": {"resultType": "tr0ub4dor", "result": "tr0ub4dor"}, **echoed}),
        Answer(status=401, body=b"tr0ub4dor"),
    ):
        web.answer = answer
        for fresh in (0, FRESH_MS):
            reading = asks(web.url, "a", headers=[header], fresh_within_ms=fresh, secrets=tmp_path)
            assert "tr0ub4dor" not in f"{reading}{caplog.text}{capfd.readouterr()}"
    assert {seen.headers["authorization"] for seen in web.seen} == {"Bearer tr0ub4dor"}


def test_a_prometheus_that_is_silent_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = p.PrometheusSource(server=f"http://127.0.0.1:{listener.getsockname()[1]}", query="up")
        reading = take(p.Probe(name="prom", prometheus=source, within_ms=200))
    assert (value(reading), reading.detail) == (None, "no answer within 200ms")

"""Experiments on a real payment service that end before their time: by a rule, an operator, a dead coordinator.
Whatever ends them, nothing is struck after it, and their load is stopped."""

from collections.abc import Sequence

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2
from tests.support.fleet import wait_until
from tests.support.payments import Shop
from tests.support.prometheus import Prometheus

ABORTS_WITHIN_MS = 2_000
STRUCK = "permit granted, sent: "


def came_true_unix_ms(readings: Sequence[probe_pb2.Reading], probe: str, bound: float, for_ms: int) -> int:
    """When a probe's readings had been above the bound for so long on end, as the record has them."""
    since = 0
    for reading in (one for one in readings if one.probe == probe):
        if reading.HasField("value") and reading.value <= bound:
            since = 0
        elif reading.HasField("value"):
            since = since or reading.at_unix_ms
        if since and reading.at_unix_ms >= since + for_ms:
            return since + for_ms
    raise AssertionError(f"{probe} was never above {bound} for {for_ms} ms")


def ending(report: o.GetReportResponse) -> o.LogLine:
    """The line that says that the run ends before its time."""
    (line,) = [line for line in report.log if line.line.startswith("ending: ")]
    return line


def hit(view: o.RunView) -> list[o.StrikeView]:
    return [strike for strike in view.strikes if any(not blow.revert for blow in strike.blows)]


def assert_nothing_was_struck_after(report: o.GetReportResponse, end: o.LogLine) -> None:
    """Each strike was on its way before; one whose agent was just at it then is no later one."""
    lines = list(report.log)
    before, after = lines[: lines.index(end)], lines[lines.index(end) :]
    sent = [line for line in before if line.line.startswith(STRUCK)]
    assert not [line.line for line in after if line.line.startswith(STRUCK)]
    assert len(hit(report.run)) <= len(sent)
    for strike in hit(report.run):
        place = f"{strike.victim.host} {strike.service}[{strike.ordinal}] pid {strike.victim.pid}"
        assert any(line.line == STRUCK + place for line in sent), place


def test_errors_above_their_bound_abort_ten_kills_within_two_seconds_and_nothing_is_struck_after(
    shop: Shop, server: Prometheus
) -> None:
    shop.warm_up(4)
    file = shop.payments_experiment(
        server.url,
        """
baseline: 3s
steady_state: [healthy, errors < 1%]
abort_when: [errors > 2% for 2s]
limits: {in_flight: 4, per_host: 2, per_minute: 60}
waves: [{name: roulette, strikes: 10, over: 20s, jitter: 300ms}]
recovery: {within: 20s}
""",
    )
    shop.killdeer("run", file, code=3)
    report = shop.report()
    assert report.run.verdict == o.RUN_VERDICT_ABORTED
    assert "'errors > 2% for 2s' came true" in report.run.why
    end = ending(report)
    true_ms = came_true_unix_ms(report.readings, "errors", 0.02, 2_000)
    assert end.at_unix_ms - true_ms <= ABORTS_WITHIN_MS
    (rule,) = [one for one in report.run.findings.findings if one.part == probe_pb2.PART_ABORT_WHEN]
    assert 0 <= end.at_unix_ms - rule.unmet_unix_ms <= ABORTS_WITHIN_MS
    assert 1 <= len(hit(report.run)) < 10
    assert_nothing_was_struck_after(report, end)
    assert report.run.findings.HasField("recovered_after_ms"), "and what it had broken came back"
    assert not shop.front.load_runs()


def test_a_p95_above_its_share_of_the_baseline_aborts_and_resumes_who_is_paused(
    shop: Shop, server: Prometheus
) -> None:
    workers = [worker.pid for worker in shop.workers()]
    file = shop.payments_experiment(
        server.url,
        """
baseline: 5s
steady_state: [healthy]
abort_when: [p95 > 1.3x baseline]
limits: {in_flight: 3, per_host: 2, per_minute: 60}
waves: [{name: hang, strikes: 3, action: {pause: 25s}}]
recovery: {within: 20s}
""",
        rate=20,
    )
    shop.killdeer("run", file, code=3)
    report = shop.report()
    assert report.run.verdict == o.RUN_VERDICT_ABORTED
    assert "'p95 > 1.3x baseline' came true" in report.run.why
    (usual,) = [one for one in report.run.findings.baselines if one.probe == "p95"]
    end = ending(report)
    above = came_true_unix_ms(
        [one for one in report.readings if hit(report.run)[0].struck_unix_ms < one.at_unix_ms],
        "p95",
        1.3 * usual.median,
        0,
    )
    assert end.at_unix_ms - above <= ABORTS_WITHIN_MS
    assert_nothing_was_struck_after(report, end)
    assert not shop.stopped()
    assert [worker.pid for worker in shop.workers()] == workers
    assert not shop.front.load_runs()


ROULETTE = """
baseline: 1s
steady_state: [healthy]
limits: {in_flight: 1, per_host: 1, per_minute: 60}
waves: [{name: roulette, strikes: 20, over: 60s}]
recovery: {within: 20s}
"""


def test_an_operators_abort_stops_the_load_that_the_run_had_started(shop: Shop, server: Prometheus) -> None:
    shop.front.post("/retries/on")
    hooks = "".join(
        f'on_{name}: {{webhook: "{shop.front.url}/hook/{name}"}}\n' for name in ("start", "abort", "end")
    )
    running = shop.begin("run", shop.payments_experiment(server.url, ROULETTE + hooks))
    run_id = shop.until_struck()
    assert shop.front.load_runs()
    sent = shop.front.get("/load")["sent"]
    wait_until(lambda: shop.front.get("/load")["sent"] > sent, "payments are made")
    shop.killdeer("abort", run_id, "--reason", "customers call")
    running.ended(3)
    report = shop.report(run_id)
    assert report.run.verdict == o.RUN_VERDICT_ABORTED
    assert "customers call" in report.run.why
    assert_nothing_was_struck_after(report, ending(report))
    assert not shop.front.load_runs()
    posts = shop.front.posts(run_id)
    assert [post for post in posts if post != "/hook/abort"] == [
        "/hook/start",
        "/load/start",
        "/load/stop",
        "/hook/end",
    ]
    assert posts.count("/hook/abort") == 1
    assert sorted(line.split(":")[0] for line in report.run.findings.deeds) == sorted(
        ["on_start", "load.start", "on_abort", "load.stop", "on_end"]
    )


def test_r24_the_load_of_a_run_whose_coordinator_died_is_stopped_by_its_next_start(
    shop: Shop, server: Prometheus
) -> None:
    shop.front.post("/retries/on")
    hooks = "".join(f'on_{name}: {{webhook: "{shop.front.url}/hook/{name}"}}\n' for name in ("abort", "end"))
    running = shop.begin("run", shop.payments_experiment(server.url, ROULETTE + hooks))
    run_id = shop.until_struck()
    coordinator = shop.coordinator()
    coordinator.kill()
    coordinator.wait()
    wait_until(lambda: not shop.front.load_runs(), "the load is stopped")
    assert shop.coordinator() != coordinator
    running.ended(3)
    report = shop.report(run_id)
    assert report.run.verdict == o.RUN_VERDICT_ABORTED
    assert shop.front.posts(run_id) == ["/load/start", "/hook/abort", "/load/stop", "/hook/end"]
    assert list(report.run.findings.deeds) == ["on_abort: done", "load.stop: done", "on_end: done"]
    wait_until(lambda: shop.connected() == 2, "the hosts are back")
    wait_until(shop.settled, "all workers are there, and every permit was given back")

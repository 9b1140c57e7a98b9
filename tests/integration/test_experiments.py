"""Hypotheses on a real payment service, measured by real probes and a real Prometheus: held, deviated, unknown."""

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2
from tests.support.fleet import wait_until
from tests.support.payments import Shop
from tests.support.prometheus import Prometheus

LIMITS = "limits: {in_flight: 1, per_host: 1, per_minute: 60}"


def finding(report: o.GetReportResponse, sentence: str) -> probe_pb2.Finding:
    (found,) = [one for one in report.run.findings.findings if one.sentence == sentence]
    return found


def keys(view: o.RunView) -> list[tuple[str, str, int]]:
    return [(strike.victim.host, strike.service, strike.ordinal) for strike in view.strikes]


def test_one_worker_is_killed_and_the_queue_heals_within_its_time(shop: Shop, server: Prometheus) -> None:
    shop.front.post("/retries/on")
    shop.warm_up(2)
    file = shop.payments_experiment(
        server.url,
        f"""
baseline: 3s
steady_state: [healthy, errors < 1%, queue < 5 for 20s]
abort_when: [queue > 500]
{LIMITS}
waves: [{{name: rehearsal, dry_run: true}}, {{name: one, strikes: 1, hold: 4s}}]
recovery: {{within: 20s, stable_for: 1s, ready: healthy}}
""",
    )
    said = shop.killdeer("run", file, code=0)
    assert "held" in said.out
    report = shop.report()
    (struck,) = [strike for strike in report.run.strikes if strike.blows]
    queue = [reading for reading in report.readings if reading.probe == "queue"]
    after = [reading.value for reading in queue if reading.at_unix_ms > struck.struck_unix_ms]
    assert max(after) >= 5, "it was felt"
    assert after[-1] < 5
    patient = finding(report, "queue < 5 for 20s")
    assert (patient.standing, patient.unmet_unix_ms) == (probe_pb2.STANDING_MET, 0)
    assert not shop.front.load_runs()
    assert shop.front.posts(report.run.run_id) == ["/load/start", "/load/stop"]


def test_a_hypothesis_is_refuted_and_holds_after_the_fix_with_the_same_victims(
    shop: Shop, server: Prometheus
) -> None:
    shop.warm_up(1)
    file = shop.payments_experiment(
        server.url,
        f"""
baseline: 3s
steady_state: [errors < 1%]
{LIMITS}
waves: [{{name: three, strikes: 3, over: 3s, jitter: 300ms, hold: 2s}}]
recovery: {{within: 20s}}
""",
    )
    shop.killdeer("run", file, code=1)
    before = shop.report().run
    shop.front.post("/retries/on")
    wait_until(shop.settled, "the shop is whole again")
    server.wait_for(lambda: server.query("increase(errors_total[6s])") == [0], "the errors are over")
    shop.killdeer("run", file, code=0)
    after = shop.report().run
    assert (before.verdict, after.verdict) == (o.RUN_VERDICT_DEVIATED, o.RUN_VERDICT_HELD)
    assert before.findings.HasField("detected_after_ms")
    assert before.findings.HasField("recovered_after_ms")
    assert not after.findings.HasField("detected_after_ms")
    assert before.seed == after.seed
    assert keys(before) == keys(after)
    assert len(keys(before)) == 3
    compared = shop.killdeer("compare", before.run_id, after.run_id, "--format", "json").json
    assert (compared["first"]["verdict"], compared["second"]["verdict"]) == ("deviated", "held")


def test_ten_seeded_kills_go_through_under_an_abort_rule_and_their_impact_is_told_over_repetitions(
    shop: Shop, server: Prometheus
) -> None:
    shop.front.post("/retries/on")
    wait_until(shop.settled, "the shop is whole")
    file = shop.payments_experiment(
        server.url,
        """
baseline: 3s
steady_state: [healthy, errors < 1%]
abort_when: [errors > 2% for 2s]
limits: {in_flight: 1, per_host: 1, per_minute: 60}
waves: [{name: roulette, strikes: 10, over: 20s, pauses: random, hold: 1s}]
recovery: {within: 20s}
""",
    )
    shop.killdeer("run", file, code=0)
    run = shop.report().run
    assert run.verdict == o.RUN_VERDICT_HELD
    assert len([strike for strike in run.strikes if strike.blows]) == 10
    told = shop.killdeer("report", run.run_id, "--format", "json").json
    found = {one["probe"]: one for one in told["measures"]["impacts"]}
    p95 = found["p95"]["repeated"]
    assert 2 <= p95["sample"]["count"] <= 10
    assert p95["interval"]["method"] == "t"
    assert p95["interval"]["low"] < p95["sample"]["mean"] < p95["interval"]["high"]
    shop.killdeer("run", file, code=0)
    again = shop.report().run
    assert keys(again) == keys(run), "by the same seed"
    history = shop.killdeer("report", again.run_id, "--format", "json").json["measures"]["history"]
    (over_runs,) = [one for one in history["impacts"] if one["probe"] == "p95"]
    assert over_runs["repeated"]["sample"]["count"] >= 2
    compared = shop.killdeer("compare", run.run_id, again.run_id, "--format", "json").json
    (change,) = [one for one in compared["probes"] if one["what"] == "p95"]
    assert change["interval"]["low"] <= change["difference"] <= change["interval"]["high"]


def test_i8_a_prometheus_that_dies_in_mid_run_leaves_the_hypothesis_inconclusive(
    shop: Shop, server: Prometheus
) -> None:
    shop.front.post("/retries/on")
    file = shop.payments_experiment(
        server.url,
        f"""
baseline: 3s
steady_state: [errors < 1%]
abort_when: [errors > 2%]
{LIMITS}
waves: [{{name: one, strikes: 1, hold: 10s}}, {{name: two, strikes: 1}}]
recovery: {{within: 3s}}
""",
    )
    running = shop.begin("run", file)
    shop.until_struck()
    server.stop()
    try:
        running.ended(5)
    finally:
        server.restart(scrape_every="1s")
    report = shop.report()
    steady = finding(report, "errors < 1%")
    assert steady.standing == probe_pb2.STANDING_UNKNOWN
    assert steady.unknown_ms
    assert "refused" in steady.detail
    assert report.run.verdict == o.RUN_VERDICT_INCONCLUSIVE
    assert "'errors < 1%'" in report.run.why
    assert finding(report, "errors > 2%").unmet_unix_ms == 0
    assert len([strike for strike in report.run.strikes if strike.blows]) == 1, "no gate opens on what is unknown"
    assert not shop.front.load_runs()


def test_i10_what_is_not_as_it_should_be_before_is_refused_and_nothing_is_hit(
    shop: Shop, server: Prometheus
) -> None:
    workers = [worker.pid for worker in shop.workers()]
    file = shop.payments_experiment(
        server.url,
        f"""
preconditions: [queue < 1000]
baseline: 1s
steady_state: [healthy, p95 < 0.01]
{LIMITS}
waves: [{{name: one, strikes: 1}}]
""",
    )
    said = shop.killdeer("run", file, code=2)
    assert "p95 < 0.01" in said.out + said.err
    report = shop.report()
    assert report.run.verdict == o.RUN_VERDICT_REFUSED
    assert not report.run.strikes
    assert [worker.pid for worker in shop.workers()] == workers
    assert shop.front.posts(report.run.run_id) == ["/load/start", "/load/stop"]

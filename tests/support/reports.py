"""Reports of runs as a coordinator would answer them: a service that deviates, one that held, and hostile text."""

import math

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import probe_pb2 as m
from killdeer.v1 import process_pb2 as p
from killdeer.v1.agent_pb2 import EVIDENCE_LEVEL_BPF

START_MS = 1_763_000_000_000
FIRST_MS = START_MS + 20_000
END_MS = START_MS + 60_000
BOOT_NS = 5_000_000_000_000
MS = 1_000_000

UNITS = {"healthy": m.UNIT_MET, "errors": m.UNIT_FRACTION, "p95": m.UNIT_SECONDS, "queue": m.UNIT_UNSPECIFIED}
SOURCE = """\
killdeer: 1
name: payments-survive
environment: staging
notes: {runbook: "https://wiki.example.com/payments"}
target: {process: {unit: payment@*.service}}
probes:
  healthy: {http: "http://127.0.0.1:8080/healthz"}
  errors: {prometheus: "errors_share", server: "http://127.0.0.1:9090"}
  p95: {http: "http://127.0.0.1:8080/pay", take: latency, as: p95, over: 30s}
steady_state: [errors < 0.1%]
abort_when: [p95 > 1.3x baseline for 10s]
action: {terminate: {grace: 2s}}
waves: [{name: one, strikes: 2}]
"""
TERMINATE = p.Action(terminate=p.Terminate(grace_ms=2_000))


def blow(signal: int, *, number: int = 1, after_ms: int = 0, verdict: str = "delivered") -> p.Blow:
    return p.Blow(
        number=number, signal=signal, sent_boot_ns=BOOT_NS + after_ms * MS, kernel_verdict=verdict, sender_pid=88
    )


def honoured(command_id: str = "c1", *, host: str = "pay-1", struck_ms: int = FIRST_MS) -> o.StrikeView:
    """It ended by itself 40 ms after SIGTERM; its successor came 104 ms later, was ready after 900 ms."""
    return o.StrikeView(
        command_id=command_id,
        wave="one",
        victim=p.Identity(host=host, pid=412, start_ticks=9),
        service="payment@",
        name="python3",
        action=TERMINATE,
        state=p.STRIKE_STATE_RECOVERED,
        blows=[blow(15)],
        exit=p.Exit(at_boot_ns=BOOT_NS + 40 * MS, code=0, after_blow_ns=40 * MS, source="bpf"),
        successor=p.Successor(identity=p.Identity(host=host, pid=733), after_exit_ns=104 * MS, source="bpf"),
        ready_after_ns=900 * MS,
        recovered_after_ns=3_200 * MS,
        struck_unix_ms=struck_ms,
        evidence=EVIDENCE_LEVEL_BPF,
    )


def escalated(command_id: str = "c2", *, host: str = "pay-2", struck_ms: int = FIRST_MS + 8_000) -> o.StrikeView:
    """It didn't end on SIGTERM, so SIGKILL came after the grace of 2 s; nothing took its place."""
    view = honoured(command_id, host=host, struck_ms=struck_ms)
    view.state = p.STRIKE_STATE_LOST
    view.detail = "no successor within 2m"
    view.ClearField("successor")
    view.ready_after_ns = view.recovered_after_ns = 0
    view.blows.append(blow(9, number=2, after_ms=2_000))
    view.exit.CopyFrom(p.Exit(at_boot_ns=BOOT_NS + 2_003 * MS, signal=9, after_blow_ns=3 * MS, source="bpf"))
    return view


def readings(*, worse_by: float = 1.5, gap: tuple[int, int] = (31, 35)) -> list[m.Reading]:
    """Once a second. For 20 s after the first strike p95 is `worse_by`, errors rise, and healthy fails a while.

    In the gap, from and to a second, healthy has no answer.
    """
    taken = []
    for second in range(60):
        at = START_MS + second * 1_000
        hurt = worse_by > 1 and 20 <= second < 40
        ripple = 0.004 * math.sin(second * 1.7)
        values: dict[str, float | None] = {
            "healthy": None if gap[0] <= second < gap[1] else float(not (hurt and second in (22, 23, 24))),
            "errors": (0.02 if hurt else 0.0005) + ripple / 40,
            "p95": (0.120 + ripple) * (worse_by if hurt else 1.0),
        }
        for probe, value in values.items():
            reading = m.Reading(
                probe=probe, at_unix_ms=at, detail="" if value is not None else "no answer in 500ms"
            )
            if value is not None:
                reading.value = value
            taken.append(reading)
    return taken


UNHURT = {"healthy": 0.0, "errors": 0.0001, "p95": 0.001}
HURT = {"healthy": -0.05, "errors": 0.01, "p95": 0.03}


def baselines() -> list[m.Baseline]:
    usual = {"healthy": (1.0, 1.0), "errors": (0.0004, 0.0006), "p95": (0.116, 0.124)}
    return [
        m.Baseline(
            probe=probe, median=(low + high) / 2, mean=(low + high) / 2, readings=20, lowest=low, highest=high
        )
        for probe, (low, high) in usual.items()
    ]


def impacts(of: dict[str, float], repetitions: int = 2) -> list[m.Impact]:
    """Each repetition a tenth of its mean off."""
    return [
        m.Impact(
            probe=probe,
            repetitions=repetitions,
            mean=mean,
            deviation=abs(mean) / 10 if repetitions > 1 else 0,
            lowest=mean - abs(mean) / 10 if repetitions > 1 else mean,
            highest=mean + abs(mean) / 10 if repetitions > 1 else mean,
        )
        for probe, mean in of.items()
    ]


def findings() -> m.Findings:
    return m.Findings(
        findings=[
            m.Finding(
                part=m.PART_PRECONDITION, sentence="cpu < 70%", standing=m.STANDING_MET, detail="cpu was 12%"
            ),
            m.Finding(
                part=m.PART_STEADY_STATE,
                sentence="errors < 0.1%",
                standing=m.STANDING_UNMET,
                unmet_unix_ms=FIRST_MS + 1_400,
                unmet_ms=19_000,
                detail="errors was 2%, not below 0.1%",
            ),
            m.Finding(
                part=m.PART_ABORT_WHEN,
                sentence="p95 > 1.3x baseline for 10s",
                standing=m.STANDING_MET,
                unmet_unix_ms=FIRST_MS + 12_000,
                detail="p95 was 1.5x the baseline",
            ),
        ],
        baselines=baselines(),
        impacts=impacts(HURT),
        detected_after_ms=1_400,
        recovered_after_ms=19_000,
        deeds=["load.start: done", "recovery.then[1]: failed: connection refused"],
    )


def run(*strikes: o.StrikeView, run_id: str = "r7f3", verdict: o.RunVerdict = o.RUN_VERDICT_DEVIATED) -> o.RunView:
    return o.RunView(
        run_id=run_id,
        experiment="payments-survive",
        environment="staging",
        owner="payments@example.com",
        started_by="op",
        seed=20261120,
        state=o.RUN_STATE_ENDED,
        verdict=verdict,
        why="errors < 0.1% was not met for 19s while victims were struck",
        started_unix_ms=START_MS,
        ended_unix_ms=END_MS,
        waves_done=1,
        waves_total=1,
        hypothesis="Killing a payment worker keeps errors under 0.1%.",
        plan_hash="3f9ac1d2",
        strikes=strikes,
    )


def earlier(run_id: str, verdict: o.RunVerdict, why: str) -> o.RunView:
    view = run(run_id=run_id, verdict=verdict)
    view.why = why
    view.findings.impacts.extend(impacts(UNHURT, 3))
    return view


def deviated() -> o.GetReportResponse:
    """Two victims, one of which isn't back; errors and p95 rose; a rule aborted it."""
    view = run(honoured(), escalated())
    view.findings.CopyFrom(findings())
    return o.GetReportResponse(
        run=view,
        source=SOURCE,
        file="payments.yaml",
        readings=readings(),
        log=[
            o.LogLine(at_unix_ms=START_MS, line="run r7f3 of payments-survive, seed 20261120, started by op"),
            o.LogLine(at_unix_ms=FIRST_MS + 12_000, line="ending: p95 > 1.3x baseline for 10s came true"),
        ],
        notes=[o.RunNote(at_unix_ms=END_MS, who="op", text="the pool was never drained", action="payments")],
        earlier=[earlier("r6aa", o.RUN_VERDICT_HELD, "the steady state held"), run(run_id="r5bb")],
    )


def held(run_id: str = "r8c4") -> o.GetReportResponse:
    """The same after a fix: nothing deviated, both victims came back."""
    view = run(honoured(), honoured("c2", host="pay-2", struck_ms=FIRST_MS + 8_000), run_id=run_id)
    view.verdict = o.RUN_VERDICT_HELD
    view.why = "the steady state held while 2 victims were struck, and all recovered"
    steady = m.Finding(part=m.PART_STEADY_STATE, sentence="errors < 0.1%", standing=m.STANDING_MET)
    view.findings.findings.append(steady)
    view.findings.baselines.extend(baselines())
    view.findings.impacts.extend(impacts(UNHURT))
    return o.GetReportResponse(
        run=view, source=SOURCE, file="payments.yaml", readings=readings(worse_by=1.0, gap=(0, 0))
    )


FACTS = (
    "errors < 0.1% was not met for 19s while victims were struck",
    "Killing a payment worker keeps errors under 0.1%.",
    "payments@example.com",
    "https://wiki.example.com/payments",
    "20261120",
    "3f9ac1d2",
    "SIGTERM: by pid 88, delivered; SIGKILL: by pid 88, delivered",
    "its own exit, after our SIGTERM",
    "pid 733, 104 ms after the exit (bpf)",
    "lost: no successor within 2m",
    "1.40 s after the first strike",
    "came true",
    "+30 ms (x1.25) in 2 repetitions, of +27 ms to +33 ms",
    "+3 ms to +57 ms (t)",
    "+16 ms",
    "Detected 1.40 s after the first strike.",
    "The steady state held again 19.00 s after that, for good.",
    "SIGTERM: 1 escalated, 1 honoured.",
    "recovery.then[1]: failed: connection refused",
    "look at the handler of SIGTERM",
    "killdeer run payments.yaml --seed 20261120",
    "Held in 1 of 3 runs that hit something",
    "the pool was never drained",
    "ending: p95 > 1.3x baseline for 10s came true",
    "target: {process: {unit: payment@*.service}}",
)
"""What a report of `deviated()` says in every format."""

HOSTILE = (
    '<script>alert(1)</script> ]]> "onload="alert(2)" <img src=http://127.0.0.1:9/x> &amp; $x_1$ {{7*7}} \x1b[31m'
)


def hostile(text: str = HOSTILE) -> o.GetReportResponse:
    """Everything that somebody else could have written is an attempt."""
    report = deviated()
    view = report.run
    view.experiment = view.hypothesis = view.owner = view.started_by = view.why = text
    view.environment = view.plan_hash = view.run_id = text
    report.source = report.file = text + "\n</pre></details>```"
    for strike in view.strikes:
        strike.service = strike.name = strike.detail = strike.wave = text
        strike.victim.host = text
        strike.blows[0].kernel_verdict = strike.successor.source = strike.exit.source = text
    for finding in view.findings.findings:
        finding.sentence = finding.detail = text
    view.findings.deeds.append(text)
    for reading in report.readings:
        reading.probe += text
        reading.detail = text
    for line in report.log:
        line.line = text
    for note in report.notes:
        note.who = note.text = note.action = text
    for one in report.earlier:
        one.run_id = one.why = text
    return report

"""Runs, strikes and plans as a coordinator would report them."""

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p

TERMINATE = p.Action(terminate=p.Terminate(grace_ms=10_000))
MS = 1_000_000


def strike(command_id: str = "c1", state: p.StrikeState = p.STRIKE_STATE_SENT, **fields: object) -> o.StrikeView:
    view = o.StrikeView(
        command_id=command_id,
        wave="one",
        victim=p.Identity(host="a-1", pid=412, start_ticks=9),
        service="worker@",
        name="python3",
        action=TERMINATE,
        state=state,
    )
    view.MergeFrom(o.StrikeView(**fields))  # type: ignore[arg-type]
    return view


def recovered(command_id: str = "c1") -> o.StrikeView:
    """A strike with all the evidence there can be."""
    return strike(
        command_id,
        p.STRIKE_STATE_RECOVERED,
        blows=[
            p.Blow(number=1, signal=15, sent_boot_ns=5, seen_boot_ns=4, kernel_verdict="delivered", sender_pid=88)
        ],
        exit=p.Exit(at_boot_ns=6, signal=15, after_blow_ns=2 * MS, source="bpf"),
        successor=p.Successor(identity=p.Identity(host="a-1", pid=733), after_exit_ns=104 * MS, source="bpf"),
        recovered_after_ns=3_200 * MS,
        evidence=2,
    )


def run(
    *strikes: o.StrikeView,
    state: o.RunState = o.RUN_STATE_RUNNING,
    verdict: o.RunVerdict = o.RUN_VERDICT_UNSPECIFIED,
    **fields: object,
) -> o.RunView:
    view = o.RunView(
        run_id="r7f3",
        experiment="worker-survives",
        environment="staging",
        seed=7,
        state=state,
        verdict=verdict,
        started_unix_ms=1_000_000,
        wave="one",
        waves_total=2,
        strikes=strikes,
    )
    view.MergeFrom(o.RunView(**fields))  # type: ignore[arg-type]
    return view


def ended(verdict: o.RunVerdict, *strikes: o.StrikeView, why: str = "") -> o.RunView:
    return run(*strikes, state=o.RUN_STATE_ENDED, verdict=verdict, ended_unix_ms=1_012_400, waves_done=2, why=why)


def plan(*, refusals: tuple[str, ...] = (), production: bool = False) -> o.PlanView:
    return o.PlanView(
        experiment="worker-survives",
        environment="production" if production else "staging",
        production=production,
        seed=7,
        hash="3f9ac1d2e4b7" + "0" * 52,
        refusals=refusals,
        waves=[
            o.PlannedWave(
                name="one",
                strikes=1,
                action=TERMINATE,
                victims=[o.PlannedVictim(host="a-1", service="worker@", ordinal=0, pid=412, name="python3")],
            )
        ],
        hosts=[planned_host("a-1", candidate("a-1", pid=412))],
    )


def candidate(
    host: str, *, pid: int, service: str = "worker@", ordinal: int = 0, verdict: p.Verdict | None = None
) -> p.Candidate:
    return p.Candidate(
        identity=p.Identity(host=host, pid=pid, start_ticks=pid),
        service=service,
        ordinal=ordinal,
        name="python3",
        cmdline="python3 worker.py",
        user="app",
        age_ms=61_000,
        verdict=verdict or p.Verdict(allowed=True),
        restarts=True,
    )


def planned_host(host: str, *candidates: p.Candidate, verdict: p.Verdict | None = None) -> o.PlannedHost:
    return o.PlannedHost(host=host, verdict=verdict or p.Verdict(allowed=True), candidates=candidates)


EXPERIMENT = """\
killdeer: 1
name: worker-survives
environment: staging
target:
  hosts: {role: worker}
  process: {unit: worker@*.service}
action: terminate
waves:
  - {name: one, strikes: 1}
"""

"""Who would be hit, who would not, and why; and whether it can be run at all (rule R26)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from killdeer.v1.operator_pb2 import PlannedHost, PlannedVictim, PlannedWave, PlanView
from killdeer.v1.process_pb2 import Candidate
from killdeer_coordinator.core.books import Books
from killdeer_coordinator.core.draw import Key, Labels, draw
from killdeer_coordinator.core.foresight import refusals_of, warnings_of
from killdeer_coordinator.core.intake import Intake
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.schedule import Step, WaveSpec, expand
from killdeer_coordinator.core.sighting import HostScan, counted, eligible, host_verdict

__all__ = ["HostScan", "eligible", "make_plan"]

# Hashes for the victims shown in one plan: a plan is made in one go, and halts wait behind it.
_MOST_LOTS = 50_000


def make_plan(*, experiment: Intake, seed: int, hosts: Sequence[HostScan], books: Books) -> PlanView:
    """The plan over what the hosts answered. `hosts` are those that the experiment's labels match, each once for
    every one of `experiment.actions`. It can be run when `refusals` is empty."""
    waves: list[PlannedWave] = []
    refused = refusals_of(experiment, hosts, books)
    warnings = warnings_of(experiment, hosts, books)
    lots = _MOST_LOTS
    by_host = {scan.row.host: scan.row.labels for scan in hosts}

    def labels(host: str) -> Mapping[str, str]:
        return by_host.get(host, {})

    for index, spec in enumerate(experiment.waves):
        keys = eligible(experiment, hosts, spec.action)
        if not keys:
            continue  # said once, in the refusals
        base = counted(experiment, hosts, spec.action)
        steps = expand(spec, wave_index=index, seed=seed, candidates=base)
        if isinstance(steps, Refused):
            refused.append(f"{steps.message}; {steps.remedy}" if steps.remedy else steps.message)
            continue
        shown = tuple(step for step in steps if (step.step + 1) * len(keys) <= lots or step.step == 0)
        lots = max(0, lots - len(shown) * len(keys))
        if len(shown) < len(steps):
            warnings.append(f"wave {spec.name!r}: only the first {len(shown)} of its {len(steps)} draws are shown")
        waves += _waves(spec, steps, shown, seed, keys, labels)
    return PlanView(
        experiment=experiment.name,
        environment=experiment.environment,
        seed=seed,
        hash=plan_hash(experiment, seed, hosts, books),
        waves=waves,
        hosts=_hosts(experiment, hosts),
        warnings=warnings,
        refusals=refused,
        production=experiment.environment == "production",
    )


def plan_hash(experiment: Intake, seed: int, hosts: Sequence[HostScan], books: Books) -> str:
    """Hex SHA-256 over what was approved: the file's meaning, the seed, the limits, each host's verdict and guard,
    each candidate's key and verdict. No pids and no times: a restart of a service changes nothing."""
    seen = []
    for scan in hosts:
        verdict = host_verdict(experiment, scan)
        action = scan.action.SerializeToString(deterministic=True).hex() if scan.action is not None else ""
        candidates = sorted(
            (candidate.service, candidate.ordinal, candidate.verdict.allowed, int(candidate.verdict.reason))
            for candidate in scan.candidates
        )
        guard = scan.guard_version if verdict.allowed else ""
        seen.append([scan.row.host, action, verdict.allowed, int(verdict.reason), guard, candidates])
    whole = [
        experiment.canonical,
        str(seed),
        asdict(experiment.limits),
        books.limits.limits,
        sorted(seen, key=lambda one: one[:2]),
    ]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _waves(
    spec: WaveSpec,
    steps: Sequence[Step],
    shown: Sequence[Step],
    seed: int,
    keys: dict[Key, Candidate],
    labels: Labels,
) -> list[PlannedWave]:
    """One for each repetition, with the victims as drawn today, in the order of the steps."""
    return [
        PlannedWave(
            name=spec.name,
            strikes=sum(step.strikes for step in steps if step.repetition == repetition),
            dry_run=spec.dry_run,
            action=spec.action,
            victims=[
                PlannedVictim(
                    host=key.host,
                    service=key.service,
                    ordinal=key.ordinal,
                    pid=keys[key].identity.pid,
                    name=keys[key].name,
                )
                for step in shown
                if step.repetition == repetition
                for key in draw(seed, spec.name, step.step, keys, step.strikes, spec.choosing, labels)
            ],
            spread_ms=spec.over_ms,
            repetition=repetition,
        )
        for repetition in range(1, spec.repeat + 1)
    ]


def _hosts(experiment: Intake, hosts: Sequence[HostScan]) -> list[PlannedHost]:
    """By name, each once: its verdict, and its candidates as the first action finds them."""
    first: dict[str, HostScan] = {}
    for scan in hosts:
        first.setdefault(scan.row.host, scan)
    planned = []
    for host, scan in sorted(first.items()):
        verdict = host_verdict(experiment, scan)
        found: list[Candidate] = sorted(scan.candidates, key=lambda one: (one.service, one.ordinal))
        planned.append(PlannedHost(host=host, verdict=verdict, candidates=found if verdict.allowed else []))
    return planned

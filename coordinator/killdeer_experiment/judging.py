"""What is wrong between keys of a file that are each right by themselves."""

from collections.abc import Mapping
from typing import Any

from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.expectations import misfits
from killdeer_experiment.faults import Path, Problem, nearest, short
from killdeer_experiment.probe_keys import ASKED_BY_A_HOST
from killdeer_experiment.probes import Probe, readable_probes
from killdeer_experiment.waves import contradictions_of_waves


def contradictions(data: Any) -> list[Problem]:
    """Every such problem; `data` is the whole file's mapping, if it is one."""
    problems = contradictions_of_waves(data)
    if not isinstance(data, dict):
        return problems
    named = data.get("probes", {})
    if isinstance(named, dict) and not _misspelt("probes", data):  # else that is the fault
        probes = readable_probes(named)
        problems += misfits(data, probes)
        problems += _ready(data.get("recovery"), probes)
        problems += _steps(data.get("recovery"), probes)
    if "baseline" in data and not any(
        key in data for key in ("probes", "preconditions", "steady_state", "abort_when")
    ):
        message = "a baseline of nothing: add probes, and sentences on them under steady_state or abort_when"
        problems.append(Problem(message=message, path=("baseline",), of_key=True))
    return problems


def _misspelt(key: str, data: Mapping[str, Any]) -> bool:
    """Whether the key is not there, but one that was probably meant to be it."""
    return key not in data and any(nearest(other, (key,)) for other in data)


def _ready(recovery: Any, probes: Mapping[str, Probe | None]) -> list[Problem]:
    """What keeps `recovery.ready` from being a probe that a host can take (rule R30)."""
    name = recovery.get("ready") if isinstance(recovery, dict) else None
    if not isinstance(name, str) or not name.strip():
        return []
    path: Path = ("recovery", "ready")
    probe = probes.get(name)
    if probe is not None and probe.source not in ASKED_BY_A_HOST:
        message = (
            f"{name!r} is a probe of {probe.source!r}, and a victim's host takes only "
            f"{', '.join(ASKED_BY_A_HOST[:-1])} and {ASKED_BY_A_HOST[-1]} probes"
        )
        return [Problem(message=message, path=path)]
    return _met_or_not(name, probes, path)


def _steps(recovery: Any, probes: Mapping[str, Probe | None]) -> list[Problem]:
    """What keeps a probe among the steps of `recovery.then` from saying whether it is met."""
    steps = recovery.get("then") if isinstance(recovery, dict) else None
    named = [
        (index, step["probe"])
        for index, step in enumerate(steps if isinstance(steps, list) else [])
        if isinstance(step, dict) and isinstance(step.get("probe"), str)
    ]
    return [
        problem
        for index, name in named
        for problem in _met_or_not(name, probes, ("recovery", "then", index, "probe"))
    ]


def _met_or_not(name: str, probes: Mapping[str, Probe | None], path: Path) -> list[Problem]:
    if name not in probes:
        near = nearest(name, probes)
        known = f"known here are {', '.join(probes)}" if probes else "the file has none, add it under probes"
        message = f"unknown probe {short(name)}: {f'did you mean {near!r}?' if near else known}"
        return [Problem(message=message, path=path, nearest=near)]
    probe = probes[name]
    if probe is not None and probe.unit != wire.UNIT_MET:  # None is a fault of its own
        message = f"{name!r} is a number, and {path[-1]} is met or not: name a probe without take"
        return [Problem(message=message, path=path)]
    return []

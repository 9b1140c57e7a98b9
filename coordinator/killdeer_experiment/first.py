"""The first experiment on a target that is there: a rehearsal, then one polite stop."""

import re
from collections.abc import Iterable, Sequence

from killdeer.durations import format_duration
from killdeer.terms import parse_selector
from killdeer_experiment import selector
from killdeer_experiment.action import DEFAULT_GRACE_MS
from killdeer_experiment.hosts import Label
from killdeer_experiment.recovery import DEFAULT_WITHIN_MS
from killdeer_experiment.scalars import read_environment
from killdeer_experiment.selector import Term
from killdeer_experiment.writing import to_yaml

_PLAIN_UNIT = re.compile(r"[A-Za-z0-9:_.@-]+")
_INSTANCE = re.compile(r"(?P<template>[^@]+@)[^@]+(?P<suffix>\.[a-z]+)")


def first_file(
    *,
    environment: str,
    hosts: Iterable[Label],
    terms: Iterable[str],
    units: Sequence[str],
    services: Sequence[str],
    restarted: bool,
    stop_ms: int = 0,
    restart_ms: int = 0,
) -> str:
    """The text of a file that loads.

    `terms` are words of the command line; `units` and `services` are those of the processes they match now,
    an empty unit for a process of none. `restarted`: something is known to restart each of them. `stop_ms` and
    `restart_ms` are how long their supervisor gives them to stop, and waits before it starts them again; 0: not
    known. Raises TermError for the terms, and Unfit for the environment.
    """
    grace_ms = stop_ms or DEFAULT_GRACE_MS
    within_ms = max(DEFAULT_WITHIN_MS, 2 * (grace_ms + restart_ms))
    process = selector.from_wire(parse_selector(terms))
    unit = common_unit(units)
    if unit and not any(term.field == "unit" and not term.negated for term in process):
        process = (Term(field="unit", values=(unit,)), *process)
    labels = {label.key: selector.one_or_list(label.values) for label in hosts}
    service = services[0].rpartition("/")[2] if len(services) == 1 else ""  # a path where it is an executable
    named = _slug(unit.partition("@")[0].removesuffix(".service") or service)
    count = f"{len(units)} {'process' if len(units) == 1 else 'processes'}"
    healed = f"When one process of {named} is stopped, as many as before are there within {_whole(within_ms)}."
    head: dict[str, object] = {
        "killdeer": 1,
        "name": f"{named}-survives-a-stop",
        "environment": read_environment(environment),
        "hypothesis": healed,
    }
    target: dict[str, object] = {
        "target": ({"hosts": labels} if labels else {}) | {"process": selector.written(process)}
    }
    waves: dict[str, object] = {"waves": [{"name": "rehearsal", "dry_run": True}, {"name": "one", "strikes": 1}]}
    recovery: dict[str, object] = {"within": format_duration(within_ms)}
    if unit and not restarted:
        recovery["then"] = ["start_unit"]
    return "\n".join(
        [
            "# A first experiment: everything is rehearsed, then one process is told to terminate.",
            "# `killdeer plan FILE` shows who could be hit, who not and why; it hits nothing.",
            "",
            to_yaml(head),
            f"# What may be hit: {count} when this was written.",
            to_yaml(target),
            *_PROBES,
            "# The blast radius: one victim at a time, which is in flight until it has recovered.",
            to_yaml({"limits": {"in_flight": 1, "per_host": 1}}),
            *_about_the_grace(unit, known=bool(stop_ms)),
            to_yaml({"action": {"terminate": {"grace": format_duration(grace_ms)}}}),
            to_yaml(waves),
            *_about_recovery(restarted, "then" in recovery, known=bool(stop_ms)),
            to_yaml({"recovery": recovery}),
        ]
    )


def common_unit(units: Iterable[str]) -> str:
    """The one unit of all, as a glob for a template's instances; empty where they have no such."""
    globs = {_INSTANCE.sub(r"\g<template>*\g<suffix>", unit) for unit in units}
    if len(globs) != 1:
        return ""
    (glob,) = globs
    return glob if _PLAIN_UNIT.fullmatch(glob.replace("*", "")) else ""


_PROBES = (
    "# What must stay true, as sentences on probes; not met before the first strike, nothing is hit:",
    "#",
    "# probes:",
    '#   healthy: {http: "http://127.0.0.1:8080/healthz"}',
    '#   p95: {http: "http://127.0.0.1:8080/", take: latency, as: p95, over: 30s}',
    "# steady_state: [healthy, p95 < 300ms]",
    "# abort_when: [p95 > 2x baseline for 30s, oom in target]",
    "",
)


def _about_the_grace(unit: str, *, known: bool) -> list[str]:
    after = "# SIGTERM and, to who is still there after the grace, SIGKILL."
    if known:
        return [f"{after} It is as long as their supervisor gives them", "# to stop (TimeoutStopSec=)."]
    of_unit = f": systemctl show -p TimeoutStopUSec '{unit}'" if unit else "."
    return [
        f"{after} 10s is the default, and was not taken from",
        f"# the service: give it as long as its supervisor would{of_unit}",
    ]


def _about_recovery(restarted: bool, started: bool, *, known: bool) -> list[str]:
    lines = ["# Recovered is: as many ready processes of the service as before."]
    if known:
        lines.append(
            "# That has time for a stop, the pause before a restart (RestartSec=), and as much again to start."
        )
    else:
        lines += [
            "# 2m is the default, and was not taken from the service: it should outlast its restart (RestartSec=)",
            "# and its start.",
        ]
    if not restarted:
        lines.append("# NOTHING IS KNOWN TO RESTART these processes: who is struck may stay away.")
    if started:
        lines.append("# So its unit is started when that time is over, if nobody has stopped it since.")
    return lines


def _whole(ms: int) -> str:
    """`two minutes`, or the length as a file has it."""
    return "two minutes" if ms == DEFAULT_WITHIN_MS else format_duration(ms)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:80] or "target"

"""Waves: the steps that widen the blast radius, one after the other."""

from collections import Counter
from typing import Any

from pydantic import Field

from killdeer.durations import format_duration
from killdeer_experiment.action import Action
from killdeer_experiment.faults import Path, Problem, Unfit, short
from killdeer_experiment.parts import (
    Choice,
    Duration,
    Flag,
    Length,
    Line,
    Number,
    OptionalAction,
    Part,
    Pauses,
    Strikes,
    Weighted,
)
from killdeer_experiment.scalars import read_length


class Wave(Part):
    """One step of an experiment.

    `strikes` is the wave's total: a count, or a percentage of the candidates when it begins, rounded down.
    With `over` the strikes are spread evenly over that time, one at a time; without it they are all asked
    for at once, and the limits alone space them. With `repeat: K` and `every: D` the wave is run K times,
    each begun D after the one before began. `jitter` moves each strike by a time up to it, from the seed.
    `strikes: about 10` with `over` is a rate: the pauses are drawn, and the count comes to what it comes to. With
    `pauses: random` the count stands and the moments are drawn. `choose: host` gives each host the same chance,
    whatever it runs; `weights` are chances in proportion, by a label of the host. All of it is the seed's.
    With `hold` the wave is watched that long after its last strike before the next may begin.
    A `dry_run` wave is a rehearsal: everything is checked and nothing is hit; without `strikes` all
    candidates are rehearsed.
    """

    name: Line = Field(description="what the wave is called in plans and reports; unique in the file")
    strikes: Strikes = Field(
        default=None,
        description="how many in all: a count, a percentage of the candidates, rounded down, or about a count",
    )
    over_ms: Length = Field(
        default=0, alias="over", description="the strikes are spread evenly over this; all at once unless said"
    )
    pauses: Pauses = Field(default="even", description="with `over`: even, or random moments within it")
    choose: Choice = Field(
        default="process", description="who has the same chance: each process, host or service; process unless said"
    )
    weights: Weighted = Field(
        default=(), description="how many times the chance, by a host's label and its value: {zone: {a: 3}}"
    )
    every_ms: Length = Field(
        default=0, alias="every", description="with `repeat`: each begins this long after the last"
    )
    repeat: Number = Field(default=1, description="how many times the wave is run; with `every`")
    jitter_ms: Duration = Field(
        default=0, alias="jitter", description="each strike comes later by up to this, by the seed"
    )
    hold_ms: Length = Field(
        default=0, alias="hold", description="how long is watched after the last strike before the next wave"
    )
    dry_run: Flag = Field(default=False, description="a rehearsal: every check is made, and nothing is hit")
    own_action: OptionalAction = Field(
        default=None,
        alias="action",
        description="what is done to this wave's victims; the file's action unless said",
    )

    def written(self, action: Action) -> dict[str, Any]:
        """As a file has it, with the action it comes to."""
        wave: dict[str, Any] = {"name": self.name}
        if self.dry_run:
            wave["dry_run"] = True
        if self.strikes is not None:
            wave["strikes"] = self.strikes.written
        wave |= {"pauses": self.pauses} if self.pauses != "even" else {}
        wave |= {"choose": self.choose} if self.choose != "process" else {}
        wave |= {"weights": {label: dict(values) for label, values in self.weights}} if self.weights else {}
        every_ms = self.every_ms if self.repeat > 1 else 0
        lengths = {"over": self.over_ms, "every": every_ms, "jitter": self.jitter_ms, "hold": self.hold_ms}
        wave |= {key: format_duration(length) for key, length in lengths.items() if length}
        if self.repeat > 1:
            wave["repeat"] = self.repeat
        return wave | {"action": action.written}


def contradictions_of_waves(data: Any) -> list[Problem]:
    """What is wrong between keys that are each right by themselves; `data` is the whole file's mapping."""
    problems: list[Problem] = []
    waves = data.get("waves") if isinstance(data, dict) else None
    for index, wave in enumerate(waves if isinstance(waves, list) else []):
        if isinstance(wave, dict):
            problems += _of_one(wave, ("waves", index), "action" in data)
    return problems + _repeated_names(waves)


def _of_one(wave: dict[str, Any], path: Path, has_default: bool) -> list[Problem]:
    problems: list[Problem] = []
    if "strikes" not in wave and wave.get("dry_run", False) is False:
        message = "a wave needs strikes, such as 1 or 5%; only a rehearsal (dry_run: true) goes without"
        problems.append(Problem(message=message, path=path))
    if "action" not in wave and not has_default:
        message = "no action: give the wave one, or the whole file, such as action: terminate"
        problems.append(Problem(message=message, path=path))
    about = isinstance(wave.get("strikes"), str) and wave["strikes"].startswith("about")
    for key, said in (("strikes", about), ("pauses", wave.get("pauses") == "random")):
        if said and "over" not in wave:
            message = f"{key}: {wave[key]} needs the time it is spread over, such as over: 30m"
            problems.append(Problem(message=message, path=(*path, key)))
    for key, other in (("repeat", "every"), ("every", "repeat")):
        if key in wave and other not in wave:
            message = f"{key!r} needs {other!r} beside it: repeat: 3 and every: 1m run the wave 3 times, 1m apart"
            problems.append(Problem(message=message, path=(*path, key), of_key=True))
    try:
        too_long = read_length(wave.get("over")) > read_length(wave.get("every"))
    except Unfit:
        too_long = False
    if too_long:
        message = f"the wave would begin again (every {wave['every']}) before it ends (over {wave['over']})"
        problems.append(Problem(message=message, path=(*path, "every")))
    return problems


def _repeated_names(waves: Any) -> list[Problem]:
    named = [
        (index, wave["name"])
        for index, wave in enumerate(waves if isinstance(waves, list) else [])
        if isinstance(wave, dict) and isinstance(wave.get("name"), str)
    ]
    seen: Counter[str] = Counter()
    problems = []
    for index, name in named:
        if seen[name]:
            message = f"a second wave named {short(name)}: a wave's name is its own"
            problems.append(Problem(message=message, path=("waves", index, "name")))
        seen[name] += 1
    return problems

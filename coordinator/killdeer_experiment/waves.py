"""Waves: the steps that widen the blast radius, one after the other."""

from collections import Counter
from typing import Any

from pydantic import Field

from killdeer.durations import format_duration
from killdeer_experiment.action import Action
from killdeer_experiment.faults import Path, Problem, Unfit, short
from killdeer_experiment.parts import Count, Duration, Flag, Length, Line, OptionalAction, Part, Share
from killdeer_experiment.scalars import read_length


class Wave(Part):
    """One step of an experiment.

    `strikes` is the wave's total: a count, or a percentage of the candidates when it begins, rounded down.
    With `over` the strikes are spread evenly over that time, one at a time; without it they are all asked
    for at once, and the limits alone space them. With `repeat: K` and `every: D` the wave is run K times,
    each begun D after the one before began. `jitter` moves each strike by a time up to it, from the seed.
    A `dry_run` wave is a rehearsal: everything is checked and nothing is hit; without `strikes` all
    candidates are rehearsed.
    """

    name: Line = Field(description="what the wave is called in plans and reports; unique in the file")
    strikes: Share = None
    over_ms: Length = Field(default=0, alias="over")
    every_ms: Length = Field(default=0, alias="every")
    repeat: Count = 1
    jitter_ms: Duration = Field(default=0, alias="jitter")
    dry_run: Flag = False
    own_action: OptionalAction = Field(default=None, alias="action")

    def written(self, action: Action) -> dict[str, Any]:
        """As a file has it, with the action it comes to."""
        wave: dict[str, Any] = {"name": self.name}
        if self.dry_run:
            wave["dry_run"] = True
        if self.strikes is not None:
            wave["strikes"] = self.strikes.written
        lengths = {"over": self.over_ms, "every": self.every_ms if self.repeat > 1 else 0, "jitter": self.jitter_ms}
        wave |= {key: format_duration(length) for key, length in lengths.items() if length}
        if self.repeat > 1:
            wave["repeat"] = self.repeat
        return wave | {"action": action.written}


def contradictions(data: Any) -> list[Problem]:
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

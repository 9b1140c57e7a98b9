"""What operators ask for: experiments as files, and beside each what its target and limits truly are."""

import random
from dataclasses import dataclass, replace
from functools import cache

from tests.simulation.processes import Proc

FILES = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A selector as a file has it, and what it means, said a second time in another way."""

    text: str
    service: str  # of the processes meant; empty: any
    exe: str
    user: str

    def matches(self, proc: Proc) -> bool:
        return (
            (not self.service or proc.service == self.service)
            and (not self.exe or proc.exe == self.exe)
            and (not self.user or proc.user == self.user)
        )


TARGETS = (
    Target(text='{unit: "worker@*.service"}', service="worker@", exe="", user=""),
    Target(text="{name: worker}", service="", exe="/usr/bin/worker", user=""),
    Target(text='{unit: "worker@*.service", user: app}', service="worker@", exe="", user="app"),
    Target(text="{exe: /usr/bin/mail, user: mail}", service="", exe="/usr/bin/mail", user="mail"),
    Target(text="{unit: mail.service}", service="mail.service", exe="", user=""),
)
ACTIONS = (
    "kill",
    "{kill: TERM}",
    "{kill: HUP}",
    "{terminate: {grace: 1s}}",
    "{terminate: {grace: 3s}}",
    "{pause: {for: 1s}}",
    "{pause: {for: 4s}}",
    "{pause: {for: 20s}}",
    "{hold-down: 2s}",
    "{hold-down: 8s}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    in_flight: int
    per_host: int
    per_service: int | None = None
    per_service_percent: int | None = None
    per_minute: int | None = None
    min_healthy: int | None = None
    min_healthy_percent: int | None = None
    cooldown_ms: int = 0

    def written(self) -> str:
        words = {"in_flight": str(self.in_flight), "per_host": str(self.per_host)}
        if self.per_service is not None:
            words["per_service"] = str(self.per_service)
        if self.per_service_percent is not None:
            words["per_service"] = f"{self.per_service_percent}%"
        if self.per_minute is not None:
            words["per_minute"] = str(self.per_minute)
        if self.min_healthy is not None:
            words["min_healthy"] = str(self.min_healthy)
        if self.min_healthy_percent is not None:
            words["min_healthy"] = f"{self.min_healthy_percent}%"
        if self.cooldown_ms:
            words["cooldown"] = f"{self.cooldown_ms}ms"
        return "{" + ", ".join(f"{key}: {value}" for key, value in words.items()) + "}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    file: str
    source: str
    target: Target
    limits: Limits
    actions: tuple[str, ...]
    within_ms: int
    environment: str


def drawn(dice: random.Random, environment: str) -> Experiment:
    """One of many that all histories choose from: each file is read once in a process."""
    return _made(dice.randrange(FILES), environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the experiments of a history with a plot are like."""

    actions: tuple[str, ...]
    limits: tuple[Limits, ...]
    targets: tuple[Target, ...] = TARGETS
    strikes: tuple[str, ...] = ("3", "6")
    over: tuple[str, ...] = ()


def wished(dice: random.Random, wish: Wish, environment: str) -> Experiment:
    return _wished(wish, dice.randrange(60), environment)


@cache
def _wished(wish: Wish, number: int, environment: str) -> Experiment:
    dice = random.Random(f"wished experiment {number}")
    action = dice.choice(wish.actions)
    words = f"name: wave, strikes: {dice.choice(wish.strikes)}, action: {action}"
    if wish.over:
        words += f", over: {dice.choice(wish.over)}"
    return _experiment(
        f"wished-{number}",
        environment,
        target=dice.choice(wish.targets),
        limits=dice.choice(wish.limits),
        actions=(action,),
        waves=[f"{{{words}}}"],
        within_ms=dice.choice((3_000, 8_000)),
        stable_for_ms=0,
    )


@cache
def _made(number: int, environment: str) -> Experiment:
    dice = random.Random(f"experiment {number}")
    target = dice.choice(TARGETS)
    limits = Limits(
        in_flight=dice.randint(1, 3),
        per_host=dice.randint(1, 3),
        per_service=dice.choice((None, None, 1, 2)),
        per_minute=dice.choice((None, None, None, 2, 5)),
        min_healthy=dice.choice((None, None, None, None, 1, 3, 4, 5, 7)),
        cooldown_ms=dice.choice((0, 0, 0, 5_000, 15_000)),
    )
    if limits.min_healthy is None and dice.random() < 0.15:
        limits = replace(limits, min_healthy_percent=dice.choice((40, 60, 67, 75)))
    if limits.per_service is None and dice.random() < 0.3:
        percent = dice.choice((15, 25, 34, 50))
        limits = Limits(
            in_flight=limits.in_flight,
            per_host=limits.per_host,
            per_service_percent=percent,
            min_healthy_percent=limits.min_healthy_percent,
        )
    actions = tuple(dice.choice(ACTIONS) for _ in range(dice.choice((1, 1, 2))))
    waves = [_wave(dice, place, action) for place, action in enumerate(actions)]
    if dice.random() < 0.2:
        waves.insert(0, f"{{name: rehearsal, dry_run: true, action: {actions[0]}}}")
    return _experiment(
        str(number),
        environment,
        target=target,
        limits=limits,
        actions=actions,
        waves=waves,
        within_ms=dice.choice((3_000, 8_000, 15_000)),
        stable_for_ms=dice.choice((0, 0, 300, 1_000)),
    )


def _experiment(
    name: str,
    environment: str,
    *,
    target: Target,
    limits: Limits,
    actions: tuple[str, ...],
    waves: list[str],
    within_ms: int,
    stable_for_ms: int,
) -> Experiment:
    source = "\n".join(
        (
            "killdeer: 1",
            f"name: experiment-{name}",
            f"environment: {environment}",
            f"target: {{hosts: {{role: app}}, process: {target.text}}}",
            f"limits: {limits.written()}",
            "waves:",
            *(f"  - {wave}" for wave in waves),
            f"recovery: {{within: {within_ms}ms, stable_for: {stable_for_ms}ms}}",
            "",
        )
    )
    return Experiment(
        file=f"e{name}.yaml",
        source=source,
        target=target,
        limits=limits,
        actions=actions,
        within_ms=within_ms,
        environment=environment,
    )


def _wave(dice: random.Random, place: int, action: str) -> str:
    words = [
        f"name: wave-{place}",
        f"strikes: {dice.choice(('1', '2', '3', '4', '6', '50%'))}",
        f"action: {action}",
    ]
    lot = dice.random()
    if lot < 0.3:
        words.append(f"over: {dice.randint(2, 15)}s")
    elif lot < 0.45:
        words += [f"repeat: {dice.randint(2, 3)}", f"every: {dice.randint(4, 12)}s"]
    if dice.random() < 0.2:
        words.append(f"jitter: {dice.randint(1, 3)}s")
    return "{" + ", ".join(words) + "}"

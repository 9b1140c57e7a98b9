"""The table `[evidence]` of agent.toml: how the kernel's record is had, and what of it is told. Pure."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Final

from killdeer_agent.kernel.filter import VERDICTS, Filter

COLLECTORS: Final = ("auto", "core", "bcc", "pidfd")
KEYS: Final = ("collector", "signals", "verdicts", "cgroups")
SIGNALS: Final = {one.name.removeprefix("SIG"): int(one) for one in signal.Signals}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    collector: str = "auto"
    """auto: the kernel's record where it can be had, by core or else bcc; core: with libbpf and BTF; bcc: with a
    compiler; pidfd: exits of victims, and what counters and the kernel's log say."""
    told: Filter = field(default_factory=Filter)
    """signals, verdicts, cgroups."""


def evidence_of(table: object) -> Evidence:
    """Raises ValueError, which names key, cause and remedy."""
    if not isinstance(table, dict):
        raise ValueError(f'wants a table, [evidence] with collector = "auto" and the like; found {table!r}')
    for key in table:
        if key not in KEYS:
            raise ValueError(f"unknown key {key!r}{_nearest(key, KEYS)}")
    collector = table.get("collector", "auto")
    if collector not in COLLECTORS:
        raise ValueError(f"'collector' wants one of {', '.join(COLLECTORS)}; found {collector!r}")
    told = Filter(cgroups=tuple(map(_cgroup, _texts(table, "cgroups"))))
    if "signals" in table:
        told = replace(told, signals=frozenset(map(_signal, _texts(table, "signals"))))
    if "verdicts" in table:
        told = replace(told, verdicts=frozenset(map(_verdict, _texts(table, "verdicts"))))
    return Evidence(collector=collector, told=told)


def _texts(table: dict[str, object], key: str) -> Iterator[str]:
    texts = table.get(key, [])
    if not isinstance(texts, list):
        raise ValueError(f"{key!r} wants a list of texts, found {texts!r}")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{key!r} wants a list of texts, found {text!r} in it")
        yield text


def _signal(name: str) -> int:
    bare = name.removeprefix("SIG")
    if bare not in SIGNALS:
        raise ValueError(f"'signals': no signal is called {name!r}{_nearest(bare, SIGNALS)}")
    return SIGNALS[bare]


def _verdict(word: str) -> str:
    if word not in VERDICTS:
        raise ValueError(f"'verdicts': the kernel gives none that is called {word!r}{_nearest(word, VERDICTS)}")
    return word


def _cgroup(pattern: str) -> str:
    if not pattern.startswith("/") or not pattern.strip("/*"):
        raise ValueError(
            f"'cgroups' wants patterns for paths, such as \"/system.slice/payment-*.service\"; found {pattern!r}"
        )
    return pattern.rstrip("/")


def _nearest(word: str, known: "dict[str, int] | tuple[str, ...]") -> str:
    near = get_close_matches(word, known, n=1)
    return f": did you mean {near[0]!r}?" if near else f": known are {', '.join(known)}"

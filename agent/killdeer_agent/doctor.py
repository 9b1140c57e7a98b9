"""`killdeer-agent doctor`: what this host can and cannot do, and how to mend it. It changes nothing."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from killdeer_agent import foundation, journal, surroundings
from killdeer_agent.config import Config
from killdeer_agent.finding import Finding
from killdeer_agent.guardfiles import load_guard
from killdeer_agent.introduction import RENEW, Introduction, IntroductionError
from killdeer_agent.kernel.proc import ancestors
from killdeer_agent.kernel.units import UNIT_DIRS

# A coordinator that has not answered by then is as good as away.
DIAL_SECONDS = 2.0
# Renewing one of years takes a person; one of days the agent renews by itself, long before so little of it is left.
EXPIRES_SOON_DAYS = 30
LEAST_LEFT = 1 / 5
# The journal is rewritten at 4 MiB into a second file; with less than this something else fills the disk.
LEAST_FREE_MIB = 64

DAY_S = 86_400
_GREEN, _YELLOW, _RED = "\x1b[32m", "\x1b[33m", "\x1b[31m"


def examine(config: Config) -> list[Finding]:
    """Everything, in the order in which it is best mended."""
    return [
        configuration(config),
        certificate(config),
        *coordinators(config),
        surroundings.service(),
        surroundings.agent(config.state),
        *journaling(config.state),
        halt(config.halt_files),
        guard(config.guard),
        *surroundings.rights(config.state),
        foundation.kernel(),
        foundation.types(config.evidence.collector),
        foundation.library(config.evidence.collector),
        surroundings.processes(),
        surroundings.selectors(),
        surroundings.evidence(config.evidence.collector),
        surroundings.cgroups(),
        foundation.time_of_day(),
        surroundings.real_time_clock(),
        surroundings.memory_pressure(),
    ]


def render(findings: Iterable[Finding]) -> str:
    """A line each, aligned, with the remedy below; in colour on a terminal."""
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    shown = list(findings)
    width = max(len(one.name) for one in shown)
    lines = []
    for one in shown:
        mark, paint = _mark(one)
        painted = f"{paint}{mark:<4}\x1b[0m" if colour else f"{mark:<4}"
        lines.append(f"{painted}  {one.name:<{width}}  {one.fact}")
        if not one.ok and one.remedy:
            lines.append(f"{'':<{width + 8}}-> {one.remedy}")
    return "\n".join(lines)


def configuration(config: Config) -> Finding:
    labels = ", ".join(f"{key}={value}" for key, value in sorted(config.labels.items()))
    if "environment" not in config.labels:
        fact = f"host {config.host} has no label `environment`: no experiment may choose it"
        remedy = 'in agent.toml, under [labels]: environment = "staging"'
        return Finding(name="configuration", ok=False, fact=fact, remedy=remedy)
    return Finding(name="configuration", ok=True, needed=True, fact=f"host {config.host}, {labels}")


def certificate(config: Config, now_s: float | None = None) -> Finding:
    try:
        host, ends_s = _introduction(config).read()
        lasts_s = ends_s - _introduction(config).begins_s()
    except IntroductionError as error:
        return Finding(name="certificate", ok=False, needed=True, fact=str(error), remedy=error.remedy)
    if host != config.host:
        fact = f"{config.cert} is for {host}, this host is {config.host}"
        remedy = f'take the one for {config.host}, or say host = "{host}" in agent.toml'
        return Finding(name="certificate", ok=False, needed=True, fact=fact, remedy=remedy)
    left_s = ends_s - (time.time() if now_s is None else now_s)
    enough = left_s >= min(EXPIRES_SOON_DAYS * DAY_S, lasts_s * LEAST_LEFT)
    left = f"{left_s // DAY_S:.0f} days" if left_s >= 3 * DAY_S else f"{left_s // 3_600:.0f} hours"
    fact = f"for {host}, with its key, good for {left} more"
    return Finding(name="certificate", ok=enough, fact=fact, remedy=RENEW)


def coordinators(config: Config) -> list[Finding]:
    """Each is dialled; the agent needs any one of them."""
    problems: list[tuple[str, IntroductionError | None]] = []
    for coordinator in config.coordinators:
        try:
            _introduction(config).dial(coordinator, config.server_name, DIAL_SECONDS)
            problems.append((coordinator, None))
        except IntroductionError as error:
            problems.append((coordinator, error))
    alone = all(error for _, error in problems)
    return [
        Finding(name="coordinator", ok=True, needed=True, fact=f"{coordinator} takes this host's certificate")
        if error is None
        else Finding(
            name="coordinator",
            ok=False,
            needed=alone,
            fact=f"cannot reach {coordinator}: {error}",
            remedy=error.remedy,
        )
        for coordinator, error in problems
    ]


def journaling(state: Path) -> Iterator[Finding]:
    """The directory is written to, the journal only read: an agent that runs keeps its lock."""
    try:
        with tempfile.TemporaryFile(dir=state) as file:
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
        free_mib = shutil.disk_usage(state).free // 1024**2
    except OSError as error:
        fact = f"cannot write to {state}: {error.strerror}"
        remedy = f"install -d -o killdeer -g killdeer -m 750 {state}; doctor must be asked as that user or root"
        yield Finding(name="journal", ok=False, needed=True, fact=fact, remedy=remedy)
        return
    problem = _journal_problem(state)
    fact = f"{state} takes durable writes, the journal is whole ({_journal_bytes(state) / 1024:,.0f} KiB)"
    if problem:
        fact = f"{state / journal.NAME}: {problem}: nothing is struck, all is reverted"
    remedy = "stop the agent and move the file away, so that it begins anew"
    yield Finding(name="journal", ok=not problem, needed=True, fact=fact, remedy=remedy)
    remedy = f"free space: below {LEAST_FREE_MIB} MiB strikes are about to be refused"
    enough = free_mib >= LEAST_FREE_MIB
    yield Finding(name="disk", ok=enough, needed=True, fact=f"{free_mib:,} MiB free in {state}", remedy=remedy)


def halt(files: Iterable[Path]) -> Finding:
    there = [str(file) for file in files if _is_there(file)]
    if there:
        fact = f"halted on this host: {', '.join(there)}"
        return Finding(name="halt", ok=False, fact=fact, remedy="killdeer-agent rearm, once it is safe again")
    return Finding(name="halt", ok=True, fact="not halted on this host")


def guard(directory: Path, unit_dirs: tuple[Path, ...] = UNIT_DIRS, trusted_uid: int = 0) -> Finding:
    read = load_guard(directory, own=ancestors(os.getpid()), unit_dirs=unit_dirs, trusted_uid=trusted_uid)
    if read.problem:
        remedy = "mend it, then systemctl reload killdeer-agent; until then nothing is allowed"
        return Finding(name="guard", ok=False, needed=True, fact=read.problem, remedy=remedy)
    if not read.allow:
        fact = "nothing is allowed: `killdeer-agent guard test KEY=VALUE` prints what to add"
        return Finding(name="guard", ok=True, needed=True, fact=fact)
    rate = f", at most {read.per_minute} processes struck a minute" if read.per_minute is not None else ""
    fact = f"allow rules: {len(read.allow)}, deny rules: {len(read.deny)}{rate}"
    return Finding(name="guard", ok=True, needed=True, fact=fact)


def _introduction(config: Config) -> Introduction:
    return Introduction(ca=config.ca, cert=config.cert, key=config.key)


def _mark(finding: Finding) -> tuple[str, str]:
    if finding.ok:
        return "ok", _GREEN
    return ("FAIL", _RED) if finding.needed else ("warn", _YELLOW)


def _journal_problem(state: Path) -> str:
    try:
        content = (state / journal.NAME).read_bytes()
    except FileNotFoundError:
        return ""  # the agent's first start makes it
    except OSError as error:
        return f"cannot read it: {error.strerror}"
    return journal.problem_of(content)


def _journal_bytes(state: Path) -> int:
    try:
        return (state / journal.NAME).stat().st_size
    except OSError:
        return 0


def _is_there(file: Path) -> bool:
    """As the agent looks: what cannot be looked for counts as there."""
    try:
        file.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True

"""`killdeer-agent install` and `uninstall`: the service on hosts without a package for it, from the wheel."""

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

UNIT = "killdeer-agent.service"
USER = "killdeer"
# The wheel has it beside this file, a checkout where it is written.
_SHIPPED = (Path(__file__).with_name("deploy"), Path(__file__).parents[2] / "deploy" / "systemd")
# Where the unit as shipped expects the program.
_WRITTEN_FOR = "/opt/killdeer/bin/"
# Out of the unit's sight (ProtectHome=, PrivateTmp=).
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - refused
_PACKAGED = ("lib/systemd/system", "usr/lib/systemd/system")

Run = Callable[[Sequence[str]], None]


class InstallError(Exception):
    """Cause and remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file that is installed."""

    target: str
    """From the root of the host."""
    text: str
    kept: bool = False
    """Configuration: written if it is missing, and left to the host when the rest goes."""


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Both need no configuration: `alone` is called with the arguments, and returns the exit code."""
    install = "set up the service of this host, from a virtual environment that only root may write"
    remove = "take back what install has done; what the agent did to others is reverted first"
    for name, text in (("install", install), ("uninstall", remove)):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.set_defaults(alone=_install if name == "install" else _uninstall)
        if name == "uninstall":
            verb.add_argument("--purge", action="store_true", help="configuration, keys, journal and user too")


def _install(arguments: argparse.Namespace) -> int:
    return _told(lambda: install(Path("/"), Path(sysconfig.get_path("scripts")), _run))


def _uninstall(arguments: argparse.Namespace) -> int:
    return _told(lambda: uninstall(Path("/"), _run, purge=arguments.purge))


def _told(act: Callable[[], str]) -> int:
    try:
        print(act())  # noqa: T201
    except (InstallError, PermissionError) as problem:
        remedy = "; run it as root" if isinstance(problem, PermissionError) else ""
        print(f"{problem}{remedy}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def install(root: Path, programs: Path, run: Run) -> str:
    """Writes the parts below `root`, makes user and folders, enables the service; what to do next.

    `programs`: where this environment's killdeer-agent is. Raises InstallError, OSError.
    """
    _check(root, programs)
    wrote = []
    for part in parts(programs):
        file = root / part.target
        if part.kept and file.exists():
            continue
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        file.write_text(part.text)
        file.chmod(0o644)
        wrote.append(f"wrote /{part.target}")
    run(("systemd-sysusers", "killdeer-agent.conf"))
    run(("systemd-tmpfiles", "--create", "killdeer-agent.conf"))
    run(("systemctl", "daemon-reload"))
    run(("systemctl", "enable", UNIT))
    if (root / "etc/killdeer/agent.toml").exists():
        return "\n".join((*wrote, "", "Next: systemctl restart killdeer-agent; killdeer-agent doctor"))
    return "\n".join(
        (
            *wrote,
            "",
            "Next:",
            "  1. Paste the command that `killdeer-coordinator token create` prints on the coordinator; or write",
            "     /etc/killdeer/agent.toml from /etc/killdeer/agent.toml.example.",
            "  2. Open what may be hit here, in /etc/killdeer/guard.d; by default nothing.",
            "  3. systemctl start killdeer-agent; killdeer-agent doctor",
        )
    )


def uninstall(root: Path, run: Run, *, purge: bool) -> str:
    """Stops the agent, which reverts, and removes what `install` wrote; with `purge` all that was its own.

    Raises InstallError, OSError.
    """
    unit = root / "etc/systemd/system" / UNIT
    if not unit.exists() and not purge:
        raise InstallError(f"cannot uninstall: there is no /etc/systemd/system/{UNIT}; install did not write it")
    if unit.exists():
        run(("systemctl", "disable", "--now", UNIT))
    for part in parts(root):
        if not part.kept:
            (root / part.target).unlink(missing_ok=True)
    run(("systemctl", "daemon-reload"))
    if not purge:
        return "removed; /etc/killdeer and /var/lib/killdeer stay (--purge takes them too)"
    for name in ("var/lib/killdeer", "run/killdeer", "etc/killdeer/guard.d", f"etc/systemd/system/{UNIT}.d"):
        shutil.rmtree(root / name, ignore_errors=True)
    etc = root / "etc/killdeer"
    for file in etc.glob("agent.*"):
        file.unlink()
    if etc.exists() and not _coordinates(etc):
        shutil.rmtree(etc)
    if f"{USER}:" in {f"{line.partition(':')[0]}:" for line in _lines(root / "etc/passwd")}:
        run(("userdel", USER))
    return "removed, with configuration, keys, journal and user; its log lines are the journal's"


def parts(programs: Path) -> Iterator[Part]:
    unit = _shipped(UNIT).replace(_WRITTEN_FOR, f"{programs}/")
    yield Part(target=f"etc/systemd/system/{UNIT}", text=unit)
    for kind in ("sysusers", "tmpfiles"):
        yield Part(target=f"etc/{kind}.d/killdeer-agent.conf", text=_shipped(f"killdeer-agent.{kind}.conf"))
    yield Part(target="etc/killdeer/agent.toml.example", text=_shipped("agent.toml"))
    closed = re.sub(r"(?m)^(?=[^#\n])", "# ", _shipped("guard.d/example.toml"))
    yield Part(target="etc/killdeer/guard.d/host.toml", text=closed, kept=True)


def _check(root: Path, programs: Path) -> None:
    """What has the agent's rights is not to be written by anybody else, and is to be seen by its unit."""
    if not (root / "run/systemd/system").exists():
        raise InstallError("cannot install: systemd does not run here; `killdeer-agent run` needs none")
    program = programs / "killdeer-agent"
    place = (
        "put it into one of root's: python3 -m venv /opt/killdeer; /opt/killdeer/bin/pip install 'killdeer[agent]'"
    )
    if any(program.is_relative_to(hidden) for hidden in _HIDDEN):
        raise InstallError(f"cannot install from {programs}: the service does not see it; {place}")
    if not program.exists():
        raise InstallError(f"cannot install: there is no {program}; {place}")
    for path in (program, *program.parents):
        found = path.stat()
        if found.st_uid != 0 or (found.st_mode & 0o022 and not found.st_mode & 0o1000):
            raise InstallError(f"cannot install from {programs}: others than root may write {path}; {place}")
    if packaged := next((one for one in _PACKAGED if (root / one / UNIT).exists()), ""):
        raise InstallError(
            f"cannot install: a package has put /{packaged}/{UNIT} here; use that, or remove it first"
        )


def _shipped(name: str) -> str:
    folder = next((one for one in _SHIPPED if (one / UNIT).exists()), None)
    if folder is None:
        raise InstallError("cannot install: the wheel's own files are missing; install killdeer again")
    return (folder / name).read_text(encoding="utf-8")


def _coordinates(etc: Path) -> bool:
    return any(etc.glob("coordinator.*"))


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, check=False, text=True, capture_output=True)
    except FileNotFoundError as error:
        raise InstallError(f"cannot run {command[0]}: it is missing; this needs a host with systemd") from error
    if done.returncode:
        raise InstallError(
            f"cannot finish: {' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}"
        )

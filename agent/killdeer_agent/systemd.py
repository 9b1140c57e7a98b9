"""What the agent asks of systemd, by systemctl(1): how a unit is, and to start one that it gave up (rule R15).

systemctl speaks D-Bus, and asks polkit for whoever is not root; the agent's own user may start nothing until a rule
of the host says so (deploy/systemd/killdeer.rules). Nobody is asked for a password.
"""

import os
import subprocess
from collections.abc import Sequence

from killdeer_agent.core.unit import UnitState
from killdeer_agent.core.words import LookUnit, StartUnit, UnitSeen, UnitStarted

# systemd answers in milliseconds; one that is stuck must not hold up what else is to be started.
PATIENCE_S = 5.0

_ASKED = ("LoadState", "ActiveState", "Result", "ExecMainPID", "ExecMainCode", "ExecMainStatus")
_RESTART = "Restart"
_JOB = "Job"  # the number of the one that waits or runs; empty or not said: there is none
# waitid(2), si_code: how a main process ended.
_BY_SIGNAL = ("2", "3")  # CLD_KILLED, CLD_DUMPED
# How systemctl says, in its versions, that polkit or the bus has said no. Where there is no bus, no rule helps.
_DENIALS = ("access denied", "permission denied", "not authorized", "authentication required")
_OUT_OF_REACH = "connect to bus"


class OnlyReset(OSError):
    """systemd has forgotten that the unit failed, and has not started it."""


class Systemd:
    """`systemctl`: the program and what stands before each verb."""

    def __init__(self, systemctl: Sequence[str] = ("systemctl", "--system", "--no-ask-password")) -> None:
        self._systemctl = tuple(systemctl)

    def look(self, unit: str) -> UnitState:
        """OSError: it cannot be told."""
        said = dict(
            line.partition("=")[::2]
            for line in self._run("show", "--property", ",".join((*_ASKED, _RESTART, _JOB)), "--", unit)
        )
        missing = [key for key in _ASKED if key not in said]
        if missing:
            raise OSError(f"systemctl show {unit} says nothing of {', '.join(missing)}")
        by_signal = said["ExecMainCode"] in _BY_SIGNAL
        return UnitState(
            name=unit,
            loaded=said["LoadState"] == "loaded",
            active=said["ActiveState"],
            result=said["Result"],
            main_pid=_number(said["ExecMainPID"]),
            main_signal=_number(said["ExecMainStatus"]) if by_signal else 0,
            restart=said.get(_RESTART, ""),
            stop_ordered=said["ActiveState"] == "deactivating" and self._is_stop(said.get(_JOB, "")),
        )

    def _is_stop(self, job: str) -> bool:
        """One that is done by now was a stop: any other goes on for longer than the unit deactivates."""
        if not _number(job):
            return False
        listed = [line.split() for line in self._run("list-jobs", "--no-legend", "--plain")]
        return next((fields[2] for fields in listed if len(fields) > 2 and fields[0] == job), "stop") == "stop"

    def start(self, unit: str) -> None:
        """Returns once systemd has taken the order; what comes of it is seen. OSError: it has not; PermissionError,
        as it or its cause: the agent has no right to."""
        self._run("reset-failed", "--", unit)  # else its start limit would refuse this start, too
        try:
            self._run("start", "--no-block", "--", unit)
        except OSError as error:
            raise OnlyReset(str(error)) from error

    def _run(self, *arguments: str) -> list[str]:
        command = [*self._systemctl, *arguments]
        try:
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                env={**os.environ, "LC_ALL": "C"},  # what it says is read here
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"systemctl {arguments[0]} has not answered in {PATIENCE_S:g} s") from error
        except OSError as error:
            raise OSError(f"cannot run {command[0]}: {error.strerror}") from error
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            denied = any(words in said.lower() for words in _DENIALS) and _OUT_OF_REACH not in said.lower()
            raise (PermissionError if denied else OSError)(f"systemctl {arguments[0]} {arguments[-1]}: {said}")
        return done.stdout.splitlines()


def unit_seen(systemd: Systemd, effect: LookUnit) -> UnitSeen:
    try:
        return UnitSeen(command_id=effect.command_id, state=systemd.look(effect.unit), ask=effect.ask)
    except OSError as error:
        return UnitSeen(command_id=effect.command_id, problem=str(error), ask=effect.ask)


def unit_started(systemd: Systemd, effect: StartUnit) -> UnitStarted:
    try:
        systemd.start(effect.unit)
    except OSError as error:
        reset = isinstance(error, OnlyReset)
        denied = isinstance(error.__cause__ if reset else error, PermissionError)
        return UnitStarted(
            command_id=effect.command_id, problem=str(error), reset=reset, denied=denied, ask=effect.ask
        )
    return UnitStarted(command_id=effect.command_id, ask=effect.ask)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0

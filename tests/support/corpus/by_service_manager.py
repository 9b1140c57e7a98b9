"""Deaths by systemd, or in its units: stops, timeouts, watchdogs, restarts, and what it does after a failure.

Only in a guest: no unit is made on a machine that others use.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from killdeer.v1.process_pb2 import Cause, Death
from tests.support.coroner import Coroner
from tests.support.corpus.by_kernel import children
from tests.support.corpus.by_memory import GREEDY
from tests.support.corpus.kinds import ANSWERS, IN_GUEST, Check, kind, python, says
from tests.support.kernel_record import until
from tests.support.memory_cgroups import LIMIT_KB

HERE = IN_GUEST and Path("/run/systemd/system").is_dir()
NAME = "killdeer-test.service"
IGNORES = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(300)"
)
# Runs a command, which reads from where it reads; the last argument is what it then does at a line of input.
PARENT = """
import ctypes, subprocess, sys
child = subprocess.Popen(sys.argv[1:-1], stdout=subprocess.PIPE)
if sys.argv[-1] == "wait":
    child.stdout.readline()
    print(1, flush=True)
    child.wait()
print(1, flush=True)
input()
ctypes.string_at(0)
"""


@dataclass(frozen=True)
class Unit:
    output: Path
    input: int

    @property
    def main(self) -> int:
        """Its main process, dead or alive."""
        return int(self.property("ExecMainPID"))

    def property(self, name: str) -> str:
        return systemctl("show", "--value", f"--property={name}").strip()

    def ready(self) -> int:
        """Its main process, once it has printed a line."""
        until(lambda: self.output.exists() and self.output.read_text().endswith("\n"))
        return self.main

    def go(self) -> None:
        os.write(self.input, b"\n")

    def over(self) -> None:
        until(lambda: self.property("ActiveState") in ("failed", "inactive"))


def systemctl(verb: str, *arguments: str) -> str:
    done = subprocess.run(("systemctl", verb, *arguments, NAME), check=True, text=True, stdout=subprocess.PIPE)
    return done.stdout


@contextmanager
def unit(*command: str, **properties: str) -> Iterator[Unit]:
    """Runs the command as a unit that waits at each `input()`."""
    with tempfile.TemporaryDirectory() as folder:
        output, gate = Path(folder, "output"), Path(folder, "input")
        os.mkfifo(gate)
        given = {"StandardOutput": f"file:{output}", "StandardInput": f"file:{gate}"} | properties
        options = [f"--property={name}={value}" for name, value in given.items()]
        held = os.open(gate, os.O_RDWR)
        try:
            subprocess.run(("systemd-run", "--quiet", f"--unit={NAME}", *options, *command), check=True)
            yield Unit(output, held)
        finally:
            os.close(held)
            for verb in ("stop", "reset-failed"):  # a unit of this kind is gone once it has ended well
                subprocess.run(("systemctl", verb, NAME), check=False, stderr=subprocess.DEVNULL)


def in_unit(check: Check = lambda _death: True, *, by_manager: bool = True) -> Check:
    def checked(death: Death) -> bool:
        killer = death.killer
        ours = killer.name == "systemd" and killer.pid == 1 if by_manager else True
        return ours and death.unit == NAME and check(death)

    return checked


@kind(
    Cause.CAUSE_SUPERVISOR,
    in_unit(lambda death: death.why == "SIGTERM of the service manager, systemd (pid 1)"),
    where=HERE,
)
def a_unit_that_is_stopped(_: Coroner) -> int:
    with unit("sleep", "300") as made:
        main = made.main
        systemctl("stop")
        return main


@kind(
    Cause.CAUSE_SUPERVISOR, in_unit(says("exited with code 0", "after SIGTERM of the service manager")), where=HERE
)
def a_unit_that_is_stopped_and_answers_with_an_exit(deaths: Coroner) -> int:
    with unit(*python(ANSWERS.format(code=0))) as made:
        main = made.ready()
        deaths.watch(main)
        systemctl("stop")
        return main


@kind(
    Cause.CAUSE_SUPERVISOR,
    in_unit(says("SIGKILL of the service manager", "after its SIGTERM")),
    where=HERE,
    cheap=False,
)
def a_unit_that_does_not_stop_in_time(_: Coroner) -> int:
    with unit(*python(IGNORES), TimeoutStopSec="500ms") as made:
        main = made.ready()
        systemctl("stop")
        return main


@kind(Cause.CAUSE_SUPERVISOR, in_unit(says("SIGTERM of the service manager")), where=HERE, cheap=False)
def a_unit_that_is_restarted(_: Coroner) -> int:
    with unit("sleep", "300") as made:
        main = made.main
        systemctl("restart")
        assert made.main != main
        return main


@kind(
    Cause.CAUSE_SUPERVISOR,
    in_unit(lambda death: death.why == "SIGKILL of the service manager, systemd (pid 1)"),
    where=HERE,
)
def systemctl_kill(_: Coroner) -> int:
    with unit("sleep", "300") as made:
        main = made.main
        systemctl("kill", "--signal=KILL")
        made.over()
        return main


@kind(Cause.CAUSE_SUPERVISOR, in_unit(says("SIGABRT of the service manager", "watchdog")), where=HERE, cheap=False)
def a_watchdog_that_hears_nothing(_: Coroner) -> int:
    with unit("sleep", "300", WatchdogSec="500ms") as made:
        main = made.main
        made.over()
        return main


@kind(Cause.CAUSE_SUPERVISOR, in_unit(says("SIGKILL of", "after its SIGABRT", "watchdog")), where=HERE, cheap=False)
def a_watchdog_whose_abort_is_ignored(_: Coroner) -> int:
    ignores = IGNORES.replace("SIGTERM", "SIGABRT")
    with unit(*python(ignores), WatchdogSec="1s", TimeoutAbortSec="500ms") as made:
        main = made.ready()
        made.over()
        return main


@kind(Cause.CAUSE_FAULT, in_unit(by_manager=False), where=HERE, cheap=False)
def a_unit_that_crashes_until_systemd_gives_up(_: Coroner) -> int:
    limits = {"Restart": "always", "RestartSec": "0", "StartLimitBurst": "3", "StartLimitIntervalSec": "300"}
    with unit(*python("import ctypes; ctypes.string_at(0)"), **limits) as made:
        until(lambda: made.property("ActiveState") == "failed")
        assert made.property("NRestarts") == "3"
        return made.main


@kind(Cause.CAUSE_SUPERVISOR, in_unit(says("SIGTERM of", "of its unit had died: SIGSEGV")), where=HERE)
def what_is_left_of_a_unit_that_crashed(_: Coroner) -> int:
    with unit(*python(PARENT, "sleep", "300", "crash")) as made:
        (left,) = children(made.ready())
        made.go()
        made.over()
        return left


LIMIT = {"MemoryMax": f"{LIMIT_KB}K", "MemorySwapMax": "0"}
OWN = f"/sys/fs/cgroup/system.slice/{NAME}"
HUNGRY = python(PARENT, *python(GREEDY, OWN, "900", "0"), "wait")


@contextmanager
def out_of_memory(policy: str) -> Iterator[tuple[int, int]]:
    """Main process and its greedy child, of a unit that has run out of memory."""
    with unit(*HUNGRY, OOMPolicy=policy, **LIMIT) as made:
        main = made.ready()
        (child,) = children(main)
        made.go()
        made.over()
        yield main, child


def limit_is_units(death: Death) -> bool:
    return death.limit_cgroup.endswith(f"/{NAME}") and death.limit_kb == LIMIT_KB


@kind(Cause.CAUSE_OOM_CGROUP, in_unit(limit_is_units, by_manager=False), where=HERE, cheap=False)
def out_of_memory_by_its_units_limit(_: Coroner) -> int:
    with out_of_memory("stop") as (_main, child):
        return child


@kind(
    Cause.CAUSE_SUPERVISOR,
    in_unit(says("SIGTERM of", "after the OOM killer chose python3", "of its unit")),
    where=HERE,
    cheap=False,
)
def what_is_left_of_a_unit_that_ran_out_of_memory(_: Coroner) -> int:
    with out_of_memory("stop") as (main, _child):
        return main


# Of the others in such a unit, kernel and service manager each kill whom the other has not reached yet.
@kind(Cause.CAUSE_OOM_CGROUP, in_unit(limit_is_units, by_manager=False), where=HERE, cheap=False)
def out_of_memory_in_a_unit_that_goes_as_a_whole(_: Coroner) -> int:
    with out_of_memory("kill") as (_main, child):
        return child

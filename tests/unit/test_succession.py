"""Who took over from the dead, and what is a restart loop and what is none."""

from itertools import count
from typing import Any

import pytest

from killdeer.v1.process_pb2 import ExecSeen, ExitSeen, KernelEvent, Party, Restarts
from killdeer_agent.core.succession import LOOP_FAILURES, LOOP_NS, MOST_VACANT, VACANT_NS, Restart, Succession

MS = 1_000_000
SECOND = 1_000 * MS
TICK = 10 * MS
CGROUP = "/system.slice/web.service"


def process(pid: int, started_ns: int, **fields: Any) -> Party:
    made: dict[str, Any] = {"name": "web", "executable": "/usr/bin/web", "parent_pid": 1, "cgroup": CGROUP}
    made |= fields
    return Party(pid=pid, host_pid=pid, start_ticks=started_ns // TICK, **made)


def exited(party: Party, at_ns: int, *, signal: int = 9, code: int = 0, command_id: str = "") -> KernelEvent:
    seen = ExitSeen(process=party, signal=signal, code=code)
    return KernelEvent(at_boot_ns=at_ns, command_id=command_id, exit=seen)


def executed(party: Party, at_ns: int) -> KernelEvent:
    return KernelEvent(at_boot_ns=at_ns, exec=ExecSeen(process=party, file="/usr/bin/web"))


class Unit:
    """A service that dies and is started again; each life is told of by its exec and its exit."""

    def __init__(self, **fields: Any) -> None:
        self.succession = Succession()
        self.now_ns = 1_000 * SECOND
        self.fields = fields
        self._pids = count(100)
        self.living = self._new()

    def _new(self) -> Party:
        return process(next(self._pids), self.now_ns, **self.fields)

    def dies(self, after_ns: int = SECOND, **how: Any) -> Restarts:
        self.now_ns += after_ns
        self.succession.died(exited(self.living, self.now_ns, **how))
        return self.succession.of(self.living, self.now_ns)

    def comes_back(self, after_ns: int = 100 * MS) -> Restart | None:
        self.now_ns += after_ns
        self.living = self._new()
        return self.succession.began(executed(self.living, self.now_ns))


# --- a restart --------------------------------------------------------------------------------------------------


def test_who_is_started_in_a_dead_ones_place_is_its_successor() -> None:
    unit = Unit()
    unit.dies()
    assert unit.comes_back(250 * MS) == Restart("web.service", 250 * MS)
    assert unit.comes_back() is None, "one place, one successor"


@pytest.mark.parametrize(
    ("other", "takes_over"),
    [
        ({"parent_pid": 55}, True),
        ({"cgroup": "/"}, True),  # name and parent
        ({"name": "web: idle"}, True),  # by its executable, whatever it calls itself
        ({"name": "migrate", "executable": "/usr/bin/migrate"}, False),  # ExecStartPre=, ExecStopPost=
        ({"name": "web2", "executable": ""}, False),
        ({"name": "helper", "executable": "/usr/bin/sh", "parent_pid": 100}, False),
        ({"parent_pid": 55, "cgroup": "/system.slice/other.service"}, False),
        ({"name": "web2", "executable": "", "cgroup": "/system.slice/other.service"}, False),
    ],
)
def test_a_successor_is_the_same_program_by_the_same_parent_or_in_the_same_place(
    other: dict[str, Any], takes_over: bool
) -> None:
    succession = Succession()
    succession.died(exited(process(1, SECOND), 20 * SECOND))
    found = succession.began(executed(process(2, 21 * SECOND, **other), 21 * SECOND))
    assert (found is not None) is takes_over


def test_what_a_shell_runs_next_is_no_successor() -> None:
    succession = Succession()
    shell: dict[str, Any] = {"parent_pid": 77, "cgroup": "/user.slice/session-3.scope"}
    succession.died(exited(process(1, SECOND, name="sleep", executable="/bin/sleep", **shell), 20 * SECOND))
    assert (
        succession.began(executed(process(2, 21 * SECOND, name="ls", executable="/bin/ls", **shell), 21 * SECOND))
        is None
    )


def test_who_was_there_before_the_death_is_no_successor() -> None:
    succession = Succession()
    succession.died(exited(process(1, SECOND), 20 * SECOND))
    assert succession.began(executed(process(2, 19 * SECOND), 21 * SECOND)) is None


def test_a_program_that_runs_another_is_no_successor_of_anybody_twice() -> None:
    """systemd's executor becomes the service: two execs of one process."""
    unit = Unit()
    unit.dies()
    assert unit.comes_back()
    unit.succession.died(exited(process(7, SECOND), unit.now_ns))
    assert unit.succession.began(executed(unit.living, unit.now_ns + MS)) is None


def test_what_starts_long_after_a_death_is_a_start_of_its_own() -> None:
    unit = Unit()
    unit.dies()
    assert unit.comes_back(VACANT_NS + TICK) is None
    unit.dies()
    assert unit.comes_back(VACANT_NS)


def test_a_forked_successor_is_known_once_it_has_died_itself() -> None:
    succession = Succession()
    succession.died(exited(process(1, SECOND, name="job", parent_pid=70), 20 * SECOND))
    forked = process(2, 20 * SECOND + 30 * MS, name="job", parent_pid=70)
    assert succession.died(exited(forked, 25 * SECOND)) == Restart("web.service", 30 * MS)


def test_several_that_die_together_have_a_successor_each() -> None:
    succession = Succession()
    for pid in (1, 2, 3):
        succession.died(exited(process(pid, SECOND), 20 * SECOND + pid))
    found = [succession.began(executed(process(10 + n, 21 * SECOND), 21 * SECOND)) for n in range(4)]
    assert [one is not None for one in found] == [True, True, True, False]


def test_a_count_of_the_service_finds_a_successor_where_the_kernel_told_of_none() -> None:
    succession = Succession()
    assert succession.replaced((1, 5), (2, 9), "web.service", 20 * SECOND, 21 * SECOND) == Restart(
        "web.service", SECOND
    )


def test_a_successor_that_the_kernel_told_of_is_not_counted_again() -> None:
    unit = Unit()
    victim = (unit.living.pid, unit.living.start_ticks)
    unit.dies(command_id="c1")
    ended_ns = unit.now_ns
    assert unit.comes_back()
    successor = (unit.living.pid, unit.living.start_ticks)
    assert unit.succession.replaced(victim, successor, "web.service", ended_ns, unit.now_ns) is None
    assert unit.succession.replaced(victim, (9, 9), "web.service", ended_ns, unit.now_ns) is None


def test_a_counted_successor_is_not_found_again_by_its_exec() -> None:
    unit = Unit()
    victim = (unit.living.pid, unit.living.start_ticks)
    unit.dies(command_id="c1")
    next_one = process(100 + 1, unit.now_ns + SECOND)
    key = (next_one.pid, next_one.start_ticks)
    assert unit.succession.replaced(victim, key, "web.service", unit.now_ns, unit.now_ns + SECOND)
    assert unit.succession.began(executed(next_one, unit.now_ns + SECOND)) is None


@pytest.mark.parametrize("code", [0, 1])
def test_a_scripts_commands_that_come_and_go_take_nobodys_place(code: int) -> None:
    succession = Succession()
    for pid in range(1, 20):
        command = process(pid, SECOND * pid, name="grep", parent_pid=70)
        assert succession.began(executed(command, SECOND * pid)) is None
        assert succession.died(exited(command, SECOND * pid + MS, signal=0, code=code)) is None


def test_a_service_that_exits_by_itself_leaves_its_place() -> None:
    unit = Unit()
    for _ in range(LOOP_FAILURES):
        told = unit.dies(signal=0, code=1)
        assert unit.comes_back()
    assert told.loop


# --- how often --------------------------------------------------------------------------------------------------


def test_restarts_are_counted_up_to_the_death_in_question() -> None:
    unit = Unit()
    told = []
    for _ in range(3):
        told.append(unit.dies(2 * SECOND))
        unit.comes_back()
    assert [(one.count, one.within_ms) for one in told] == [(0, 0), (1, 2_000), (2, 4_100)]


def test_restarts_of_all_processes_of_a_service_count_together() -> None:
    succession = Succession()
    first, second = (process(n, SECOND, cgroup=f"/system.slice/web@{n}.service") for n in (1, 2))
    for dead, at_ns in ((first, 20 * SECOND), (second, 30 * SECOND)):
        succession.died(exited(dead, at_ns))
        new = process(dead.pid + 10, at_ns + SECOND, cgroup=dead.cgroup)
        assert succession.began(executed(new, at_ns + SECOND)) == Restart("web@", SECOND)
    assert succession.of(second, 40 * SECOND).count == 2


def test_five_failures_in_turn_within_ten_minutes_are_a_loop() -> None:
    unit = Unit()
    loops = []
    for _ in range(LOOP_FAILURES):
        loops.append(unit.dies().loop)
        unit.comes_back()
    assert loops == [False] * (LOOP_FAILURES - 1) + [True]


@pytest.mark.parametrize(
    "how",
    [
        {"command_id": "c1"},
        {"signal": 15},
        {"signal": 0, "code": 0},
        {"signal": 0, "code": 143},
    ],
    ids=["our strikes", "SIGTERM", "finished", "left for SIGTERM"],
)
def test_deaths_that_somebody_asked_for_are_no_loop(how: dict[str, Any]) -> None:
    unit = Unit()
    for _ in range(2 * LOOP_FAILURES):
        assert not unit.dies(**how).loop
        assert unit.comes_back(), "a restart it is all the same"


def test_failures_too_far_apart_are_no_loop() -> None:
    unit = Unit()
    for _ in range(2 * LOOP_FAILURES):
        assert not unit.dies(LOOP_NS // (LOOP_FAILURES - 1)).loop
        unit.comes_back()


def test_many_that_fail_once_each_are_no_loop() -> None:
    succession = Succession()
    for pid in range(1, 30):
        dead = process(pid, SECOND)
        succession.died(exited(dead, 20 * SECOND + pid * SECOND))
        succession.began(executed(process(100 + pid, dead_ns := 20 * SECOND + pid * SECOND + MS), dead_ns))
        assert not succession.of(dead, 60 * SECOND).loop


def test_a_storm_of_deaths_keeps_to_its_bounds() -> None:
    succession = Succession()
    for pid in range(1, 3 * MOST_VACANT):
        succession.died(exited(process(pid, SECOND, name=f"p{pid}", parent_pid=pid), 20 * SECOND + pid))
    assert len(succession._vacant) == MOST_VACANT
    assert len(succession._lines) == MOST_VACANT
    assert sum(map(len, succession._waiting.values())) == 4 * MOST_VACANT

"""A simulated machine: its clocks, its disk, its processes; it can freeze, lose power and boot again."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from killdeer_agent.core.facts import Now, Process
from tests.simulation.clock import MS, SECOND
from tests.simulation.disk import Disk
from tests.simulation.ground import Ground
from tests.simulation.kernel_record import KernelRecord
from tests.simulation.life import Life
from tests.simulation.processes import Proc, ProcFacts
from tests.simulation.services import GuardFiles, Service

if TYPE_CHECKING:
    from tests.simulation.agent import Agent

PPM = 1_000_000


class Machine:
    """`name` is the machine's own; `identity` is the host's in its certificate: a clone has that of another."""

    def __init__(
        self,
        ground: Ground,
        name: str,
        *,
        identity: str,
        labels: dict[str, str],
        services: tuple[Service, ...],
        guard: GuardFiles,
        rtc: bool,
        drift_ppm: int,
        bpf: bool,
    ) -> None:
        self.ground = ground
        self.name = name
        self.identity = identity
        self.labels = labels
        self.services = services
        self.guard_files = guard
        self.guard_given = guard  # what the agent was given last
        self.rtc = rtc
        self.bpf = bpf
        self.dice = ground.dice(f"machine {name}")
        self.halt_file = False
        self.revert_problem = ""
        self.count_problem = ""
        self.scan_problem = ""
        self.systemd_problem = ""
        self.frozen = False
        self.up = True
        self.agent: Agent | None = None
        self._boots = 1
        self._drift_ppm = drift_ppm
        self._base_true_ns = ground.clock.now_ns
        self._base_boot_ns = self.dice.choice((0, 500 * SECOND)) + self._boots_in()
        self._stands = False  # its clock does
        self._deferred: list[Callable[[], None]] = []
        self.stood_ns = 0  # true time that CLOCK_BOOTTIME did not see
        self.disk = Disk(self.after, self.dice)
        self.record = KernelRecord(self)
        self.life = Life(self)
        self.life.populate()

    def __str__(self) -> str:
        return self.name

    # --- time -----------------------------------------------------------------------------------------------

    @property
    def boot_id(self) -> str:
        return f"{self.name}-boot-{self._boots}"

    @property
    def boot_ns(self) -> int:
        """CLOCK_BOOTTIME."""
        if self._stands:
            return self._base_boot_ns
        return self._base_boot_ns + (self.ground.clock.now_ns - self._base_true_ns) * (PPM + self._drift_ppm) // PPM

    @property
    def now(self) -> Now:
        return Now(self.boot_ns, self.ground.clock.now_ns if self.rtc else None)

    def after(self, ns: int, then: Callable[[], None]) -> None:
        """When this machine has run for so long; never, if it is booted before."""
        boots = self._boots

        def due() -> None:
            if boots != self._boots or not self.up:
                return
            if self.frozen:
                self._deferred.append(then)
            else:
                then()

        self.ground.clock.after(ns, due)

    def freeze(self, ns: int, *, clock_stands: bool) -> None:
        """The whole machine stands still, with or without its clock."""
        if self.frozen or not self.up:
            return
        self._rebase()
        self.frozen, self._stands = True, clock_stands
        boots = self._boots
        self.ground.clock.after(ns, lambda: self._thaw(boots))

    def _thaw(self, boots: int) -> None:
        if boots != self._boots or not self.frozen:
            return
        if self._stands:
            self.stood_ns += self.ground.clock.now_ns - self._base_true_ns
            self._base_true_ns = self.ground.clock.now_ns
        self.frozen = self._stands = False
        self.ground.trace.line(self.name, "thawed")
        deferred, self._deferred = self._deferred, []
        for then in deferred:
            self.after(0, then)

    def _rebase(self) -> None:
        self._base_boot_ns, self._base_true_ns = self.boot_ns, self.ground.clock.now_ns

    # --- power ----------------------------------------------------------------------------------------------

    def power_off(self) -> None:
        """Everything that runs is gone; what was durable stays."""
        self.ground.trace.line(self.name, "power is lost")
        if self.agent is not None:
            self.agent.die("power")
        self.disk.cut()
        self.up, self.frozen, self._stands = False, False, False
        self._deferred.clear()
        self.life.all_end()

    def boot(self) -> None:
        self._boots += 1
        self.up = True
        self._base_true_ns = self.ground.clock.now_ns
        self._base_boot_ns = self._boots_in()
        self.stood_ns = 0
        self.record = KernelRecord(self)
        self.ground.trace.line(self.name, f"boots as {self.boot_id}")
        self.life.populate()
        if self.agent is not None:
            self.agent.start_in(self.dice.randint(500, 3_000) * MS)

    def _boots_in(self) -> int:
        """Much the same each time, so that a process may have the pid and start time of one of another boot."""
        return 5 * SECOND + self.dice.randrange(4) * 10 * MS

    # --- what can be seen of processes ------------------------------------------------------------------------

    def facts(self, proc: Proc) -> ProcFacts:
        return ProcFacts(proc, lambda ticks: ticks * 10 * MS)

    def members(self, service: str) -> tuple[Process, ...]:
        return tuple(
            Process(boot_id=self.boot_id, pid=one.pid, start_ticks=one.start_ticks)
            for one in self.life.table.ready_of(service)
        )

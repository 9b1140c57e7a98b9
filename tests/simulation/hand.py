"""The agent's hand on a simulated host: pidfds, last look and signal in one step under the fuse, reverts."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.facts import FactMissing, Process, Refusal
from killdeer_agent.core.warrant import Warrant
from tests.simulation.clock import MS, SECOND
from tests.simulation.ground import Fell
from tests.simulation.processes import CONT, Proc
from tests.simulation.services import AGENT_PID

if TYPE_CHECKING:
    from tests.simulation.agent import Agent

# As the real hand has them.
FUSE_NS = SECOND
LEAST_LEFT_NS = 20 * MS


class BurntThrough(Exception):
    """The fuse has ended the agent."""


@dataclass(frozen=True, slots=True)
class Pidfd:
    """Whoever had the pid when it was opened; `process` is whom it was opened for."""

    proc: Proc
    process: Process


class Hand:
    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self._machine = agent.machine
        self._held: dict[str, Pidfd] = {}

    def holds(self, proc: Proc) -> list[str]:
        return [command_id for command_id, held in self._held.items() if held.proc is proc]

    def process_of(self, command_id: str) -> Process | None:
        held = self._held.get(command_id)
        return held.process if held is not None else None

    def open(self, effect: w.Open) -> Refusal | None:
        process = effect.warrant.process
        if process.boot_id != self._machine.boot_id:
            return Refusal(p.REASON_OTHER_BOOT, "the host has been booted since it was chosen")
        proc = self._machine.life.table.at(process.pid)
        if proc is None:
            return Refusal(p.REASON_GONE, f"there is no pid {process.pid}")
        held = Pidfd(proc, process)
        refusal = self._look(held, effect.warrant)
        if refusal is None:
            self._held[effect.command_id] = held
        return refusal

    def follow(self, effect: w.Follow) -> Process | Refusal:
        """Whoever has come in a victim's place, with the program that this look finds."""
        process = effect.warrant.process
        proc = self._machine.life.table.at(process.pid)
        if proc is None:
            return Refusal(p.REASON_GONE, f"there is no pid {process.pid}")
        refusal = self._look(Pidfd(proc, process), effect.warrant)
        if refusal is not None:
            return refusal
        found = replace(process, program=proc.program)
        self._held[effect.command_id] = Pidfd(proc, found)
        return found

    def unit_of(self, command_id: str) -> str:
        held = self._held.get(command_id)
        return held.proc.unit if held is not None else ""

    def strike(self, effect: w.Strike) -> w.Done:
        """Raises BurntThrough where the agent is held up, between look and signal, past its right."""
        machine, warrant = self._machine, effect.warrant
        held = self._held.get(effect.command_id)
        refusal: Refusal | None = None
        if held is None:
            refusal = Refusal(p.REASON_CANCELLED, "the strike is over, its pidfd closed")
        elif held.process != warrant.process:
            refusal = Refusal(p.REASON_REUSED, "the warrant is for another process")
        elif warrant.not_after_ns - machine.boot_ns < LEAST_LEFT_NS:
            refusal = Refusal(p.REASON_TOO_LATE, "past the command's not_after, or too close to it")
        elif warrant.lease.until_ns - machine.boot_ns < LEAST_LEFT_NS:
            refusal = Refusal(p.REASON_NOT_LEASED, "the lease is over, or too close to its end")
        if held is None or refusal is not None:
            return w.Done(command_id=effect.command_id, blow=effect.blow, refusal=refusal)
        fuse_ns = min(warrant.not_after_ns, warrant.lease.until_ns, machine.boot_ns + FUSE_NS) - machine.boot_ns
        refusal = self._look(held, warrant)
        if refusal is not None:
            return w.Done(command_id=effect.command_id, blow=effect.blow, refusal=refusal)
        if self._agent.held_up_ns() >= fuse_ns:
            machine.ground.reach("fault fuse burnt through")
            raise BurntThrough
        changed = self._signal(effect, held.proc)
        return w.Done(command_id=effect.command_id, blow=effect.blow, sent_boot_ns=machine.boot_ns, changed=changed)

    def revert(self, effect: w.Revert) -> w.Reverted:
        machine, process = self._machine, effect.process
        held = self._held.get(effect.command_id)
        proc = held.proc if held is not None else machine.life.table.at(process.pid)
        same = proc is not None and (proc.boot_id, *proc.key) == (
            process.boot_id,
            process.pid,
            process.start_ticks,
        )
        if proc is None or not same or not proc.alive or process.boot_id != machine.boot_id:
            return w.Reverted(command_id=effect.command_id, gone=True)
        if machine.revert_problem:
            machine.ground.reach("fault revert fails")
            for witness in machine.ground.witnesses:
                witness.revert_failed(machine, proc)
            return w.Reverted(command_id=effect.command_id, problem=machine.revert_problem)
        for witness in machine.ground.witnesses:
            witness.resumed(machine, proc)
        machine.life.signal(proc, CONT, AGENT_PID)
        return w.Reverted(command_id=effect.command_id, sent_boot_ns=machine.boot_ns)

    def hold(self, command_id: str, process: Process) -> bool:
        """After a restart, by identity alone. False: it is gone."""
        proc = self._machine.life.table.at(process.pid)
        if process.boot_id != self._machine.boot_id or proc is None or not proc.alive:
            return False
        if proc.start_ticks != process.start_ticks:
            return False
        self._held.setdefault(command_id, Pidfd(proc, process))
        return True

    def close(self, command_id: str) -> None:
        self._held.pop(command_id, None)

    def _look(self, held: Pidfd, warrant: Warrant) -> Refusal | None:
        """The facts are of whoever has the pid now; the pidfd is polled last."""
        machine = self._machine
        proc = machine.life.table.at(held.process.pid)
        if proc is None:
            return Refusal(p.REASON_GONE, "there is no such process")
        try:
            refusal = warrant.refuses(machine.facts(proc), machine.now, halted_locally=machine.halt_file)
        except FactMissing as missing:
            return Refusal(missing.reason, missing.detail)
        if refusal is None and not held.proc.alive:
            refusal = Refusal(p.REASON_GONE, f"pid {held.process.pid} has exited")
        return refusal

    def _signal(self, effect: w.Strike, proc: Proc) -> bool:
        """The signal itself; whether the process became another one in that instant."""
        machine = self._machine
        ground = machine.ground
        fell = Fell(
            at_ns=ground.clock.now_ns,
            machine=machine,
            command_id=effect.command_id,
            blow=effect.blow,
            signal=effect.signal,
            action=effect.warrant.action,
            proc=proc,
            service=proc.service,
            unit=proc.unit,
            boot_ns=machine.boot_ns,
            store_ms=ground.store_ms(),
        )
        ground.trace.line(machine.name, f"BLOW {effect.command_id}.{effect.blow} signal {effect.signal} to {proc}")
        for witness in ground.witnesses:
            witness.struck(fell)
        changes = self._agent.changes_in_the_instant()
        if changes:
            ground.reach("fault exec in the instant of the signal")
            machine.life.exec(proc, name="other", exe="/usr/bin/other")
        machine.life.signal(proc, effect.signal, AGENT_PID)
        return changes and proc.alive

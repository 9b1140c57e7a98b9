"""The agent's hand: pidfds, the last look and the signal in one breath, and reverts (rules R1 to R3, R5, R13).

It decides nothing: the warrant says yes or no. What cannot be checked is a named refusal, never an exception
that would stop the strikes of others.
"""

import gc
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.facts import FactMissing, Facts, Now, Process, Refusal
from killdeer_agent.core.warrant import Warrant
from killdeer_agent.core.words import Done, Follow, Open, Revert, Reverted, Strike
from killdeer_agent.kernel import clock as host_clock
from killdeer_agent.kernel import fuse
from killdeer_agent.kernel.pidfd import Pidfd, unreadable

# With less than this left the strike is refused at once: a fuse so short would end the agent for a slow look.
LEAST_LEFT_NS = 20_000_000

# During last look and signal, how soon another thread of the agent has to hand back the interpreter.
SWITCH_SECONDS = 0.00002

# How long a process that looks odd right after its signal gets to turn out to be exiting: then its memory goes
# first, and a cgroup v1 hierarchy shows it in the root cgroup from the first moment (proc_cgroup_show).
EXITING_MS = 20

# What opening a pidfd says of a process that is no more.
_GONE = (Reason.REASON_GONE, Reason.REASON_REUSED)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What must be the same before and after the signal."""

    program: str
    uid: int
    unit: str


class Striker:
    """Holds pidfds by command id. One thread uses it, the one that runs the loop; no method awaits.

    `clock` reads CLOCK_BOOTTIME, the time that the fuse burns by.
    """

    def __init__(
        self,
        *,
        boot_id: str,
        facts_of: Callable[[int], Facts],
        halt_files: Iterable[Path],
        clock: Callable[[], Now] = host_clock.now,
    ) -> None:
        self._boot_id = boot_id
        self._facts_of = facts_of
        self._halt_files = tuple(halt_files)
        self._clock = clock
        self._held: dict[str, Pidfd] = {}
        self._units: dict[str, str] = {}

    def open(self, effect: Open) -> Refusal | None:
        """Opens the pidfd, then takes the first look: in this order, so that what is seen is what is held.

        After None the pidfd is held under the command id until `close`; after a refusal nothing is.
        """
        process = effect.warrant.process
        if effect.command_id in self._held:
            return Refusal(Reason.REASON_KNOWN_COMMAND, "a pidfd is held for this command already")
        if process.boot_id != self._boot_id:
            return Refusal(Reason.REASON_OTHER_BOOT, "the host has been booted since it was chosen")
        held = Pidfd.open(process)
        if isinstance(held, Refusal):
            return held
        seen = self._look(held, effect.warrant)
        if isinstance(seen, Refusal):
            held.close()
            return seen
        self._held[effect.command_id] = held
        self._units[effect.command_id] = seen.unit
        return None

    def follow(self, effect: Follow) -> Process | Refusal:
        """The same for one that has come in the victim's place: who it is, with its program. It is held instead of
        the one before, which has exited; after a refusal what was held still is."""
        held = Pidfd.open(effect.warrant.process)
        if isinstance(held, Refusal):
            return held
        seen = self._look(held, effect.warrant)
        if isinstance(seen, Refusal):
            held.close()
            return seen
        self.close(effect.command_id)
        held.process = replace(held.process, program=seen.program)
        self._held[effect.command_id] = held
        return held.process

    def unit(self, command_id: str) -> str:
        """The systemd unit of the process that was opened; empty: in none."""
        return self._units.get(command_id, "")

    def strike(self, effect: Strike) -> Done:
        """Last look and signal under the fuse. A refusal means that nothing was sent."""
        held = self._held.get(effect.command_id)
        if held is None:
            return _refused(effect, Refusal(Reason.REASON_CANCELLED, "the strike is over, its pidfd closed"))
        if held.process != effect.warrant.process:
            return _refused(effect, Refusal(Reason.REASON_REUSED, "the warrant is for another process"))
        until_ns = self._until(effect.warrant)
        if isinstance(until_ns, Refusal):
            return _refused(effect, until_ns)

        struck = self._breath(held, effect, until_ns)
        if isinstance(struck, Refusal):
            return _refused(effect, struck)
        sent_boot_ns, seen = struck
        changed = self._changed(held, seen)
        return Done(command_id=effect.command_id, blow=effect.blow, sent_boot_ns=sent_boot_ns, changed=changed)

    def revert(self, effect: Revert) -> Reverted:
        """SIGCONT to the same process, judged by identity alone: no guard, no lease, no halt, no disk."""
        process = effect.process
        held = self._held.get(effect.command_id)
        if held is not None and _same(held.process, process):
            return _continued(effect, held)
        if process.boot_id != self._boot_id:
            return Reverted(command_id=effect.command_id, gone=True)
        opened = Pidfd.open(process)
        if isinstance(opened, Refusal):
            return _not_continued(effect, opened)
        try:
            if self._facts_of(process.pid).start_ticks != process.start_ticks:
                return Reverted(command_id=effect.command_id, gone=True)
            return _continued(effect, opened)
        except Exception as error:  # one failed revert never stops the others (I6)
            if opened.exited():
                return Reverted(command_id=effect.command_id, gone=True)
            # Not gone, whatever /proc shows of it: a /proc mounted with hidepid hides the living too.
            return _not_continued(effect, unreadable(process.pid, error))
        finally:
            opened.close()

    def hold(self, command_id: str, process: Process) -> bool:
        """After a restart: holds the same process again, by identity alone, to see its exit.

        False: it is gone. True without a `fileno`: it could not be told, and that is no exit (I8).
        """
        if command_id in self._held:
            return True
        if process.boot_id != self._boot_id:
            return False
        opened = Pidfd.open(process)
        if isinstance(opened, Refusal):
            return opened.reason not in _GONE
        try:
            proven = self._facts_of(process.pid).start_ticks == process.start_ticks
            gone = opened.exited() or not proven
        except Exception:  # not gone by that: a /proc mounted with hidepid hides the living too
            proven, gone = False, opened.exited()
        if proven and not gone:
            self._held[command_id] = opened
        else:
            opened.close()
        return not gone

    def close(self, command_id: str) -> None:
        """Forgets the command. Whoever waits on its `fileno` stops doing so first."""
        self._units.pop(command_id, None)
        held = self._held.pop(command_id, None)
        if held is not None:
            held.close()

    def fileno(self, command_id: str) -> int | None:
        """The held pidfd, to wait on: readable once the process has exited. None when none is held."""
        held = self._held.get(command_id)
        return None if held is None else held.fd

    def halted_locally(self) -> bool:
        """Whether any halt file is there. One that cannot be looked for counts as there (I10)."""
        for path in self._halt_files:
            try:
                path.lstat()
            except FileNotFoundError:
                continue
            except OSError:
                return True
            return True
        return False

    def _look(self, held: Pidfd, warrant: Warrant) -> _Seen | Refusal:
        """All checks, the pidfd last: alive after the facts were read, it is the process they are about."""
        pid = held.process.pid
        try:
            now = self._clock()
            facts = self._facts_of(pid)
            refusal = warrant.refuses(facts, now, halted_locally=self.halted_locally())
            if refusal is not None:
                return refusal
            seen = _seen(facts)
            refusal = warrant.refuses_still(self._facts_of(pid), seen.program)
            if refusal is not None:
                return refusal
            if held.exited():
                return Refusal(Reason.REASON_GONE, f"pid {pid} has exited")
            return seen
        except FactMissing as missing:
            return Refusal(missing.reason, missing.detail)
        except Exception as error:  # a check that cannot be made has failed (I10)
            return unreadable(pid, error)

    def _breath(self, held: Pidfd, effect: Strike, until_ns: int) -> tuple[int, _Seen] | Refusal:
        """The last look and the signal, with nothing between them; when it was sent, and what was seen."""
        try:
            with _undisturbed(), fuse.Fuse(until_ns):
                seen = self._look(held, effect.warrant)
                if isinstance(seen, Refusal):
                    return seen
                return held.send(effect.signal) or (host_clock.boot_ns(), seen)
        except OSError as error:  # of the fuse, before the look: neither look nor signal raise any
            return Refusal(Reason.REASON_NOT_LEASED, f"the lease cannot be enforced: {error.strerror}")

    def _until(self, warrant: Warrant) -> int | Refusal:
        """When the fuse is to burn through: the end of lease or not_after, or the fuse's own length."""
        cause = fuse.problem()
        if cause:
            return Refusal(Reason.REASON_NOT_LEASED, f"the lease cannot be enforced: {cause}")
        now_ns = host_clock.boot_ns()
        if warrant.not_after_ns - now_ns < LEAST_LEFT_NS:
            return Refusal(Reason.REASON_TOO_LATE, "past the command's not_after, or too close to it")
        if warrant.lease.until_ns - now_ns < LEAST_LEFT_NS:
            return Refusal(Reason.REASON_NOT_LEASED, "the lease is over, or too close to its end")
        return min(warrant.not_after_ns, warrant.lease.until_ns, now_ns + fuse.FUSE_NS)

    def _changed(self, held: Pidfd, before: _Seen) -> bool:
        """Whether the struck process is another one than was looked at (I1). One that has begun to exit is not:
        it has no program any more. What cannot be read after the signal shows nothing (I8)."""
        after = self._seen_alive(held)
        if after is None and not held.exited(EXITING_MS):  # in the midst of an exec it has no command line either
            after = self._seen_alive(held)
        if after is None or after == before:
            return False
        if (after.program, after.uid) != (before.program, before.uid):
            return True
        return not held.exited(EXITING_MS) and self._seen_alive(held) is not None

    def _seen_alive(self, held: Pidfd) -> _Seen | None:
        try:
            facts = self._facts_of(held.process.pid)
            if facts.start_ticks != held.process.start_ticks or facts.state in "ZX":
                return None
            seen = _seen(facts)
            return seen if facts.cmdline else None  # it goes with the memory, first of all in an exit
        except Exception:
            return None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collection, and no other thread of the agent for long. Each read of /proc lets others run, and
    beside a busy one up to 5 ms passed between last look and signal; with this, 1 ms (on 6.18, 2 CPUs)."""
    collecting, interval = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collecting:
            gc.enable()


def _seen(facts: Facts) -> _Seen:
    return _Seen(facts.program, facts.uid, facts.unit)


def _same(one: Process, other: Process) -> bool:
    """The same process, whatever program it runs now."""
    return (one.boot_id, one.pid, one.start_ticks) == (other.boot_id, other.pid, other.start_ticks)


def _refused(effect: Strike, refusal: Refusal) -> Done:
    return Done(command_id=effect.command_id, blow=effect.blow, refusal=refusal)


def _continued(effect: Revert, held: Pidfd) -> Reverted:
    refusal = Refusal(Reason.REASON_GONE, "") if held.exited() else held.send(signal.SIGCONT)
    if refusal is not None:
        return _not_continued(effect, refusal)
    return Reverted(command_id=effect.command_id, sent_boot_ns=host_clock.boot_ns())


def _not_continued(effect: Revert, refusal: Refusal) -> Reverted:
    """Gone, or given to another process: nothing is left to revert. Anything else is tried again."""
    if refusal.reason in _GONE:
        return Reverted(command_id=effect.command_id, gone=True)
    problem = f"cannot resume pid {effect.process.pid}: {refusal.detail}"
    return Reverted(command_id=effect.command_id, problem=problem)

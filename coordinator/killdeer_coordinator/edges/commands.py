"""Programs that coordinator.toml names under [commands]: run without a shell, and never longer than they may."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from killdeer.v1 import probe_pb2 as p
from killdeer_coordinator.edges.answers import MET, NOT_MET, Taken, Unknown, number_at, number_in, why

OUTPUT_MOST_BYTES = 64 * 1024
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
# A process that was sent SIGKILL is gone at once, unless the kernel holds it; nobody waits longer for it.
GONE_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    code: int
    """As of subprocess: the number of the signal, negative, where one ended it."""
    output: bytes
    """At most OUTPUT_MOST_BYTES of it."""
    cut: bool

    @property
    def problem(self) -> str:
        """Empty where it succeeded."""
        if self.code < 0:
            with suppress(ValueError):
                return f"ended by {signal.Signals(-self.code).name}"
        return f"exit code {self.code}" if self.code else ""


class Commands:
    def __init__(self, named: Mapping[str, Sequence[str]]) -> None:
        """By name: the absolute path of a program, and its first arguments."""
        self._named = named

    async def run(self, source: p.CommandSource, *, keep_output: bool) -> Ended:
        """Until it ends; cancelled, it is killed with all its process group. With its output, what it leaves
        running in its group is ended with it; without, it may leave something behind, as a load does.

        Raises Unknown where it cannot be run."""
        first = self._named.get(source.command)
        if first is None:
            raise Unknown(
                f"the command {source.command!r} is not one that the coordinator may run; name it under [commands] "
                f'in coordinator.toml: {source.command} = ["/path/of/program"]'
            )
        try:
            child = _Child([*first, *source.arguments], keep_output=keep_output)
        except (OSError, ValueError) as error:
            cause = why(error) if isinstance(error, OSError) else "an argument holds a NUL"
            raise Unknown(f"cannot run {first[0]}: {cause}") from None
        return await child.ended()


async def take(commands: Commands, source: p.CommandSource, take: p.Take, path: Sequence[str]) -> Taken:
    """Raises Unknown."""
    ended = await commands.run(source, keep_output=True)
    if take in (p.TAKE_UNSPECIFIED, p.TAKE_MET):
        return Taken(NOT_MET if ended.problem else MET, ended.problem or "exit code 0")
    if take == p.TAKE_STATUS:
        return Taken(float(ended.code), ended.problem)
    if ended.problem:
        raise Unknown(ended.problem)
    if ended.cut:
        raise Unknown(f"the output is longer than {OUTPUT_MOST_BYTES // 1024} KiB, which is the most that is read")
    if take == p.TAKE_JSON:
        return Taken(number_at(ended.output, path, "the output"))
    return Taken(number_in(ended.output, "the output"))


class _Child:
    """A process with a group of its own. Raises OSError or ValueError where it cannot be started.

    Its end is told by a pidfd, not by the end of its output, which a grandchild could hold open."""

    def __init__(self, argv: Sequence[str], *, keep_output: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if keep_output else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        self._gone: asyncio.Future[int] = self._loop.create_future()
        self._drained: asyncio.Future[None] = self._loop.create_future()
        self._kept, self._length = bytearray(), 0
        self._sweep = keep_output
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        if self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), False)
            self._loop.add_reader(self._process.stdout.fileno(), self._read)
        else:
            self._drained.set_result(None)

    async def ended(self) -> Ended:
        try:
            code = await asyncio.shield(self._gone)
            # What is in the pipe is there already; only who left the group could still add to it.
            await asyncio.wait({self._drained}, timeout=GONE_WITHIN_S)
            return Ended(code=code, output=bytes(self._kept), cut=self._length > len(self._kept))
        finally:
            if not self._gone.done():
                self._kill()
                await asyncio.wait({self._gone}, timeout=GONE_WITHIN_S)
            self._stop_reading()

    def _kill(self) -> None:
        """Before the process is reaped: until then nobody else has its number."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        if self._sweep:
            self._kill()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._gone.set_result(self._process.wait())

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            chunk = os.read(self._process.stdout.fileno(), OUTPUT_MOST_BYTES)
        except BlockingIOError:
            return
        self._length += len(chunk)
        self._kept += chunk[: OUTPUT_MOST_BYTES - len(self._kept)]
        if not chunk:
            self._stop_reading()

    def _stop_reading(self) -> None:
        out = self._process.stdout
        if out is not None and not out.closed:
            self._loop.remove_reader(out.fileno())
            out.close()
        if not self._drained.done():
            self._drained.set_result(None)

"""What the agent uses of bcc: compile and load programs, fill maps, read perf buffers, attach, detach."""

import atexit
import contextlib
import ctypes
import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from killdeer_agent.kernel.kerneltypes import KernelTypes
from killdeer_agent.kernel.obstacle import CollectorUnavailable

SOURCE_VARIABLE: Final = "BCC_KERNEL_SOURCE"
RIGHTS: Final = (
    "see `dmesg`; as a service it wants the drop-in 20-bcc.conf of killdeer-agent.service: perf_event_open, "
    "kernel.perf_event_paranoid of 2 or less, and before Linux 5.8 CAP_SYS_ADMIN"
)

OnRecord = Callable[[bytes], None]


class BccObject:
    """Programs in the kernel. `attach` starts them; `close` takes all away.

    While it is made the process stands in the folder of the kernel's source, as bcc's compiler wants it, and what
    that prints is caught. Raises CollectorUnavailable.
    """

    def __init__(self, module: ModuleType, types: KernelTypes, programs: str) -> None:
        self._library: Any = module.libbcc.lib
        self._raw_tracepoint = module.BPF.RAW_TRACEPOINT
        text = f"{types.declarations}\n{programs}".encode()  # bcc warns of every text that is not bytes
        with _source_in(types.folder), _caught() as said:
            try:
                self._bpf: Any = module.BPF(text=text, cflags=list(types.flags))
            except Exception as problem:
                raise CollectorUnavailable(
                    f"bcc cannot compile its programs with this kernel's {types.origin}: {_error(said) or problem}",
                    "install the headers of exactly this kernel, and a bcc of its time",
                ) from problem
        # Else one is left for each object that was ever made; `close` is called in any case.
        atexit.unregister(self._bpf.cleanup)

    def load(self, name: str) -> None:
        """Has the kernel verify a program."""
        self._call(f"load {name}", self._bpf.load_func, name.encode(), self._raw_tracepoint)

    def attach(self, name: str, tracepoint: str) -> None:
        self._call(
            f"attach {name} to {tracepoint}", self._bpf.attach_raw_tracepoint, tracepoint.encode(), name.encode()
        )

    def open_buffer(self, name: str, *, pages: int, wakeup_events: int, on_record: OnRecord) -> None:
        """`pages`: a power of two, for each processor. `drain` calls `on_record`; there is padding at the end."""

        def told(_processor: int, data: int, size: int) -> None:
            on_record(ctypes.string_at(data, size))

        table = self._table(name)
        # Without somebody to tell, bcc prints losses. The programs count them, by kind.
        arguments: dict[str, object] = {"page_cnt": pages, "lost_cb": lambda _count: None}
        if hasattr(self._bpf, "perf_buffer_consume"):
            arguments["wakeup_events"] = wakeup_events
        self._call(f"open the perf buffer {name}", table.open_perf_buffer, told, **arguments)

    def buffer_fds(self) -> list[int]:
        """Readable where `wakeup_events` records have come in since they were last asked."""
        return [self._library.perf_reader_fd(reader) for reader in self._bpf.perf_buffers.values()]

    def drain(self) -> None:
        """All that is in the buffers now."""
        if hasattr(self._bpf, "perf_buffer_consume"):
            self._bpf.perf_buffer_consume()
        else:  # before bcc 0.19 every record wakes, so that those with something in them are known
            self._bpf.perf_buffer_poll(0)

    def put(self, name: str, key: bytes, value: bytes) -> None:
        """Raises OSError: E2BIG when the map is full."""
        if self._library.bpf_update_elem(self._table(name).map_fd, key, value, 0):
            raise _last_error("fill a BPF map")

    def drop(self, name: str, key: bytes) -> None:
        """Removes the key; that it is not there is fine."""
        if self._library.bpf_delete_elem(self._table(name).map_fd, key) and ctypes.get_errno() != errno.ENOENT:
            raise _last_error("empty a BPF map")

    def sums(self, name: str) -> list[int]:
        """Of a per-CPU array of 64-bit counters: each slot's, added up over the processors."""
        table = self._table(name)
        return [sum(table[slot]) for slot in range(len(table))]

    def _table(self, name: str) -> Any:
        return self._bpf[name.encode()]

    def close(self) -> None:
        self._bpf.cleanup()

    def _call(self, verb: str, call: Callable[..., object], *arguments: object, **options: object) -> None:
        """bcc tells of every failure with a bare Exception, the kernel's words on stderr."""
        with _caught() as said:
            try:
                call(*arguments, **options)
            except Exception as problem:
                raise CollectorUnavailable(f"bcc cannot {verb}: {_error(said) or problem}", RIGHTS) from problem


@contextmanager
def _source_in(folder: Path) -> Iterator[None]:
    """Tells bcc's compiler where to look, which goes by the environment."""
    before = os.environ.get(SOURCE_VARIABLE)
    os.environ[SOURCE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[SOURCE_VARIABLE]
        else:
            os.environ[SOURCE_VARIABLE] = before


@contextmanager
def _caught() -> Iterator[Callable[[], str]]:
    """What C code prints meanwhile, on stdout and stderr of the whole process."""
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as undo:
        for stream in (1, 2):
            try:
                kept = os.dup(stream)
            except OSError:  # closed: nothing to catch
                continue
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, stream)
            os.dup2(file.fileno(), stream)

        def said() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        yield said


def _error(said: Callable[[], str]) -> str:
    """The first thing that the compiler found wrong."""
    found = re.search(r"error: (.*)", said())
    return found[1] if found else ""


def _last_error(verb: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"cannot {verb}: {os.strerror(number)}")

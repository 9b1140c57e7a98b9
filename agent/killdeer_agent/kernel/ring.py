"""Reading a BPF ring buffer: mapped into memory, or through libbpf where the processor may reorder loads."""

import ctypes
import mmap
import platform
from typing import Protocol

from killdeer_agent.kernel.libbpf import BpfMap, SampleCallback

# Header of a record: https://docs.kernel.org/bpf/ringbuf.html
BUSY, DISCARDED = 1 << 31, 1 << 30
LENGTH = DISCARDED - 1
HEADER = 8

# Here a plain load is an acquire, which the kernel's protocol asks of a reader of positions and headers.
ORDERED = {"x86_64", "i686"}


class Ring(Protocol):
    def drain(self, limit: int) -> list[bytes]:
        """At most about `limit` records, oldest first."""

    @property
    def held_up(self) -> bool:
        """The last drain ended at a record that is still being written."""

    def close(self) -> None: ...


class MappedRing:
    """The ring mapped into this process. A ctypes callback for each record is twice as slow."""

    def __init__(self, ring: BpfMap) -> None:
        page, size = mmap.PAGESIZE, ring.max_entries
        self._mask = size - 1
        self.held_up = False
        # First page: how far we have read. Then, not writable, how far was written, and the data twice in
        # a row, so that a record that wraps around is read as one.
        self._reader_page = mmap.mmap(ring.fd, page)
        self._memory = mmap.mmap(ring.fd, page + 2 * size, prot=mmap.PROT_READ, offset=page)
        self._read = memoryview(self._reader_page).cast("Q")
        self._written = memoryview(self._memory)[:page].cast("Q")
        self._data = memoryview(self._memory)[page:]
        self._headers = self._data.cast("I")

    def drain(self, limit: int) -> list[bytes]:
        position, written = self._read[0], self._written[0]
        records: list[bytes] = []
        self.held_up = False
        while position < written and len(records) < limit:
            at = position & self._mask
            header = self._headers[at >> 2]
            if header & BUSY:
                self.held_up = True
                break
            length = header & LENGTH
            if not header & DISCARDED:
                records.append(bytes(self._data[at + HEADER : at + HEADER + length]))
            position += (HEADER + length + 7) & ~7
        self._read[0] = position
        return records

    def close(self) -> None:
        for view in (self._headers, self._data, self._written, self._read):
            view.release()
        self._memory.close()
        self._reader_page.close()


class CalledRing:
    """The ring read by libbpf, which calls back with each record."""

    held_up = False

    def __init__(self, library: ctypes.CDLL, ring: BpfMap) -> None:
        self._library = library
        self._records: list[bytes] = []
        self._callback = SampleCallback(self._take)
        self._handle = library.ring_buffer__new(ring.fd, self._callback, None, None)
        if not self._handle:
            raise OSError(ctypes.get_errno(), "cannot read the BPF ring")

    def _take(self, _context: int, address: int, length: int) -> int:
        self._records.append(ctypes.string_at(address, length))
        return 0

    def drain(self, limit: int) -> list[bytes]:
        self._library.ring_buffer__consume(self._handle)
        records, self._records = self._records, []
        return records

    def close(self) -> None:
        self._library.ring_buffer__free(self._handle)


def open_ring(library: ctypes.CDLL, ring: BpfMap) -> Ring:
    return MappedRing(ring) if platform.machine() in ORDERED else CalledRing(library, ring)

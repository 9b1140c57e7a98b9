"""The agent's journal: an append-only file of records, each durable before what it announces is done (R1, R13).

One header line, then one line a record: CRC32 in eight hex digits, the record's number in the file, kind and
body as JSON, with a space between. The checksum covers all that follows it on the line; the number tells when
a whole line is missing. A record exists once its newline is on disk.
"""

import contextlib
import fcntl
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from killdeer_agent.core.words import Record

VERSION = 1
_MAGIC = b"killdeer journal "
_HEADER = _MAGIC + b"%d\n" % VERSION
NAME = "journal"
_NEW_NAME = "journal.new"
_REMEDY = "stop the agent and move the file away, so that it begins anew"


class JournalError(Exception):
    """A record cannot be made durable, or the journal is another agent's."""


class Journal:
    """The journal of this host, open in one agent at a time. Made by `Journal.open`."""

    def __init__(self, directory: Path, directory_fd: int) -> None:
        self._directory = directory
        self._directory_fd = directory_fd
        self._fd = -1
        self._size = 0
        self._next = 0
        self._refusal = ""
        self._damage = ""
        self.torn_bytes = 0
        """Length of a last line that a crash had cut short, taken away at `open`: nothing had relied on it."""

    @classmethod
    def open(cls, directory: Path) -> "tuple[Journal, tuple[Record, ...], str]":
        """Locks the directory and reads all records, oldest first, with why they cannot be trusted, or "".

        Whatever is wrong with the disk, the records that can be read are returned, so that effects are reverted.
        JournalError only when another agent holds the journal.
        """
        journal = cls(directory, -1)
        try:
            journal._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(journal._directory_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = journal.path.read_bytes()
        except BlockingIOError as error:
            journal.close()
            cause = "another agent uses this journal; stop it first"
            raise JournalError(f"cannot lock {directory}: {cause}") from error
        except FileNotFoundError:
            return journal, (), journal._begin()
        except OSError as error:
            return journal, (), journal._refuse(f"cannot read {journal.path}: {error.strerror}")
        records, problem = journal._take_up(content)
        return journal, records, problem

    @property
    def path(self) -> Path:
        return self._directory / NAME

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    def append(self, record: Record) -> None:
        """Returns once the record is on disk. JournalError when it is not: then no trace of it is left, or the
        journal takes no more records."""
        if self._refusal:
            raise JournalError(self._refusal)
        line = _line(self._next, record)
        try:
            _write(self._fd, line)
        except OSError as error:
            self._take_back()
            raise JournalError(f"cannot write {self.path}: {error.strerror}") from error
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            # The kernel reports a failed write-back once and forgets it: what is on disk is unknown from here on.
            cause = self._refuse(f"cannot sync {self.path}: {error.strerror}")
            self._take_back()
            raise JournalError(cause) from error
        self._size += len(line)
        self._next += 1

    def compact(self, keep: Iterable[Record]) -> None:
        """Puts a file of these records alone in the place of the old one. On JournalError the old one is still
        there and in use, or the journal takes no more records. A damaged one is left as it is."""
        if self._refusal or self._damage:
            raise JournalError(self._refusal or self._damage)
        try:
            self._replace(keep)
        except OSError as error:
            raise JournalError(f"cannot compact {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Lets go of the file and the lock."""
        self._refuse(f"cannot write {self.path}: it is closed")
        for fd in (self._fd, self._directory_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._directory_fd = -1

    def _begin(self) -> str:
        try:
            self._replace(())
        except OSError as error:
            return self._refuse(f"cannot create {self.path}: {error.strerror}")
        return ""

    def _take_up(self, content: bytes) -> tuple[tuple[Record, ...], str]:
        """Reads what is there, and makes ready to go on after it."""
        whole = content.rfind(b"\n") + 1
        header, *lines = content[:whole].split(b"\n")[:-1] or [b""]
        entries = [_entry(line) for line in lines]
        read = [entry for entry in entries if entry is not None]
        records = tuple(record for _, record in read)
        self._size = whole
        self._next = max((number for number, _ in read), default=-1) + 1
        if header + b"\n" != _HEADER:
            return records, self._refuse(f"cannot trust {self.path}: {_unknown(header)}; {_REMEDY}")
        damage = _damage(entries)
        if damage:
            self._damage = f"cannot trust {self.path}: {damage}; {_REMEDY}"
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            if whole < len(content):
                os.ftruncate(self._fd, whole)
                os.fdatasync(self._fd)
                self.torn_bytes = len(content) - whole
        except OSError as error:
            self._refuse(f"cannot write {self.path}: {error.strerror}")
        return records, self._damage or self._refusal

    def _replace(self, keep: Iterable[Record]) -> None:
        """OSError with the old file in place, or with the journal marked as taking no more."""
        lines = [_line(number, record) for number, record in enumerate(keep)]
        new = self._directory / _NEW_NAME
        fd = os.open(new, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            content = _HEADER + b"".join(lines)
            _write(fd, content)
            os.fsync(fd)
            new.rename(self.path)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._next = fd, len(content), len(lines)
        try:
            os.fsync(self._directory_fd)
        except OSError as error:  # after a crash the old file may be back, without what would be written now
            self._refuse(f"cannot sync {self._directory}: {error.strerror}")
            raise

    def _take_back(self) -> None:
        """Removes what a failed append left. If that fails too, nothing may be written after it."""
        try:
            os.ftruncate(self._fd, self._size)
            os.fdatasync(self._fd)
        except OSError as error:
            self._refuse(f"cannot mend {self.path}: {error.strerror}")

    def _refuse(self, cause: str) -> str:
        """From now on every write is refused, with the first cause."""
        self._refusal = self._refusal or cause
        return self._refusal


def problem_of(content: bytes) -> str:
    """Why a journal of this content would not be trusted; empty when it would, as when its last line is cut short.
    For who looks on while an agent uses it."""
    header, *lines = content[: content.rfind(b"\n") + 1].split(b"\n")[:-1] or [b""]
    if header + b"\n" != _HEADER:
        return _unknown(header)
    return _damage([_entry(line) for line in lines])


def _line(number: int, record: Record) -> bytes:
    try:
        text = json.dumps({"kind": record.kind, "body": record.body}, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise JournalError(f"cannot write a record of kind {record.kind}: {error}") from error
    numbered = f"{number} {text}".encode()  # ASCII: json escapes all else, line ends too
    return b"%08x %b\n" % (zlib.crc32(numbered), numbered)


def _entry(line: bytes) -> tuple[int, Record] | None:
    """The record of a line and its number; None when the line is damaged."""
    checksum, _, numbered = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(numbered):
        return None
    number, _, text = numbered.partition(b" ")
    try:
        entry = json.loads(text)
        kind, body = entry["kind"], entry["body"]
        return (int(number), Record(kind, body)) if _plain(kind, body) else None
    except (ValueError, TypeError, KeyError):  # another version's line
        return None


def _plain(kind: object, body: object) -> bool:
    return isinstance(kind, str) and isinstance(body, dict)


def _unknown(header: bytes) -> str:
    if header.startswith(_MAGIC):
        version = header.removeprefix(_MAGIC).decode(errors="replace")
        return f"it is of version {version}, this agent knows {VERSION}"
    return "its first line is damaged"


def _damage(entries: Sequence[tuple[int, Record] | None]) -> str:
    """What is wrong first; empty when every line is whole and none is missing."""
    for number, entry in enumerate(entries):
        line = number + 2
        if entry is None:
            return f"line {line} is damaged"
        if entry[0] != number:
            return f"lines are missing or doubled before line {line}"
    return ""


def _write(fd: int, content: bytes) -> None:
    """All of it, or OSError after a part."""
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]

"""The journal on a real disk: what is acknowledged comes back, what does not come back was not acknowledged."""

import errno
import os
import resource
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killdeer_agent.core.words import Record
from killdeer_agent.journal import Journal, JournalError

INTENT = Record("intent", {"command": "c1", "blow": 1, "signal": 9})
HALT = Record("halt", {"id": "h1", "reason": "line\nbreak, é, \u2028"})

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
records = st.lists(
    st.builds(Record, st.text(min_size=1), st.dictionaries(st.text(), plain, max_size=4)), max_size=6
)


def written(directory: Path, *kept: Record) -> Path:
    """A journal with these records, closed."""
    journal, _, problem = Journal.open(directory)
    assert problem == ""
    for record in kept:
        journal.append(record)
    journal.close()
    return journal.path


def read(directory: Path) -> tuple[tuple[Record, ...], str]:
    journal, kept, problem = Journal.open(directory)
    journal.close()
    return kept, problem


# --- what was written comes back ----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(first=records, second=records)
def test_r1_every_acknowledged_record_comes_back_in_order(first: list[Record], second: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as name:
        written(Path(name), *first)
        written(Path(name), *second)
        assert read(Path(name)) == ((*first, *second), "")


@settings(max_examples=30, deadline=None)
@given(before=records, keep=records, after=records)
def test_compacting_keeps_what_is_kept(before: list[Record], keep: list[Record], after: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as name:
        journal, _, _ = Journal.open(Path(name))
        for record in before:
            journal.append(record)
        journal.compact(keep)
        for record in after:
            journal.append(record)
        assert journal.size == journal.path.stat().st_size
        journal.close()
        assert read(Path(name)) == ((*keep, *after), "")


def test_r1_a_crash_at_any_byte_loses_no_acknowledged_record_and_makes_none_up(tmp_path: Path) -> None:
    path = written(tmp_path, INTENT, HALT)
    content = path.read_bytes()
    ends = [end + 1 for end, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(ends[0], len(content) + 1):
        path.write_bytes(content[:cut])
        journal, kept, problem = Journal.open(tmp_path)
        whole = sum(end <= cut for end in ends) - 1
        assert (kept, problem) == ((INTENT, HALT)[:whole], "")
        assert journal.torn_bytes == cut - ends[whole]
        journal.append(HALT)
        journal.close()
        assert read(tmp_path) == ((*kept, HALT), "")


def test_a_crash_while_compacting_leaves_the_old_journal(tmp_path: Path) -> None:
    path = written(tmp_path, INTENT)
    path.with_name("journal.new").write_bytes(b"killdeer journal 1\n0badc0de 0 {")
    assert read(tmp_path) == ((INTENT,), "")
    journal, _, _ = Journal.open(tmp_path)
    journal.compact([HALT])
    journal.close()
    assert read(tmp_path) == ((HALT,), "")
    assert not path.with_name("journal.new").exists()


# --- what cannot be trusted ---------------------------------------------------------------------------------


def test_r13_damage_refuses_strikes_and_still_returns_what_can_be_read(tmp_path: Path) -> None:
    path = written(tmp_path, INTENT, HALT, INTENT)
    content = path.read_bytes()
    begins, ends = content.index(b"\n") + 1, len(content)
    for place in range(begins, ends):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        kept, problem = read(tmp_path)
        if place == ends - 1:  # the last newline: that record was never acknowledged
            assert (kept, problem) == ((INTENT, HALT), "")
        else:
            assert "cannot trust" in problem and "move the file away" in problem
            assert len(kept) in (1, 2) and set(map(str, kept)) <= {str(INTENT), str(HALT)}


def test_r13_a_missing_line_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, INTENT, HALT, INTENT)
    header, first, _, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(header + first + third)
    kept, problem = read(tmp_path)
    assert kept == (INTENT, INTENT)
    assert "before line 3" in problem


def test_a_halt_can_be_kept_in_a_damaged_journal_and_the_damage_stays_known(tmp_path: Path) -> None:
    path = written(tmp_path, INTENT, INTENT)
    path.write_bytes(path.read_bytes().replace(b"c1", b"c2", 1))
    journal, _, problem = Journal.open(tmp_path)
    assert "line 2 is damaged" in problem
    journal.append(HALT)
    with pytest.raises(JournalError, match="line 2 is damaged"):
        journal.compact([])
    journal.close()
    kept, problem = read(tmp_path)
    assert kept == (INTENT, HALT)
    assert "line 2 is damaged" in problem


@pytest.mark.parametrize("header, cause", [
    (b"killdeer journal 2\n", "it is of version 2, this agent knows 1"),
    (b"something else\n", "its first line is damaged"),
    (b"\n", "its first line is damaged"),
])  # fmt: skip
def test_r13_another_version_is_read_as_far_as_it_can_be_and_never_written(
    tmp_path: Path, header: bytes, cause: str
) -> None:
    path = written(tmp_path, INTENT)
    content = header + path.read_bytes().split(b"\n", 1)[1] + b"torn"
    path.write_bytes(content)
    journal, kept, problem = Journal.open(tmp_path)
    assert kept == (INTENT,)
    assert cause in problem
    with pytest.raises(JournalError):
        journal.append(HALT)
    with pytest.raises(JournalError):
        journal.compact([])
    journal.close()
    assert path.read_bytes() == content


def test_i10_an_empty_file_is_no_new_journal(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    kept, problem = read(tmp_path)
    assert kept == () and "its first line is damaged" in problem


def test_a_second_agent_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first, _, _ = Journal.open(tmp_path)
    with pytest.raises(JournalError, match="another agent uses this journal"):
        Journal.open(tmp_path)
    first.compact([])
    with pytest.raises(JournalError, match="another agent uses this journal"):
        Journal.open(tmp_path)
    first.close()
    assert read(tmp_path) == ((), "")


def test_r13_without_its_directory_the_journal_says_so_and_takes_nothing(tmp_path: Path) -> None:
    journal, kept, problem = Journal.open(tmp_path / "nowhere")
    assert kept == () and "No such file or directory" in problem
    with pytest.raises(JournalError, match="No such file or directory"):
        journal.append(INTENT)
    journal.close()


def test_r13_a_journal_that_cannot_be_read_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    kept, problem = read(tmp_path)
    assert kept == () and "cannot read" in problem


# --- what cannot be written ---------------------------------------------------------------------------------


@contextmanager
def disk_full_after(path: Path, free: int) -> Iterator[None]:
    """The kernel lets no file grow past this size: a write ends short, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("free", [0, 1, 20])
def test_i10_a_full_disk_refuses_the_record_and_leaves_no_part_of_it(tmp_path: Path, free: int) -> None:
    journal, _, _ = Journal.open(tmp_path)
    journal.append(INTENT)
    content = journal.path.read_bytes()
    with disk_full_after(journal.path, free), pytest.raises(JournalError, match="cannot write"):
        journal.append(HALT)
    assert journal.path.read_bytes() == content
    journal.append(HALT)
    journal.close()
    assert read(tmp_path) == ((INTENT, HALT), "")


def test_i10_a_partial_line_that_stays_ends_all_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(fd: int, length: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    journal, _, _ = Journal.open(tmp_path)
    journal.append(INTENT)
    with monkeypatch.context() as broken:
        broken.setattr(os, "ftruncate", fails)
        with disk_full_after(journal.path, 20), pytest.raises(JournalError):
            journal.append(HALT)
    with pytest.raises(JournalError, match="cannot mend"):
        journal.append(HALT)
    with pytest.raises(JournalError, match="cannot mend"):
        journal.compact([])
    journal.close()
    assert read(tmp_path) == ((INTENT,), "")


def test_i10_a_failed_sync_ends_all_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reports it once; a later sync that succeeds would prove nothing."""

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    journal, _, _ = Journal.open(tmp_path)
    journal.append(INTENT)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fails)
        with pytest.raises(JournalError, match="cannot sync"):
            journal.append(HALT)
    with pytest.raises(JournalError, match="cannot sync"):
        journal.append(HALT)
    journal.close()
    assert read(tmp_path) == ((INTENT,), "")


def test_a_compaction_that_fails_leaves_the_journal_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    journal, _, _ = Journal.open(tmp_path)
    journal.append(INTENT)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fails)
        with pytest.raises(JournalError, match="cannot compact"):
            journal.compact([])
    journal.append(HALT)
    journal.close()
    assert read(tmp_path) == ((INTENT, HALT), "")
    assert os.listdir(tmp_path) == ["journal"]  # noqa: PTH208


def test_i10_a_compaction_of_which_the_disk_may_know_nothing_ends_all_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash the old file could be back, without what was written into the new one."""
    journal, _, _ = Journal.open(tmp_path)
    sync = os.fsync

    def fails_for_directories(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        sync(fd)

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fails_for_directories)
        with pytest.raises(JournalError, match="cannot compact"):
            journal.compact([INTENT])
    with pytest.raises(JournalError, match="cannot sync"):
        journal.append(HALT)
    journal.close()
    assert read(tmp_path) == ((INTENT,), "")


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}, {"x": b"bytes"}])
def test_a_record_that_is_no_plain_json_is_refused_and_harms_nothing(
    tmp_path: Path, body: dict[str, object]
) -> None:
    journal, _, _ = Journal.open(tmp_path)
    with pytest.raises(JournalError, match="kind odd"):
        journal.append(Record("odd", body))
    journal.append(INTENT)
    journal.close()
    assert read(tmp_path) == ((INTENT,), "")

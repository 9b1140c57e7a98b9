"""Halts and the highest position outlive the store, in a file of their own (rules R10, R22)."""

import os
from pathlib import Path

import pytest

from killdeer.halts import Halts
from killdeer.v1.process_pb2 import HaltRecord, StorePosition
from killdeer_coordinator.outside import Outside, OutsideError

HALTS = Halts({"h1": HaltRecord(id="h1", by="ä", reason='"quoted"\n', at_unix_ms=2**64 - 1)}, frozenset({"h0"}))
POSITION = StorePosition(length=2**63, head="ab" * 32)


def test_nothing_is_known_where_nothing_was_kept(tmp_path: Path) -> None:
    assert Outside(tmp_path / "none").load() == (Halts(), StorePosition())


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    Outside(tmp_path / "state").keep(HALTS, POSITION)
    assert Outside(tmp_path / "state").load() == (HALTS, POSITION)
    later = HALTS.release(["h1"])
    Outside(tmp_path / "state").keep(later, POSITION)
    assert Outside(tmp_path / "state").load() == (later, POSITION)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["outside.json"]


def test_the_file_is_durable_before_it_takes_the_name_and_the_name_before_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def replaced(path: Path, target: Path) -> Path:
        done.append(f"{path.name} -> {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    (tmp_path / "state").mkdir()
    Outside(tmp_path / "state").keep(HALTS, POSITION)
    assert done == ["fsync outside.new", "outside.new -> outside.json", "fsync state"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    outside = Outside(tmp_path)
    outside.keep(HALTS, POSITION)
    (tmp_path / "outside.new").mkdir()
    with pytest.raises(OutsideError, match="cannot write"):
        outside.keep(Halts(), StorePosition())
    assert outside.load() == (HALTS, POSITION)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"format": 2}',
        '{"format": 1, "halts": {}}',
        '{"format": 1, "halts": {"paused": 1}, "position": {}}',
        '{"format": 1, "halts": {}, "position": {"length": "long"}}',
    ],
)
def test_a_file_that_cannot_be_understood_is_never_read_as_no_halt(tmp_path: Path, content: str) -> None:
    (tmp_path / "outside.json").write_text(content)
    with pytest.raises(OutsideError, match=r"cannot read .*outside\.json"):
        Outside(tmp_path).load()

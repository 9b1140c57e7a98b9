"""`killdeer-coordinator backup` and `restore`: the store and what is kept beside it, in one file.

A backup is taken while the coordinator runs. A restored one is older than what agents and people have seen, and
nobody can know by how much; so a restore leaves a position beside the store that the store does not contain, and
the coordinator that starts on it latches its halt (rule R22), whether or not an agent is there to say the same.
Whom the store has forgotten to have been removed is known beside it, or has to be said.
"""

import io
import json
import os
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

from killdeer.v1.process_pb2 import StorePosition
from killdeer.version import VERSION
from killdeer_coordinator import removals
from killdeer_coordinator.config import Config
from killdeer_coordinator.core.books import RemovalRow
from killdeer_coordinator.outside import FILE_NAME, Outside, sync
from killdeer_coordinator.removals import Removals
from killdeer_coordinator.store.sqlite import lock_directory
from killdeer_coordinator.store.store import Store

FORMAT: Final = 1
DATABASE: Final = "killdeer.db"
ABOUT: Final = "about.json"
BESIDE: Final = (FILE_NAME, removals.FILE_NAME)
_STAGE = "restoring"
_MOST_ABOUT = 64 * 1024
# As long as the coordinator itself waits for a lock.
_BUSY_S = 10


class BackupError(Exception):
    """What cannot be done, why, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """`entries`: of the audit log, as the backup has it."""

    file: Path
    octets: int
    entries: int


def back_up(config: Config, file: Path) -> Made:
    """Into a new file, readable by its owner alone; durable when it returns. Raises BackupError, OutsideError."""
    _refuse_elsewhere(config, "back up")
    database = config.state / DATABASE
    if not database.exists():
        raise BackupError(f"cannot back up {database}: it is not there; --config says which coordinator's")
    if file.exists():
        raise BackupError(f"cannot write {file}: it is there already; name another file")
    Outside(config.state).load(), Removals(config.state)  # what cannot be read is of no use to whoever restores it
    beside = {name: config.state / name for name in BESIDE}
    try:
        kept = {name: path.read_bytes() for name, path in beside.items() if path.exists()}
        with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".killdeer-backup-") as folder:
            copy = Path(folder) / DATABASE
            entries = _copied(database, copy)
            about = {"format": FORMAT, "version": VERSION, "made": _now(), "entries": entries}
            whole = Path(folder) / "whole.tar"
            with whole.open("wb") as out:
                with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
                    _add(archive, ABOUT, json.dumps(about).encode())
                    for name, content in kept.items():
                        _add(archive, name, content)
                    archive.add(copy, DATABASE, filter=_plain)
                out.flush()
                os.fsync(out.fileno())
            whole.chmod(0o600)
            os.link(whole, file)  # unlike a rename it writes over nothing
            sync(file.absolute().parent)
    except (OSError, sqlite3.Error) as cause:
        raise BackupError(
            f"cannot back up {database} to {file}: {cause}; look at space and modes of both disks, and run it as "
            "root or as the coordinator's user"
        ) from cause
    return Made(file=file, octets=file.stat().st_size, entries=entries)


def restore(config: Config, file: Path, removed: Sequence[str] | None = None) -> Made:
    """Into a state directory without a store; what lies beside one there counts. `removed`: who was removed after
    the backup, all that anybody knows of; None: it lies there. Raises BackupError, StoreError, OutsideError; then
    no store is there."""
    _refuse_elsewhere(config, "restore")
    state = config.state
    if there := sorted(path.name for path in state.glob(f"{DATABASE}*")):
        raise BackupError(
            f"cannot restore into {state}: {', '.join(there)} is there; stop the coordinator and move every "
            f"{DATABASE}* away, but not {' and '.join(BESIDE)}"
        )
    if removed is None and not (state / removals.FILE_NAME).exists():
        raise BackupError(
            f"cannot restore into {state}: {removals.FILE_NAME} is not there, so nobody knows which hosts were "
            "removed after the backup, and they would be served again; put that of the lost state directory there, "
            "or name them: --removed HOST, or --none-removed"
        )
    lock = lock_directory(state)
    stage = state / _STAGE
    try:
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(mode=0o700)
        try:
            _unpack(file, stage)
            entries = _checked(stage, file)
            halts, gone = Outside(stage).load()[0].union(Outside(state).load()[0]), Removals(state)
            gone.keep((*Removals(stage).all(), *_named(removed or ())))
            # First: a store without it might be taken for one that has lost nothing.
            Outside(state).keep(halts, StorePosition(length=entries + 1, head=secrets.token_hex(32)))
            (stage / DATABASE).rename(state / DATABASE)
            sync(state)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        _own(state)
    except (OSError, tarfile.TarError) as cause:
        raise BackupError(
            f"cannot restore {file} into {state}: {cause}; give it a file that `killdeer-coordinator backup` made"
        ) from cause
    finally:
        os.close(lock)
    return Made(file=file, octets=(state / DATABASE).stat().st_size, entries=entries)


def _refuse_elsewhere(config: Config, verb: str) -> None:
    if not config.store:
        return
    beside = " and ".join(str(config.state / name) for name in BESIDE)
    how = {
        "back up": f"pg_dump --format=custom --file=killdeer.dump '{config.store}', and copy {beside} of each "
        "coordinator",
        "restore": f"stop every coordinator, pg_restore --clean --dbname='{config.store}' killdeer.dump, and leave "
        f"each coordinator's {beside} as they are: by these it notices the restore, halts the fleet, and goes on "
        "refusing who was removed",
    }
    raise BackupError(f"cannot {verb} {config.store}: the store is PostgreSQL's to keep; {how[verb]}")


def _copied(database: Path, copy: Path) -> int:
    """All of one moment, while decisions go on; how many entries its audit log has."""
    with (
        closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=_BUSY_S)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
        (entries,) = target.execute("SELECT audit_length FROM fleet").fetchone()
        return int(entries)


def _unpack(file: Path, stage: Path) -> None:
    """The members that a backup has, by name; nothing else in the file is looked at."""
    with tarfile.open(file, mode="r:") as archive:
        about = _about(archive, file)
        if about.get("format") != FORMAT:
            raise BackupError(
                f"cannot restore {file}: it has format {about.get('format')!r}, this version knows {FORMAT}; use "
                f"Killdeer {about.get('version', 'unknown')}, which made it, or a later one"
            )
        for name in (DATABASE, *BESIDE):
            member = _member(archive, name)
            if member is None:
                if name == DATABASE:
                    raise BackupError(f"cannot restore {file}: there is no {name} in it; it is no whole backup")
                continue
            with (stage / name).open("wb") as out:
                os.fchmod(out.fileno(), 0o600)
                shutil.copyfileobj(member, out)
                out.flush()
                os.fsync(out.fileno())


def _about(archive: tarfile.TarFile, file: Path) -> dict[str, Any]:
    member = _member(archive, ABOUT)
    try:
        about = json.loads(member.read(_MOST_ABOUT)) if member is not None else None
    except ValueError:
        about = None
    if not isinstance(about, dict):
        raise BackupError(f"cannot restore {file}: it is no backup of a coordinator")
    return about


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes] | None:
    try:
        return archive.extractfile(name)
    except KeyError:
        return None


def _checked(stage: Path, file: Path) -> int:
    """Brought to this version's schema, its chain whole: how many entries. Raises BackupError, StoreError."""
    store = Store.open(f"sqlite:///{stage / DATABASE}")
    try:
        if problem := store.verify_audit():
            raise BackupError(f"cannot restore {file}: its audit log is not whole: {problem}; take an older backup")
        return store.read().position.length
    finally:
        store.close()


def _named(hosts: Sequence[str]) -> Iterator[RemovalRow]:
    now_ms = int(datetime.now(UTC).timestamp() * 1_000)
    for host in hosts:
        yield RemovalRow(host=host, at_ms=now_ms, who="restore", why="removed after the backup, as was said then")


def _own(state: Path) -> None:
    """Root restores for the user whose directory it is."""
    owner = state.stat()
    if os.geteuid() == 0:
        for path in state.iterdir():
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(_plain(member), io.BytesIO(content))


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o600
    return member


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""Which hosts were removed, beside the store: what a store that is restored from a copy may not know any more.

One small JSON file in the state directory, replaced as a whole. A removal is in it before the store has it, so that
none can be lost with the store alone; it stays for ever, as it does in the store.
"""

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from killdeer_coordinator.core.books import RemovalRow
from killdeer_coordinator.outside import OutsideError, put_whole

FILE_NAME: Final = "removed.json"
_FORMAT = 1


class Removals:
    """Those of one state directory, in memory as they are on disk; may be used by several threads."""

    def __init__(self, directory: Path) -> None:
        """Raises OutsideError for a file that cannot be understood: whom it names would be served."""
        self._path = directory / FILE_NAME
        self._turns = threading.Lock()
        self._known = _read(self._path)

    def of(self, host: str) -> RemovalRow | None:
        """The last one that is known here."""
        return self._known.get(host)

    def all(self) -> tuple[RemovalRow, ...]:
        return tuple(self._known[host] for host in sorted(self._known))

    def keep(self, removed: Iterable[RemovalRow]) -> None:
        """Of each host the latest; durable when it returns. Raises OutsideError; then what was known is."""
        with self._turns:
            known = dict(self._known)
            for row in removed:
                if newer(row, known.get(row.host)):
                    known[row.host] = row
            if known != self._known or not self._path.exists():
                put_whole(
                    self._path, {"format": _FORMAT, "removals": [asdict(known[host]) for host in sorted(known)]}
                )
                self._known = known


def newer(row: RemovalRow, than: RemovalRow | None) -> bool:
    return than is None or row.at_ms > than.at_ms


def missing(known: Sequence[RemovalRow], stored: Sequence[RemovalRow]) -> tuple[RemovalRow, ...]:
    """Of `known`: what is later than anything `stored` of that host."""
    there = {row.host: row for row in stored}
    return tuple(row for row in known if newer(row, there.get(row.host)))


def _read(path: Path) -> dict[str, RemovalRow]:
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != _FORMAT:
            raise OutsideError(
                f"cannot read {path}: it has format {document['format']!r}, this version knows {_FORMAT}; install "
                "the version of Killdeer that wrote it"
            )
        rows = (
            RemovalRow(host=str(one["host"]), at_ms=int(one["at_ms"]), who=str(one["who"]), why=str(one["why"]))
            for one in document["removals"]
        )
        return {row.host: row for row in rows}
    except FileNotFoundError:
        return {}
    except OSError as cause:
        raise OutsideError(f"cannot read {path}: {cause.strerror}; mend its mode or disk") from cause
    except (ValueError, KeyError, TypeError) as cause:
        raise OutsideError(
            f"cannot read {path}: {cause!r}; whom it names would be served, so it is not passed over: restore it, "
            "or move it away and, if the store was restored, remove again who was removed since"
        ) from cause

"""The audit chain: each entry's hash covers the one before it, so that a changed row is seen (I9).

hash = hex SHA-256 of the previous hash (empty for the first entry) followed by the entry as JSON: its fields
but the hash, named as on the wire, `details` as its text, keys sorted, no spaces, UTF-8.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping

from killdeer.v1.operator_pb2 import AuditEntry
from killdeer.v1.process_pb2 import StorePosition
from killdeer_coordinator.core.books import Audited


def canonical(value: object) -> str:
    """The one JSON text of a value. Raises TypeError or ValueError for what JSON cannot hold."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def entry_hash(previous: str, entry: AuditEntry) -> str:
    text = canonical(
        {
            "number": entry.number,
            "at_unix_ms": entry.at_unix_ms,
            "who": entry.who,
            "what": entry.what,
            "subject": entry.subject,
            "why": entry.why,
            "details": entry.details,
        }
    )
    return hashlib.sha256((previous + text).encode()).hexdigest()


def without_nul(text: str) -> str:
    """The one character that a client may send and PostgreSQL's texts do not hold, shown as unreadable."""
    return text.replace("\0", "\ufffd")


def append(position: StorePosition, audited: Iterable[Audited], at_ms: int) -> list[AuditEntry]:
    """The entries that follow `position`, numbered and chained."""
    entries: list[AuditEntry] = []
    number, head = position.length, position.head
    for item in audited:
        number += 1
        entry = AuditEntry(
            number=number,
            at_unix_ms=at_ms,
            who=without_nul(item.who),
            what=item.what,
            subject=without_nul(item.subject),
            why=without_nul(item.why),
            details=canonical(item.details),
        )
        entry.hash = head = entry_hash(head, entry)
        entries.append(entry)
    return entries


def problem_of(
    entries: Iterable[AuditEntry], recorded: StorePosition, witnessed: Mapping[str, StorePosition]
) -> str:
    """Where the chain breaks, in one sentence; empty: nowhere.

    `recorded` is the position in the fleet row; `witnessed` what others were shown: who -> position.
    """
    marks: dict[int, list[tuple[str, str]]] = {}
    for who, position in witnessed.items():
        if position.length:
            marks.setdefault(position.length, []).append((who, position.head))
    number, head = 0, ""
    for entry in entries:
        number += 1
        if entry.number != number:
            return f"entry {number} is missing: entry {entry.number} stands in its place"
        if entry.hash != entry_hash(head, entry):
            return f"entry {number} ({entry.what} by {entry.who}) has been changed: its hash does not fit"
        head = entry.hash
        for who, seen in marks.pop(number, []):
            if seen != head:
                return f"entry {number} is not the one that {who} was shown: the chain has been rewritten"
    if (number, head) != (recorded.length, recorded.head):
        return f"the chain ends at entry {number}, the fleet row says {recorded.length}: entries are missing"
    if marks:
        length = min(marks)
        return f"{marks[length][0][0]} was shown {length} entries, the chain has {number}: entries are missing"
    return ""

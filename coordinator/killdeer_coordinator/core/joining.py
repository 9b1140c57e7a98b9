"""Who may join, be certified anew, and who may not any more: pure decisions, each with its audit entry.

A token is good once: it is used up in the transaction that records the certificate. A host that is removed has no
good certificate but those issued since, whoever made the others; so what `init` has made is refused as well. Its
row stays until no permit is held there, and then it is forgotten as if it had never joined.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from killdeer_coordinator.core.approval import not_to_accept
from killdeer_coordinator.core.books import (
    REMOVED,
    Audited,
    Books,
    CertificateRow,
    Change,
    Decide,
    Decision,
    ForgetHost,
    HostRow,
    Permit,
    PutCertificate,
    PutHost,
    PutRemoval,
    PutToken,
    RemovalRow,
    TokenRow,
)
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.core.roster import FRESH_NS, NS_PER_MS, right_ns

TTL_LEAST_MS, TTL_MOST_MS = 60_000, 24 * 3_600_000
# Of one host and not ended. An agent asks for its next one about twice in the life of the last.
CERTIFICATES_MOST = 20
# Wrong tokens of one address, and how soon it may try again.
GUESSES_MOST, GUESSES_PER_NS = 5, 60_000_000_000
ADDRESSES_MOST = 4_096

NEW_TOKEN = "make one on the coordinator's machine: killdeer-coordinator token create"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """`held` are the permits for which its row stays."""

    row: HostRow
    held: tuple[Permit, ...]


def hash_of(token: str) -> str:
    """A token has 256 random bits, so no salt and no slow hash would make it harder to find."""
    return hashlib.sha256(token.encode()).hexdigest()


def created(token_hash: str, host: str, ttl_ms: int, who: str) -> Decide:
    """A token for that host, or for any that is new. Answers the TokenRow, or Refused."""

    def decide(books: Books) -> Decision:
        if not TTL_LEAST_MS <= ttl_ms <= TTL_MOST_MS:
            return Decision(answer=_no("a token lives between 1m and 24h", field="ttl", remedy="give --ttl 15m"))
        row = TokenRow(
            token_hash=token_hash,
            host=host,
            created_by=who,
            created_ms=books.now_ms,
            expires_ms=books.now_ms + ttl_ms,
        )
        details: dict[str, object] = {"host": host, "expires_unix_ms": row.expires_ms}
        return Decision((PutToken(row),), (Audited(who, "token.created", row.name, details=details),), row)

    return decide


def joined(token_hash: str, certificate: CertificateRow) -> Decide:
    """The certificate for the token. Answers the CertificateRow as it is recorded, or Refused."""

    def decide(books: Books) -> Decision:
        token, host = books.token_of(token_hash), certificate.host
        no = _not_good(token, books.now_ms) or _not_for(books, token, host)
        if no is not None or token is None:
            return Decision(answer=no)
        used = replace(token, used_ms=max(books.now_ms, 1), used_for=host)
        recorded = replace(certificate, issued_ms=books.now_ms)
        entry = _issued(token.created_by, recorded, f"for the token {token.name}")
        return Decision((PutToken(used), PutCertificate(recorded)), (entry,), recorded)

    return decide


def renewed(serial: str, certificate: CertificateRow) -> Decide:
    """The next certificate of the host whose stream was opened with `serial`. Answers as `joined` does."""

    def decide(books: Books) -> Decision:
        host = certificate.host
        row = books.hosts.get(host)
        if row is None or row.quarantined:
            why = row.quarantined if row is not None else "it has not joined"
            return Decision(answer=_no(why, host=host, remedy="killdeer hosts says what is wrong with it"))
        if why := not_trusted(books, host, serial):
            return Decision(answer=_no(why, host=host, remedy=NEW_TOKEN))
        valid = [one for one in books.certificates_of(host) if one.ends_ms > books.now_ms]
        if len(valid) >= CERTIFICATES_MOST:
            cause = f"it has {len(valid)} that have not ended yet"
            return Decision(answer=_no(cause, "RESOURCE_EXHAUSTED", host=host, remedy="it is to ask less often"))
        recorded = replace(certificate, issued_ms=books.now_ms)
        entry = _issued(f"host {host}", recorded, f"in the place of {serial[:16]}")
        return Decision((PutCertificate(recorded),), (entry,), recorded)

    return decide


def not_trusted(books: Books, host: str, serial: str) -> str:
    """Why a certificate of this host is not good, though its authority and its dates are; empty: it is."""
    removal = books.removal_of(host)
    if removal is None or any(one.serial == serial for one in books.certificates_of(host)):
        return ""
    return f"the certificate was issued before {host} was removed by {removal.who} ({removal.why})"


def removed(host: str, who: str, reason: str) -> Decide:
    """Nobody is served as this host from now on. Answers Removed, or Refused. Twice is the same as once."""

    def decide(books: Books) -> Decision:
        row = books.hosts.get(host)
        if row is None and not books.certificates_of(host):
            remedy = "killdeer hosts lists them"
            return Decision(
                answer=_no("no such host has ever joined", "NOT_FOUND", verb=f"remove {host}", remedy=remedy)
            )
        row = row or HostRow(host=host, labels={})
        if row.removed:
            return Decision(answer=Removed(row=row, held=_held(books, host)))
        if (no := not_to_accept(books, row, who)) is not None:
            return Decision(answer=replace(no, message=no.message.replace("cannot accept", "cannot remove", 1)))
        gone = replace(row, quarantined=f"{REMOVED} by {who}: {reason}")
        removal = RemovalRow(host=host, at_ms=books.now_ms, who=who, why=reason)
        details: dict[str, object] = {"serials": [one.serial for one in books.certificates_of(host)]}
        return Decision(
            (PutRemoval(removal), PutHost(gone)),
            (Audited(who, "host.removed", host, reason, details),),
            Removed(row=gone, held=_held(books, host)),
        )

    return decide


def still_removed(removals: Iterable[RemovalRow]) -> Decide:
    """What was known beside the store, and not in it: it was restored from before them. Answers the hosts."""

    def decide(books: Books) -> Decision:
        changes: list[Change] = []
        entries = []
        for removal in removals:
            known, row = books.removal_of(removal.host), books.hosts.get(removal.host)
            if known is not None and known.at_ms > removal.at_ms:
                continue  # again, meanwhile
            changes.append(PutRemoval(removal))
            if row is not None and not row.removed:
                changes.append(PutHost(replace(row, quarantined=f"{REMOVED} by {removal.who}: {removal.why}")))
            why = f"kept outside the store: by {removal.who}: {removal.why}"
            entries.append(Audited("coordinator", "host.removed", removal.host, why, {"at_unix_ms": removal.at_ms}))
        return Decision(tuple(changes), tuple(entries), tuple(entry.subject for entry in entries))

    return decide


def forgotten(host: str, lease_ms: int) -> Decide:
    """Answers True where a removed host is no host any more: no permit is held there, and its right to act is over,
    whichever coordinator gave it. `lease_ms` is what is promised here now."""

    def decide(books: Books) -> Decision:
        row, removal = books.hosts.get(host), books.removal_of(host)
        if row is None or not row.removed or removal is None or _held(books, host):
            return Decision(answer=row is None)
        right_ms = (FRESH_NS + right_ns(max(row.longest_lease_ms, lease_ms))) // NS_PER_MS
        if books.now_ms - removal.at_ms < right_ms:
            return Decision(answer=False)
        entry = Audited("coordinator", "host.forgotten", host, row.quarantined)
        return Decision((ForgetHost(host),), (entry,), True)

    return decide


def of_another(books: Books, authority: str) -> list[str]:
    """Hosts without a certificate of that CA that has not ended, by name. One that is removed needs none."""
    return [
        row.host
        for row in sorted(books.hosts.values(), key=lambda row: row.host)
        if not row.removed
        and not any(
            one.authority == authority and one.ends_ms > books.now_ms for one in books.certificates_of(row.host)
        )
    ]


class Guesses:
    """Wrong tokens, by the address that they came from. No guess finds 256 bits; this keeps the log short and the
    store free for others."""

    def __init__(self) -> None:
        self._wrong: dict[str, list[int]] = {}

    def wait_ns(self, address: str, now_ns: int) -> int:
        """How long until this address may try; 0: now."""
        lately = self._lately(address, now_ns)
        return lately[0] + GUESSES_PER_NS - now_ns if len(lately) >= GUESSES_MOST else 0

    def wrong(self, address: str, now_ns: int) -> None:
        lately = self._lately(address, now_ns)
        self._wrong.pop(address, None)
        while len(self._wrong) >= ADDRESSES_MOST:
            del self._wrong[next(iter(self._wrong))]
        self._wrong[address] = [*lately, now_ns][-GUESSES_MOST:]

    def _lately(self, address: str, now_ns: int) -> list[int]:
        return [at for at in self._wrong.get(address, ()) if now_ns - at < GUESSES_PER_NS]


def _not_good(token: TokenRow | None, now_ms: int) -> Refused | None:
    if token is None:
        why = "the token is not known here"
    elif token.used_ms:
        why = f"the token {token.name} has been used, for {token.used_for}"
    elif not token.created_ms <= now_ms < token.expires_ms:
        why = f"the time of the token {token.name} is over"
    else:
        return None
    return _no(why, "UNAUTHENTICATED", verb="join", field="token", remedy=NEW_TOKEN)


def _not_for(books: Books, token: TokenRow | None, host: str) -> Refused | None:
    """A token for anybody introduces new hosts only: who holds it cannot take the name of one that is there."""
    if token is None:
        return None
    if token.host not in ("", host):
        why = f"the token {token.name} is for {token.host}, not for {host}"
        return _no(why, verb="join", field="host", remedy=f"say --host {token.host}, or {NEW_TOKEN} --host {host}")
    row = books.hosts.get(host)
    if row is not None and row.removed:
        why = f"{host} is being removed, and permits are held there still"
        return _no(why, "FAILED_PRECONDITION", verb="join", field="host", remedy="killdeer permits lists them")
    known = row is not None or any(one.ends_ms > books.now_ms for one in books.certificates_of(host))
    if known and not token.host:
        why = f"{host} is the name of a host that has joined, and the token is for new ones"
        return _no(why, verb="join", field="host", remedy=f"{NEW_TOKEN} --host {host}")
    return None


def _held(books: Books, host: str) -> tuple[Permit, ...]:
    return tuple(one for one in books.permits.values() if one.host == host and not one.released_ms)


def _issued(who: str, row: CertificateRow, why: str) -> Audited:
    details: dict[str, object] = {"serial": row.serial, "ends_unix_ms": row.ends_ms, "authority": row.authority}
    return Audited(who, "certificate.issued", row.host, why, details)


def _no(
    cause: str,
    code: str = "PERMISSION_DENIED",
    *,
    host: str = "",
    verb: str = "",
    field: str = "",
    remedy: str,
) -> Refused:
    verb = verb or (f"certify {host}" if host else "create a token")
    return Refused(code=code, message=f"cannot {verb}: {cause}", field=field, remedy=remedy)

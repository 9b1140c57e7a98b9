"""Who may join, be certified anew, and who may not any more: the decisions, on books in memory."""

from dataclasses import replace
from typing import Any

import pytest

from killdeer_coordinator.core import joining
from killdeer_coordinator.core.books import (
    Books,
    CertificateRow,
    Decide,
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
from tests.support.books import T0, books, host

MINUTE = 60_000
HASH = joining.hash_of("secret")


class Desk:
    """Books that keep what is decided on them."""

    def __init__(self, *hosts: HostRow) -> None:
        self.tokens: dict[str, TokenRow] = {}
        self.certificates: list[CertificateRow] = []
        self.removals: dict[str, RemovalRow] = {}
        self.audit: list[str] = []
        self.books = replace(
            books(hosts=hosts),
            token_of=self.tokens.get,
            certificates_of=lambda name: tuple(one for one in self.certificates if one.host == name),
            removal_of=self.removals.get,
        )

    def decide(self, decide: Decide) -> Any:
        decision = decide(self.books)
        for change in decision.changes:
            match change:
                case PutToken(row=token):
                    self.tokens[token.token_hash] = token
                case PutCertificate(row=certificate):
                    self.certificates.append(certificate)
                case PutRemoval(row=removal):
                    self.removals[removal.host] = removal
                    self.certificates = [one for one in self.certificates if one.host != removal.host]
                case PutHost(row=row):
                    self.books.hosts[row.host] = row
                case ForgetHost(host=name):
                    del self.books.hosts[name]
                case _:
                    raise AssertionError(f"this desk has no room for {change}")
        self.audit += [f"{entry.what} {entry.subject} by {entry.who}" for entry in decision.audit]
        return decision.answer

    def later(self, ms: int) -> None:
        self.books = replace(self.books, now_ms=self.books.now_ms + ms)

    def refused(self, decide: Decide) -> str:
        answer = self.decide(decide)
        assert isinstance(answer, Refused), answer
        assert answer.message.startswith("cannot ")
        assert answer.remedy
        return answer.message


def certificate(
    name: str = "web-1", serial: str = "c1", ends_ms: int = T0 + 7 * 24 * 60 * MINUTE
) -> CertificateRow:
    return CertificateRow(serial=serial, host=name, issued_ms=0, ends_ms=ends_ms, authority="ca")


def create(name: str = "", ttl_ms: int = 15 * MINUTE) -> Decide:
    return joining.created(HASH, name, ttl_ms, "ada")


def held(desk: Desk, name: str) -> None:
    desk.books.permits["p1"] = Permit(
        permit_id="p1",
        command_id="k1",
        run_id="r1",
        host=name,
        service="worker@",
        zone="a",
        granted_ms=T0,
        not_after_ms=T0 + 1,
    )


# --- tokens -------------------------------------------------------------------------------------------------


def test_a_token_certifies_one_host_and_is_used_up_in_the_same_decision() -> None:
    desk = Desk()
    assert isinstance(desk.decide(create()), TokenRow)
    decision = joining.joined(HASH, certificate())(desk.books)
    assert {type(change) for change in decision.changes} == {PutToken, PutCertificate}
    recorded = desk.decide(joining.joined(HASH, certificate()))
    assert recorded == replace(certificate(), issued_ms=T0)
    assert desk.tokens[HASH].used_for == "web-1"
    assert desk.audit == [
        f"token.created {HASH[:8]} by ada",
        "certificate.issued web-1 by ada",
    ]
    assert "has been used, for web-1" in desk.refused(joining.joined(HASH, certificate("web-2", "c2")))
    assert [one.serial for one in desk.certificates] == ["c1"]


def test_a_token_that_nobody_made_is_good_for_nothing() -> None:
    desk = Desk()
    desk.decide(create())
    assert "not known" in desk.refused(joining.joined(joining.hash_of("guess"), certificate()))


@pytest.mark.parametrize(("ms", "good"), [(15 * MINUTE - 1, True), (15 * MINUTE, False), (-1, False)])
def test_a_token_is_good_until_its_time_and_never_on_a_clock_that_ran_back(ms: int, good: bool) -> None:
    desk = Desk()
    desk.decide(create())
    desk.later(ms)
    if good:
        assert isinstance(desk.decide(joining.joined(HASH, certificate())), CertificateRow)
    else:
        assert "is over" in desk.refused(joining.joined(HASH, certificate()))


@pytest.mark.parametrize("ttl_ms", [0, joining.TTL_LEAST_MS - 1, joining.TTL_MOST_MS + 1])
def test_a_token_lives_for_a_minute_to_a_day(ttl_ms: int) -> None:
    assert "between 1m and 24h" in Desk().refused(create(ttl_ms=ttl_ms))


def test_a_bound_token_is_for_its_name_alone_and_may_replace_a_host() -> None:
    desk = Desk(host("web-1"))
    desk.decide(create("web-1"))
    assert "is for web-1, not for web-2" in desk.refused(joining.joined(HASH, certificate("web-2")))
    assert not desk.tokens[HASH].used_ms
    assert isinstance(desk.decide(joining.joined(HASH, certificate())), CertificateRow)


def test_an_unbound_token_takes_no_name_that_is_there_or_was_just_given() -> None:
    desk = Desk(host("web-1"))
    desk.decide(create())
    assert "name of a host that has joined" in desk.refused(joining.joined(HASH, certificate()))
    desk.certificates.append(certificate("web-2"))
    assert "name of a host that has joined" in desk.refused(joining.joined(HASH, certificate("web-2", "c2")))
    desk.later(8 * 24 * 60 * MINUTE)
    desk.tokens[HASH] = replace(desk.tokens[HASH], created_ms=desk.books.now_ms, expires_ms=desk.books.now_ms + 1)
    fresh = certificate("web-2", "c2", desk.books.now_ms + MINUTE)
    assert isinstance(desk.decide(joining.joined(HASH, fresh)), CertificateRow), (
        "the first was never used, and ended"
    )


# --- renewal ------------------------------------------------------------------------------------------------


def test_a_host_that_is_served_gets_its_next_certificate() -> None:
    desk = Desk(host("web-1"))
    assert desk.decide(joining.renewed("c1", certificate(serial="c2"))) == replace(
        certificate(serial="c2"), issued_ms=T0
    )
    assert desk.audit == ["certificate.issued web-1 by host web-1"]


def test_a_host_in_quarantine_or_unknown_gets_none() -> None:
    desk = Desk(replace(host("web-1"), quarantined="a clone"))
    assert "a clone" in desk.refused(joining.renewed("c1", certificate()))
    assert "has not joined" in desk.refused(joining.renewed("c1", certificate("web-2")))


def test_a_host_that_asks_without_end_is_told_no() -> None:
    desk = Desk(host("web-1"))
    for number in range(joining.CERTIFICATES_MOST):
        desk.decide(joining.renewed("c1", certificate(serial=f"n{number}")))
    assert "have not ended yet" in desk.refused(joining.renewed("c1", certificate(serial="more")))


# --- removal ------------------------------------------------------------------------------------------------


def test_of_a_removed_host_no_certificate_is_good_whoever_has_made_it() -> None:
    desk = Desk(host("web-1"))
    desk.certificates.append(certificate())
    assert joining.not_trusted(desk.books, "web-1", "c1") == ""
    assert joining.not_trusted(desk.books, "web-1", "of init") == ""
    gone = desk.decide(joining.removed("web-1", "eve", "stolen"))
    assert gone.row.removed
    for serial in ("c1", "of init", ""):
        assert "removed by eve (stolen)" in joining.not_trusted(desk.books, "web-1", serial)
    assert joining.not_trusted(desk.books, "web-2", "of init") == ""
    assert "removed" in desk.refused(joining.renewed("c1", certificate(serial="c2")))


def test_what_is_issued_after_a_removal_is_good() -> None:
    desk = Desk(host("web-1"))
    desk.decide(joining.removed("web-1", "eve", "stolen"))
    desk.later(MINUTE)
    assert desk.decide(joining.forgotten("web-1", 3_000)) is True
    desk.decide(create())
    desk.decide(joining.joined(HASH, certificate(serial="c2")))
    assert joining.not_trusted(desk.books, "web-1", "c2") == ""
    assert joining.not_trusted(desk.books, "web-1", "c1") != ""


def test_a_removed_host_is_forgotten_once_no_permit_is_held_there() -> None:
    desk = Desk(host("web-1"))
    held(desk, "web-1")
    gone = desk.decide(joining.removed("web-1", "eve", "stolen"))
    assert [permit.permit_id for permit in gone.held] == ["p1"]
    desk.later(MINUTE)
    assert desk.decide(joining.forgotten("web-1", 3_000)) is False
    desk.decide(create("web-1"))
    assert "permits are held there still" in desk.refused(joining.joined(HASH, certificate()))
    desk.books.permits["p1"] = replace(desk.books.permits["p1"], released_ms=T0, released_why="recovered")
    assert desk.decide(joining.forgotten("web-1", 3_000)) is True
    assert "web-1" not in desk.books.hosts
    assert desk.audit[-1] == "host.forgotten web-1 by coordinator"


def test_r9_a_removed_host_is_not_forgotten_before_its_longest_lease_is_over() -> None:
    desk = Desk(replace(host("web-1"), longest_lease_ms=10_000))
    desk.decide(joining.removed("web-1", "eve", "stolen"))
    desk.later(13_099)
    assert desk.decide(joining.forgotten("web-1", 3_000)) is False
    desk.later(1)
    assert desk.decide(joining.forgotten("web-1", 3_000)) is True


def test_a_host_that_was_not_removed_is_never_forgotten() -> None:
    desk = Desk(host("web-1"))
    assert desk.decide(joining.forgotten("web-1", 3_000)) is False
    assert "web-1" in desk.books.hosts


def test_removed_twice_is_removed_once() -> None:
    desk = Desk(host("web-1"))
    first = desk.decide(joining.removed("web-1", "eve", "stolen"))
    assert desk.decide(joining.removed("web-1", "ada", "again")) == first
    assert desk.audit == ["host.removed web-1 by eve"]


def test_a_removal_that_a_restored_store_has_forgotten_is_put_back_with_its_entry() -> None:
    desk = Desk(host("web-1"))
    desk.certificates.append(certificate())
    removal = RemovalRow(host="web-1", at_ms=T0, who="eve", why="stolen")
    never = RemovalRow(host="web-9", at_ms=T0, who="eve", why="it is not in these books")
    assert desk.decide(joining.still_removed([removal, never])) == ("web-1", "web-9")
    assert desk.books.hosts["web-1"].quarantined == "it was removed by eve: stolen"
    for name, serial in (("web-1", "c1"), ("web-1", "of init"), ("web-9", "of init")):
        assert "removed by eve" in joining.not_trusted(desk.books, name, serial)
    assert desk.audit == ["host.removed web-1 by coordinator", "host.removed web-9 by coordinator"]


def test_a_host_that_was_removed_again_meanwhile_keeps_the_later_removal() -> None:
    desk = Desk(host("web-1"))
    desk.later(MINUTE)
    desk.decide(joining.removed("web-1", "eve", "stolen"))
    older = RemovalRow(host="web-1", at_ms=T0, who="ada", why="retired")
    assert desk.decide(joining.still_removed([older])) == ()
    assert "removed by eve" in joining.not_trusted(desk.books, "web-1", "c1")


def test_a_host_that_has_joined_and_never_come_can_be_removed() -> None:
    desk = Desk()
    desk.certificates.append(certificate())
    assert desk.decide(joining.removed("web-1", "eve", "typed wrongly")).row.host == "web-1"
    assert "no such host" in desk.refused(joining.removed("web-2", "eve", "typed wrongly"))


def test_r30_in_production_the_owner_of_a_run_there_removes_no_host() -> None:
    from tests.support.books import run

    desk = Desk(host("web-1", environment="production"))
    desk.books.runs["r1"] = run("r1", environment="production")
    held(desk, "web-1")
    assert "cannot remove web-1" in desk.refused(joining.removed("web-1", "ada", "mine"))
    assert desk.decide(joining.removed("web-1", "eve", "hers")).row.removed


# --- guesses ------------------------------------------------------------------------------------------------


def test_after_five_wrong_tokens_an_address_waits_for_the_oldest_to_be_a_minute_old() -> None:
    guesses = joining.Guesses()
    for second in range(joining.GUESSES_MOST):
        assert guesses.wait_ns("a", second * 10**9) == 0
        guesses.wrong("a", second * 10**9)
    assert guesses.wait_ns("a", 10 * 10**9) == 50 * 10**9
    assert guesses.wait_ns("b", 10 * 10**9) == 0
    assert guesses.wait_ns("a", 60 * 10**9) == 0


def test_addresses_without_end_take_no_room_without_end() -> None:
    guesses = joining.Guesses()
    for number in range(joining.ADDRESSES_MOST + 10):
        guesses.wrong(f"a{number}", number)
    assert len(guesses._wrong) == joining.ADDRESSES_MOST


def test_books_without_these_questions_trust_as_before() -> None:
    plain: Books = books(hosts=(host("web-1"),))
    assert joining.not_trusted(plain, "web-1", "") == ""

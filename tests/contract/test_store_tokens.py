"""Who may join, as every store keeps it: tokens are used once, removals outlive what was issued before them."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from killdeer.halts import Halts
from killdeer.v1.agent_pb2 import Hello
from killdeer_coordinator.core import joining
from killdeer_coordinator.core.admission import Untrusted, admit
from killdeer_coordinator.core.books import (
    CertificateRow,
    Decision,
    FleetLimits,
    HostRow,
    PutHost,
    PutToken,
    RemovalRow,
    TokenRow,
)
from killdeer_coordinator.core.refusal import Refused
from killdeer_coordinator.outside import OutsideError
from killdeer_coordinator.removals import Removals, missing
from killdeer_coordinator.store import Store, StoreFailure
from tests.support.rows import NOW_MS, SetClock, putting

HASH = joining.hash_of("secret")
LIFE_MS = 7 * 24 * 3_600_000


def certificate(serial: str = "c1", host: str = "web-1") -> CertificateRow:
    return CertificateRow(serial=serial, host=host, issued_ms=0, ends_ms=NOW_MS + LIFE_MS, authority="ca")


def create(store: Store, host: str = "") -> TokenRow:
    answer = store.decide(joining.created(HASH, host, 900_000, "ada")).answer
    assert isinstance(answer, TokenRow)
    return answer


def refused(store: Store, serial: str = "c2", host: str = "web-1") -> str:
    answer = store.decide(joining.joined(HASH, certificate(serial, host))).answer
    assert isinstance(answer, Refused)
    return answer.message


def test_a_token_is_kept_as_its_hash_and_used_once(store: Store) -> None:
    made = create(store)
    assert store.token_of(HASH) == made
    assert store.token_of("secret") is None
    recorded = store.decide(joining.joined(HASH, certificate())).answer
    assert store.certificates_of("web-1") == (recorded,)
    used = store.token_of(HASH)
    assert used is not None
    assert (used.used_ms, used.used_for) == (NOW_MS, "web-1")
    assert "has been used" in refused(store, host="web-2")
    assert [entry.what for entry in store.audit()] == ["token.created", "certificate.issued"]


def test_the_table_itself_lets_no_token_be_used_twice(store: Store) -> None:
    made = replace(create(store), used_ms=NOW_MS, used_for="web-1")
    store.decide(putting(PutToken(made)))
    with pytest.raises(StoreFailure, match="it has been used"):
        store.decide(putting(PutToken(replace(made, used_for="web-2"))))
    assert store.token_of(HASH) == made


def test_a_decision_that_fails_uses_no_token_and_records_no_certificate(store: Store) -> None:
    made = create(store)
    decide = joining.joined(HASH, certificate())

    def broken(books: object) -> Decision:
        decision = decide(books)  # type: ignore[arg-type]
        # The second certificate of that serial is one too many.
        return replace(decision, changes=(*decision.changes, decision.changes[-1]))

    with pytest.raises(StoreFailure):
        store.decide(broken)
    assert store.token_of(HASH) == made
    assert store.certificates_of("web-1") == ()


def test_of_many_who_come_at_once_with_one_token_one_is_certified(durable_url: str) -> None:
    with_store = Store.open(durable_url)
    try:
        create(with_store)
        answers: list[object] = []

        def come(number: int) -> None:
            row = certificate(f"c{number}", f"web-{number}")
            answers.append(with_store.decide(joining.joined(HASH, row)).answer)

        threads = [threading.Thread(target=come, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(isinstance(answer, CertificateRow) for answer in answers) == 1
        assert sum(isinstance(answer, Refused) for answer in answers) == 5
    finally:
        with_store.close()


def test_a_removal_takes_the_certificates_and_what_is_issued_later_is_good(store: Store, clock: SetClock) -> None:
    create(store, "web-1")
    store.decide(joining.joined(HASH, certificate()))
    store.decide(putting(PutHost(HostRow(host="web-1", labels={}, session="s1", heard=True))))
    assert not _untrusted(store, "c1")
    store.decide(joining.removed("web-1", "eve", "stolen"))
    assert _untrusted(store, "c1")
    assert store.certificates_of("web-1") == ()
    assert store.read().hosts["web-1"].removed
    clock.now_ms += 60_000
    assert store.decide(joining.forgotten("web-1", 3_000)).answer is True
    assert store.read().hosts == {}
    assert _untrusted(store, "c1"), "forgotten is not forgiven"
    removal = store.removal_of("web-1")
    assert removal is not None
    assert (removal.who, removal.why, removal.at_ms) == ("eve", "stolen", NOW_MS)
    later = TokenRow(token_hash="t2", host="", created_by="ada", created_ms=NOW_MS, expires_ms=NOW_MS + 90_000)
    store.decide(putting(PutToken(later)))
    store.decide(joining.joined("t2", certificate("c2")))
    assert not _untrusted(store, "c2")
    assert _untrusted(store, "c1")


def _untrusted(store: Store, serial: str) -> bool:
    hello = Hello(host="web-1", boot_id="b1", session="s1")
    decide = admit("web-1", hello, "s2", 3_000, Halts(), NOW_MS, serial=serial)
    return isinstance(decide(store.read()).answer, Untrusted)


def test_certificates_that_have_ended_go_with_the_next_one(store: Store, clock: SetClock) -> None:
    store.decide(putting(PutHost(HostRow(host="web-1", labels={}))))
    store.decide(joining.renewed("", certificate("c1")))
    clock.now_ms = NOW_MS + LIFE_MS + 1
    late = replace(certificate("c2"), ends_ms=clock.now_ms + LIFE_MS)
    store.decide(joining.renewed("", late))
    assert [one.serial for one in store.certificates_of("web-1")] == ["c2"]


# --- beside a coordinator that runs -------------------------------------------------------------------------


def test_a_command_decides_in_the_store_of_a_coordinator_that_has_it_open(durable_url: str) -> None:
    running = Store.open(durable_url, limits=FleetLimits(limits={"in_flight": 3}))
    try:
        beside = Store.beside(durable_url)
        try:
            create(beside)
        finally:
            beside.close()
        assert running.token_of(HASH) is not None
        assert [entry.what for entry in running.audit()] == ["token.created"]
        assert running.verify_audit() == ""
    finally:
        running.close()


def test_a_command_makes_no_store_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(StoreFailure, match="start the coordinator first"):
        Store.beside(f"sqlite:///{tmp_path}/killdeer.db")
    assert list(tmp_path.iterdir()) == []


def test_a_command_changes_no_store_of_another_revision(durable_url: str) -> None:
    from sqlalchemy import make_url, text

    from killdeer_coordinator.store.store import _open

    Store.open(durable_url).close()
    database = _open(str(make_url(durable_url).render_as_string(hide_password=False)))
    with database.deciding.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    database.close()
    with pytest.raises(StoreFailure, match="it is at revision 0002"):
        Store.beside(durable_url)


# --- removals beside the store -------------------------------------------------------------------------------


def test_what_is_removed_is_beside_the_store_before_it_is_in_it(
    store_url: str, clock: SetClock, tmp_path: Path
) -> None:
    beside = Removals(tmp_path / "state")
    store = Store.open(store_url, clock=clock, removals=beside)
    store.decide(putting(PutHost(HostRow(host="web-1", labels={}))))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "removed.new").mkdir()  # it cannot be written
    with pytest.raises(StoreFailure, match=r"cannot write .*removed\.json"):
        store.decide(joining.removed("web-1", "eve", "stolen"))
    assert (store.removal_of("web-1"), beside.all(), store.read().hosts["web-1"].removed) == (None, (), False)
    (tmp_path / "state" / "removed.new").rmdir()
    store.decide(joining.removed("web-1", "eve", "stolen"))
    assert Removals(tmp_path / "state").all() == (store.removal_of("web-1"),) == tuple(store.removals())
    store.close()


def test_a_removal_beside_the_store_that_is_later_than_the_stores_holds_for_every_decision(
    store_url: str, clock: SetClock, tmp_path: Path
) -> None:
    beside = Removals(tmp_path / "state")
    store = Store.open(store_url, clock=clock, removals=beside)
    create(store)
    store.decide(joining.joined(HASH, certificate()))
    admitted = admit("web-1", Hello(host="web-1"), "s", 3_000, Halts(), 0, serial="c1")
    assert not isinstance(store.decide(admitted).answer, Untrusted)
    beside.keep([RemovalRow(host="web-1", at_ms=NOW_MS + 1, who="eve", why="stolen")])
    assert isinstance(store.decide(admitted).answer, Untrusted)
    assert store.certificates_of("web-1") == ()
    assert store.removals() == [], "the store itself does not know of it"

    lost = missing(beside.all(), store.removals())
    assert store.decide(joining.still_removed(lost)).answer == ("web-1",)
    assert missing(beside.all(), store.removals()) == ()
    # Whoever joins again after it is good again.
    clock.now_ms += 60_000
    store.decide(joining.forgotten("web-1", 3_000))
    other = joining.hash_of("other")
    store.decide(joining.created(other, "web-1", 900_000, "ada"))
    store.decide(joining.joined(other, certificate("c2")))
    again = admit("web-1", Hello(host="web-1"), "s", 3_000, Halts(), 0, serial="c2")
    assert not isinstance(store.decide(again).answer, Untrusted)
    store.close()


def test_of_each_host_the_latest_removal_is_kept_and_nothing_is_written_twice(tmp_path: Path) -> None:
    removals, first = Removals(tmp_path), RemovalRow(host="web-1", at_ms=5, who="eve", why="stolen")
    removals.keep([])
    assert (tmp_path / "removed.json").exists(), "that it is there says that nobody is missing"
    removals.keep([first, replace(first, at_ms=4, who="ada")])
    assert removals.of("web-1") == first
    written = (tmp_path / "removed.json").stat()
    removals.keep([replace(first, at_ms=5, who="ada")])
    assert (tmp_path / "removed.json").stat().st_ino == written.st_ino
    assert Removals(tmp_path).all() == (first,)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1, "removals": [{"host": "a"}]}'])
def test_a_file_of_removals_that_cannot_be_understood_is_not_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "removed.json").write_text(text)
    with pytest.raises(OutsideError, match=r"cannot read .*removed\.json"):
        Removals(tmp_path)

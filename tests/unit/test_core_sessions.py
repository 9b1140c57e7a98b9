"""Sessions, leases and the store's position, as the coordinator's core holds them (rules R7, R9, R22, R23)."""

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_coordinator.core import words as w_
from killdeer_coordinator.core.roster import right_ns
from killdeer_coordinator.core.strikes import Told, told
from tests.support.fake_agent import FakeAgent
from tests.support.world import LEASE_MS, MS, World

FILE = """\
killdeer: 1
name: workers-heal
environment: staging
hypothesis: Workers come back.
target: {process: {name: worker}}
action: kill
waves: [{name: one, strikes: 1}]
recovery: {within: 20s}
"""


def fleet(*agents: FakeAgent) -> World:
    return World(agents or [FakeAgent("a-1")]).start()


def dismissal(w: World, host: str = "a-1") -> a.Dismissal:
    return w.told(host, "dismissal")[-1].dismissal


def test_the_session_is_stored_before_it_is_told() -> None:
    w = World([FakeAgent("a-1")])
    w.start(join=False)
    w.store.held = True
    w.join("a-1")
    assert w.store.hosts["a-1"].session == "token-1"
    assert w.store.hosts["a-1"].longest_lease_ms == LEASE_MS
    assert not w.told("a-1", "welcome")
    w.release_answers()
    assert w.told("a-1", "welcome")[0].welcome.session == "token-1"


def test_no_session_is_served_that_cannot_be_stored() -> None:
    w = World([FakeAgent("a-1")])
    w.start(join=False)
    w.store.failing = "disk full"
    w.join("a-1")
    assert not w.told("a-1", "welcome")
    assert "disk full" in dismissal(w).detail


def test_the_next_hello_presents_the_session_of_the_last_welcome() -> None:
    w = fleet()
    w.leave("a-1")
    w.join("a-1")
    assert len(w.told("a-1", "welcome")) == 2
    assert not w.store.hosts["a-1"].quarantined


def test_r23_while_no_heartbeat_followed_the_session_before_is_good() -> None:
    w = fleet()
    before = w.agents["a-1"].session
    w.leave("a-1")
    w.join("a-1")
    w.leave("a-1")
    w.agents["a-1"].session = before  # the second Welcome never arrived
    w.join("a-1")
    assert not w.store.hosts["a-1"].quarantined
    w.run(1_500)
    w.leave("a-1")
    w.agents["a-1"].session = before  # now a heartbeat has followed
    w.join("a-1")
    assert w.store.hosts["a-1"].quarantined


def test_a_first_hello_whose_welcome_was_lost_is_taken_again() -> None:
    w = World([FakeAgent("a-1")])
    w.start(join=False)
    w.join("a-1")
    w.leave("a-1")
    w.agents["a-1"].session = ""
    w.join("a-1")
    assert not w.store.hosts["a-1"].quarantined


def test_r23_an_unknown_session_is_quarantined_and_told_how_it_is_accepted() -> None:
    w = fleet()
    w.leave("a-1")
    w.agents["a-1"].session = "of a clone"
    w.join("a-1")
    said = dismissal(w)
    assert said.reason == p.REASON_QUARANTINED
    assert "killdeer hosts accept a-1 --reason" in said.detail
    assert not w.core.roster.served()
    assert w.store.said("host.quarantined")[0].subject == "a-1"


def test_r23_once_two_claim_one_name_neither_is_served() -> None:
    w = fleet()
    w.agents["a-1"].session = "of a clone"
    w.join("a-1")  # while the first is still linked
    assert not w.core.roster.links
    w.run(500)
    assert not w.core.roster.served()


def test_r23_the_open_strikes_of_a_quarantined_host_are_unknown_and_their_permits_held() -> None:
    w = fleet(FakeAgent("a-1", recovers_ms=None))
    w.ask(o.RunRequest(source=FILE, key="k"), "operator")
    w.run(300)
    w.leave("a-1")
    w.agents["a-1"].session = ""
    w.join("a-1")
    (strike,) = w.store.strikes.values()
    assert strike.view.state == p.STRIKE_STATE_UNKNOWN
    assert len(w.store.in_flight) == 1


def test_r23_after_a_quarantine_no_journal_s_denial_gives_a_permit_back() -> None:
    w = fleet(FakeAgent("a-1", recovers_ms=None))
    w.ask(o.RunRequest(source=FILE, key="k"), "operator")
    w.run(300)
    w.leave("a-1")
    (command,) = w.store.strikes
    w.store.strikes[command].view.ClearField("blows")  # as if its blow had never been reported
    denial = a.StrikeUpdate(command_id=command, state=p.STRIKE_STATE_REFUSED, used_up=True)
    assert released(w, denial)
    w.agents["a-1"].session = "rolled back"
    w.join("a-1")
    assert not released(w, denial)


def released(w: World, word: a.StrikeUpdate) -> bool:
    answer = told("a-1", word)(w.store.books()).answer
    assert isinstance(answer, Told)
    return answer.released


def test_r23_after_a_quarantine_an_accepted_host_is_told_what_is_doubtful() -> None:
    w = fleet(FakeAgent("a-1", recovers_ms=None))
    w.ask(o.RunRequest(source=FILE, key="k"), "operator")
    w.run(300)
    w.leave("a-1")
    w.agents["a-1"].session = "rolled back"
    w.join("a-1")
    w.ask(o.AcceptHostRequest(host="a-1", reason="restored it"), "approver")
    w.join("a-1")
    (held,) = w.told("a-1", "welcome")[-1].welcome.open
    assert held.doubtful


def test_an_agent_with_a_session_that_has_never_joined_is_quarantined() -> None:
    w = World([FakeAgent("a-1", session="from another store")])
    w.start()
    assert w.store.hosts["a-1"].quarantined


def test_an_accepted_host_is_taken_as_a_first_one() -> None:
    w = fleet()
    w.leave("a-1")
    w.agents["a-1"].session = "rolled back"
    w.join("a-1")
    no = w.ask(o.AcceptHostRequest(host="a-1", reason="restored it"), "operator")
    assert w.refusals[no].code == "PERMISSION_DENIED"
    ask = w.ask(o.AcceptHostRequest(host="a-1", reason="restored it"), "approver")
    assert not w.answer(ask, o.AcceptHostResponse).host.quarantined
    w.join("a-1")
    assert w.core.roster.link_of("a-1") is not None
    assert w.store.said("host.accepted")[0].why == "restored it"


def test_an_unknown_host_cannot_be_accepted() -> None:
    w = fleet()
    ask = w.ask(o.AcceptHostRequest(host="nobody", reason="x"), "approver")
    assert w.refusals[ask].code == "NOT_FOUND"


def test_a_newer_link_of_a_host_replaces_the_older_whose_frames_are_dropped() -> None:
    w = fleet()
    old = w.agents["a-1"].link
    w.join("a-1")
    assert [link.number for link in w.core.roster.served()] == [w.agents["a-1"].link]
    before = len(w.effects)
    w.give(w_.Heard(old, a.ConnectRequest(heartbeat=a.Heartbeat(stamp_boot_ns=1))))
    assert len(w.effects) == before


def test_a_name_that_is_not_the_certificates_is_dismissed() -> None:
    w = fleet()
    w.give(w_.Joined(link=99, host="a-9", hello=a.Hello(host="a-1"), token="t"))
    assert any(isinstance(effect, w_.Dismiss) and effect.link == 99 for effect in w.effects)
    assert "a-9" not in w.store.hosts


def test_a_renewal_answers_the_stamp_of_its_heartbeat_and_counts_from_its_sending() -> None:
    w = fleet()
    renewal = w.told("a-1", "lease_renewal")[-1].lease_renewal
    assert renewal.lease_ms == LEASE_MS
    link = w.core.roster.link_of("a-1")
    assert link is not None
    assert link.answered_boot_ns == renewal.heartbeat_boot_ns
    assert link.lease_until_ns <= w.now_ns + right_ns(LEASE_MS)
    assert right_ns(LEASE_MS) == 11_100 * MS


def test_r9_no_renewal_rests_on_an_old_read_of_the_store() -> None:
    w = fleet()
    w.reads = False
    w.run(2_500)
    renewals = len(w.told("a-1", "lease_renewal"))
    w.run(5_000)
    assert len(w.told("a-1", "lease_renewal")) == renewals
    status = w.answer(w.ask(o.GetStatusRequest(), "viewer"), o.GetStatusResponse)
    assert not status.store_ok and "no lease is renewed" in status.store_detail
    w.reads = True
    w.run(3_000)
    assert len(w.told("a-1", "lease_renewal")) > renewals


def test_an_agent_whose_lease_ran_out_is_sent_no_scan_and_no_strike() -> None:
    w = fleet()
    w.reads = False
    w.run(20_000)
    scans = len(w.told("a-1", "scan"))
    ask = w.ask(o.RunRequest(source=FILE, key="k"), "operator")
    assert w.refusals[ask].code == "UNAVAILABLE"
    w.ask(o.ListCandidatesRequest(selector=p.Selector(terms=[p.Term(field=p.FIELD_NAME, values=["x"])])), "viewer")
    assert len(w.told("a-1", "scan")) == scans


def test_a_silent_agent_is_dismissed_once_its_right_is_over() -> None:
    w = fleet()
    w.agents["a-1"].mute = True
    w.run(10_500)
    assert w.core.roster.served()
    w.run(2_000)
    assert not w.core.roster.served()
    assert "nothing was heard" in dismissal(w).detail


def test_one_read_of_the_store_is_under_way_at_a_time() -> None:
    w = fleet()
    w.reads = False
    before = sum(isinstance(effect, w_.ReadStore) for effect in w.effects)
    w.run(1_900)
    assert sum(isinstance(effect, w_.ReadStore) for effect in w.effects) - before <= 1


def test_r22_an_agent_that_has_seen_more_than_the_store_holds_latches_a_halt() -> None:
    w = fleet(FakeAgent("a-1"), FakeAgent("a-2"))
    w.leave("a-2")
    w.agents["a-2"].position = p.StorePosition(length=500, head="ab" * 32)
    w.join("a-2")
    (halt,) = w.core.roster.halts.active
    assert "store restored" in halt.reason
    assert w.agents["a-1"].halts.active and w.agents["a-2"].halts.active
    assert w.store.said("store.restored")


def test_r22_a_lost_position_halts_once_and_not_again_after_the_rearm() -> None:
    w = fleet()
    w.leave("a-1")
    w.agents["a-1"].position = p.StorePosition(length=500, head="ab" * 32)
    w.join("a-1")
    w.ask(o.RearmRequest(reason="looked at every host"), "approver")
    w.leave("a-1")
    w.join("a-1")
    assert not w.core.roster.halts.active
    assert len(w.store.said("store.restored")) == 1


def test_r22_a_coordinator_whose_own_directory_saw_more_starts_halted() -> None:
    w = fleet()
    halts, _ = w.kept[-1]
    w.kept.append((halts, p.StorePosition(length=500, head="cd" * 32)))
    w.restart()
    assert "store restored" in w.core.roster.halts.active[0].reason


def test_r22_a_store_that_is_exchanged_under_a_running_coordinator_latches_a_halt() -> None:
    w = fleet()
    for limit in range(10):
        w.ask(o.SetLimitRequest(scope="in_flight", limit=limit, reason="x"), "approver")
    del w.store.audit[1:], w.store.heads[2:]
    w.run(2_500)
    assert "store restored" in w.core.roster.halts.active[0].reason
    entries = len(w.store.audit)
    w.run(5_000)
    assert len(w.store.audit) == entries
    assert w.core.roster.position == w.store.position


def test_the_position_is_kept_outside_the_store() -> None:
    w = fleet()
    w.run(2_000)
    assert w.kept[-1][1] == w.store.position


def test_welcome_lists_what_is_held_open_on_that_host() -> None:
    w = fleet(FakeAgent("a-1", recovers_ms=None), FakeAgent("a-2", workers=0))
    w.ask(o.RunRequest(source=FILE, key="k"), "operator")
    w.run(300)
    for host in ("a-1", "a-2"):
        w.leave(host)
        w.join(host)
    assert [len(w.told(host, "welcome")[-1].welcome.open) for host in ("a-1", "a-2")] == [1, 0]


def test_a_coordinator_that_starts_without_its_store_serves_once_it_is_back() -> None:
    w = World([FakeAgent("a-1")])
    w.store.failing = "disk full"
    w.start()
    assert not w.core.roster.served()
    w.store.failing = ""
    w.run(1_500)
    w.join("a-1")
    w.run(1_500)
    assert w.told("a-1", "lease_renewal")


def test_what_is_to_be_kept_outside_the_store_is_tried_until_it_is() -> None:
    w = fleet()
    w.keep_fails = "read-only"
    w.store.failing = "disk full"
    w.ask(o.HaltRequest(id="h1"), "viewer")
    assert "h1" not in w.kept[-1][0].engaged
    w.keep_fails = ""
    w.run(1_500)
    assert "h1" in w.kept[-1][0].engaged


def test_a_link_that_is_not_served_yet_is_heard_on_halts_alone() -> None:
    w = World([FakeAgent("a-1")])
    w.start(join=False)
    w.store.held = True
    link = w.join("a-1")
    before = len(w.effects)
    w.give(w_.Heard(link, a.ConnectRequest(heartbeat=a.Heartbeat(stamp_boot_ns=1))))
    w.give(w_.Heard(link, a.ConnectRequest(strike_update=a.StrikeUpdate(command_id="c"))))
    assert len(w.effects) == before


def test_a_drain_spreads_the_agents_over_time() -> None:
    w = fleet(*(FakeAgent(f"a-{n}") for n in range(5)))
    w.give(w_.Stop())
    retries = [dismissal(w, f"a-{n}").retry_after_ms for n in range(5)]
    assert retries == sorted(set(retries))
    assert not w.core.roster.links


def test_evidence_is_kept_under_the_name_of_its_own_host() -> None:
    w = fleet()
    event = p.KernelEvent(host="another", at_boot_ns=1)
    w.hear("a-1", a.ConnectRequest(evidence=a.Evidence(events=[event])))
    (kept,) = w.events
    assert (kept.host, kept.events[0].host) == ("a-1", "a-1")

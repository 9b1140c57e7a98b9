"""What operators may ask, and what they are answered (rule R30, section 11)."""

from collections.abc import Callable

import pytest
from google.protobuf.message import Message

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_coordinator.core import words as w_
from tests.support.fake_agent import FakeAgent
from tests.support.world import World

FILE = """\
killdeer: 1
name: workers-heal
owner: payments@example.com
environment: {environment}
hypothesis: Workers come back.
target: {{process: {{name: worker}}}}
action: kill
waves: [{{name: one, strikes: 1}}]
recovery: {{within: 5s}}
"""
WORKERS = p.Selector(terms=[p.Term(field=p.FIELD_NAME, match=p.MATCH_GLOB, values=["worker"])])


def fleet(*agents: FakeAgent, limits: dict[str, int] | None = None) -> World:
    return World(agents or [FakeAgent("a-1"), FakeAgent("a-2")], limits).start()


def held_permit(environment: str = "staging") -> World:
    """A fleet with one permit of ada's run that nobody's word has released."""
    labels = {"environment": environment}
    w = fleet(FakeAgent("a-1", recovers_ms=None, labels=labels))
    w.ask(o.RunRequest(source=FILE.format(environment=environment), key="k"), "operator", name="ada")
    w.run(300)
    w.hear("a-1", w.agents["a-1"].lost(next(iter(w.agents["a-1"].strikes))))
    w.run(500)
    assert len(w.store.in_flight) == 1
    return w


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        (o.RunRequest(), {"operator", "admin"}),
        (o.AbortRunRequest(), {"operator", "admin"}),
        (o.RearmRequest(reason="x"), {"approver", "admin"}),
        (o.AcceptHostRequest(reason="x"), {"approver", "admin"}),
        (o.ClearPermitRequest(reason="x"), {"approver", "admin"}),
        (o.RemoveHostRequest(reason="x"), {"approver", "admin"}),
        (o.SetLimitRequest(reason="x"), {"approver", "admin"}),
        (o.HaltRequest(), {"viewer", "operator", "approver", "admin"}),
        (o.GetStatusRequest(), {"viewer", "operator", "approver", "admin"}),
        (o.PlanRequest(), {"viewer", "operator", "approver", "admin"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_role_may_ask_what_it_may_and_nothing_else(request_: Message, allowed: set[str]) -> None:
    for role in ("viewer", "operator", "approver", "admin", "stranger"):
        w = fleet()
        ask = w.ask(request_, role)
        no = w.refusals.get(ask)
        assert (no is None or no.code != "PERMISSION_DENIED") is (role in allowed), role


def test_every_request_that_is_listed_is_answered_or_refused() -> None:
    w = fleet()
    for request in (
        o.GetStatusRequest(),
        o.ListHostsRequest(),
        o.ListLimitsRequest(),
        o.ListPermitsRequest(),
        o.ListCandidatesRequest(selector=WORKERS),
        o.PlanRequest(source=FILE.format(environment="staging")),
        o.WatchRunRequest(run="nobody"),
        o.AbortRunRequest(run="nobody"),
        o.AcceptHostRequest(host="a-1", reason="x"),
        o.SetLimitRequest(scope="nothing", limit=1, reason="x"),
        o.ClearPermitRequest(permit_id="nothing", reason="x"),
    ):
        assert w.ask(request) in w.ended, request
    unknown = w.ask(o.GetRunRequest())
    assert w.refusals[unknown].code == "UNIMPLEMENTED"


def test_hosts_are_shown_with_what_they_last_said() -> None:
    w = fleet()
    w.leave("a-2")
    beat = a.Heartbeat(stamp_boot_ns=w.now_ns, load_1m=0.5, reverts_left=["c1"], halted_locally=True)
    beat.revert_problems.append("cannot start w.service: Access denied; name it in the rules")
    w.hear("a-1", a.ConnectRequest(heartbeat=beat))
    hosts = w.answer(w.ask(o.ListHostsRequest(), "viewer"), o.ListHostsResponse).hosts
    assert [(host.host, host.connected) for host in hosts] == [("a-1", True), ("a-2", False)]
    assert (hosts[0].load_1m, list(hosts[0].reverts_left), hosts[0].halted_locally) == (0.5, ["c1"], True)
    assert hosts[0].revert_problems == beat.revert_problems
    assert 9_000 < hosts[0].lease_left_ms <= 11_100
    assert hosts[0].evidence == a.EVIDENCE_LEVEL_BPF and hosts[0].labels["environment"] == "staging"
    assert hosts[1].last_seen_unix_ms


def test_status_counts_and_names_the_one_who_asks() -> None:
    w = held_permit()
    w.run(1_500)
    status = w.answer(w.ask(o.GetStatusRequest(), "viewer", name="bo"), o.GetStatusResponse)
    assert (status.hosts_connected, status.hosts_known, status.permits_held, status.runs_active) == (1, 1, 1, 0)
    assert status.store_ok and not status.store_detail
    assert (status.name, list(status.roles)) == ("bo", ["viewer"])
    assert status.position == w.store.position


def test_candidates_name_the_hosts_that_could_not_be_asked() -> None:
    w = fleet()
    w.leave("a-2")
    response = w.answer(w.ask(o.ListCandidatesRequest(selector=WORKERS), "viewer"), o.ListCandidatesResponse)
    assert [len(host.candidates) for host in response.hosts] == [3, 0]
    assert response.hosts[0].verdict.allowed
    assert response.hosts[1].verdict.reason == p.REASON_NOT_CONNECTED


def test_a_host_that_does_not_answer_a_scan_is_named_after_the_deadline() -> None:
    w = fleet()
    w.agents["a-2"].mute = True
    ask = w.ask(o.ListCandidatesRequest(selector=WORKERS), "viewer")
    w.run(4_500)
    assert ask not in w.ended
    w.run(1_000)
    hosts = w.answer(ask, o.ListCandidatesResponse).hosts
    assert (hosts[1].host, hosts[1].verdict.reason) == ("a-2", p.REASON_NO_ANSWER)


def test_an_empty_selector_lists_nothing_and_says_so() -> None:
    w = fleet()
    assert w.refusals[w.ask(o.ListCandidatesRequest(), "viewer")].code == "INVALID_ARGUMENT"


def test_an_agent_cannot_offer_candidates_of_another_host() -> None:
    w = fleet(FakeAgent("a-1"))
    w.agents["a-1"].host = "a-2"  # in what it says of its processes
    ask = w.ask(o.ListCandidatesRequest(selector=WORKERS), "viewer")
    (host,) = w.answer(ask, o.ListCandidatesResponse).hosts
    assert {candidate.identity.host for candidate in host.candidates} == {"a-1"}


def test_limits_are_shown_and_set_with_a_reason() -> None:
    w = fleet(limits={"in_flight": 3})
    ask = w.ask(o.SetLimitRequest(scope="in_flight", limit=1, reason="quiet week"), "approver", name="bo")
    assert w.answer(ask, o.SetLimitResponse).limit.limit == 1
    listed = w.answer(w.ask(o.ListLimitsRequest(), "viewer"), o.ListLimitsResponse).limits
    assert next(limit for limit in listed if limit.scope == "in_flight").limit == 1
    (entry,) = w.store.said("limit.set")
    assert (entry.who, entry.why) == ("bo", "quiet week")


def test_permits_are_listed_with_why_they_are_held() -> None:
    w = held_permit()
    (permit,) = w.answer(w.ask(o.ListPermitsRequest(), "viewer"), o.ListPermitsResponse).permits
    assert permit.victim.host == "a-1" and permit.why


@pytest.mark.parametrize(("environment", "code"), [("production", "PERMISSION_DENIED"), ("staging", "")])
def test_r30_in_production_the_one_who_started_a_run_does_not_clear_its_permits(
    environment: str, code: str
) -> None:
    w = held_permit(environment)
    (permit,) = w.store.in_flight
    clear: Callable[[str], int] = lambda name: w.ask(  # noqa: E731
        o.ClearPermitRequest(permit_id=permit.permit_id, reason="well again"), "approver", name=name
    )
    ask = clear("ada")
    assert (w.refusals[ask].code if ask in w.refusals else "") == code
    clear("bo")
    assert not w.store.in_flight


@pytest.mark.parametrize("owner", ["ada", "payments@example.com"])
@pytest.mark.parametrize(("environment", "code"), [("production", "PERMISSION_DENIED"), ("staging", "")])
def test_r30_in_production_the_owner_of_a_run_does_not_accept_a_host_with_its_victims(
    environment: str, code: str, owner: str
) -> None:
    w = held_permit(environment)
    w.leave("a-1")
    w.agents["a-1"].session = "of a clone"
    w.join("a-1")
    accept: Callable[[str], int] = lambda name: w.ask(  # noqa: E731
        o.AcceptHostRequest(host="a-1", reason="restored it"), "approver", name=name
    )
    ask = accept(owner)
    assert (w.refusals[ask].code if ask in w.refusals else "") == code
    assert bool(w.store.hosts["a-1"].quarantined) is bool(code)
    accept("bo")
    assert not w.store.hosts["a-1"].quarantined


def test_r30_a_quarantined_host_of_production_without_victims_is_accepted_by_any_approver() -> None:
    w = fleet(FakeAgent("a-1", labels={"environment": "production"}))
    w.leave("a-1")
    w.agents["a-1"].session = "of a clone"
    w.join("a-1")
    assert w.answer(
        w.ask(o.AcceptHostRequest(host="a-1", reason="restored it"), "approver"), o.AcceptHostResponse
    ).host


def test_a_host_that_is_gone_is_shown_with_when_it_was_heard_last() -> None:
    w = fleet()
    joined_ms = w.store.hosts["a-1"].last_seen_ms
    w.run(60_000)
    w.leave("a-1")
    left_ms = w.unix_ms

    def last_seen() -> int:
        answer = w.answer(w.ask(o.ListHostsRequest(), "viewer"), o.ListHostsResponse)
        (gone,) = [host for host in answer.hosts if not host.connected]
        return gone.last_seen_unix_ms

    assert left_ms - 1_000 <= last_seen() <= left_ms and last_seen() > joined_ms
    w.run(5_000)
    w.restart(join=False)
    w.join("a-2")
    assert left_ms - 1_000 <= last_seen() <= left_ms, "a coordinator that was restarted knows it too"


def test_an_answer_that_needs_the_store_is_unavailable_while_it_fails() -> None:
    w = fleet()
    w.store.failing = "disk full"
    no = w.refusals[w.ask(o.ListPermitsRequest(), "viewer")]
    assert no.code == "UNAVAILABLE" and "disk full" in no.message
    assert w.answer(w.ask(o.ListHostsRequest(), "viewer"), o.ListHostsResponse).hosts


def test_a_stop_ends_the_streams() -> None:
    w = fleet(FakeAgent("a-1", recovers_ms=None))
    run = w.ask(o.RunRequest(source=FILE.format(environment="staging"), key="k"), "operator")
    w.run(300)
    watch = w.ask(o.WatchRunRequest(run=w.answer(run, o.RunResponse).run_id), "viewer")
    w.agents["a-1"].mute = True
    halt = w.ask(o.HaltRequest(), "viewer")
    w.give(w_.Stop())
    assert {watch, halt} <= w.ended


def test_a_caller_that_has_gone_is_told_nothing_more() -> None:
    w = fleet(FakeAgent("a-1", recovers_ms=None))
    run = w.ask(o.RunRequest(source=FILE.format(environment="staging"), key="k"), "operator")
    w.run(300)
    watch = w.ask(o.WatchRunRequest(run=w.answer(run, o.RunResponse).run_id), "viewer")
    told = len(w.replies[watch])
    w.give(w_.Gone(watch))
    w.ask(o.AbortRunRequest(run="latest"), "operator")
    w.run(1_000)
    assert len(w.replies[watch]) == told

"""A service is ready when `recovery.ready` is met, and not when its process is merely there (R16, R18, R30)."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import probe_pb2
from killdeer.v1 import process_pb2 as p
from killdeer_agent.core import words as w
from killdeer_agent.core.memory import Memory
from killdeer_agent.core.readiness import Readiness, unaskable
from tests.support import host as h

TCP = probe_pb2.TcpSource(host="127.0.0.1", port=8080)
READY = probe_pb2.Probe(name="healthy", tcp=TCP, within_ms=500, every_ms=500, unit=probe_pb2.UNIT_MET)


class Asked(h.Host):
    """A host that keeps the questions."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, w.Probe]] = []  # when, and what

    def _answers(self, effect: w.Effect) -> Iterator[w.Input]:
        if isinstance(effect, w.Probe):
            self.asked.append((self.world.boot_ns, effect))
        yield from super()._answers(effect)


@pytest.fixture
def host() -> Asked:
    host = Asked()
    for _ in range(3):
        host.world.spawn()
    host.world.pass_time(h.SECOND)
    host.start()
    host.coordinator.link()
    return host


def word(host: h.Host, command_id: str = "c1") -> a.StrikeUpdate:
    return host.coordinator.updates[command_id]


def state(host: h.Host, command_id: str = "c1") -> str:
    return p.StrikeState.Name(word(host, command_id).state).removeprefix("STRIKE_STATE_").lower()


def order(host: h.Host, command_id: str = "c1", kind: str = "kill", **changed: object) -> h.Proc:
    victim = host.world.first
    host.coordinator.order(command_id, victim, kind, **({"ready": READY} | changed))
    return victim


def ready_from(host: Asked, ns: int) -> None:
    """Met from so long after now on."""
    at = host.world.boot_ns + ns
    host.ready = lambda: "" if host.world.boot_ns >= at else "cannot connect to port 8080: Connection refused"


# --- when it is asked, and what counts ----------------------------------------------------------------------


def test_a_service_has_recovered_only_once_its_readiness_was_met(host: Asked) -> None:
    ready_from(host, 3 * h.SECOND)
    order(host)
    host.run(2_900 * h.MS)
    assert state(host) == "gone" and word(host).successor.identity.pid and not word(host).ready_after_ns
    host.run(1_000 * h.MS)
    assert state(host) == "recovered" and word(host).settled


def test_the_time_to_ready_is_from_the_first_blow_to_the_first_reading_that_is_met(host: Asked) -> None:
    ready_from(host, 3 * h.SECOND)
    order(host, stable_for_ms=2_000)
    struck = host.world.boot_ns
    host.until(lambda: word(host).ready_after_ns)
    after = word(host).ready_after_ns
    assert after == host.world.boot_ns - struck and 3_000 * h.MS <= after <= 3_500 * h.MS
    assert word(host).successor.after_exit_ns < after and state(host) == "gone"
    host.run(5 * h.SECOND)
    assert state(host) == "recovered" and word(host).ready_after_ns == after
    assert host.core.tally.to_ready.total == pytest.approx(after / h.SECOND)


def test_nothing_is_asked_before_the_service_is_whole_and_then_as_often_as_the_probe_says(host: Asked) -> None:
    ready_from(host, 60 * h.SECOND)
    host.world.restart_after_ns = 2 * h.SECOND
    order(host)
    struck = host.world.boot_ns
    host.run(6 * h.SECOND)
    times = [at - struck for at, _ in host.asked]
    assert times[0] >= 2 * h.SECOND
    assert {later - at for at, later in pairwise(times)} == {500 * h.MS}
    assert [asked.turn for _, asked in host.asked] == list(range(1, len(times) + 1))


def test_one_question_at_a_time_and_no_answer_is_not_met(host: Asked) -> None:
    host.stalled = {w.Probe}
    order(host)
    host.run(10 * h.SECOND)
    assert len(host.asked) == 1 and state(host) == "gone" and not word(host).settled
    host.release()
    host.run(1 * h.SECOND)
    assert state(host) == "recovered"


def test_it_must_stay_met_for_as_long_as_it_is_to_be_stable(host: Asked) -> None:
    flaps = iter(["", "", "it answered 503"])
    host.ready = lambda: next(flaps, "")
    order(host, stable_for_ms=1_500)
    host.until(lambda: word(host).settled)
    met = [at for at, _ in host.asked][3:]
    assert met[-1] - met[0] >= 1_500 * h.MS
    assert word(host).ready_after_ns < met[0] - host.world.log[0].at_boot_ns


def test_readings_of_a_successor_that_died_count_for_nobody(host: Asked) -> None:
    victim = order(host, stable_for_ms=4_000)
    host.until(lambda: len(host.asked) == 4)
    first = word(host).successor.identity.pid
    host.world.end(host.world.processes[first])
    host.until(lambda: word(host).successor.identity.pid != first)
    again = host.world.boot_ns
    host.until(lambda: word(host).settled)
    assert host.world.boot_ns - again >= 4 * h.SECOND and victim.pid not in host.world.processes


def test_an_answer_about_a_successor_that_is_gone_by_then_says_nothing(host: Asked) -> None:
    host.stalled = {w.Probe}
    order(host)
    host.until(lambda: host.asked)
    host.world.end(host.world.processes[word(host).successor.identity.pid])
    host.run(300 * h.MS)
    host.ready = lambda: "cannot connect"
    host.release()
    host.run(5 * h.SECOND)
    assert state(host) == "gone" and not word(host).ready_after_ns


def test_each_of_two_strikes_on_one_service_asks_for_itself(host: Asked) -> None:
    one, other = list(host.world.processes.values())[:2]
    host.coordinator.order("c1", one, ready=READY)
    host.coordinator.order("c2", other, ready=READY)
    host.until(lambda: word(host, "c1").settled and word(host, "c2").settled)
    assert {asked.command_id for _, asked in host.asked} == {"c1", "c2"}
    assert word(host, "c1").successor.identity.pid != word(host, "c2").successor.identity.pid


# --- what it is not about -----------------------------------------------------------------------------------


def test_a_strike_without_readiness_asks_nothing(host: Asked) -> None:
    host.coordinator.order("c1", host.world.first)
    host.run(3 * h.SECOND)
    assert state(host) == "recovered" and not host.asked and not word(host).ready_after_ns


@pytest.mark.parametrize("kind", ["pause", "terminate"])
def test_a_victim_that_lives_on_is_asked_nothing(host: Asked, kind: str) -> None:
    victim = host.world.first
    victim.ignores = frozenset({15})
    action = p.Action(terminate=p.Terminate()) if kind == "terminate" else h.long_pause()
    order(host, action=action)
    host.run(5 * h.SECOND)
    if kind == "pause":
        host.coordinator.say(revert=a.Revert(command_id="c1"))
    assert state(host) == "survived" and word(host).settled and not host.asked


def test_a_hold_is_asked_only_after_its_end(host: Asked) -> None:
    order(host, kind="hold-down")
    begun = host.world.boot_ns
    host.until(lambda: word(host).settled)
    assert host.asked[0][0] - begun >= 5 * h.SECOND
    assert word(host).ready_after_ns >= 5 * h.SECOND


# --- never ready --------------------------------------------------------------------------------------------


def test_i8_a_service_that_is_never_ready_is_lost_and_the_word_says_why(host: Asked) -> None:
    host.ready = lambda: "it answered 503"
    order(host)
    host.run(25 * h.SECOND)
    assert state(host) == "lost" and not word(host).settled
    assert word(host).detail == (
        "no recovery in time: its successor is there, and healthy was never met (it answered 503)"
    )


def test_r16_one_that_is_ready_late_releases_its_permit_late(host: Asked) -> None:
    ready_from(host, 60 * h.SECOND)
    order(host)
    host.run(50 * h.SECOND)
    assert state(host) == "lost"
    late = [at for at, _ in host.asked if at > host.asked[0][0] + 25 * h.SECOND]
    assert late[-1] - late[-2] >= 2 * h.SECOND
    host.run(15 * h.SECOND)
    assert state(host) == "recovered" and word(host).settled and word(host).ready_after_ns > 59 * h.SECOND


def test_i8_one_that_was_met_for_too_short_is_not_said_to_have_never_been(host: Asked) -> None:
    flaps = ["", "it answered 503"]
    host.ready = lambda: flaps[len(host.asked) % 2]
    order(host, stable_for_ms=2_000)
    host.run(25 * h.SECOND)
    assert state(host) == "lost" and word(host).ready_after_ns
    assert "did not stay met for long enough" in word(host).detail


def test_a_service_without_a_successor_is_lost_for_that_alone(host: Asked) -> None:
    host.world.restart_after_ns = -1
    order(host)
    host.run(25 * h.SECOND)
    assert word(host).detail == "no recovery in time" and not host.asked


# --- restarts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crash_ms", [200, 900, 2_100, 3_400])
def test_a_restarted_agent_goes_on_asking(host: Asked, crash_ms: int) -> None:
    ready_from(host, 3 * h.SECOND)
    order(host, stable_for_ms=1_000)
    host.run(crash_ms * h.MS)
    before = len(host.asked)
    told = word(host).ready_after_ns
    host.crash()
    host.start()
    host.coordinator.link()
    host.until(lambda: word(host).settled)
    assert state(host) == "recovered" and len(host.asked) > before
    first = host.world.log[0].at_boot_ns
    assert word(host).ready_after_ns == told or (not told and word(host).ready_after_ns >= 3 * h.SECOND)
    assert host.world.boot_ns - first >= 4 * h.SECOND


def test_the_time_to_ready_outlives_a_restart_and_a_new_journal(host: Asked) -> None:
    order(host, stable_for_ms=60_000)
    host.until(lambda: word(host).ready_after_ns)
    memory = Memory()
    for record in host.journal:
        memory.apply(record)
    again = Memory()
    for record in memory.essential():
        again.apply(record)
    past = again.strikes["c1"]
    assert past.ready_after_ns == word(host).ready_after_ns and past.command.ready == READY


def test_i8_after_a_blow_without_a_word_the_time_to_ready_is_not_guessed(host: Asked) -> None:
    host.stalled = {w.Strike}
    order(host)
    host.crash()
    host.late.clear()
    host.start()
    host.coordinator.link()
    host.until(lambda: word(host).settled)
    assert word(host).ready_after_ns == 0


# --- the door -----------------------------------------------------------------------------------------------

HTTP = probe_pb2.HttpSource(url="http://127.0.0.1/")


@pytest.mark.parametrize(
    ("probe", "why"),
    [
        (probe_pb2.Probe(name="x"), "is no http, tcp or grpc probe"),
        (probe_pb2.Probe(name="x", command=probe_pb2.CommandSource(command="ls")), "is no http, tcp or grpc probe"),
        (
            probe_pb2.Probe(name="x", host=probe_pb2.HostSource(metric=probe_pb2.HOST_METRIC_LOAD)),
            "is no http, tcp or grpc probe",
        ),
        (
            probe_pb2.Probe(name="x", events=probe_pb2.EventsSource(kind=probe_pb2.EVENT_KIND_OOM)),
            "is no http, tcp or grpc probe",
        ),
        (probe_pb2.Probe(name="x", prometheus=probe_pb2.PrometheusSource(query="up")), "is no http, tcp or grpc"),
        (probe_pb2.Probe(http=HTTP, take=probe_pb2.TAKE_LATENCY), "takes a number"),
        (probe_pb2.Probe(http=HTTP, summary=probe_pb2.SUMMARY_P95), "takes a number"),
        (probe_pb2.Probe(http=probe_pb2.HttpSource(url="ftp://127.0.0.1/")), "its URL is not http"),
        (probe_pb2.Probe(http=probe_pb2.HttpSource(url="http:///healthz")), "its URL is not http"),
        (probe_pb2.Probe(http=probe_pb2.HttpSource(url="http://h:99999/")), "cannot be read"),
        (probe_pb2.Probe(http=probe_pb2.HttpSource(url="http://u:secret@h/")), "holds a user"),
        (probe_pb2.Probe(http=probe_pb2.HttpSource(url="http://h/", method="DELETE")), "only GET and HEAD"),
        (probe_pb2.Probe(http=probe_pb2.HttpSource(url="http://h/", body="{}")), "only GET and HEAD"),
        (probe_pb2.Probe(tcp=probe_pb2.TcpSource(host="127.0.0.1")), "no HOST and PORT"),
        (probe_pb2.Probe(tcp=probe_pb2.TcpSource(port=80)), "no HOST and PORT"),
        (probe_pb2.Probe(grpc=probe_pb2.GrpcSource(address="localhost")), "no HOST and PORT"),
    ],
)
def test_i10_what_cannot_be_asked_on_a_host_is_refused_before_anything_is_opened(
    host: Asked, probe: probe_pb2.Probe, why: str
) -> None:
    order(host, ready=probe)
    assert state(host) == "refused" and word(host).reason == p.REASON_CANNOT_EVALUATE
    assert why in word(host).detail and "secret" not in word(host).detail and not host.world.log


@pytest.mark.parametrize(
    "probe",
    [
        READY,
        probe_pb2.Probe(http=probe_pb2.HttpSource(url="https://[::1]:8443/healthz?full=1", method="HEAD")),
        probe_pb2.Probe(grpc=probe_pb2.GrpcSource(address="[::1]:50051"), take=probe_pb2.TAKE_MET),
    ],
)
def test_what_can_be_asked_is(probe: probe_pb2.Probe) -> None:
    assert unaskable(probe) == ""


def test_an_answer_to_an_older_question_says_nothing() -> None:
    readiness = Readiness(probe=READY)
    readiness.stood((7, 8))
    old, new = readiness.ask(1), readiness.ask(2)
    assert not readiness.answered(old, met=True, detail="", now_ns=3)
    assert readiness.answered(new, met=True, detail="", now_ns=4) and readiness.met_for(0)

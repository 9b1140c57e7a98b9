"""A reload takes a configuration as a whole or not at all; labels are told by a new Hello, after the strikes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from killdeer.service import log_to_stdout, set_log_level
from killdeer_agent import config as agent
from killdeer_agent import reloading as agent_reloading
from killdeer_agent.core import words as w
from killdeer_agent.core.guard import Guard
from killdeer_agent.reloading import ReloadRefused
from killdeer_coordinator import config as coordinator
from killdeer_coordinator import reloading as coordinator_reloading
from killdeer_coordinator.core.allowance import configured
from killdeer_coordinator.core.books import FleetLimits
from tests.support import host as h
from tests.support.books import books

RUNNING = 'coordinators = ["c:7442"]\nhost = "web-1"\n[labels]\nzone = "a"\n'
LIMITS = "[limits]\nin_flight = 5\n"


def planned(tmp_path: Path, text: str, guard: Guard | None = None) -> agent_reloading.Reload:
    running, now = tmp_path / "running.toml", tmp_path / "agent.toml"
    running.write_text(RUNNING)
    now.write_text(text)
    return agent_reloading.plan(
        agent.load_config(running), lambda: agent.load_config(now), Guard() if guard is None else guard
    )


def coordinators(text: str) -> coordinator_reloading.Reload:
    file = Path("/etc/killdeer/coordinator.toml")
    return coordinator_reloading.plan(coordinator.parse(LIMITS, file), coordinator.parse(text, file))


# --- what of agent.toml takes effect ------------------------------------------------------------------------


def test_labels_evidence_and_log_level_take_effect_at_once(tmp_path: Path) -> None:
    text = RUNNING.replace('"a"', '"b"').replace("[labels]", 'log_level = "debug"\n[labels]')
    found = planned(tmp_path, f'{text}[evidence]\nsignals = ["HUP"]\n')
    assert (found.changed, found.waiting) == (("labels", "evidence", "log_level"), ())
    assert (found.config.labels, found.config.log_level) == ({"zone": "b"}, "debug")
    assert found.notice == ""


def test_the_same_file_changes_nothing(tmp_path: Path) -> None:
    found = planned(tmp_path, RUNNING)
    assert (found.changed, found.waiting, found.notice) == ((), (), "")


def test_keys_that_want_a_restart_are_named_and_keep_their_values(tmp_path: Path) -> None:
    text = RUNNING.replace("c:7442", "d:7442").replace("[labels]", 'metrics = "127.0.0.1:9477"\n[labels]')
    found = planned(tmp_path, f'{text}[evidence]\ncollector = "pidfd"\n'.replace('"a"', '"b"'))
    assert found.waiting == ("coordinators", "metrics", "evidence.collector")
    assert (found.config.coordinators, found.config.metrics) == (("c:7442",), None)
    assert found.config.evidence.collector == "auto"
    assert found.config.labels == {"zone": "b"}, "what can be taken is"
    assert "coordinators, metrics, evidence.collector" in found.notice
    assert "restart" in found.notice


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"label = 1\n{RUNNING}", "unknown key 'label': did you mean 'labels'?"),
        (f'log_level = "loud"\n{RUNNING}', "'log_level'"),
        (f'{RUNNING}[evidence]\nsignals = ["TRM"]\n', "did you mean 'TERM'?"),
        ("[labels", "cannot read"),
    ],
)
def test_one_wrong_key_and_nothing_is_taken(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ReloadRefused) as refused:
        planned(tmp_path, text)
    assert said in str(refused.value)


def test_a_guard_that_cannot_be_used_refuses_the_whole_reload(tmp_path: Path) -> None:
    with pytest.raises(ReloadRefused, match=r"guard\.d/a\.toml:3"):
        planned(tmp_path, RUNNING, Guard(problem="cannot use the guard: guard.d/a.toml:3: no"))


# --- how labels are told ------------------------------------------------------------------------------------


def relabelled(guard: Guard = h.GUARD) -> w.Configured:
    return w.Configured(guard=guard, labels={"zone": "b"})


def labels_told(host: h.Host) -> dict[str, str]:
    return dict([frame.hello for frame in host.sent if frame.HasField("hello")][-1].labels)


def test_new_labels_are_told_by_a_new_hello() -> None:
    host = h.leased()
    assert labels_told(host) == {}
    host.give(relabelled())
    host.run(100 * h.MS)
    assert host.unlinked_for == 1
    host.coordinator.unlink()
    host.coordinator.link()
    assert labels_told(host) == {"zone": "b"}
    host.unlinked_for = None
    host.run(5 * h.SECOND)
    assert host.unlinked_for is None, "they are told once"


def test_labels_as_they_were_end_no_stream() -> None:
    host = h.leased()
    host.give(w.Configured(guard=h.GUARD, labels={}))
    host.run(5 * h.SECOND)
    assert host.unlinked_for is None


def test_a_strike_that_is_open_comes_before_new_labels() -> None:
    host = h.leased()
    host.coordinator.order("c1", host.world.first, "pause")
    host.give(relabelled())
    host.run(2 * h.SECOND)
    assert host.world.first.state == "T" and host.unlinked_for is None
    host.until(lambda: host.unlinked_for is not None)
    assert host.world.first.state == "S"
    assert host.core.standing.leased, "the lease runs on over the new stream"


def test_labels_that_come_without_a_stream_wait_for_the_next_hello() -> None:
    host = h.leased()
    host.coordinator.unlink()
    host.give(relabelled())
    host.run(h.SECOND)
    assert host.unlinked_for is None
    host.coordinator.link()
    host.run(h.SECOND)
    assert labels_told(host) == {"zone": "b"}
    assert host.unlinked_for is None


def test_r29_a_guard_that_cannot_be_used_allows_nothing_though_the_reload_is_refused() -> None:
    host = h.leased()
    host.give(w.Configured(guard=replace(h.GUARD, problem="cannot use the guard")))
    host.coordinator.order("c1", host.world.first)
    assert host.world.log == []


# --- what of coordinator.toml takes effect ------------------------------------------------------------------


def test_limits_commands_retention_and_log_level_take_effect_at_once() -> None:
    text = 'retention = "7d"\nlog_level = "debug"\n[commands]\nreplay = ["/bin/true"]\n[limits]\nin_flight = 9\n'
    found = coordinators(text)
    assert set(found.changed) == {"limits", "commands", "retention", "log_level"}
    assert found.config.limits.limits["in_flight"] == 9
    assert found.config.commands == {"replay": ("/bin/true",)}
    assert (found.config.retention_days, found.waiting, found.notice) == (7, (), "")


def test_what_the_coordinator_was_built_from_waits_for_a_restart_and_is_named_as_the_file_has_it() -> None:
    found = coordinators(f'name = "north"\nlease = "20s"\nlisten_agents = "127.0.0.1:1"\n{LIMITS}')
    assert found.changed == ()
    assert set(found.waiting) >= {"name", "lease", "listen_agents"}
    assert (found.config.name, found.config.lease_ms) == ("coordinator", 15_000)
    assert "restart" in found.notice


# --- the record of limits -----------------------------------------------------------------------------------


def of(**limits: int) -> FleetLimits:
    return FleetLimits(limits=limits)


def test_each_limit_that_a_reload_has_changed_is_an_entry_of_the_audit_log() -> None:
    now, before = of(in_flight=4, per_host=1, per_zone=3), of(in_flight=10, per_host=1, per_minute=6)
    decision = configured("north", now, before)(books(hosts=()))
    assert decision.changes == ()
    assert {(one.who, one.what) for one in decision.audit} == {("coordinator.toml of north", "limit.configured")}
    assert [(one.subject, one.why, one.details) for one in decision.audit] == [
        ("in_flight", "from 10 to 4, by a reload", {"from": 10, "to": 4}),
        ("per_zone", "from not limited to 3, by a reload", {"from": "not limited", "to": 3}),
        ("per_minute", "from 6 to not limited, by a reload", {"from": 6, "to": "not limited"}),
    ]


def test_the_record_says_where_an_operators_limit_holds_instead() -> None:
    held = replace(books(hosts=()), limits=FleetLimits(limits={"in_flight": 7}, sources={"in_flight": "operator"}))
    (entry,) = configured("north", of(in_flight=4), of(in_flight=10))(held).audit
    assert entry.why == "from 10 to 4, by a reload; 7 holds, which an operator has set"


def test_what_a_coordinator_starts_with_is_on_the_record() -> None:
    (entry,) = configured("north", of(in_flight=4))(books(hosts=())).audit
    assert entry.why.startswith("at its start: in_flight 4, per_host not limited, ")
    assert entry.details == {"in_flight": 4}


# --- the log's level ----------------------------------------------------------------------------------------


@pytest.fixture
def plain_logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("plain_logging")
def test_a_loggers_level_changes_while_it_is_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stdout("info")
    log = structlog.get_logger()
    log.debug("quiet")
    log.info("first")
    set_log_level("error")
    log.info("unheard")
    log.error("second")
    set_log_level("debug")
    log.debug("third")
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert events == ["first", "second", "third"]

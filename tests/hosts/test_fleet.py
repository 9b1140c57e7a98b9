"""Killdeer's packages on machines with systemd, and Debian's services as its victims. One fleet lives through it
all, in the order of this file."""

import json
import signal
from functools import partial
from pathlib import Path

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.v1.agent_pb2 import EVIDENCE_LEVEL_BPF
from tests.hosts.fleet import AGENT, SERVICES, Fleet

# The image is made the first time; the machines are emulated.
pytestmark = pytest.mark.timeout(1_800)

# Of each service its main process, which systemd starts.
EXPERIMENT = """
killdeer: 1
name: {name}
environment: staging
hypothesis: Each service is back by itself.
target:
  hosts: {{role: [{roles}]}}
  process: {{unit: [{units}], name: [nginx, redis-server, postgres], parent: "1"}}
limits: {{in_flight: 3, per_host: 1, per_service: 1}}
{more}
waves:
  {waves}
recovery: {{within: 4m}}
"""
WAYS = {
    "terminated": "{terminate: {grace: 2m}}",
    "killed": "kill",
    "paused": "{pause: 5s}",
    "held-down": "{hold-down: 10s}",
}
# The signals of a pause that was resumed, and whether they took it back.
PAUSED = [(signal.SIGSTOP, False), (signal.SIGCONT, True)]
OOM_WATCH = 'seed: 1\nabort_when: ["oom in target"]'
FILL = "for i = 1, 96 do redis.call('set', i, string.rep('x', 1048576)) end"  # 96 MiB
# As the shipped rules say.
POLKIT = """
sed 's|// "payment.service".*|"redis-server.service",|' /usr/share/doc/killdeer-agent/examples/killdeer.rules \\
  >/etc/polkit-1/rules.d/60-killdeer.rules && grep -q redis-server /etc/polkit-1/rules.d/60-killdeer.rules
"""
FEW_STARTS = "[Unit]\\nStartLimitIntervalSec=1h\\nStartLimitBurst=2\\n"
ALL = ("web", "cache", "database")


def experiment(name: str, *waves: str, hosts: tuple[str, ...] = ALL, more: str = "") -> str:
    units = ", ".join(f'"{SERVICES[host]}"' for host in hosts)
    return EXPERIMENT.format(
        name=name,
        roles=", ".join(hosts),
        units=units,
        waves="\n  ".join(f"- {{{one}}}" for one in waves),
        more=more,
    )


def lasting(*hosts: str, action: str = "pause: 20m", more: str = "") -> str:
    """One strike on each of these hosts, that outlives the test."""
    return experiment("lasting", f"name: all, strikes: {len(hosts)}, action: {{{action}}}", hosts=hosts, more=more)


def main_of(fleet: Fleet, host: str) -> int:
    return fleet.hosts[host].main_of(SERVICES[host])


def paused(fleet: Fleet, *hosts: str, more: str = "") -> tuple[str, dict[str, int]]:
    """A run that has paused the services of these hosts for longer than the test lasts, and the pids by host."""
    settled(fleet)
    victims = {host: main_of(fleet, host) for host in hosts}
    run = fleet.begin(lasting(*hosts, more=more))
    for host, pid in victims.items():
        stands(fleet, host, pid, "T")
    return run, victims


def stands(fleet: Fleet, host: str, pid: int, state: str) -> None:
    """Until the process is in this state: T is paused, S sleeps."""
    fleet.until(lambda: fleet.hosts[host].state_of(pid) == state, f"{pid} on {host} is {state}")


def signals(strike: o.StrikeView) -> list[tuple[int, bool]]:
    return [(blow.signal, blow.revert) for blow in strike.blows]


def settled(fleet: Fleet) -> None:
    """Until each service has been started to the end: what helps it to start is counted with it until then."""
    fleet.leased()
    for host in SERVICES:
        fleet.until(partial(started, fleet, host), f"the service of {host} is started")


def started(fleet: Fleet, host: str) -> bool:
    return fleet.hosts[host].shown(SERVICES[host], "ActiveState") == "active"


def struck_once(strike: o.StrikeView) -> bool:
    """A pause that fell once and was taken back, if not by the agent that struck then by whoever came after it."""
    fell = [number for number, revert in signals(strike) if not revert]
    return (fell, strike.state) == ([signal.SIGSTOP], p.STRIKE_STATE_SURVIVED)


def test_each_host_has_joined_by_its_own_token_and_has_the_kernels_record(fleet: Fleet) -> None:
    for host in ALL:
        seen = fleet.seen(host)
        assert (seen.labels["role"], seen.evidence, seen.quarantined) == (host, EVIDENCE_LEVEL_BPF, False)
        assert fleet.hosts[host].shown(AGENT, "User") == "killdeer"
    said = fleet.operator.killdeer("candidates", "unit=*", "--json").json
    assert {host["host"] for host in said["hosts"]} == set(ALL)


@pytest.mark.parametrize(("way", "action"), WAYS.items())
def test_services_are_struck_and_come_back(way: str, action: str, fleet: Fleet) -> None:
    settled(fleet)
    run = fleet.begin(experiment(way, f"name: all, strikes: 3, action: {action}"))
    view = fleet.ended(run)
    # Where systemd takes its time between fork and exec, a place is full before anybody can be struck in it.
    filled = [strike.detail for strike in view.strikes if strike.cut_short]
    assert all("not held all the time: its service was whole" in detail for detail in filled), view
    assert view.verdict == (o.RUN_VERDICT_INCONCLUSIVE if filled else o.RUN_VERDICT_HELD), view
    assert sorted(strike.victim.host for strike in view.strikes) == sorted(ALL), view
    fleet.free()
    for strike in view.strikes:
        assert strike.evidence == EVIDENCE_LEVEL_BPF and not strike.events_lost and not strike.changed
        assert {blow.kernel_verdict for blow in strike.blows if not blow.revert} == {"delivered"}, strike
        fell, host = signals(strike), strike.victim.host
        if way == "paused":
            assert (strike.state, fell) == (p.STRIKE_STATE_SURVIVED, PAUSED), strike
            assert main_of(fleet, host) == strike.victim.pid
            continue
        assert set(fell) == {(signal.SIGTERM if way == "terminated" else signal.SIGKILL, False)}, strike
        assert len(fell) == 1 or way == "held-down", strike
        assert strike.state == p.STRIKE_STATE_RECOVERED and strike.exit.source == "bpf", strike
        assert strike.exit.signal == signal.SIGKILL or way == "terminated", strike
        assert main_of(fleet, host) != strike.victim.pid


def test_each_death_is_told_with_its_cause(fleet: Fleet) -> None:
    for strike in fleet.client.get_run("latest").strikes:
        host, pid = strike.victim.host, strike.victim.pid
        said = fleet.operator.killdeer("why", host, str(pid), "--json").json
        assert [one["death"]["cause"] for one in said["explanations"]] == ["CAUSE_STRIKE"], said
        # Of the service the last deaths are told: its workers', too, who ended with it.
        assert fleet.operator.killdeer("why", host, SERVICES[host], "--json").json["explanations"]


def test_its_report_is_written(fleet: Fleet, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    fleet.operator.killdeer("report", "latest", "--output", str(page))
    told = json.loads(fleet.operator.killdeer("report", "latest", "--format", "json").out)
    for host in ALL:
        assert host in page.read_text() and host in json.dumps(told)
    assert "held-down" in fleet.operator.killdeer("report", "latest", "--format", "md").out


def test_i4_a_halt_names_the_host_that_is_frozen_and_that_has_stopped_when_it_thaws(fleet: Fleet) -> None:
    run, victims = paused(fleet, *ALL)
    frozen = fleet.hosts["cache"]
    frozen.freeze()
    said = fleet.operator.killdeer("halt", "--reason", "drill", "--json")
    last = said.lines[-1]
    stages = {host["host"]: host for host in last["hosts"]}
    assert last["complete"] and last["stopped"] == 2, last
    assert int(stages["cache"]["stops_by_unix_ms"]) and stages["cache"]["bound_passed"], last
    for host in ("web", "database"):
        assert stages[host]["stage"] != "HALT_STAGE_UNSPECIFIED"
        stands(fleet, host, victims[host], "S")
    frozen.thaw()
    stands(fleet, "cache", victims["cache"], "S")
    fleet.until(lambda: fleet.seen("cache").connected, "it is connected again")
    view = fleet.ended(run)
    assert view.verdict == o.RUN_VERDICT_HALTED
    fleet.client.rearm("the drill is over")
    fleet.leased()
    fleet.free()
    for strike in fleet.client.get_run(run).strikes:
        assert struck_once(strike), strike
        assert main_of(fleet, strike.victim.host) == victims[strike.victim.host]


def test_i5_a_network_that_is_cut_for_longer_than_the_lease_ends_a_pause_on_both_sides(fleet: Fleet) -> None:
    run, victims = paused(fleet, "web")
    web = fleet.hosts["web"]
    web.cut()
    stands(fleet, "web", victims["web"], "S")
    fleet.until(lambda: not fleet.seen("web").lease_left_ms, "the coordinator counts it as stopped")
    web.mend()
    fleet.leased("web")
    fleet.ended(run)
    fleet.free()
    (strike,) = fleet.client.get_run(run).strikes
    assert signals(strike) == PAUSED
    assert strike.state == p.STRIKE_STATE_SURVIVED and main_of(fleet, "web") == victims["web"]


def test_i6_an_agent_that_is_killed_in_mid_pause_is_followed_by_a_revert(fleet: Fleet) -> None:
    run, victims = paused(fleet, "database")
    database = fleet.hosts["database"]
    agent = database.main_of(AGENT)
    database.ran(f"systemctl kill --signal=KILL {AGENT}")
    stands(fleet, "database", victims["database"], "S")
    fleet.until(lambda: database.main_of(AGENT) not in (0, agent), "there is another agent")
    fleet.ended(run)
    fleet.leased("database")
    fleet.free()
    (strike,) = fleet.client.get_run(run).strikes
    assert struck_once(strike), strike
    assert main_of(fleet, "database") == victims["database"]


def test_an_oom_kill_at_a_units_limit_is_told_with_its_cause_and_aborts_the_run(fleet: Fleet) -> None:
    cache = fleet.hosts["cache"]
    settled(fleet)
    greedy, service = main_of(fleet, "cache"), SERVICES["cache"]
    cache.ran(f"systemctl set-property --runtime {service} MemoryMax=64M MemorySwapMax=0")
    victim = main_of(fleet, "web")
    # This seed draws nginx.
    watching = experiment(
        "oom-watch", "name: one, strikes: 1, action: {pause: 20m}", hosts=("web", "cache"), more=OOM_WATCH
    )
    run = fleet.begin(watching)
    stands(fleet, "web", victim, "T")
    cache.ran(f'timeout 60 redis-cli eval "{FILL}" 0', code=None)
    view = fleet.ended(run)
    assert view.verdict == o.RUN_VERDICT_ABORTED and "oom in target" in view.why
    (found,) = [
        one["death"] for one in fleet.operator.killdeer("why", "cache", str(greedy), "--json").json["explanations"]
    ]
    assert found["cause"] == "CAUSE_OOM_CGROUP" and int(found["limit_kb"]) == 64 * 1024
    assert found["limit_cgroup"].endswith(f"/{service}")
    stands(fleet, "web", victim, "S")
    cache.ran(f"systemctl set-property --runtime {service} MemoryMax=infinity")
    fleet.free()


def test_i6_a_host_that_loses_its_power_in_mid_hold_down_comes_back_with_its_service(fleet: Fleet) -> None:
    settled(fleet)
    cache, before = fleet.hosts["cache"], main_of(fleet, "cache")
    run = fleet.begin(lasting("cache", action="hold-down: 20m"))
    fleet.until(lambda: main_of(fleet, "cache") != before, "its successor is killed too")
    cache.pull_plug()
    cache.plug_in()
    cache.booted()
    fleet.leased("cache")
    fleet.ended(run)
    fleet.free()
    (strike,) = fleet.client.get_run(run).strikes
    fell_on = [(blow.pid, blow.start_ticks) for blow in strike.blows]
    assert strike.cut_short and strike.victim.pid == before and len(set(fell_on)) == len(fell_on), strike
    assert cache.shown(SERVICES["cache"], "ActiveState") == "active"
    assert cache.shown(SERVICES["cache"], "NRestarts") == "0"


def test_a_unit_that_systemd_gave_up_under_a_hold_down_is_started_again_by_the_hardened_agent(fleet: Fleet) -> None:
    settled(fleet)
    cache, service = fleet.hosts["cache"], SERVICES["cache"]
    cache.ran(POLKIT)
    limit = f"/run/systemd/system/{service}.d/limit.conf"
    cache.ran(f"mkdir -p $(dirname {limit}); printf '{FEW_STARTS}' >{limit}")
    cache.ran(f"systemctl daemon-reload; systemctl reset-failed {service}")
    run = fleet.begin(lasting("cache", action="hold-down: 40s"))
    fleet.ended(run)
    fleet.free()
    (strike,) = fleet.client.get_run(run).strikes
    assert strike.state == p.STRIKE_STATE_RECOVERED and f"systemd gave {service} up" in strike.detail, strike
    assert [line["unit"] for line in cache.told(AGENT, "unit_started")] == [service]
    assert cache.shown(service, "ActiveState") == "active"


def test_a_reload_under_the_hardened_unit_takes_a_new_label(fleet: Fleet) -> None:
    web, agent = fleet.hosts["web"], fleet.hosts["web"].main_of(AGENT)
    web.ran(f"echo 'zone = \"b\"' >>/etc/killdeer/agent.toml; systemctl reload {AGENT}")
    fleet.until(lambda: fleet.seen("web").labels.get("zone") == "b", "its zone is known")
    fleet.leased("web")
    assert web.main_of(AGENT) == agent


def test_certificates_are_renewed_under_the_hardened_unit(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        fleet.until(partial(host.told, AGENT, "certificate_renewed"), f"{host.name} has its next certificate")
    fleet.leased()

"""`killdeer doctor`: what is wrong between here and the fleet is said, with what to do, and the exit code tells."""

import datetime as dt
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.version import VERSION
from killdeer_coordinator import pki
from killdeer_coordinator.pki import Pair
from tests.support.certificates import Authority, Keys
from tests.support.coordinator import Coordinator, coordinator, environment, pair_at, stub, wire_agent
from tests.support.operator import CLI, DEADLINE_S, FakeOperator, Served, free_address

CA = pki.make_ca()


class Fleets(Authority):
    """The fleet's own CA."""

    def __init__(self) -> None:
        super().__init__()
        self.cert = CA.certificate

    def issue(self, name: str, **_: Any) -> Keys:
        pair = pki.issue_coordinator(CA, ["127.0.0.1"])
        return Keys(cert=pair.certificate, key=pair.key)


class Fleet:
    """A coordinator that says what a test tells it, and a context that leads to it."""

    def __init__(self, folder: Path) -> None:
        self.operator = FakeOperator()
        self.served = Served(self.operator, Fleets())
        self.folder = folder
        self.addresses = [self.served.address]
        (folder / "ca.pem").write_bytes(CA.certificate)
        self.certificate(pki.issue_operator(CA, "ada", ["viewer", "approver"]))
        self.says()

    def certificate(self, pair: Pair) -> None:
        (self.folder / "operator.pem").write_bytes(pair.certificate)
        (self.folder / "operator.key").write_bytes(pair.key)

    def says(self, *hosts: o.HostView, **status: Any) -> None:
        told: dict[str, Any] = {"version": VERSION, "store_ok": True, "name": "ada", "roles": ["viewer"]} | status
        self.operator.answers["GetStatus"] = lambda *_: o.GetStatusResponse(
            **{"unix_ms": time.time_ns() // 1_000_000, **told}
        )
        self.operator.answers["ListHosts"] = lambda *_: o.ListHostsResponse(hosts=hosts)

    def doctor(self, *options: str) -> "subprocess.CompletedProcess[str]":
        path = self.folder / "config.toml"
        path.write_text(
            f'current = "test"\n[context.test]\ncoordinators = {json.dumps(self.addresses)}\n'
            'ca = "ca.pem"\ncert = "operator.pem"\nkey = "operator.key"\n'
        )
        return asked(path, *options)

    def findings(self, code: int) -> dict[str, dict[str, Any]]:
        done = self.doctor("--json")
        assert done.returncode == code, done.stdout + done.stderr
        found = {one["name"]: one for one in json.loads(done.stdout)}
        for one in found.values():
            assert one["ok"] or one["remedy"], one
        return found

    def wrong(self, code: int) -> dict[str, dict[str, Any]]:
        return {name: one for name, one in self.findings(code).items() if not one["ok"]}


def asked(context: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*CLI, "doctor", *options],
        env=environment(context),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S * 3,
    )


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.served.stop()


def host(name: str, **fields: Any) -> o.HostView:
    told: dict[str, Any] = {"connected": True, "evidence": a.EVIDENCE_LEVEL_BPF, **fields}
    return o.HostView(host=name, **told)


def test_a_fleet_that_is_well_is_good_in_every_line(fleet: Fleet) -> None:
    fleet.says(host("web-1"))
    found = fleet.findings(0)
    assert [name for name, one in found.items() if not one["ok"]] == []
    assert "you are ada (viewer, approver)" in found["certificate"]["fact"]
    assert found["hosts"]["fact"] == "1 of 1 host connected"
    lines = fleet.doctor().stdout.splitlines()
    assert len(lines) == len(found)
    assert all(line.startswith("ok  ") for line in lines)


def test_without_a_context_it_says_how_to_get_one(tmp_path: Path) -> None:
    done = asked(tmp_path / "none.toml")
    assert done.returncode == 2
    assert done.stdout.startswith("FAIL  context")
    assert "-> " in done.stdout


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (pki.issue_operator(CA, "ada", ["viewer"], now=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)), "expired"),
        (pki.issue_agent(CA, "web-1"), "names no operator"),
        (pki.issue_operator(pki.make_ca(), "ada", ["viewer"]), "issuer"),
        (Pair(certificate=pki.issue_agent(CA, "x").certificate, key=pki.issue_agent(CA, "x").key), "mismatch"),
    ],
    ids=["expired", "an agent's", "another CA's", "another key's"],
)
def test_a_certificate_that_no_coordinator_would_take_ends_it_there(fleet: Fleet, pair: Pair, said: str) -> None:
    fleet.certificate(pair)
    wrong = fleet.wrong(2)
    assert list(wrong) == ["certificate"]
    assert said in wrong["certificate"]["fact"]


def test_a_certificate_that_ends_soon_is_a_warning(fleet: Fleet) -> None:
    fleet.says(host("web-1"))
    begun = dt.datetime.now(dt.UTC) - dt.timedelta(days=pki.OPERATOR_DAYS - 20)
    fleet.certificate(pki.issue_operator(CA, "ada", ["viewer"], now=begun))
    wrong = fleet.wrong(0)
    assert list(wrong) == ["certificate"]
    assert "days more" in wrong["certificate"]["fact"]


def test_each_coordinator_is_asked_and_one_is_enough(fleet: Fleet) -> None:
    fleet.says(host("web-1"))
    nobody = free_address()
    fleet.addresses = [nobody, fleet.served.address]
    wrong = fleet.wrong(0)
    assert list(wrong) == [f"coordinator {nobody}"]
    assert not wrong[f"coordinator {nobody}"]["needed"]


def test_with_no_coordinator_at_all_it_exits_as_every_verb_does(fleet: Fleet) -> None:
    nobody = free_address()
    fleet.addresses = [nobody]
    assert fleet.wrong(4)[f"coordinator {nobody}"]["needed"]


def test_another_version_and_another_time_are_warnings(fleet: Fleet) -> None:
    fleet.says(host("web-1"), version="0.0.1", unix_ms=time.time_ns() // 1_000_000 - 3_600_000)
    wrong = fleet.wrong(0)
    assert set(wrong) == {f"coordinator {fleet.served.address}", "clock"}
    assert re.search(r"3,6\d\d s behind", wrong["clock"]["fact"])


def test_an_older_coordinator_that_does_not_tell_its_time_is_no_warning(fleet: Fleet) -> None:
    fleet.says(host("web-1"), unix_ms=0)
    assert "does not tell" in fleet.findings(0)["clock"]["fact"]


def test_a_store_that_is_not_usable_is_a_failure(fleet: Fleet) -> None:
    fleet.says(host("web-1"), store_ok=False, store_detail="the disk is full")
    wrong = fleet.wrong(1)
    assert list(wrong) == ["store"]
    assert "the disk is full" in wrong["store"]["fact"]


def test_a_halt_and_what_the_coordinator_has_to_tell_are_said(fleet: Fleet) -> None:
    halt = p.HaltRecord(id="h", by="ben", reason="smoke")
    fleet.says(host("web-1"), halts=[halt], notices=["its reload was refused: line 3"])
    wrong = fleet.wrong(0)
    assert set(wrong) == {"halt", "notice"}
    assert "by ben: smoke" in wrong["halt"]["fact"]
    assert "killdeer rearm" in wrong["halt"]["remedy"]


def test_hosts_that_are_gone_quarantined_or_without_evidence_are_named(fleet: Fleet) -> None:
    fleet.says(
        host("web-1"),
        host("web-2", connected=False),
        host("web-3", connected=False, quarantined=True),
        host("web-4", evidence=a.EVIDENCE_LEVEL_PIDFD),
        host("web-5", halted_locally=True, reverts_left=["c1"], problem="its journal cannot be trusted"),
    )
    wrong = fleet.wrong(0)
    assert set(wrong) == {"hosts", "quarantine", "evidence", "reverts", "local halt", "problem"}
    named = {"hosts": "web-2", "quarantine": "web-3", "evidence": "web-4", "local halt": "web-5"}
    for name, said in named.items():
        assert wrong[name]["fact"].endswith(f": {said}")
    assert "accept" in wrong["quarantine"]["remedy"]
    assert wrong["reverts"]["remedy"] == "killdeer hosts says why"


def test_of_many_hosts_the_first_are_named_and_the_others_counted(fleet: Fleet) -> None:
    fleet.says(*(host(f"web-{number:03}", connected=False) for number in range(200)))
    assert fleet.wrong(0)["hosts"]["fact"].endswith("web-009 and 190 more")


def test_a_fleet_without_hosts_is_told_how_one_joins(fleet: Fleet) -> None:
    assert "token create" in fleet.wrong(0)["hosts"]["remedy"]


def test_of_a_real_coordinator_all_is_well_but_that_it_has_no_hosts(tmp_path: Path) -> None:
    with coordinator(tmp_path) as made:
        done = asked(made.context(), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert [name for name, one in found.items() if not one["ok"]] == ["hosts"]
    assert "within a second" in found["clock"]["fact"]
    assert "you are all (viewer, operator, approver, admin)" in found["certificate"]["fact"]


def test_a_coordinator_whose_certificate_ends_soon_says_so_in_time(tmp_path: Path) -> None:
    made = Coordinator(tmp_path)
    ca = pair_at(made.keys / "ca")
    begun = dt.datetime.now(dt.UTC) - dt.timedelta(days=pki.COORDINATOR_DAYS - 10)
    soon = pki.issue_coordinator(ca, ["127.0.0.1"], now=begun)
    (made.keys / "coordinator.pem").write_bytes(soon.certificate)
    (made.keys / "coordinator.key").write_bytes(soon.key)
    made.start()
    try:
        found = {one["name"]: one for one in json.loads(asked(made.context(), "--json").stdout)}
    finally:
        made.stop()
    assert "ends within 30 days" in found["notice"]["fact"]
    assert not found["notice"]["ok"]


def test_status_names_hosts_and_operators_whose_certificates_end_soon(tmp_path: Path) -> None:
    made = Coordinator(tmp_path, "web-1", "web-2")
    ca = pair_at(made.keys / "ca")
    begun = dt.datetime.now(dt.UTC) - dt.timedelta(days=pki.AGENT_DAYS - 10, hours=-1)
    put(made.keys / "agents" / "web-1" / "agent", pki.issue_agent(ca, "web-1", now=begun))
    begun = dt.datetime.now(dt.UTC) - dt.timedelta(days=pki.OPERATOR_DAYS - 20, hours=-1)
    put(made.keys / "operators" / "viewer", pki.issue_operator(ca, "viewer", ["viewer"], now=begun))
    made.start()
    try:
        with wire_agent(made, "web-1") as ending, wire_agent(made, "web-2") as lasting:
            for agent, host in ((ending, "web-1"), (lasting, "web-2")):
                agent.hello(host)
                agent.read("welcome")
            with stub(made) as operator:
                (notice,) = operator.GetStatus(o.GetStatusRequest()).notices
            said = subprocess.run(
                [*CLI, "status"],
                env=environment(made.context("viewer")),
                capture_output=True,
                text=True,
                check=True,
            ).stdout
    finally:
        made.stop()
    assert notice.startswith("certificates of hosts end soon: web-1 in 10 days; ")
    assert "notice     certificates of hosts end soon: web-1" in said
    assert "notice     you are viewer (viewer), for 20 days more: have another issued before it ends: " in said


def put(stem: Path, pair: Pair) -> None:
    stem.with_suffix(".key").write_bytes(pair.key)
    stem.with_suffix(".pem").write_bytes(pair.certificate)

"""A backup is whole though the coordinator runs; a restored one is noticed, and the fleet halted (R22)."""

import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from killdeer.v1 import operator_pb2 as o
from tests.support.coordinator import Coordinator, coordinator, environment, stub, wire_agent
from tests.support.fleet import wait_until
from tests.support.operator import CLI, DEADLINE_S

PROGRAM = "import sys; from killdeer_coordinator.cli import main; sys.exit(main())"
HOST = "web-1"


def said(made: Coordinator, verb: str, file: Path, *options: str, code: int = 0) -> str:
    command = [sys.executable, "-c", PROGRAM, verb, str(file), "--config", str(made.config), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S * 3)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def killdeer(made: Coordinator, *arguments: str) -> str:
    done = subprocess.run(
        [*CLI, *arguments],
        env=environment(made.context()),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S * 3,
    )
    return done.stdout + done.stderr


def limit(made: Coordinator, scope: str) -> int:
    with stub(made) as operator:
        listed: o.ListLimitsResponse = operator.ListLimits(o.ListLimitsRequest())
        return next(one.limit for one in listed.limits if one.scope == scope)


def set_limit(made: Coordinator, number: int) -> None:
    with stub(made) as operator:
        operator.SetLimit(o.SetLimitRequest(scope="in_flight", limit=number, reason="to see"))


def status(made: Coordinator) -> o.GetStatusResponse:
    with stub(made) as operator:
        answer: o.GetStatusResponse = operator.GetStatus(o.GetStatusRequest())
        return answer


def away(made: Coordinator) -> Path:
    """The state directory is lost, and with it what is kept beside the store."""
    lost = made.folder / "lost"
    made.state.rename(lost)
    return lost


def store_away(made: Coordinator) -> None:
    """The store alone is moved away."""
    lost = made.folder / "lost"
    lost.mkdir()
    for path in made.state.glob("killdeer.db*"):
        path.rename(lost / path.name)


def remove(made: Coordinator, host: str) -> None:
    with stub(made) as operator:
        operator.RemoveHost(o.RemoveHostRequest(host=host, reason="its disk was stolen"))


def known(made: Coordinator) -> str:
    """The session of a host that has been served."""
    with wire_agent(made, HOST) as agent:
        agent.hello(HOST)
        frame = agent.read("welcome")
        assert frame is not None
        agent.beat(1)
        agent.read("lease_renewal")
        return str(frame.welcome.session)


def turned_away(made: Coordinator, session: str) -> str:
    """Why the host is dismissed."""
    with wire_agent(made, HOST) as agent:
        agent.hello(HOST, session=session)
        frame = agent.read()
        while frame is not None and frame.HasField("halt"):
            frame = agent.read()
        assert frame is not None
        assert frame.HasField("dismissal"), frame
        return str(frame.dismissal.detail)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Coordinator]:
    with coordinator(tmp_path, HOST) as started:
        yield started


def test_r22_a_restored_store_halts_the_fleet_though_no_agent_has_seen_more(made: Coordinator) -> None:
    file = made.folder / "fleet.backup"
    set_limit(made, 7)
    assert f"{file}: " in said(made, "backup", file)
    set_limit(made, 8)  # is lost
    assert made.stop() == 0
    away(made)

    assert "killdeer rearm" in said(made, "restore", file, "--none-removed")
    made.start()
    (halt,) = wait_until(lambda: list(status(made).halts), "the restore is noticed")
    assert halt.id.startswith("store-restored-")
    assert "store restored" in halt.reason
    assert limit(made, "in_flight") == 7
    assert "HALTED" in killdeer(made, "status")
    with stub(made) as operator:
        assert operator.ListAudit(o.ListAuditRequest(verify=True)).problem == ""

    killdeer(made, "rearm", "--reason", "looked at every host")
    assert not status(made).halts
    assert made.stop() == 0
    made.start()  # a lost position halts once, and not again after the rearm
    assert not status(made).halts


def test_r22_hosts_of_a_restored_store_are_served_once_they_have_said_hello(made: Coordinator) -> None:
    with wire_agent(made, HOST) as agent:
        agent.hello(HOST)
        welcome = agent.read("welcome")
        assert welcome is not None
        agent.beat(1)
        agent.read("lease_renewal")
        file = made.folder / "fleet.backup"
        said(made, "backup", file)
    made.stop()
    away(made)
    said(made, "restore", file, "--none-removed")
    made.start()
    wait_until(lambda: status(made).hosts_quarantined == 1, "the host is not known to have nothing open")
    with wire_agent(made, HOST) as agent:
        agent.hello(HOST, session=welcome.welcome.session)
        frame = agent.read("welcome")
        assert frame is not None
        assert next(one.id for one in frame.welcome.halts.engaged).startswith("store-restored-")
        wait_until(lambda: status(made).hosts_quarantined == 0, "it is served")


def test_r10_a_halt_that_was_engaged_is_engaged_after_a_restore(made: Coordinator) -> None:
    with stub(made) as operator:
        next(iter(operator.Halt(o.HaltRequest(id="drill", reason="a drill"))))
    file = made.folder / "fleet.backup"
    wait_until(lambda: status(made).halts, "it is halted")
    said(made, "backup", file)
    made.stop()
    away(made)
    said(made, "restore", file, "--none-removed")
    made.start()
    assert "drill" in {halt.id for halt in status(made).halts}


def test_a_host_that_was_removed_after_the_backup_is_not_served_by_the_restored_store(made: Coordinator) -> None:
    session, file = known(made), made.folder / "fleet.backup"
    said(made, "backup", file)
    remove(made, HOST)
    made.stop()
    store_away(made)
    assert "killdeer rearm" in said(made, "restore", file)
    made.start()
    assert "was removed by all (its disk was stolen)" in turned_away(made, session)
    assert '"event": "removals_put_back"' in made.said
    with stub(made) as operator:
        entries = operator.ListAudit(o.ListAuditRequest()).entries
    assert [(one.who, one.why) for one in entries if one.what == "host.removed"] == [
        ("coordinator", "kept outside the store: by all: its disk was stolen")
    ]
    assert next(iter(status(made).halts)).id.startswith("store-restored-")


def test_an_old_copy_of_the_database_alone_brings_no_removed_host_back(made: Coordinator) -> None:
    session = known(made)
    made.stop()
    copy = (made.state / "killdeer.db").read_bytes()
    made.start()
    remove(made, HOST)
    made.stop()
    for path in made.state.glob("killdeer.db*"):
        path.unlink()
    (made.state / "killdeer.db").write_bytes(copy)
    made.start()
    assert "was removed by all" in turned_away(made, session)


def test_where_nobody_knows_who_was_removed_the_restore_asks_for_it(made: Coordinator) -> None:
    session, file = known(made), made.folder / "fleet.backup"
    said(made, "backup", file)
    made.stop()
    away(made)
    told = said(made, "restore", file, code=2)
    assert "removed.json is not there" in told
    assert "--none-removed" in told
    assert not (made.state / "killdeer.db").exists()
    assert "cannot " in said(made, "restore", file, "--removed", "a/b", code=2)
    said(made, "restore", file, "--removed", HOST)
    made.start()
    assert "removed after the backup" in turned_away(made, session)


def test_a_removal_that_cannot_be_kept_beside_the_store_is_none(made: Coordinator) -> None:
    session = known(made)
    (made.state / "removed.new").mkdir()
    with pytest.raises(grpc.RpcError) as refused:
        remove(made, HOST)
    assert "removed.json" in str(refused.value)
    (made.state / "removed.new").rmdir()
    with wire_agent(made, HOST) as agent:
        agent.hello(HOST, session=session)
        assert agent.read("welcome") is not None
    remove(made, HOST)
    assert "was removed" in turned_away(made, session)


def test_removals_that_cannot_be_read_keep_the_coordinator_from_starting(made: Coordinator) -> None:
    made.stop()
    (made.state / "removed.json").write_text("{")
    failed = made.fails()
    assert failed.returncode == 2
    assert "removed.json" in failed.stderr
    assert "whom it names would be served" in failed.stderr


def test_a_backup_is_of_one_moment_though_decisions_go_on(made: Coordinator) -> None:
    """The chain of its audit log is checked by the restore: a torn copy would be refused."""
    files = [made.folder / f"{number}.backup" for number in range(3)]
    stop = threading.Event()

    def decide() -> None:
        with stub(made) as operator:
            while not stop.is_set():
                operator.SetLimit(o.SetLimitRequest(scope="in_flight", limit=5, reason="x" * 2_000))

    deciding = threading.Thread(target=decide)
    deciding.start()
    try:
        for file in files:
            said(made, "backup", file)
    finally:
        stop.set()
        deciding.join()
    made.stop()
    away(made)
    for file in files:
        assert "entries of the audit log" in said(made, "restore", file, "--none-removed")
        shutil.rmtree(made.state)


def test_a_backup_is_its_owners_alone_and_writes_over_nothing(made: Coordinator) -> None:
    file = made.folder / "fleet.backup"
    said(made, "backup", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "it is there already" in said(made, "backup", file, code=2)
    assert [path.name for path in made.folder.iterdir() if "backup" in path.name] == [file.name]


def test_a_restore_goes_into_an_empty_state_directory_only(made: Coordinator) -> None:
    file = made.folder / "fleet.backup"
    said(made, "backup", file)
    assert "is there; stop the coordinator" in said(made, "restore", file, code=2)
    made.stop()
    before = (made.state / "killdeer.db").read_bytes()
    assert "is there; stop the coordinator" in said(made, "restore", file, code=2)
    assert (made.state / "killdeer.db").read_bytes() == before


def test_what_is_no_whole_backup_is_refused_and_leaves_no_store(made: Coordinator) -> None:
    file, other = made.folder / "fleet.backup", made.folder / "other"
    said(made, "backup", file)
    made.stop()
    away(made)
    content = file.read_bytes()
    broken = bytearray(content)
    with tarfile.open(file) as archive:
        member = archive.getmember("killdeer.db")
        start, end = member.offset_data, member.offset_data + member.size
    broken[start + 100 : end] = b"\xff" * (end - start - 100)
    for damaged in (b"", b"no backup at all", content[: start + 5_000], bytes(broken)):
        other.write_bytes(damaged)
        assert "cannot " in said(made, "restore", other, "--none-removed", code=2)
        assert not (made.state / "killdeer.db").exists()
        assert not (made.state / "outside.json").exists()
    said(made, "restore", file, "--none-removed")


def test_nothing_else_that_is_in_the_file_is_unpacked(made: Coordinator, tmp_path: Path) -> None:
    file = made.folder / "fleet.backup"
    said(made, "backup", file)
    made.stop()
    away(made)
    evil = tmp_path / "evil"
    evil.write_text("x")
    with tarfile.open(file, "a") as archive:
        archive.add(evil, "../evil-was-here")
    said(made, "restore", file, "--none-removed")
    assert not (made.folder / "evil-was-here").exists()
    assert {path.name for path in made.state.iterdir()} == {
        "killdeer.db",
        "outside.json",
        "removed.json",
        "coordinator.lock",
    }


def test_a_backup_of_a_coordinator_that_never_ran_is_refused(tmp_path: Path) -> None:
    never = Coordinator(tmp_path)
    assert "it is not there" in said(never, "backup", tmp_path / "file", code=2)


@pytest.mark.parametrize(("verb", "tool"), [("backup", "pg_dump"), ("restore", "pg_restore")])
def test_of_a_database_elsewhere_it_is_said_what_keeps_it(tmp_path: Path, verb: str, tool: str) -> None:
    never = Coordinator(tmp_path, extra='[store]\nurl = "postgresql://killdeer@db/killdeer"\n')
    told = said(never, verb, tmp_path / "file", code=2)
    assert tool in told
    assert "outside.json" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it restores for another user")
def test_root_restores_for_the_user_whose_directory_it_is(made: Coordinator) -> None:
    file = made.folder / "fleet.backup"
    said(made, "backup", file)
    made.stop()
    away(made)
    made.state.mkdir()
    os.chown(made.state, 65_534, 65_534)
    said(made, "restore", file, "--none-removed")
    assert {path.stat().st_uid for path in made.state.iterdir()} == {65_534}
    shutil.rmtree(made.state)

"""The emergency stop from the operator's chair: every coordinator, one id, each host named, exit codes."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer.v1.agent_pb2 import HALT_STAGE_REVERTED, HALT_STAGE_STOPPED
from tests.support.certificates import Authority
from tests.support.commandline import ended, killdeer, read_until, start
from tests.support.operator import DEADLINE_S, FakeOperator, Served, free_address, write_context

STOPPED = o.HaltHost(host="a-1", stage=HALT_STAGE_STOPPED, connected=True)
REVERTED = o.HaltHost(host="a-1", stage=HALT_STAGE_REVERTED, connected=True, reverted=2)
GONE = o.HaltHost(host="a-2", stops_by_unix_ms=4_102_444_800_000)
PASSED = o.HaltHost(host="a-2", stops_by_unix_ms=4_102_444_800_000, bound_passed=True)


def halted(request: Any, *hosts: o.HaltHost, complete: bool = False) -> o.HaltResponse:
    stopped = sum(host.stage >= HALT_STAGE_STOPPED for host in hosts)
    return o.HaltResponse(
        halt_id=request.id,
        hosts=hosts,
        total=len(hosts),
        stopped=stopped,
        complete=complete,
        stored=True,
        elapsed_ms=300,
    )


def stays_incomplete(operator: FakeOperator) -> None:
    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[o.HaltResponse]:
        yield halted(request, STOPPED, GONE)
        operator.closing.wait(DEADLINE_S)

    operator.answers["Halt"] = answer


def completes(operator: FakeOperator, *hosts: o.HaltHost) -> None:
    operator.answers["Halt"] = lambda request, context: [halted(request, *hosts, complete=True)]


@pytest.fixture
def second(authority: Authority) -> Iterator[Served]:
    served = Served(FakeOperator(), authority)
    yield served
    served.stop()


def both(
    served: Served, second: Served | str, authority: Authority, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = second if isinstance(second, str) else second.address
    monkeypatch.setenv("KILLDEER_CONFIG", str(write_context(folder, [other, served.address], authority)))


def test_a_complete_halt_is_exit_0_and_asks_nothing(operator: FakeOperator) -> None:
    completes(operator, REVERTED, PASSED)
    said = killdeer("halt", "--reason", "fire")
    assert said.code == 0
    assert operator.requests("Halt")[0].reason == "fire"
    assert said.out.splitlines()[0] == "test: halting 2 hosts"
    assert (
        "1 of 2 stopped in 0.3 s; 1 unreachable, stopped by now: the lease has run out; 2 effects reverted"
        in said.out
    )
    assert "  a-2: unreachable, stopped by now" in said.out


def test_it_waits_for_the_record_and_the_reverts_while_the_coordinator_does(operator: FakeOperator) -> None:
    def settles(request: Any, context: grpc.ServicerContext) -> Iterator[o.HaltResponse]:
        early = halted(request, STOPPED, complete=True)
        early.stored = False
        yield early
        yield halted(request, REVERTED, complete=True)
        operator.closing.wait(DEADLINE_S)

    operator.answers["Halt"] = settles
    said = killdeer("halt")
    assert said.code == 0
    assert "not in the store" not in said.err


def test_what_is_not_recorded_in_the_end_is_said(operator: FakeOperator) -> None:
    def gives_up(request: Any, context: grpc.ServicerContext) -> Iterator[o.HaltResponse]:
        response = halted(request, STOPPED, complete=True)
        response.stored = False
        yield response

    operator.answers["Halt"] = gives_up
    said = killdeer("halt")
    assert said.code == 0
    assert "the halt is not in the store yet" in said.err


def test_a_halt_needs_no_reason(operator: FakeOperator) -> None:
    completes(operator, STOPPED)
    assert killdeer("halt").code == 0


def test_timeout_first_is_exit_3_and_names_who_has_not_stopped(operator: FakeOperator) -> None:
    stays_incomplete(operator)
    said = killdeer("halt", "--timeout", "500ms")
    assert said.code == 3
    assert "1 of 2 stopped in 0.3 s; 1 unreachable, stopped by " in said.out
    assert "  a-2: unreachable, stopped by " in said.out


def test_every_coordinator_is_told_the_same_halt(
    served: Served, second: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(served, second, authority, tmp_path, monkeypatch)
    completes(served.operator, STOPPED, o.HaltHost(host="a-2", bound_passed=True))
    completes(second.operator, o.HaltHost(host="a-1", bound_passed=True), REVERTED_2)
    said = killdeer("halt")
    assert said.code == 0
    assert "2 of 2 stopped" in said.out
    ids = {served.operator.requests("Halt")[0].id, second.operator.requests("Halt")[0].id}
    assert len(ids) == 1
    assert ids != {""}


REVERTED_2 = o.HaltHost(host="a-2", stage=HALT_STAGE_REVERTED, connected=True)


def test_it_waits_for_the_slower_coordinator(
    served: Served, second: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(served, second, authority, tmp_path, monkeypatch)
    completes(served.operator, STOPPED)

    def slow(request: Any, context: grpc.ServicerContext) -> Iterator[o.HaltResponse]:
        yield halted(request, STOPPED, GONE)
        served.operator.wait_for("Halt")
        yield halted(request, STOPPED, PASSED, complete=True)

    second.operator.answers["Halt"] = slow
    said = killdeer("halt")
    assert said.code == 0
    assert "1 of 2 stopped" in said.out.splitlines()[-3]


def test_one_coordinator_that_is_gone_is_named_and_holds_nothing_up(
    served: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = free_address()
    both(served, gone, authority, tmp_path, monkeypatch)
    completes(served.operator, STOPPED)
    said = killdeer("halt")
    assert said.code == 0
    assert f"{gone}: connection refused; it was not told" in said.err


def test_a_broken_stream_is_taken_up_with_the_same_id(operator: FakeOperator) -> None:
    def breaks_once(request: Any, context: grpc.ServicerContext) -> Iterator[o.HaltResponse]:
        again = len(operator.requests("Halt")) > 1
        yield halted(request, STOPPED, PASSED if again else GONE, complete=again)
        if not again:
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")

    operator.answers["Halt"] = breaks_once
    said = killdeer("halt")
    assert said.code == 0
    first, again = operator.requests("Halt")
    assert first.id == again.id


def test_json_is_a_line_for_each_state_of_the_halt(operator: FakeOperator) -> None:
    operator.answers["Halt"] = lambda request, context: [
        halted(request, STOPPED, GONE),
        halted(request, STOPPED, PASSED, complete=True),
    ]
    said = killdeer("halt", "--json")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["complete"] for line in lines] == [False, True]
    assert lines[-1]["stopped"] == 1
    assert lines[-1]["total"] == 2


def test_ctrl_c_leaves_the_halt_engaged_and_is_exit_3(operator: FakeOperator) -> None:
    stays_incomplete(operator)
    process = start("halt")
    read_until(process, "halting 2 hosts")
    process.send_signal(signal.SIGINT)
    said = ended(process)
    assert said.code == 3
    assert "stays engaged" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("typed", [["halt", "--reason", "x", "--timeout", "5s"], ["status"], ["abort", "r7f3"]])
def test_what_stops_things_starts_without_pydantic_and_yaml(operator: FakeOperator, typed: list[str]) -> None:
    completes(operator, STOPPED)
    script = (
        "import atexit, sys\n"
        "heavy = {'pydantic', 'pydantic_core', 'ruamel.yaml', 'sqlalchemy', 'alembic', 'cryptography'}\n"
        "atexit.register(lambda: print('HEAVY', sorted(heavy & set(sys.modules))))\n"
        "from killdeer_cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--context", "test", *typed],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"

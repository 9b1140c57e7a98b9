"""A coordinator that cannot be reached is exit 4, promptly; nobody there and wrong keys are told apart."""

import datetime
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Keys
from tests.support.commandline import killdeer
from tests.support.operator import Served, free_address, write_context


def context(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv("KILLDEER_CONFIG", str(path))


@pytest.fixture
def plaintext() -> Iterator[str]:
    """The address of a server that speaks HTTP without TLS."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


@pytest.mark.parametrize(
    "verb", [["status"], ["halt"], ["abort"], ["watch"], ["events"], ["rearm", "--reason", "x"]]
)
def test_nobody_there_is_exit_4(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    address = free_address()
    context(monkeypatch, write_context(tmp_path, [address], authority))
    monkeypatch.setattr("killdeer_client.following.PAUSES_S", (0.0, 0.0))
    said = killdeer(*verb)
    assert said.code == 4
    assert f"cannot reach the coordinator at {address}: connection refused" in said.err
    told_of_agents = "stop by themselves when their lease ends" in said.err and "killdeer-agent halt" in said.err
    assert told_of_agents == (verb == ["halt"])


def test_somebody_who_never_answers_is_given_up(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        context(monkeypatch, write_context(tmp_path, [address], authority))
        said = killdeer("status")
    assert said.code == 4
    assert "no answer within 3 s" in said.err


def test_a_name_that_is_nowhere_is_said(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context(monkeypatch, write_context(tmp_path, ["coordinator.invalid:7443"], authority))
    said = killdeer("status")
    assert said.code == 4
    assert "coordinator.invalid:7443: no such name in DNS" in said.err


def test_a_coordinator_of_another_ca_is_not_trusted(
    served: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = Authority("another ca")
    context(monkeypatch, write_context(tmp_path, [served.address], stranger, keys=authority.issue("operator")))
    said = killdeer("status")
    assert said.code == 4
    assert f"cannot trust the coordinator at {served.address}" in said.err
    assert "cannot reach" not in said.err
    assert not served.operator.asked


def test_a_coordinator_with_another_name_is_not_trusted(
    served: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_context(tmp_path, [served.address], authority, extra='server_name = "elsewhere"\n')
    context(monkeypatch, path)
    said = killdeer("status")
    assert said.code == 4
    assert f"cannot trust the coordinator at {served.address}" in said.err


def of_another_ca(authority: Authority) -> Keys:
    return Authority("another ca").issue("operator")


def expired(authority: Authority) -> Keys:
    return authority.issue("operator", until=datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC))


@pytest.mark.parametrize("make", [of_another_ca, expired])
def test_an_operator_whose_certificate_is_turned_away_is_told_so(
    served: Served,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Authority], Keys],
) -> None:
    context(monkeypatch, write_context(tmp_path, [served.address], authority, keys=make(authority)))
    said = killdeer("status")
    assert said.code == 4
    assert "it does not accept the operator's certificate" in said.err
    assert "operator.crt" in said.err


def test_keys_that_do_not_belong_together_are_told_so(
    served: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = Keys(cert=authority.issue("operator").cert, key=authority.issue("operator").key)
    context(monkeypatch, write_context(tmp_path, [served.address], authority, keys=mixed))
    said = killdeer("status")
    assert said.code == 4
    assert "cannot use the keys of the context 'test': key values mismatch" in said.err


def test_another_kind_of_server_is_told_so(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plaintext: str
) -> None:
    context(monkeypatch, write_context(tmp_path, [plaintext], authority))
    said = killdeer("status")
    assert said.code == 4
    assert f"cannot speak TLS with {plaintext}" in said.err


def test_a_key_file_that_is_not_there_is_exit_2(
    served: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context(monkeypatch, write_context(tmp_path, [served.address], authority))
    (tmp_path / "operator.key").unlink()
    said = killdeer("status")
    assert said.code == 2
    assert "cannot read `key` of the context 'test'" in said.err


def test_a_context_that_is_not_there_is_exit_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context(monkeypatch, tmp_path / "none.toml")
    said = killdeer("status")
    assert said.code == 2
    assert "killdeer sandbox start" in said.err


def test_the_next_coordinator_is_asked_when_the_first_is_gone(
    served: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context(monkeypatch, write_context(tmp_path, [free_address(), served.address], authority))
    assert killdeer("status").code == 0
    assert killdeer("events").code == 0
    assert len(served.operator.requests("GetStatus")) == 1


def test_context_use_changes_which_fleet_is_spoken_to(
    served: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_context(tmp_path, [served.address], authority)
    section = path.read_text().split("\n\n", 1)[1]
    path.write_text(path.read_text() + "\n" + section.replace("[context.test]", "[context.other]"))
    context(monkeypatch, path)
    assert killdeer("context", "use", "other").code == 0
    said = killdeer("context")
    assert [line.split()[:2] for line in said.out.splitlines()[1:]] == [["test", served.address], ["*", "other"]]
    assert "context    other" in killdeer("status").out
    assert "context    test" in killdeer("--context", "test", "status").out
    refused = killdeer("context", "use", "othr")
    assert refused.code == 2
    assert "did you mean 'other'?" in refused.err

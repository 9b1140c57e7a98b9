"""Deeds: a webhook is done when it is answered as it should be, a command when it succeeds; else a problem."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from killdeer.v1 import probe_pb2 as p
from tests.support.probed import Answer, Probed, service
from tests.support.probing import WITHIN_MS, perform

STATE = '{"run": "r1"}'


@pytest.fixture
def web() -> Iterator[Probed]:
    with service() as probed:
        yield probed


def webhook(url: str, *, within_ms: int = WITHIN_MS, **source: object) -> p.Deed:
    return p.Deed(name="load.start", webhook=p.HttpSource(url=url, **source), within_ms=within_ms)  # type: ignore[arg-type]


def command(name: str, *arguments: str, within_ms: int = WITHIN_MS) -> p.Deed:
    return p.Deed(name="on_end", command=p.CommandSource(command=name, arguments=arguments), within_ms=within_ms)


def test_a_webhook_posts_the_runs_state_where_the_file_gives_no_body(web: Probed) -> None:
    assert perform(webhook(f"{web.url}/replay"), STATE) == ""
    (seen,) = web.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/replay", STATE.encode())
    assert seen.headers["content-type"] == "application/json"


def test_a_webhook_sends_what_the_file_gives(web: Probed) -> None:
    headers = [p.Header(name="Content-Type", value="text/plain")]
    assert perform(webhook(web.url, method="PUT", body="go", headers=headers), STATE) == ""
    (seen,) = web.seen
    assert (seen.method, seen.body, seen.headers["content-type"]) == ("PUT", b"go", "text/plain")


@pytest.mark.parametrize(
    ("status", "problem"), [(201, ""), (204, ""), (302, "302 Found"), (500, "500 Internal Server Error")]
)
def test_a_webhook_is_done_with_a_status_of_success(web: Probed, status: int, problem: str) -> None:
    web.answer = Answer(status=status, headers={"location": web.url})
    assert perform(webhook(web.url)) == problem
    assert len(web.seen) == 1


def test_a_webhook_without_an_answer_is_a_problem(web: Probed) -> None:
    web.answer = Answer(delay_s=30)
    assert perform(webhook(web.url, within_ms=100)) == "it was not done within 100ms"
    web.stop()
    assert perform(webhook(web.url)) == "no answer: connection refused"
    assert "http://HOST:PORT" in perform(webhook("nowhere"))


def test_a_secret_goes_to_the_receiver_and_nowhere_else(
    web: Probed,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("HOOK_TOKEN", "tr0ub4dor")
    web.answer = Answer(status=403, echo=True)
    problem = perform(webhook(web.url, headers=[p.Header(name="Authorization", from_env="HOOK_TOKEN")]))
    assert web.seen[0].headers["authorization"] == "tr0ub4dor"
    assert problem == "403 Forbidden"
    assert "tr0ub4dor" not in f"{caplog.text}{capfd.readouterr()}"


def test_only_a_command_that_the_configuration_names_is_run(tmp_path: Path) -> None:
    allowed = {"sh": ("/bin/sh", "-c")}
    assert perform(command("sh", f"touch {tmp_path}/made"), commands=allowed) == ""
    assert (tmp_path / "made").exists()
    problem = perform(command("bash", f"touch {tmp_path}/other"), commands=allowed)
    assert "name it under [commands] in coordinator.toml" in problem
    assert not (tmp_path / "other").exists()
    assert perform(command("sh", "exit 4"), commands=allowed) == "exit code 4"
    assert perform(command("sh", "sleep 1000", within_ms=100), commands=allowed) == "it was not done within 100ms"


def test_what_a_deed_starts_goes_on_behind_it(tmp_path: Path) -> None:
    """A load is started by a command that ends."""
    pid = tmp_path / "pid"
    assert perform(command("sh", f"sleep 1000 & echo $! > {pid}"), commands={"sh": ("/bin/sh", "-c")}) == ""
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_deed_of_nothing_is_a_problem() -> None:
    assert "webhook or a command" in perform(p.Deed(name="x"))


def test_an_exception_of_ours_is_a_problem_and_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("tr0ub4dor")

    monkeypatch.setattr("killdeer_coordinator.edges.deeds.Deeds._perform", broken)
    assert perform(webhook("http://127.0.0.1:1/")) == (
        "it cannot be done: RuntimeError; the coordinator's log says where"
    )

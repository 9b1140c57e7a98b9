"""Guard files and units' consents: whole or not at all, and a remedy that works (invariants I7, I10, rule R29)."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.facts import Now
from killdeer_agent.core.guard import ACTIONS, Guard
from killdeer_agent.guardfiles import load_guard
from tests.support.facts import PlainFacts

NOW = Now(boot_ns=70_000_000_000)


class Host:
    """A host's guard.d and two unit directories, the first of which wins."""

    def __init__(self, folder: Path) -> None:
        self.guard_d = folder / "guard.d"
        self.etc = folder / "etc"
        self.lib = folder / "lib"
        for directory in (self.guard_d, self.etc, self.lib):
            directory.mkdir(mode=0o755)

    def write(self, file: Path, text: str, mode: int = 0o644) -> Path:
        file.parent.mkdir(mode=0o755, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def guard_file(self, text: str, name: str = "web.toml") -> Path:
        return self.write(self.guard_d / name, text)

    def guard(self) -> Guard:
        return load_guard(self.guard_d, frozenset({7}), (self.etc, self.lib), os.getuid())

    def opens(self, unit: str, action: str) -> bool:
        guard = self.guard()
        assert guard.problem == ""
        return guard.refuses(PlainFacts(unit=unit), NOW, action) is None


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


GOOD = """
[[allow]]
process = ["unit=payment-worker@*.service", "user!=root"]
actions = ["terminate", "pause"]

[[deny]]
process = ["port=6379"]

[rate]
per_minute = 6

[redact]
patterns = ['token=\\S+']
"""


def test_a_guard_file_is_read_whole(host: Host) -> None:
    host.guard_file(GOOD)
    guard = host.guard()

    assert guard.problem == ""
    assert guard.own == {7}
    assert guard.per_minute == 6
    assert guard.redact("pay --token=abc") == "pay --***"
    assert guard.refuses(PlainFacts(), NOW, "terminate") is None
    denied = guard.refuses(PlainFacts(ports=frozenset({6379})), NOW, "terminate")
    assert denied is not None
    assert denied.reason == Reason.REASON_DENIED
    assert "web.toml" in denied.detail


def test_i10_a_deny_rule_whose_pattern_does_not_see_the_whole_text_denies(host: Host) -> None:
    host.guard_file(GOOD + "[[deny]]\nprocess = ['cmdline~=--production']\n")
    guard = host.guard()

    assert guard.refuses(PlainFacts(cmdline="x" * 4_000), NOW, "terminate") is None
    refusal = guard.refuses(PlainFacts(cmdline="x" * 5_000), NOW, "terminate")
    assert refusal is not None
    assert refusal.reason == Reason.REASON_DENIED


def test_several_files_add_up_and_the_strictest_rate_holds(host: Host) -> None:
    host.guard_file(GOOD)
    host.guard_file('[[allow]]\nprocess = ["name=redis"]\nactions = ["kill"]\n[rate]\nper_minute = 2\n', "b.toml")
    guard = host.guard()

    assert len(guard.allow) == 2
    assert guard.per_minute == 2


def test_no_directory_is_an_empty_guard_and_no_problem(host: Host) -> None:
    host.guard_d.rmdir()
    guard = host.guard()

    assert guard.problem == ""
    refusal = guard.refuses(PlainFacts(), NOW, "kill")
    assert refusal is not None
    assert refusal.reason == Reason.REASON_NOT_ALLOWED


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (":1:", "[[alow]]\n", "unknown table 'alow': did you mean 'allow'"),
        (
            ":2:",
            '[[allow]]\nproces = ["name=x"]\nactions = ["kill"]\n',
            "key 'proces': did you mean 'process'",
        ),
        (
            ":3:",
            '[[allow]]\nprocess = ["name=x"]\nactions = ["kil"]\n',
            "action 'kil': did you mean 'kill'",
        ),
        (":2:", '[[allow]]\nprocess = ["nmae=x"]\nactions = ["kill"]\n', "did you mean 'name'"),
        (":2:", '[[allow]]\nprocess = ["cmdline~=("]\nactions = ["kill"]\n', "cannot read the pattern"),
        (":2:", '[[allow]]\nprocess = ["name=x", "oldest"]\nactions = ["kill"]\n', "choose at the draw"),
        (":2:", '[[allow]]\nprocess = []\nactions = ["kill"]\n', "process must be a list"),
        (":2:", '[[allow]]\nprocess = "name=x"\nactions = ["kill"]\n', "process must be a list"),
        (":", '[[allow]]\nprocess = ["name=x"]\n', "actions must be a list"),
        (":3:", '[[deny]]\nprocess = ["name=x"]\nactions = ["kill"]\n', "unknown key 'actions'"),
        (":1:", '[allow]\nprocess = ["name=x"]\n', "write [[allow]]"),
        (":2:", "[rate]\nper_minute = 0\n", "1 or more"),
        (":2:", "[rate]\nper_minute = true\n", "1 or more"),
        (":2:", "[rate]\nper_minutes = 6\n", "did you mean 'per_minute'"),
        (":1:", "rate = 6\n", "[rate]"),
        (":2:", '[redact]\npatterns = ["("]\n', "cannot read the pattern"),
        (":1:", "redact = []\n", "[redact]"),
        ("line 2", "[rate]\nper_minute = \n", "nvalid value"),
    ],
)
def test_r29_a_bad_file_voids_the_whole_guard_and_says_where(host: Host, line: str, text: str, said: str) -> None:
    host.guard_file(GOOD, "a.toml")
    host.guard_file(text, "bad.toml")
    guard = host.guard()

    assert guard.problem.startswith("cannot use the guard: ")
    assert "bad.toml" in guard.problem
    assert line in guard.problem
    assert said in guard.problem
    assert guard.allow == ()
    refusal = guard.refuses(PlainFacts(), NOW, "terminate")
    assert refusal is not None
    assert refusal.reason == Reason.REASON_GUARD_UNREADABLE


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_voids_the_guard(host: Host, mode: int) -> None:
    host.guard_file(GOOD).chmod(mode)

    assert "others may write to it" in host.guard().problem


def test_a_directory_that_others_may_write_voids_the_guard(host: Host) -> None:
    host.guard_d.chmod(0o777)

    assert "others may write to it" in host.guard().problem


def test_a_file_of_somebody_else_voids_the_guard(host: Host) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to give a file away")
    os.chown(host.guard_file(GOOD), 65_534, -1)

    assert "belongs to uid 65534" in host.guard().problem


def test_a_file_that_is_not_text_voids_the_guard(host: Host) -> None:
    (host.guard_d / "x.toml").write_bytes(b"\xff\xfe")

    assert "not UTF-8" in host.guard().problem


def test_a_unit_consents_in_its_own_file(host: Host) -> None:
    host.write(host.lib / "nginx.service", "[Service]\nExecStart=nginx\n[X-Killdeer]\nAllow=terminate pause\n")

    assert host.opens("nginx.service", "pause")
    assert not host.opens("nginx.service", "kill")
    assert not host.opens("nginx2.service", "pause")


def test_a_template_consents_for_its_instances(host: Host) -> None:
    host.write(host.lib / "worker@.service", "[X-Killdeer]\nAllow=kill\n")

    assert host.opens("worker@3.service", "kill")
    assert not host.opens("worker.service", "kill")
    assert not host.opens("worker2@3.service", "kill")


def test_an_instance_with_a_word_of_its_own_speaks_for_itself(host: Host) -> None:
    host.write(host.lib / "worker@.service", "[X-Killdeer]\nAllow=kill\n")
    host.write(host.etc / "worker@3.service.d/no.conf", "[X-Killdeer]\nAllow=\n")
    host.write(host.etc / "worker@4.service.d/more.conf", "[X-Killdeer]\nAllow=pause\n")

    assert not host.opens("worker@3.service", "kill")
    assert host.opens("worker@4.service", "kill")
    assert host.opens("worker@4.service", "pause")
    assert not host.opens("worker@5.service", "pause")


def test_a_drop_in_adds_and_an_empty_word_takes_back(host: Host) -> None:
    host.write(host.lib / "web.service", "[X-Killdeer]\nAllow=kill\n")
    host.write(host.etc / "web.service.d/10-less.conf", "[X-Killdeer]\nAllow=\nAllow=pause\n")
    host.write(host.etc / "web.service.d/20-more.conf", "[X-Killdeer]\nAllow=terminate\n")

    assert [action for action in ACTIONS if host.opens("web.service", action)] == ["terminate", "pause"]


def test_the_first_directory_wins(host: Host) -> None:
    host.write(host.lib / "web.service", "[X-Killdeer]\nAllow=kill\n")
    host.write(host.etc / "web.service", "[Service]\nExecStart=web\n")
    host.write(host.lib / "db.service", "[X-Killdeer]\nAllow=kill\n")
    (host.etc / "db.service").symlink_to("/dev/null")

    assert not host.opens("web.service", "kill")
    assert not host.opens("db.service", "kill")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[X-Killdeer]\nAlow=kill\n", "web.service:2: unknown key 'Alow': did you mean 'Allow'"),
        ("[X-Killdeer]\n# so be it\nAllow=terminate \\\n  pause2\n", "web.service:3: unknown action 'pause2'"),
    ],
)
def test_a_bad_consent_voids_the_whole_guard(host: Host, text: str, said: str) -> None:
    host.guard_file(GOOD)
    host.write(host.lib / "web.service", text)

    assert said in host.guard().problem
    assert host.guard().allow == ()


def test_a_consent_that_others_may_write_voids_the_guard(host: Host) -> None:
    host.write(host.lib / "other.service", "[Service]\nRestart=always\n", mode=0o666)
    assert host.guard().problem == ""

    host.write(host.lib / "web.service", "[X-Killdeer]\nAllow=kill\n", mode=0o666)
    assert "others may write to it" in host.guard().problem


def test_the_version_is_that_of_what_was_read(host: Host) -> None:
    empty = host.guard().version
    file = host.guard_file(GOOD)
    one = host.guard().version
    again = host.guard().version
    host.write(host.lib / "web.service", "[X-Killdeer]\nAllow=kill\n")
    other = host.guard().version
    file.chmod(0o666)
    broken = host.guard().version

    assert one == again
    assert len({empty, one, other, broken}) == 4
    assert all(int(version, 16) >= 0 for version in (empty, one, other, broken))


def follow(host: Host, remedy: str) -> None:
    """Does what a remedy says."""
    where, _, lines = remedy.partition(":\n")
    host.write(Path(where.removeprefix("in ")), lines + "\n")


@pytest.mark.parametrize("unit", ["nginx.service", "worker@3.service", r"mnt-a\x2db.service"])
@pytest.mark.parametrize("action", ACTIONS)
def test_default_deny_is_friendly_a_service_that_follows_its_remedy_is_allowed(
    host: Host, unit: str, action: str
) -> None:
    refusal = host.guard().refuses(PlainFacts(unit=unit), NOW, action)
    assert refusal is not None
    follow(host, refusal.remedy)

    assert host.opens(unit, action)


NAMES = st.text(min_size=1, max_size=15).filter(lambda name: "\0" not in name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(name=NAMES | st.just("python3"), cmdline=st.text(max_size=60).filter(lambda line: "\0" not in line))
def test_default_deny_is_friendly_any_process_that_follows_its_remedy_is_allowed_and_others_are_not(
    host: Host, name: str, cmdline: str
) -> None:
    facts = PlainFacts(unit="", name=name, cmdline=cmdline)
    refusal = host.guard().refuses(facts, NOW, "kill")
    assert refusal is not None
    follow(host, refusal.remedy)
    guard = host.guard()

    assert guard.problem == ""
    assert guard.refuses(facts, NOW, "kill") is None
    assert guard.refuses(PlainFacts(unit="", name=f"{name}x"), NOW, "kill") is not None
    assert guard.refuses(PlainFacts(unit="", name=name, user="other", uid=5), NOW, "kill") is not None
    for file in host.guard_d.iterdir():
        file.unlink()

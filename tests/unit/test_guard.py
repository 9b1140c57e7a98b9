"""The guard is local, and fails closed (invariants I7 and I10, rule R29)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killdeer.terms import parse_selector
from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.facts import FactMissing, Now
from killdeer_agent.core.guard import ACTIONS, SHOWN_BYTES, Guard, Rule
from killdeer_agent.core.selector import Matcher, compiled
from tests.support.facts import PlainFacts

NOW = Now(boot_ns=70_000_000_000)


def allow(*terms: str, actions: tuple[str, ...] = ("terminate",), source: str = "allow.toml") -> Rule:
    return Rule(matcher=Matcher(parse_selector(terms)), source=source, actions=frozenset(actions))


def deny(*terms: str) -> Rule:
    return Rule(matcher=Matcher(parse_selector(terms), strict=True), source="deny.toml")


EVERYTHING = allow("name=*", "name!=-", actions=ACTIONS)
OPEN = Guard(own=frozenset({900, 901}), allow=(EVERYTHING,))

BUILT_IN = [
    (PlainFacts(pid=1), Reason.REASON_INIT),
    (PlainFacts(kernel_thread=True), Reason.REASON_KERNEL_THREAD),
    (PlainFacts(pid=901), Reason.REASON_KILLDEER),
    (PlainFacts(name="killdeer-agent"), Reason.REASON_KILLDEER),
    (PlainFacts(unit="killdeer-coordinator.service"), Reason.REASON_KILLDEER),
    *(
        (PlainFacts(name=name), Reason.REASON_PROTECTED)
        for name in (
            *("sshd", "sshd-session", "systemd", "systemd-journald", "systemd-logind", "(sd-pam)"),
            *("dbus-daemon", "dbus-broker", "dbus-broker-lau", "dbus-broker-launch"),
            *("containerd", "containerd-shim", "containerd-shim-runc-v2", "dockerd", "runc", "crun", "conmon"),
            *("podman", "kubelet", "crio", "amazon-ssm-agent", "amazon-ssm-agen", "google_guest_agent"),
            *("google_guest_ag", "waagent", "cloud-init", "qemu-ga", "agetty", "login", "sudo", "su", "init"),
        )
    ),
    *(
        (PlainFacts(name="python3", unit=unit), Reason.REASON_PROTECTED)
        for unit in (
            *("ssh.service", "sshd@7.service", "dbus.service", "containerd.service", "walinuxagent.service"),
            *("systemd-udevd.service", "getty@tty1.service", "serial-getty@ttyS0.service", "init.scope"),
        )
    ),
    *(
        (PlainFacts(cgroup=cgroup, unit=""), Reason.REASON_LOGIN_SESSION)
        for cgroup in (
            "/user.slice/user-1000.slice/session-3.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service",
            "/../session-3.scope",
        )
    ),
]


@pytest.mark.parametrize(("facts", "reason"), BUILT_IN, ids=lambda value: getattr(value, "name", str(value)))
def test_i7_what_is_refused_always_no_rule_opens(facts: PlainFacts, reason: Reason) -> None:
    refusal = OPEN.refuses_always(facts)

    assert refusal is not None
    assert refusal.reason == reason
    assert refusal.detail


@pytest.mark.parametrize("name", ["nginx", "redis-server", "sshfs", "postgres", "suricata", "runit", "logind"])
def test_what_only_sounds_like_it_is_left_to_the_rules(name: str) -> None:
    assert OPEN.refuses_always(PlainFacts(name=name)) is None


@pytest.mark.parametrize("fact", ["kernel_thread", "name", "unit", "cgroup"])
def test_i10_what_cannot_be_checked_is_not_passed(fact: str) -> None:
    with pytest.raises(FactMissing):
        OPEN.refuses_always(PlainFacts(missing={fact: Reason.REASON_UNREADABLE}))


def test_i7_by_default_nothing_may_be_hit() -> None:
    refusal = Guard().refuses(PlainFacts(), NOW, "terminate")

    assert refusal is not None
    assert refusal.reason == Reason.REASON_NOT_ALLOWED


def test_an_allow_rule_opens_its_actions_and_no_other() -> None:
    guard = Guard(allow=(allow("unit=payment-worker@*.service", actions=("terminate", "pause")),))

    assert guard.refuses(PlainFacts(), NOW, "terminate") is None
    assert guard.refuses(PlainFacts(), NOW, "pause") is None
    refusal = guard.refuses(PlainFacts(), NOW, "kill")
    assert refusal is not None
    assert refusal.reason == Reason.REASON_ACTION_NOT_ALLOWED
    assert "allow.toml" in refusal.detail
    assert "Allow=kill" in refusal.remedy


def test_any_allow_rule_is_enough() -> None:
    guard = Guard(allow=(allow("name=redis"), allow("name=worker", actions=("pause",)), allow("user=payments")))

    assert guard.refuses(PlainFacts(), NOW, "terminate") is None


def test_a_deny_rule_goes_before_every_allow_rule() -> None:
    guard = Guard(allow=(EVERYTHING,), deny=(deny("name=redis"), deny("user=payments")))

    refusal = guard.refuses(PlainFacts(), NOW, "terminate")

    assert refusal is not None
    assert refusal.reason == Reason.REASON_DENIED
    assert "deny.toml" in refusal.detail


def test_i10_a_deny_rule_that_cannot_be_evaluated_denies() -> None:
    guard = Guard(allow=(EVERYTHING,), deny=(deny("exe=/usr/bin/other"),))
    facts = PlainFacts(missing={"exe": Reason.REASON_CANNOT_EVALUATE})

    refusal = guard.refuses(facts, NOW, "terminate")

    assert refusal is not None
    assert refusal.reason == Reason.REASON_DENIED
    assert "deny.toml" in refusal.detail
    assert "cannot have its exe" in refusal.detail


def test_i10_an_allow_rule_that_cannot_be_evaluated_does_not_allow() -> None:
    guard = Guard(allow=(allow("exe=/usr/bin/worker"),))
    facts = PlainFacts(missing={"exe": Reason.REASON_CANNOT_EVALUATE})

    refusal = guard.refuses(facts, NOW, "terminate")

    assert refusal is not None
    assert refusal.reason == Reason.REASON_NOT_ALLOWED
    assert "cannot have its exe" in refusal.detail


def test_r29_a_guard_with_a_problem_allows_nothing_and_says_why() -> None:
    guard = Guard(allow=(EVERYTHING,), problem="cannot use the guard: web.toml:3: unknown key 'proces'")

    refusal = guard.refuses(PlainFacts(), NOW, "terminate")

    assert refusal is not None
    assert refusal.reason == Reason.REASON_GUARD_UNREADABLE
    assert "web.toml:3" in refusal.detail


@given(
    actions=st.sets(st.sampled_from(ACTIONS)),
    asked=st.sampled_from(ACTIONS),
    denied=st.booleans(),
    named=st.booleans(),
)
def test_i7_only_what_is_opted_in_for_the_action_and_not_denied_is_allowed(
    actions: set[str], asked: str, denied: bool, named: bool
) -> None:
    rule = allow("name=worker" if named else "name=other", actions=tuple(actions))
    guard = Guard(allow=(rule,), deny=(deny("user=payments"),) if denied else ())

    allowed = guard.refuses(PlainFacts(), NOW, asked) is None

    assert allowed == (named and asked in actions and not denied)


def test_a_service_is_told_to_consent_in_its_own_unit() -> None:
    refusal = Guard().refuses(PlainFacts(unit="nginx.service"), NOW, "pause")

    assert refusal is not None
    assert refusal.remedy == ("in /etc/systemd/system/nginx.service.d/killdeer.conf:\n[X-Killdeer]\nAllow=pause")


def test_a_template_is_told_once_for_all_of_its_instances() -> None:
    refusal = Guard().refuses(PlainFacts(), NOW, "kill")

    assert refusal is not None
    assert "/payment-worker@.service.d/killdeer.conf:" in refusal.remedy


def test_what_is_in_no_service_is_named_in_a_guard_file() -> None:
    refusal = Guard().refuses(PlainFacts(unit=""), NOW, "kill")

    assert refusal is not None
    assert refusal.remedy == (
        "in /etc/killdeer/guard.d/worker.toml:\n"
        "[[allow]]\n"
        'process = ["name=worker", "user=payments"]\n'
        'actions = ["kill"]'
    )


def test_an_interpreter_is_named_by_what_it_runs_unless_that_holds_a_secret() -> None:
    facts = PlainFacts(unit="", name="python3.11", cmdline="python3.11 pay.py --token=abc")
    open_one = Guard().refuses(facts, NOW, "kill")
    secret_one = Guard(redactions=(compiled(r"token=\S+"),)).refuses(facts, NOW, "kill")

    assert open_one is not None and secret_one is not None
    assert '"cmdline=python3.11 pay.py --token=abc"' in open_one.remedy
    assert "abc" not in secret_one.remedy


def test_a_remedy_that_cannot_be_worked_out_is_left_out() -> None:
    refusal = Guard().refuses(PlainFacts(unit="", missing={"user": Reason.REASON_UNREADABLE}), NOW, "kill")

    assert refusal is not None
    assert refusal.remedy == ""


def test_what_is_redacted_never_leaves_the_host() -> None:
    guard = Guard(redactions=(compiled(r"token=\S+"), compiled("hunter[0-9]")))

    assert guard.redact("pay --token=abc --password hunter2 -v") == "pay --*** --password *** -v"


def test_a_guard_with_a_problem_does_not_know_what_to_redact_and_shows_nothing() -> None:
    assert Guard(problem="unreadable").redact("pay --token=abc") == "***"


@given(cmdline=st.text(max_size=6000))
def test_a_command_line_is_cut_short_and_stays_text(cmdline: str) -> None:
    shown = Guard().redact(cmdline)

    assert len(shown.encode()) <= SHOWN_BYTES
    assert shown == cmdline.encode(errors="replace").decode()[: len(shown)]


def test_a_secret_is_redacted_before_the_line_is_cut() -> None:
    guard = Guard(redactions=(compiled(r"token=\S+"),))
    line = "x" * (SHOWN_BYTES - 8) + " token=abcdefgh"

    assert "abc" not in guard.redact(line)

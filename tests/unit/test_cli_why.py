"""A death in words: each cause, the timeline, what took over, and how often."""

import datetime
from typing import Any

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_cli import text, words
from killdeer_cli.event_view import Heard, event_line, told
from killdeer_cli.exits import Refused
from killdeer_cli.why import explained, timeline
from tests.support.deaths import AT_NS, SECOND_NS, SERVICE, death, exec_of, exit_of, oom, party, signal

NOON = datetime.datetime(2026, 11, 20, 12, 0, tzinfo=datetime.UTC).astimezone()
NOW_MS = round(NOON.timestamp() * 1_000)


def explanation(event: p.KernelEvent | None = None, **fields: Any) -> o.Explanation:
    event = event or death()
    return o.Explanation(death=event.death, at_unix_ms=NOW_MS, at_boot_ns=event.at_boot_ns, **fields)


def said(one: o.Explanation) -> list[str]:
    return [line.plain for line in explained(one, NOW_MS)]


# --- causes -------------------------------------------------------------------------------------------------

SHELL = p.Party(pid=812, host_pid=812, name="bash", uid=1000)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"cause": p.CAUSE_STRIKE}, "killed by SIGKILL: a strike of ours"),
        (
            {
                "cause": p.CAUSE_OOM_CGROUP,
                "limit_cgroup": "/system.slice/payment.slice",
                "limit_kb": 512 * 1024,
                "evidence": [oom(party(), at_ns=AT_NS)],
            },
            "killed by SIGKILL: the OOM killer, for the limit of /system.slice/payment.slice (512 MiB);"
            " it asked for memory itself (anon 498 MiB)",
        ),
        (
            {"cause": p.CAUSE_OOM_CGROUP, "limit_kb": 640, "killer": SHELL, "memory_group": True},
            "killed by SIGKILL: the OOM killer, for the limit of its cgroup (640 KiB); bash (pid 812) asked for"
            " memory; killed together with all of its cgroup (memory.oom.group)",
        ),
        ({"cause": p.CAUSE_OOM_CGROUP}, "killed by SIGKILL: the OOM killer, for a memory limit"),
        (
            {"cause": p.CAUSE_OOM_CGROUP, "evidence": [oom(party(4700), at_ns=AT_NS)]},
            "killed by SIGKILL: the OOM killer, for a memory limit; payment-worker (pid 4700) asked for memory;"
            " it shares the memory of payment-worker (pid 4700) (anon 498 MiB), which was chosen",
        ),
        (
            {"cause": p.CAUSE_OOM_GLOBAL, "killer": SHELL},
            "killed by SIGKILL: the OOM killer: the whole machine was out of memory;"
            " bash (pid 812) asked for memory",
        ),
        ({"cause": p.CAUSE_SIGNAL, "killer": SHELL}, "killed by SIGKILL: sent by bash (pid 812), uid 1000"),
        (
            {
                "cause": p.CAUSE_SIGNAL,
                "signal": 0,
                "killer": SHELL,
                "why": "exited with code 0, 3 ms after SIGTERM",
            },
            "exited with code 0: asked to end by bash (pid 812), uid 1000",
        ),
        (
            {"cause": p.CAUSE_SIGNAL, "why": "the sender had ended"},
            "killed by SIGKILL: a signal by another process: the sender had ended",
        ),
        (
            {"cause": p.CAUSE_SUPERVISOR, "signal": 15, "killer": p.Party(pid=1, name="systemd")},
            "killed by SIGTERM: the service manager, systemd (pid 1), stopped its unit",
        ),
        ({"cause": p.CAUSE_SUPERVISOR, "signal": 15}, "killed by SIGTERM: the service manager stopped its unit"),
        ({"cause": p.CAUSE_NAMESPACE}, "killed by SIGKILL: its pid namespace ended"),
        (
            {"cause": p.CAUSE_NAMESPACE, "why": "its pid namespace ended with sh (pid 9)", "killer": SHELL},
            "killed by SIGKILL: its pid namespace ended with sh (pid 9)",
        ),
        ({"cause": p.CAUSE_FAULT, "signal": 11}, "killed by SIGSEGV: a fault of its own"),
        (
            {
                "cause": p.CAUSE_FAULT,
                "signal": 11,
                "core_dumped": True,
                "why": "SIGSEGV: a memory fault of its own",
            },
            "killed by SIGSEGV, core dumped: a memory fault of its own",
        ),
        ({"cause": p.CAUSE_EXIT, "signal": 0, "code": 3}, "exited with code 3"),
        (
            {"cause": p.CAUSE_UNKNOWN, "why": "died of SIGKILL; 12 events were lost"},
            "the cause is not known: died of SIGKILL; 12 events were lost",
        ),
        ({"cause": p.CAUSE_UNKNOWN}, "killed by SIGKILL: the cause is not known"),
        (
            {"cause": p.CAUSE_UNKNOWN, "signal": 0, "why": "no kernel evidence"},
            "the cause is not known: no kernel evidence",
        ),
        ({"cause": p.CAUSE_ITSELF, "signal": 6}, "killed by SIGABRT: it sent the signal itself"),
        (
            {"cause": p.CAUSE_KERNEL, "signal": 24, "why": "SIGXCPU by the kernel: its limit of processor time"},
            "killed by SIGXCPU: the kernel: its limit of processor time",
        ),
        (
            {"cause": p.CAUSE_KERNEL, "why": "SIGKILL by the kernel, while bash (pid 812) ran"},
            "killed by SIGKILL: the kernel, while bash (pid 812) ran",
        ),
        (
            {"cause": p.CAUSE_KERNEL, "why": "the kernel ended it as if by SIGKILL"},
            "killed by SIGKILL: the kernel ended it as if by SIGKILL",
        ),
        ({"cause": 99}, "killed by SIGKILL: a cause newer than this command line"),
    ],
)
def test_each_cause_is_one_sentence(fields: dict[str, Any], sentence: str) -> None:
    assert text.death_text(death(**fields).death) == sentence


def test_every_cause_of_the_wire_has_its_words() -> None:
    for cause in p.Cause.values():
        newer = "newer than" in text.cause_text(p.Death(cause=cause))  # type: ignore[arg-type]
        assert newer == (cause == p.CAUSE_UNSPECIFIED)


@pytest.mark.parametrize(("kb", "said"), [(640, "640 KiB"), (512 * 1024, "512 MiB"), (1536 * 1024, "1.5 GiB")])
def test_memory_has_a_fitting_unit(kb: int, said: str) -> None:
    assert text.memory_text(kb) == said


@pytest.mark.parametrize(
    ("milliseconds", "said"), [(11_523_456, "3h12m"), (125_400, "2m5s"), (3_200, "3.20 s"), (40, "40 ms")]
)
def test_an_age_is_rounder_the_longer_it_is(milliseconds: int, said: str) -> None:
    assert text.age_text(milliseconds) == said


# --- an explanation -----------------------------------------------------------------------------------------


def test_the_first_line_says_who_when_after_how_long_and_of_what() -> None:
    head = said(explanation(death(signal=0, code=1, cause=p.CAUSE_EXIT)))[0]
    assert head == f"payment-worker@3.service (pid 4711) died at {NOON:%H:%M:%S} after 3h12m: exited with code 1"
    yesterday = explanation()
    yesterday.at_unix_ms -= 86_400_000
    assert f"died at {NOON - datetime.timedelta(days=1):%Y-%m-%d %H:%M:%S} after" in said(yesterday)[0]


def test_a_strike_of_ours_names_its_run_and_how_to_see_it() -> None:
    lines = said(explanation(death(cause=p.CAUSE_STRIKE), run_id="r7f3", started_by="alice", experiment="worker"))
    assert lines[1] == "run r7f3 of worker, started by alice; see it with: killdeer watch r7f3"
    assert not any("killdeer watch" in line for line in said(explanation()))


def test_the_timeline_is_what_proves_it_and_what_was_around_each_once_in_order() -> None:
    killed, kill = exit_of(party(), at_ns=AT_NS), signal(party(), 9, at_ns=AT_NS - 60_000, sender=SHELL)
    back = exec_of(party(4802), at_ns=AT_NS + SECOND_NS // 10)
    seen = p.KernelEvent(at_boot_ns=AT_NS, host="alpha", exit=p.ExitSeen(process=party()))
    one = explanation(
        death(evidence=[kill, killed]),
        around=[o.WatchEventsResponse(number=n, event=event) for n, event in enumerate((back, killed, seen))],
    )
    assert timeline(one) == [kill, killed, back]
    assert said(one)[1:4] == [
        "     -60 us  signal  SIGKILL from bash (pid 812) to payment-worker (pid 4711): delivered",
        "          0  exit    payment-worker (pid 4711) killed by SIGKILL after 5.00 s",
        "    +100 ms  exec    payment-worker (pid 4802) runs /usr/bin/payment-worker",
    ]


def test_what_took_over_is_named_with_its_source_and_where_nothing_was_seen_that_is_said() -> None:
    identity = p.Identity(pid=4802)
    one = explanation(successor=p.Successor(identity=identity, after_exit_ns=104_000_000, source="bpf"))
    assert "pid 4802 took over 104 ms after the death (bpf)" in said(one)
    assert "no successor was seen" in said(explanation())


@pytest.mark.parametrize(
    ("deaths", "restarts", "lines"),
    [
        (
            8,
            p.Restarts(count=7, within_ms=60_000, loop=True),
            [
                f"this is death 8 of {SERVICE} within an hour",
                f"{SERVICE} was restarted 7 times in 1m: a restart loop",
            ],
        ),
        (1, p.Restarts(count=1, within_ms=2_500), [f"{SERVICE} was restarted 1 time in 2.50 s"]),
        (1, p.Restarts(), ["no successor was seen"]),
    ],
)
def test_how_often_is_the_last_word(deaths: int, restarts: p.Restarts, lines: list[str]) -> None:
    assert said(explanation(death(restarts=restarts), deaths_in_hour=deaths))[-len(lines) :] == lines


def test_a_restart_loop_is_named_in_the_list_of_events_too() -> None:
    looping = death(restarts=p.Restarts(count=4, within_ms=3_200, loop=True))
    assert told(looping)[1].endswith("; restarted 4 times in 3.20 s: a restart loop")


# --- a line of events ---------------------------------------------------------------------------------------


def test_a_death_stands_out_in_the_list_of_events() -> None:
    line = event_line(o.WatchEventsResponse(event=death(cause=p.CAUSE_SIGNAL, killer=SHELL)))
    assert line.plain.endswith(
        "alpha  death   payment-worker@3.service (pid 4711) died after 3h12m:"
        " killed by SIGKILL: sent by bash (pid 812), uid 1000"
    )
    assert any("red" in str(span.style) for span in line.spans)


def test_nobody_is_alarmed_by_what_was_meant() -> None:
    styles = {cause: told(death(cause=cause))[2] for cause in (p.CAUSE_STRIKE, p.CAUSE_SUPERVISOR, p.CAUSE_FAULT)}
    assert styles == {p.CAUSE_STRIKE: "cyan", p.CAUSE_SUPERVISOR: "yellow", p.CAUSE_FAULT: "red"}
    assert told(death(cause=p.CAUSE_EXIT, signal=0))[2] == ""
    assert told(death(cause=p.CAUSE_EXIT, signal=0, code=1))[2] == "yellow"


def test_an_exit_is_told_again_only_by_who_knows_more() -> None:
    by_pidfd = p.KernelEvent(host="alpha", exit=p.ExitSeen(process=p.Party(pid=4711, start_ticks=47110)))
    by_bpf = exit_of(party(), at_ns=AT_NS)
    other = exit_of(party(5), at_ns=AT_NS)
    for order, new in (
        ([by_bpf, by_pidfd, by_bpf], [True, False, False]),
        ([by_pidfd, by_bpf, by_pidfd], [True, True, False]),
        ([by_bpf, other], [True, True]),
        ([death(), death()], [True, True]),
    ):
        heard = Heard()
        assert [heard.is_new(event) for event in order] == new


# --- what is typed ------------------------------------------------------------------------------------------


def test_a_cause_is_typed_as_its_words() -> None:
    assert words.cause("oom-cgroup") == words.cause("OOM_CGROUP") == p.CAUSE_OOM_CGROUP
    assert words.cause("") == p.CAUSE_UNSPECIFIED
    with pytest.raises(Refused, match="'oom-group'") as refused:
        words.cause("oom-group")
    assert "did you mean oom-cgroup? known are strike, oom-cgroup, " in refused.value.remedy
    for typed in ("unspecified", "99"):
        with pytest.raises(Refused):
            words.cause(typed)


@pytest.mark.parametrize(
    ("typed", "ago"),
    [
        ("10m", datetime.timedelta(minutes=10)),
        (f"{NOON - datetime.timedelta(hours=1):%H:%M}", datetime.timedelta(hours=1)),
        (f"{NOON + datetime.timedelta(hours=1):%H:%M:%S}", datetime.timedelta(hours=23)),
        (f"{NOON - datetime.timedelta(days=3):%Y-%m-%d %H:%M}", datetime.timedelta(days=3)),
        ("2026-11-20T11:00:00+00:00", datetime.timedelta(hours=1)),
    ],
)
def test_since_is_so_long_ago_or_the_last_time_it_was_then(typed: str, ago: datetime.timedelta) -> None:
    assert words.since(typed, NOW_MS) == NOW_MS - ago // datetime.timedelta(milliseconds=1)


def test_since_says_what_it_reads() -> None:
    assert words.since("", NOW_MS) == 0
    for typed in ("yesterday", "10", "25:00", "2026-13-01"):
        with pytest.raises(Refused, match="10m"):
            words.since(typed, NOW_MS)

"""A plan on the screen: every verdict, its reason and its remedy; a long fleet folded, with counts."""

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer_cli.plan_view import host_count, host_lines, plan_lines
from tests.support import runs

REMEDY = 'add the line\n  allow = ["unit=worker@*.service"]\nto /etc/killdeer/guard.d/worker.toml'
NOT_ALLOWED = p.Verdict(allowed=False, reason=p.REASON_NOT_ALLOWED, detail="nothing opts it in", remedy=REMEDY)


def shown(plan: o.PlanView) -> list[str]:
    return "\n".join(line.plain for line in plan_lines(plan)).splitlines()


def test_who_would_be_hit_is_named_with_pid_and_waves() -> None:
    assert "  would be hit  worker@[0]  pid 412 python3  in one" in shown(runs.plan())


def test_a_rehearsal_hits_nobody() -> None:
    plan = runs.plan()
    plan.waves[0].dry_run = True
    assert "  could be hit  worker@" in shown(plan)
    assert not any("would be hit" in line for line in shown(plan))


def test_the_victims_of_a_wave_are_named_as_far_as_they_fit() -> None:
    plan = runs.plan()
    plan.waves[0].victims.extend(
        o.PlannedVictim(host=f"host-{n}.example.com", service="payment-worker@", ordinal=n) for n in range(30)
    )
    (line,) = [line for line in shown(plan) if line.endswith("more")]
    assert len(line) <= 100
    assert line.strip().startswith("a-1 worker@[0], host-0.example.com payment-worker@[0], ")


def test_who_could_be_hit_is_counted_and_who_could_not_has_a_reason() -> None:
    plan = runs.plan()
    protected = p.Verdict(allowed=False, reason=p.REASON_PROTECTED, detail="sshd is built in")
    plan.hosts[0].candidates.extend(
        [
            runs.candidate("a-1", pid=413, ordinal=1),
            runs.candidate("a-1", pid=414, ordinal=2),
            runs.candidate("a-1", pid=9, service="sshd.service", verdict=protected),
        ]
    )
    lines = shown(plan)
    assert "  could be hit  worker@ x 2" in lines
    assert "  not           sshd.service  protected: sshd is built in" in lines


def test_a_host_that_allows_nothing_shows_the_lines_to_add() -> None:
    host = runs.planned_host(
        "a-9", *[runs.candidate("a-9", pid=n, ordinal=n, verdict=NOT_ALLOWED) for n in range(3)]
    )
    lines = "\n".join(line.plain for line in host_lines([host])).splitlines()
    assert lines == [
        "a-9",
        "  not           worker@ x 3  not allowed: nothing opts it in",
        "                add the line",
        '                  allow = ["unit=worker@*.service"]',
        "                to /etc/killdeer/guard.d/worker.toml",
    ]


def test_a_guards_lines_say_where_to_add_them_and_that_the_agent_reads_them_again() -> None:
    opts_in = p.Verdict(
        allowed=False, reason=p.REASON_NOT_ALLOWED, remedy="in /etc/killdeer/guard.d/x.toml:\n[[allow]]"
    )
    lines = "\n".join(
        line.plain for line in host_lines([runs.planned_host("a-9", runs.candidate("a-9", pid=1, verdict=opts_in))])
    ).splitlines()
    assert [line.strip() for line in lines[2:]] == [
        "to allow it, add to /etc/killdeer/guard.d/x.toml:",
        "[[allow]]",
        "then: systemctl reload killdeer-agent on the host",
    ]


def test_candidates_with_other_remedies_are_not_folded_together() -> None:
    other = p.Verdict(allowed=False, reason=p.REASON_NOT_ALLOWED, remedy="another line")
    host = runs.planned_host(
        "a-9",
        runs.candidate("a-9", pid=1, verdict=NOT_ALLOWED),
        runs.candidate("a-9", pid=2, ordinal=1, verdict=other),
    )
    text = "\n".join(line.plain for line in host_lines([host]))
    assert REMEDY.splitlines()[1] in text
    assert "another line" in text


def test_hosts_alike_are_shown_once_with_their_count_and_victims_always() -> None:
    plan = runs.plan()
    plan.hosts.extend(runs.planned_host(f"b-{n}", runs.candidate(f"b-{n}", pid=n)) for n in range(100))
    lines = shown(plan)
    assert "b-0, b-1, b-2, b-3 and 96 more (100 hosts alike)" in lines
    assert "a-1" in lines
    assert len(lines) < 20
    assert host_count(plan) == "101 hosts, 1 with victims"


def test_a_host_out_of_the_question_has_its_reason() -> None:
    plan = runs.plan()
    out = p.Verdict(allowed=False, reason=p.REASON_ENVIRONMENT, detail="its label is production")
    plan.hosts.append(runs.planned_host("p-1", verdict=out))
    assert "p-1  not: environment: its label is production" in shown(plan)


def test_refusals_and_warnings_come_last() -> None:
    plan = runs.plan(refusals=("5% of 3 candidates is 0.15, rounded down to 0",))
    plan.warnings.append("nobody restarts redis-server")
    assert shown(plan)[-2:] == [
        "warning: nobody restarts redis-server",
        "refused: 5% of 3 candidates is 0.15, rounded down to 0",
    ]


def test_a_victim_that_nothing_restarts_is_pointed_out() -> None:
    lonely = runs.candidate("a-9", pid=1)
    lonely.restarts = False
    assert "nothing is known to restart it" in host_lines([runs.planned_host("a-9", lonely)])[1].plain

"""From a plan to a run under way: what `run` and `strike` share."""

import uuid

from rich.text import Text

from killdeer.v1 import operator_pb2 as o
from killdeer.wording import counted
from killdeer_cli import exits
from killdeer_cli.plan_view import SHOWN_HASH, heading, host_count, host_lines, verdict_lines, wave_lines
from killdeer_cli.screen import ask, print_json, say, warn
from killdeer_cli.verbs import INTERRUPTED
from killdeer_cli.watching import Inbox, attend
from killdeer_client.client import Client

LEAST_HASH = 8
"""Digits of a plan's hash that name it."""


def launch(
    client: Client,
    source: str,
    file: str,
    *,
    seed: int | None,
    plan_hash: str,
    yes: bool,
    detach: bool,
    as_json: bool,
    whole: bool,
    go_on: bool = False,
) -> int:
    """Plans, asks where it must, runs, and stays to the end unless detached -> the exit code.

    With `whole` a refusal shows the hosts too, since there is no file to call `plan` with.
    """
    plan = client.plan(source, file, seed)
    if not as_json:
        _show(client, plan)
    if plan.refusals:
        _refuse(plan, file, whole=whole)
        return exits.REFUSED
    agreed = _agreed(plan, plan_hash, go_on=go_on)
    if plan.production or client.context.production:
        strikes = sum(wave.strikes for wave in plan.waves if not wave.dry_run)
        ask(f"{client.context.name} is PRODUCTION: {counted(strikes, 'strike')}. Go ahead?", yes=yes)
        # What was shown is what is agreed to (rule R26).
        agreed = agreed if yes else plan.hash
    with Inbox() as inbox:
        try:
            started = client.run(source, file, key=str(uuid.uuid4()), seed=plan.seed, plan_hash=agreed)
        except KeyboardInterrupt:
            warn("left while the run was being started; whether it was: killdeer runs")
            return INTERRUPTED
        if detach:
            if as_json:
                print_json(started)
            else:
                say(f"run {started.run_id} is under way: killdeer watch {started.run_id}")
            return exits.DONE
        return attend(client, started.run_id, inbox, as_json=as_json, aborts=True)


def _show(client: Client, plan: o.PlanView) -> None:
    say(f"{client.context.name}: {host_count(plan)}")
    for line in (*heading(plan), *wave_lines(plan)):
        say(line)
    if not plan.refusals:
        for line in verdict_lines(plan):
            say(line)


def _refuse(plan: o.PlanView, file: str, *, whole: bool) -> None:
    if whole:
        for line in host_lines(plan.hosts):
            warn(line)
    for line in verdict_lines(plan):
        warn(line)
    if not whole:
        warn(Text(f"See why, host by host, with: killdeer plan {file}"))


def _agreed(plan: o.PlanView, plan_hash: str, *, go_on: bool) -> str:
    """The whole hash for the one given, which may be cut as `plan` shows it; what is there now, to `go_on` with."""
    if not plan_hash:
        return ""
    if len(plan_hash) >= LEAST_HASH and plan.hash.startswith(plan_hash.lower()):
        return plan.hash
    if go_on:
        warn(f"the fleet has changed since the plan {plan_hash}: going on with {plan.hash[:SHOWN_HASH]}")
        return plan.hash
    raise exits.Refused(
        f"cannot run the plan {plan_hash}: the fleet has changed, and it is now {plan.hash[:SHOWN_HASH]}",
        "look at it again with `killdeer plan`, with the same --seed; --go-on runs it as it is now",
    )

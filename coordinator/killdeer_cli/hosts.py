"""`killdeer hosts`: the fleet, host by host; the acceptance of one in quarantine, the removal of one for good."""

from typing import Annotated

import typer
from rich.text import Text

from killdeer.terms import NAMES
from killdeer.v1 import operator_pb2 as o
from killdeer.v1.agent_pb2 import EVIDENCE_LEVEL_BPF
from killdeer.wording import counted
from killdeer_cli.screen import AsJson, Reason, connected, print_json, say, screen, table
from killdeer_cli.text import clock, evidence_text, size
from killdeer_cli.verbs import Group, Verb, application

LITTLE_ROOM = 64 * 1024 * 1024
"""Bytes; `killdeer-agent doctor` has the same."""

app = application(cls=Group, invoke_without_command=True)


@app.callback()
def hosts(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the hosts: connected or not, their labels and evidence, and what is wrong with them."""
    if ctx.invoked_subcommand is not None:
        return
    with connected(ctx) as client:
        response = client.list_hosts()
    if as_json:
        print_json(response)
        return
    listed = table("host", "state", "labels", "evidence", "load", "cpu", "mem", "victims", right=("victims",))
    for host in response.hosts:
        listed.add_row(
            host.host,
            _state(host),
            " ".join(f"{key}={host.labels[key]}" for key in sorted(host.labels)),
            evidence_text(host.evidence),
            f"{host.load_1m:.1f}",
            f"{host.cpu_percent:.0f}%",
            f"{host.memory_percent:.0f}%",
            str(host.victims or ""),
        )
    screen().print(listed)
    for host in response.hosts:
        for note in notes(host):
            say(Text.assemble((f"{host.host}: ", "bold"), note))
    connected_hosts = sum(host.connected for host in response.hosts)
    say(f"{connected_hosts:,} of {counted(len(response.hosts), 'host')} connected")


@app.command(cls=Verb)
def accept(
    ctx: typer.Context,
    host: Annotated[str, typer.Argument(metavar="HOST")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Serve a quarantined host again: it was cloned, rolled back, or has lost its journal, and you know why."""
    with connected(ctx) as client:
        response = client.accept_host(host, reason)
    if as_json:
        print_json(response)
    else:
        say(f"{response.host.host or host} is accepted")


@app.command(cls=Verb)
def remove(
    ctx: typer.Context,
    host: Annotated[str, typer.Argument(metavar="HOST")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Serve a host no more: its stream ends, its certificates are good for nothing. It can only join anew."""
    with connected(ctx) as client:
        response = client.remove_host(host, reason)
    if as_json:
        print_json(response)
        return
    say(f"{response.host.host or host} is removed; what it still does ends with its lease")
    if response.permits:
        say(f"it is forgotten once no permit is held there: {', '.join(response.permits)}")


def _state(host: o.HostView) -> Text:
    if host.quarantined and host.problem.startswith("it was removed"):
        return Text("removed", style="yellow")
    if host.quarantined:
        return Text("quarantined", style="red")
    if not host.connected:
        return Text(f"gone since {clock(host.last_seen_unix_ms)}", style="red")
    if host.halted_locally:
        return Text("halted locally", style="yellow")
    return Text("connected", style="green")


def notes(host: o.HostView) -> list[str]:
    notes = []
    if host.problem:
        notes.append(host.problem)
    if host.notice:
        notes.append(" ".join(host.notice.split()))
    if host.state_free_bytes and host.state_free_bytes < LITTLE_ROOM:
        room, journal = size(host.state_free_bytes), size(host.journal_bytes)
        notes.append(f"{room} left on the disk of its journal ({journal}): without room it takes no strikes")
    if host.reverts_left:
        whys = [*host.revert_problems, *[""] * len(host.reverts_left)]  # an older agent does not say
        left = [f"{one} ({why})" if why else one for one, why in zip(host.reverts_left, whys, strict=False)]
        notes.append(f"not reverted yet: {', '.join(left)}")
    if host.events_lost:
        notes.append(f"{counted(host.events_lost, 'kernel event')} lost")
    if host.evidence_detail and host.evidence != EVIDENCE_LEVEL_BPF:
        notes.append(f"no hold-down here: {host.evidence_detail}")
    if host.cannot_evaluate:
        fields = ", ".join(NAMES.get(field, f"field {field}") for field in host.cannot_evaluate)
        notes.append(f"cannot evaluate {fields}")
    return notes

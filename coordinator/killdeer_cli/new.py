"""`killdeer new`: a first experiment file, from processes that are there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from killdeer.v1 import operator_pb2 as o
from killdeer.v1 import process_pb2 as p
from killdeer.wording import counted
from killdeer_cli import words
from killdeer_cli.exits import Refused
from killdeer_cli.known import refuse_unknown
from killdeer_cli.screen import connected, warn
from killdeer_cli.verbs import Verb, application
from killdeer_client.client import Client
from killdeer_client.errors import ClientError

app = application()


@app.command(cls=Verb)
def new(
    ctx: typer.Context,
    terms: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE…", help="Such as unit=worker@*.service user!=root.")
    ],
    on: Annotated[
        str, typer.Option("--on", metavar="KEY=VALUE,…", help="Hosts with these labels; host=NAME is one.")
    ] = "",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Write it there, if nothing is.")
    ] = "",
) -> None:
    """Write a first experiment on the processes that match now: a rehearsal, then one that is told to terminate.

    It hits nothing. Unit and environment are those of the processes found.
    """
    if output and Path(output).exists():
        raise Refused(f"cannot write {output}: there is a file already", "name another, or move that one away")
    labels = words.host_labels(on)
    selector = words.selector(terms)
    with connected(ctx) as client:
        named = [name for label in labels if label.key == "host" for name in label.values]
        refuse_unknown(client, named, globs=True)
        response = client.list_candidates(labels, selector, words.action("terminate"))
        environment = _environment(client, response)
        stop_ms, restart_ms = _times(client, selector, response)
    text = _text(terms, labels, environment, response, stop_ms, restart_ms)
    if output:
        _write(Path(output), text)
        warn(f"wrote {output}; look at it, then: killdeer plan {output}")
    else:
        print(text, end="")
    found = [one for host in response.hosts for one in host.candidates]
    allowed = sum(one.verdict.allowed for one in found)
    if allowed < len(found):
        warn(f"{allowed:,} of {counted(len(found), 'candidate')} may be hit now; `killdeer plan` shows why")


def _environment(client: Client, response: o.ListCandidatesResponse) -> str:
    """The one environment of the hosts that have candidates."""
    hosts = [host.host for host in response.hosts if host.candidates]
    if not hosts:
        raise Refused("no process matches now", "see why with: killdeer candidates KEY=VALUE…")
    labels = {view.host: view.labels.get("environment", "") for view in client.list_hosts().hosts}
    found = sorted({labels.get(host, "") for host in hosts} - {""})
    if not found:
        raise Refused(
            f"cannot write an experiment on {hosts[0]}: it has no `environment` label, so nothing on it may be hit",
            "set `environment` under [labels] in its agent.toml and restart its agent",
        )
    if len(found) > 1:
        raise Refused(
            f"cannot write one experiment on {' and '.join(found)}: a file is for one environment",
            f"name one: --on environment={found[0]}",
        )
    return found[0]


def _times(client: Client, selector: p.Selector, response: o.ListCandidatesResponse) -> tuple[int, int]:
    """How long their units may take to stop, and pause before they are started again, as one host's systemd says;
    ms, 0 for what it cannot say."""
    host = next(host.host for host in response.hosts if host.candidates)
    try:
        subjects = client.inspect(host, selector).subjects
    except ClientError:  # a host that does not look at itself yet: the file says that these are defaults
        return 0, 0
    stops, restarts = [one.stop_ms for one in subjects], [one.restart_ms for one in subjects]
    return max(stops, default=0), max(restarts, default=0)


def _text(
    terms: Sequence[str],
    labels: Sequence[o.LabelMatch],
    environment: str,
    response: o.ListCandidatesResponse,
    stop_ms: int,
    restart_ms: int,
) -> str:
    from killdeer_experiment.faults import FileFaults, Unfit
    from killdeer_experiment.file import load
    from killdeer_experiment.first import first_file
    from killdeer_experiment.hosts import Label

    found = [one for host in response.hosts for one in host.candidates]
    try:
        text = first_file(
            environment=environment,
            hosts=[Label(key=label.key, values=tuple(label.values)) for label in labels],
            terms=terms,
            units=[one.unit for one in found],
            services=sorted({one.service for one in found}),
            restarted=all(one.restarts for one in found),
            stop_ms=stop_ms,
            restart_ms=restart_ms,
        )
        load(text, "new")
    except (Unfit, FileFaults) as fault:
        raise Refused(f"cannot write an experiment of these terms: {fault}") from fault
    return text


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Refused(
            f"cannot write {path}: there is a file already", "name another, or move that one away"
        ) from error
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}") from error

"""`killdeer sandbox`: a whole fleet on this machine, with workers to hit, keys and all."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from killdeer.durations import DurationError, parse_duration
from killdeer.terms import TermError, parse_term
from killdeer_cli import exits
from killdeer_cli.fleet import making
from killdeer_cli.fleet.layout import Layout, default_folder, start_ticks
from killdeer_cli.screen import say
from killdeer_cli.verbs import Group, Verb, application
from killdeer_client.client import Client
from killdeer_client.contexts import load_contexts
from killdeer_client.errors import ClientError

START_S = 60.0
STOP_S = 60.0

app = application(cls=Group, no_args_is_help=True)

Folder = Annotated[Path | None, typer.Option("--dir", metavar="DIR", help="Where it lives; its state stays there.")]


@app.callback()
def sandbox() -> None:
    """A whole fleet on this machine: a coordinator, agents, and supervised workers to hit."""


@app.command(cls=Verb)
def start(
    folder: Folder = None,
    agents: Annotated[int, typer.Option(min=1, max=50, metavar="N", help="How many hosts.")] = 3,
    workers: Annotated[int, typer.Option(min=0, max=50, metavar="N", help="Workers on each host.")] = 3,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="What the hosts' guards open to strikes.")
    ] = None,
    deny_all: Annotated[bool, typer.Option("--deny-all", help="Guards that open nothing.")] = False,
    restart_after: Annotated[str, typer.Option(metavar="TIME", help="When a dead worker comes back.")] = "500ms",
    lease: Annotated[str, typer.Option(metavar="TIME", help="The agents' lease.")] = "6s",
) -> None:
    """Bring it up, in the background, and print the context to use."""
    layout = Layout((folder or default_folder()).expanduser().absolute())
    if _keeper(layout):
        raise exits.Refused(
            f"a sandbox runs in {layout.folder} already", f"stop it with: killdeer sandbox stop{_where(folder)}"
        )
    try:
        for term in allow or ():
            parse_term(term)
        wish = making.Wish(
            agents=agents,
            workers=workers,
            allow=() if deny_all else tuple(allow or ("name=sandbox-worker",)),
            restart_after_ms=parse_duration(restart_after),
            lease_ms=parse_duration(lease),
        )
    except (TermError, DurationError) as error:
        raise exits.Refused(str(error)) from error
    if shutil.which("unshare") is None:
        raise exits.Refused("cannot make hosts: unshare is missing", "install it: apt install util-linux")
    if os.geteuid():
        say("as an ordinary user: evidence comes from pidfds, without sender and cause; root has the kernel's")
    say(f"making {agents} hosts with {workers} workers each in {layout.folder}")
    try:
        making.make(layout, wish)
    except (making.SandboxError, OSError) as error:
        raise exits.Refused(f"cannot make the sandbox: {error}") from error
    with (layout.logs / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "killdeer_cli.fleet.keeper", str(layout.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    _wait_until_up(layout, keeper, agents)
    say(f"the fleet is up: {agents} agents, context `sandbox`")
    say("for this shell and others:")
    say(f"    export KILLDEER_CONFIG={layout.context_file}")


@app.command(cls=Verb)
def stop(folder: Folder = None) -> None:
    """End it: the agents revert and leave, then everything else ends. Its state stays in its folder."""
    layout = Layout((folder or default_folder()).expanduser().absolute())
    pid = _keeper(layout)
    if not pid:
        say(f"no sandbox runs in {layout.folder}")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while _keeper(layout):
        if time.monotonic() > deadline:
            raise exits.Refused(
                f"cannot stop the sandbox: its keeper, pid {pid}, goes on", f"look at {layout.logs}"
            )
        time.sleep(0.05)
    say("the sandbox is stopped")


@app.command(cls=Verb)
def status(folder: Folder = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Does it run, and where?"""
    layout = Layout((folder or default_folder()).expanduser().absolute())
    pid = _keeper(layout)
    if as_json:
        print(json.dumps({"running": bool(pid), "dir": str(layout.folder), "config": str(layout.context_file)}))
    elif pid:
        say(f"running in {layout.folder}: export KILLDEER_CONFIG={layout.context_file}")
    else:
        say(f"no sandbox runs in {layout.folder}")
    if not pid:
        raise typer.Exit(exits.REFUSED)


@app.command(cls=Verb)
def shell(folder: Folder = None) -> None:
    """A shell whose `killdeer` speaks to the sandbox."""
    layout = Layout((folder or default_folder()).expanduser().absolute())
    if not _keeper(layout):
        raise exits.Refused(
            f"no sandbox runs in {layout.folder}", f"start it with: killdeer sandbox start{_where(folder)}"
        )
    environment = os.environ | {"KILLDEER_CONFIG": str(layout.context_file)}
    program = os.environ.get("SHELL", "/bin/sh")
    raise typer.Exit(subprocess.run([program], env=environment, check=False).returncode)


def _where(folder: Path | None) -> str:
    """The --dir of a command to type, where one was typed."""
    return f" --dir {shlex.quote(str(folder))}" if folder else ""


def _keeper(layout: Layout) -> int:
    """The living keeper's pid; 0: there is none. Told from a stranger with its pid by its start time."""
    try:
        kept = json.loads(layout.keeper_file.read_text())
    except (OSError, ValueError):
        return 0
    ticks = start_ticks(kept["pid"])
    return kept["pid"] if ticks and ticks == kept["start_ticks"] else 0


def _wait_until_up(layout: Layout, keeper: "subprocess.Popen[bytes]", agents: int) -> None:
    context = load_contexts(layout.context_file).choose("sandbox")
    deadline = time.monotonic() + START_S
    why = "it did not answer"
    while time.monotonic() < deadline:
        if keeper.poll() is not None:
            why = "its keeper has ended"
            break
        try:
            with Client(context) as client:
                hosts = client.list_hosts().hosts
            connected = sum(host.connected and host.lease_left_ms > 0 for host in hosts)
            if connected >= agents:
                return
            why = f"{connected} of {agents} agents are connected"
        except ClientError as error:
            why = error.message
        time.sleep(0.2)
    if keeper.poll() is None:
        keeper.terminate()
        keeper.wait()
    raise exits.Refused(
        f"cannot start the sandbox: {why}{_last_words(layout)}",
        f"look at the logs in {layout.logs} and {layout.folder}/hosts",
    )


def _last_words(layout: Layout) -> str:
    """What each part said last, when the fleet did not come up."""
    words = ""
    for log in (*sorted(layout.logs.glob("*.log")), *sorted(layout.folder.glob("hosts/*/agent.log"))):
        lines = log.read_text(errors="replace").splitlines()
        words += f"\n{log.name}: {lines[-1]}" if lines else ""
    return words

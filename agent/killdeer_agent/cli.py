"""`killdeer-agent`: the daemon, and what can be done on a host without any coordinator."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from killdeer.output import quietly
from killdeer.version import VERSION
from killdeer_agent import install
from killdeer_agent.config import DEFAULT_FILE, Config, ConfigError, load_config, load_places

ACTIONS = ("kill", "terminate", "pause", "hold-down")


def main(argv: Sequence[str] | None = None) -> None:
    with quietly():
        _main(argv)


def _main(argv: Sequence[str] | None) -> None:
    arguments = _parser().parse_args(argv)
    if "alone" in arguments:
        sys.exit(arguments.alone(arguments))
    try:
        if arguments.verb is _join:  # it makes the configuration
            sys.exit(_join(arguments))
        # What stops, or undoes, does so with a faulty configuration too.
        load = load_places if arguments.verb in (_halt, _rearm, _revert) else load_config
        sys.exit(arguments.verb(load(arguments.config), arguments))
    except ConfigError as error:
        sys.exit(_said(str(error)))
    except PermissionError as error:
        sys.exit(_said(f"cannot open {error.filename}: permission denied; run it as root"))


def _said(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="killdeer-agent", description="The agent of Killdeer on this host.")
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, help="default: %(default)s")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _verb(verbs, "run", _run, "run the agent, as the service does")
    _verb(verbs, "doctor", _doctor, "what this host can and cannot do, and how to mend it").add_argument(
        "--json", action="store_true"
    )
    join = _verb(verbs, "join", _join, "join a fleet, with what `killdeer-coordinator token create` printed")
    join.add_argument("address", metavar="HOST:PORT")
    join.add_argument("--token", required=True, help="good once; - reads it from standard input")
    join.add_argument("--ca-pin", required=True, metavar="sha256:HEX", help="of the fleet's authority")
    join.add_argument("--host", default="", metavar="NAME", help="default: agent.toml's, or the host name")
    halt = _verb(verbs, "halt", _halt, "stop everything on this host, without any coordinator")
    halt.add_argument("--reason", default="")
    _verb(verbs, "rearm", _rearm, "lift a halt that was set on this host")
    _verb(verbs, "revert", _revert, "resume what a dead agent left paused (the unit's ExecStopPost=)")
    reload = verbs.add_parser("reload", help="systemctl reload killdeer-agent does this (the unit's ExecReload=)")
    reload.set_defaults(alone=_reload)
    install.register(verbs)
    guard = verbs.add_parser("guard", help="the host's own rules")
    test = _verb(
        guard.add_subparsers(required=True, metavar="VERB"), "test", _guard_test, "what would be open to a strike"
    )
    test.add_argument("terms", nargs="+", metavar="KEY=VALUE")
    test.add_argument("--action", choices=ACTIONS, help="default: each of them")
    test.add_argument("--json", action="store_true")
    return parser


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, function: object, text: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(verb=function)
    return verb


def _join(arguments: argparse.Namespace) -> int:
    import datetime as dt
    import socket

    from killdeer_agent.agentfile import AgentFile, AgentFileError
    from killdeer_agent.joining import Invitation, JoinError, join

    token = sys.stdin.readline().strip() if arguments.token == "-" else arguments.token  # noqa: S105
    invitation = Invitation(address=arguments.address, token=token, pin=arguments.ca_pin)
    try:
        file = AgentFile.read(arguments.config)
        if arguments.host and file.host not in ("", arguments.host):
            return _said(
                f"cannot join as {arguments.host}: {file.path} says host = {file.host!r}; change one of them"
            )
        host = arguments.host or file.host or socket.gethostname()
        server_name = str(file.table.get("server_name", "killdeer-coordinator"))
        joined = join(invitation, file, host, server_name)
    except (JoinError, AgentFileError) as error:
        return _said(str(error))
    until = dt.datetime.fromtimestamp(joined.ends_s, dt.UTC)
    wrote = "".join(f"wrote {path}\n" for path in joined.files)
    return _told(
        f"{joined.host} has joined. Its certificate is good until {until:%F %H:%M} UTC, and renewed in time.\n"
        f"{wrote}\nNext:\n"
        f"  1. Say in {arguments.config} what this host is ([labels] environment, zone, role),\n"
        "     and in the guard what may be hit here; by default nothing.\n"
        "  2. systemctl enable --now killdeer-agent, or restart it if it runs\n"
        "  3. killdeer-agent doctor"
    )


def _run(config: Config, arguments: argparse.Namespace) -> int:
    import asyncio

    # structlog loads rich, where it is installed, for a console this daemon never has: 4 MB for nothing.
    sys.modules["rich"] = None  # type: ignore[assignment]  # as import's own documentation has it: not found

    from killdeer.service import log_to_stdout
    from killdeer_agent.daemon import run
    from killdeer_agent.journal import JournalError

    log_to_stdout(config.log_level)
    try:
        return asyncio.run(run(config, lambda: load_config(arguments.config)))
    except JournalError as error:
        return _said(str(error))


def _doctor(config: Config, arguments: argparse.Namespace) -> int:
    from killdeer_agent.doctor import examine, render

    findings = examine(config)
    print(json.dumps([f.as_json() for f in findings]) if arguments.json else render(findings))  # noqa: T201
    return 0 if all(f.ok for f in findings if f.needed) else 1


def _halt(config: Config, arguments: argparse.Namespace) -> int:
    from killdeer_agent.localhalt import engage

    return _told(engage(config.state, arguments.reason))


def _rearm(config: Config, arguments: argparse.Namespace) -> int:
    from killdeer_agent.localhalt import release

    return _told(release(config.halt_files))


def _told(line: str) -> int:
    print(line)  # noqa: T201
    return 0


def _revert(config: Config, arguments: argparse.Namespace) -> int:
    from killdeer.service import log_to_stdout
    from killdeer_agent.reverting import revert_open

    log_to_stdout(config.log_level)
    # A live agent reverts by itself: that its journal is held is no failure of the second line.
    return 1 if revert_open(config) == 1 else 0


def _reload(_arguments: argparse.Namespace) -> int:
    """With no configuration of its own: whether the new one is any good is the agent's to say."""
    import os

    from killdeer.reloads import NotReloaded, reload

    try:
        notice = reload(os.environ, "killdeer-agent")
    except NotReloaded as no:
        return _said(str(no))
    return _told(notice or "reloaded")


def _guard_test(config: Config, arguments: argparse.Namespace) -> int:
    from killdeer.terms import TermError
    from killdeer_agent.guardtest import TrialError, render, trial

    actions = (arguments.action,) if arguments.action else ACTIONS
    try:
        rows = trial(config, arguments.terms, actions)
    except (TermError, TrialError) as error:
        return _said(str(error))
    print(json.dumps(rows) if arguments.json else render(rows))  # noqa: T201
    return 0

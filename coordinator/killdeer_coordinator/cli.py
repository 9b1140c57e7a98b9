"""killdeer-coordinator: `init` makes keys and configuration, `run` runs the daemon, `backup` keeps its store."""

import argparse
import asyncio
import getpass
import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from killdeer.output import quietly
from killdeer_coordinator import config as configuration
from killdeer_coordinator import pki, rotation, tokens
from killdeer_coordinator.config import Config, ConfigError
from killdeer_coordinator.example import example_toml
from killdeer_coordinator.keyring import PUBLIC, Keyring, KeyringError

if TYPE_CHECKING:
    from killdeer_coordinator.backup import Made

DONE, REFUSED = 0, 2
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 refused or invalid."""
    with quietly():
        options = _parser().parse_args(arguments)
        try:
            return _VERBS[options.verb](options)
        except (ConfigError, KeyringError, pki.PkiError) as problem:
            sys.stderr.write(f"{problem}\n")
            return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="killdeer-coordinator", description="The fleet's coordinator.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    init = verbs.add_parser(
        "init",
        help="make keys, certificates and coordinator.toml; what is there already is left as it is",
        description="Make what is missing: a CA, the coordinator's certificate, an operator's, a halt token and "
        "coordinator.toml. Nothing is ever written over, so run it again to add operators and agents.",
    )
    init.add_argument("--dir", type=Path, default=configuration.DEFAULT_FILE.parent, help="default: %(default)s")
    init.add_argument(
        "--state",
        type=Path,
        help=f"where the store will be; default: {Config().state}, or DIR/state for another DIR",
    )
    init.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="NAME",
        help="a DNS name or IP address of the coordinator, besides this machine's; may be given again",
    )
    init.add_argument(
        "--operator",
        action="append",
        default=[],
        metavar="NAME",
        help="issue an operator's certificate; default: one in your name, the first time",
    )
    init.add_argument(
        "--role",
        action="append",
        choices=pki.ROLES,
        help="a role of the operators named; default: all of them",
    )
    init.add_argument(
        "--agent",
        action="append",
        default=[],
        metavar="HOST",
        help="issue an agent's certificate into DIR/agents/HOST",
    )
    run = verbs.add_parser("run", help="run the coordinator", description="Run the coordinator in the foreground.")
    run.add_argument("--config", type=Path, default=configuration.DEFAULT_FILE, help="default: %(default)s")
    verbs.add_parser("reload", help="systemctl reload killdeer-coordinator does this (the unit's ExecReload=)")
    tokens.add_parser(verbs)
    rotation.add_parser(verbs)
    operator = verbs.add_parser("operator", help="operators' certificates")
    create = operator.add_subparsers(dest="what", required=True, metavar="VERB").add_parser(
        "create", help="issue a certificate that may do what its roles may"
    )
    create.add_argument("name", metavar="NAME")
    create.add_argument("--role", action="append", choices=pki.ROLES, required=True, help="may be given again")
    create.add_argument("--dir", type=Path, default=configuration.DEFAULT_FILE.parent, help="default: %(default)s")
    backup = verbs.add_parser(
        "backup",
        help="the store and what is kept beside it, into one new file; the coordinator may run meanwhile",
        description="Write the store, the halts and the store's position into FILE. Keys and configuration, in "
        "/etc/killdeer, are not in it.",
    )
    restore = verbs.add_parser(
        "restore",
        help="a backup, into a state directory without a store; the fleet is halted when the coordinator starts",
        description="Put back what `backup` wrote. What was permitted since then is not in it: so the coordinator "
        "that starts on it halts the fleet until `killdeer rearm`. outside.json and removed.json count beside "
        "those in the backup, where they are in the state directory still.",
    )
    since = restore.add_mutually_exclusive_group()
    since.add_argument(
        "--removed",
        action="append",
        metavar="HOST",
        help="a host that was removed after the backup, where removed.json is lost; may be given again",
    )
    since.add_argument(
        "--none-removed",
        action="store_const",
        const=[],
        dest="removed",
        help="no host was, where removed.json is lost",
    )
    for verb in (backup, restore):
        verb.add_argument("file", type=Path, metavar="FILE")
        verb.add_argument("--config", type=Path, default=configuration.DEFAULT_FILE, help="default: %(default)s")
    return parser


def _run(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    # Whom TLS has turned away, and why, gRPC alone says; `killdeer`, which may have started us, has it say nothing.
    if os.environ.get("GRPC_VERBOSITY") == "NONE":
        del os.environ["GRPC_VERBOSITY"]
    # Only the daemon needs gRPC and the store; init starts without them.
    from killdeer_coordinator import daemon
    from killdeer_coordinator.outside import OutsideError
    from killdeer_coordinator.store.errors import StoreError

    try:
        return asyncio.run(daemon.run(config, lambda: configuration.load(options.config)))
    except (OutsideError, StoreError) as problem:
        sys.stderr.write(f"{problem}\n")
    except OSError as problem:  # a listener or a file that its configuration names
        sys.stderr.write(f"cannot start the coordinator: {problem}; look at what {options.config} names\n")
    return REFUSED


def _reload(_options: argparse.Namespace) -> int:
    from killdeer.reloads import NotReloaded, reload

    try:
        notice = reload(os.environ, "killdeer-coordinator")
    except NotReloaded as no:
        sys.stderr.write(f"{no}\n")
        return REFUSED
    _print(notice or "reloaded")
    return DONE


def _backup(options: argparse.Namespace) -> int:
    from killdeer_coordinator.backup import back_up

    return _kept(options, back_up, "{file}: {size:,} bytes, {entries:,} entries of the audit log")


def _restore(options: argparse.Namespace) -> int:
    from killdeer_coordinator.backup import restore

    for host in options.removed or ():
        pki.check_host(host)
    said = (
        "restored {file}: {entries:,} entries of the audit log. The fleet is halted once the coordinator starts; "
        "look at `killdeer status`, `killdeer hosts` and `killdeer permits`, then: killdeer rearm --reason …"
    )
    return _kept(options, partial(restore, removed=options.removed), said)


def _kept(options: argparse.Namespace, act: "Callable[[Config, Path], Made]", said: str) -> int:
    config = configuration.load(options.config)
    from killdeer_coordinator.backup import BackupError
    from killdeer_coordinator.outside import OutsideError
    from killdeer_coordinator.store.errors import StoreError

    try:
        made = act(config, options.file)
    except (BackupError, OutsideError, StoreError) as problem:
        sys.stderr.write(f"{problem}\n")
        return REFUSED
    _print(said.format(file=made.file, size=made.octets, entries=made.entries))
    return DONE


def _init(options: argparse.Namespace) -> int:
    # All names first: a wrong one must not leave half a fleet's keys behind.
    for name in options.name:
        pki.check_name(name)
    for name in options.operator:
        pki.check_operator(name)
    for host in options.agent:
        pki.check_host(host)
    folder = options.dir.expanduser().absolute()
    ring = Keyring(folder)
    default_state = Config().state if folder == configuration.DEFAULT_FILE.parent else folder / "state"
    state = (options.state or default_state).expanduser().absolute()
    names = [*_LOOPBACK, socket.gethostname(), *options.name]
    operators = options.operator or ([] if ring.operators() else [_who_asks()])

    _say(ring.make_ca(), folder / "ca.pem", "the fleet's CA; keep ca.key to yourself, off this machine if you can")
    made = ring.issue_coordinator(names)
    _say(made, folder / "coordinator.pem", f"for {', '.join([pki.COORDINATOR_NAME, *names])}" if made else "")
    if options.name and not made:
        _print("    its names stay; for others, move coordinator.pem and coordinator.key away and run init again")
    for operator in operators:
        roles = options.role or pki.ROLES
        made = ring.issue_operator(operator, roles)
        _say(made, folder / "operators" / f"{operator}.pem", f"roles {', '.join(roles)}" if made else "")
    for host in options.agent:
        _say(
            ring.issue_agent(host),
            folder / "agents" / host,
            f"move what is in it to /etc/killdeer on {host}; only there its key is its own",
        )
    _say(ring.make_halt_token(), folder / "halt-token", "for POST /halt; it can do nothing else")
    _say(
        ring.write("coordinator.toml", example_toml(state), PUBLIC),
        folder / "coordinator.toml",
        "every default, explained",
    )
    if options.agent or options.operator:
        return DONE
    _next_steps(folder, (ring.operators() or operators)[0])
    return DONE


def _operator(options: argparse.Namespace) -> int:
    pki.check_operator(options.name)
    folder = options.dir.expanduser().absolute()
    certificate = folder / "operators" / f"{options.name}.pem"
    if not Keyring(folder).issue_operator(options.name, options.role):
        raise KeyringError(
            f"cannot create {options.name}: {certificate} is there already; move it and its key away, or choose "
            "another name"
        )
    _say(True, certificate, f"roles {', '.join(options.role)}; with its key, for that operator alone")
    return DONE


def _next_steps(folder: Path, operator: str) -> None:
    config = configuration.load(folder / "coordinator.toml")
    ends = pki.ends_on((folder / "coordinator.pem").read_bytes())
    context = "\n".join(
        (
            'current = "fleet"',
            "",
            "[context.fleet]",
            f"coordinators = [{json.dumps(str(config.listen_operators))}]",
            f"ca = {json.dumps(str(folder / 'ca.pem'))}",
            f"cert = {json.dumps(str(folder / 'operators' / f'{operator}.pem'))}",
            f"key = {json.dumps(str(folder / 'operators' / f'{operator}.key'))}",
        )
    )
    _print(
        f"""
Next:
  1. Let the user that runs the coordinator read coordinator.key and halt-token, then start it:
         killdeer-coordinator run --config {folder / "coordinator.toml"}
  2. For each host:  killdeer-coordinator init --dir {folder} --agent HOST
  3. Put this into ~/.config/killdeer/config.toml:

{context}

The coordinator's certificate is good until {ends}."""
    )


def _who_asks() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return "operator"


def _say(made: bool, path: Path, note: str) -> None:
    _print(f"{'made   ' if made else 'kept   '} {path}{f'  ({note})' if note and made else ''}")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


_VERBS = {
    "init": _init,
    "run": _run,
    "reload": _reload,
    "token": tokens.create,
    "operator": _operator,
    "ca": rotation.run,
    "backup": _backup,
    "restore": _restore,
}

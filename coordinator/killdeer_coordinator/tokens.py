"""`killdeer-coordinator token create`: the right to join once, shown once, and the command that uses it."""

import argparse
import getpass
import secrets
import shlex
import socket
import sys
from pathlib import Path

from killdeer.durations import DurationError, format_duration, parse_duration
from killdeer_coordinator import authorities, pki
from killdeer_coordinator import config as configuration
from killdeer_coordinator.config import Config, ConfigError

TTL = "15m"
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    token = verbs.add_parser("token", help="tokens with which hosts join")
    create = token.add_subparsers(dest="what", required=True, metavar="VERB").add_parser(
        "create",
        help="make a token, and print the command that joins a host with it",
        description="Make a token that is good once. The store keeps its hash alone: it is not shown again.",
    )
    create.add_argument("--config", type=Path, default=configuration.DEFAULT_FILE, help="default: %(default)s")
    create.add_argument("--host", default="", metavar="NAME", help="good for this name alone; default: any new one")
    create.add_argument("--ttl", default=TTL, metavar="TIME", help="how long it is good, 1m to 24h; %(default)s")


def create(options: argparse.Namespace) -> int:
    """0, or 2 where it is refused. Raises ConfigError, PkiError."""
    config = configuration.load(options.config)
    if options.host:
        pki.check_host(options.host)
    try:
        ttl_ms = parse_duration(options.ttl)
        address = join_address(config, socket.gethostname())
        pin = authorities.pin_of(config.cert.read_bytes(), config.ca.read_bytes())
    except DurationError as cause:
        return _refused(f"cannot read --ttl: {cause}")
    except OSError as cause:
        return _refused(f"cannot read {cause.filename}: {cause.strerror}; run this as root")
    token = secrets.token_hex(32)
    if refused := _stored(config, token, options.host, ttl_ms):
        return _refused(refused)
    command = ["killdeer-agent", "join", address, "--token", token, "--ca-pin", pin]
    if options.host:
        command += ["--host", options.host]
    sys.stdout.write(
        f"Within {format_duration(ttl_ms)}, once, as root on {options.host or 'the host that is to join'}:\n\n"
        f"    {shlex.join(command)}\n\nThe token is not shown again.\n"
    )
    return 0


def join_address(config: Config, own_name: str) -> str:
    """HOST:PORT for those who join: where it listens, or the certificate's name that was chosen for others."""
    if config.listen_join is None:
        raise ConfigError("cannot create a token: nobody joins here; set listen_join, and restart the coordinator")
    at = config.listen_join
    if at.host not in _EVERYWHERE:
        return str(at)
    names = [name for name in authorities.names_of(config.cert.read_bytes()) if name not in _LOOPBACK]
    chosen = [name for name in names if name != own_name] or [own_name]
    return str(configuration.Address(chosen[0], at.port))


def _stored(config: Config, token: str, host: str, ttl_ms: int) -> str:
    """Why it was not; empty: it is."""
    # The store takes a while to load; the other verbs start without it.
    from killdeer_coordinator.core.joining import created, hash_of
    from killdeer_coordinator.core.refusal import Refused
    from killdeer_coordinator.store.errors import StoreError
    from killdeer_coordinator.store.store import Store

    try:
        store = Store.beside(config.store_url)
        try:
            answer = store.decide(created(hash_of(token), host, ttl_ms, who())).answer
        finally:
            store.close()
    except (StoreError, OSError) as problem:
        return f"cannot create a token: {problem}"
    return f"{answer.message}; {answer.remedy}" if isinstance(answer, Refused) else ""


def who() -> str:
    """Whoever is at this machine, for the record."""
    try:
        return f"{getpass.getuser()} on {socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name
        return f"somebody on {socket.gethostname()}"


def _refused(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 2

"""`killdeer-coordinator ca rotate` and `ca drop-old`: another CA, with a time in which both are trusted.

From `rotate` on, the new one signs and both are trusted; agents that have joined get both over their streams, and a
certificate of the new one. `drop-old` ends it, once no host's certificate is of the old one: then the coordinator
itself serves with the new one. The old key goes with `rotate`, for nothing is to be signed with it again.
"""

import argparse
import datetime as dt
import os
import sys
from pathlib import Path

from killdeer_coordinator import authorities, pki
from killdeer_coordinator import config as configuration
from killdeer_coordinator.config import Config
from killdeer_coordinator.keyring import PRIVATE, KeyringError, write_new
from killdeer_coordinator.pki import Pair

RESTART = "Restart each coordinator"


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    ca = verbs.add_parser("ca", help="the fleet's CA: another in its place")
    whats = ca.add_subparsers(dest="what", required=True, metavar="VERB")
    for what, text in (
        ("rotate", "make another CA, which signs from now on; both are trusted"),
        ("drop-old", "trust the new one alone, once no host's certificate is of the old one"),
    ):
        verb = whats.add_parser(what, help=text, description=text)
        verb.add_argument("--config", type=Path, default=configuration.DEFAULT_FILE, help="default: %(default)s")


def run(options: argparse.Namespace) -> int:
    """0. Raises ConfigError, KeyringError, PkiError."""
    config = configuration.load(options.config)
    try:
        said = rotate(config) if options.what == "rotate" else drop_old(config)
    except OSError as cause:
        raise KeyringError(f"cannot use {cause.filename}: {cause.strerror}; run this as root") from cause
    sys.stdout.write(f"{said}\n")
    return 0


def rotate(config: Config, now: dt.datetime | None = None) -> str:
    """Broken off anywhere, it is made whole by the next one."""
    following = config.ca_key.with_name(f"{config.ca_key.name}.next")
    trusted = config.ca.read_bytes()
    if following.exists():
        if _signs(trusted, following.read_bytes()):
            following.replace(config.ca_key)
            return _rotated(config)
        following.unlink()
    if len(authorities.authorities(trusted)) > 1:
        raise KeyringError("cannot rotate the CA: the last rotation is not over; end it with: ca drop-old")
    day = (now or dt.datetime.now(dt.UTC)).date()
    made = pki.make_ca(now, name=f"Killdeer CA of {day}")
    write_new(following, made.key, PRIVATE)
    _as(following, config.ca_key)
    _replace(config.ca, trusted + made.certificate)
    following.replace(config.ca_key)
    return _rotated(config)


def drop_old(config: Config) -> str:
    trusted, signing = (
        config.ca.read_bytes(),
        authorities.authority(config.ca.read_bytes(), config.ca_key.read_bytes()),
    )
    current = authorities.authority_id(signing.certificate)
    if authorities.authorities(trusted) == [signing.certificate]:
        raise KeyringError("cannot drop the old CA: there is none; begin with: ca rotate")
    left = [f"host {host}" for host in _hosts_left(config, current)]
    left += [f"operator {name}" for name in operators_left(config.ca.parent / "operators", current)]
    if left:
        raise KeyringError(
            f"cannot drop the old CA: it has issued the certificates of {', '.join(left)}. A host that has joined "
            "gets its next one when it comes; one with files of `init` is to join, or to be removed; for an "
            "operator, move the files away, and run: operator create"
        )
    _reissue(config, signing)
    _replace(config.ca, signing.certificate)
    return (
        f"wrote {config.ca}, {config.cert} and {config.key}\n{RESTART}; on other machines, put {config.ca} there, "
        "and a certificate that the new CA has issued, before.\nOperators' contexts need the new ca.pem as well, "
        "and tokens that were made before are for the old pin."
    )


def operators_left(folder: Path, current: str) -> list[str]:
    """Those with a certificate of another CA, of those whose certificates are here."""
    found = sorted(folder.glob("*.pem"))
    return [file.stem for file in found if authorities.issuer_id(file.read_bytes()) != current]


def _hosts_left(config: Config, current: str) -> list[str]:
    from killdeer_coordinator.core.joining import of_another
    from killdeer_coordinator.store.errors import StoreError
    from killdeer_coordinator.store.store import Store

    try:
        store = Store.beside(config.store_url)
        try:
            return of_another(store.read(), current)
        finally:
            store.close()
    except StoreError as problem:
        raise KeyringError(f"cannot drop the old CA: {problem}") from problem


def _rotated(config: Config) -> str:
    return (
        f"wrote {config.ca}, with both, and {config.ca_key}\n{RESTART}, with these two files on each machine. "
        "Hosts that have joined get a certificate of the new CA when they come; when all have one: ca drop-old"
    )


def _reissue(config: Config, signing: Pair) -> None:
    """The coordinator's own; the same names. Broken off between its two files, the next one makes both anew."""
    pair = pki.issue_coordinator(signing, authorities.names_of(config.cert.read_bytes()))
    _replace(config.key, pair.key)
    _replace(config.cert, pair.certificate)


def _signs(trusted: bytes, key: bytes) -> bool:
    try:
        authorities.authority(trusted, key)
    except pki.PkiError:
        return False
    return True


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    write_new(new, content, PRIVATE)
    _as(new, path)
    new.replace(path)


def _as(path: Path, model: Path) -> None:
    """The mode and owner of the file whose place it is to take."""
    stat = model.stat()
    path.chmod(stat.st_mode & 0o777)
    if os.geteuid() == 0:
        os.chown(path, stat.st_uid, stat.st_gid)

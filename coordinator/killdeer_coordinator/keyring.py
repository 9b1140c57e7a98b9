"""The folder of keys that `init` fills: what is there already is never written over.

ca.pem ca.key                     the fleet's CA; the running coordinator needs only ca.pem
coordinator.pem coordinator.key   what it serves with
operators/NAME.pem NAME.key       one per operator
agents/HOST/                      ca.pem, agent.pem, agent.key: to be taken to that host
halt-token                        what POST /halt asks for
coordinator.toml                  its configuration
"""

import os
import secrets
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from killdeer_coordinator import pki
from killdeer_coordinator.pki import Pair

PRIVATE, PUBLIC = 0o600, 0o644


class KeyringError(Exception):
    """The folder cannot be read or written; the message names the file and says what to do."""


class Keyring:
    """Each verb says whether it made anything; False: it was there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make_ca(self) -> bool:
        return self._ensure(self.folder / "ca", pki.make_ca)

    def issue_coordinator(self, names: Iterable[str]) -> bool:
        return self._ensure(self.folder / "coordinator", lambda: pki.issue_coordinator(self._ca(), names))

    def issue_operator(self, name: str, roles: Collection[str]) -> bool:
        pki.check_operator(name)  # before it becomes a path
        return self._ensure(self.folder / "operators" / name, lambda: pki.issue_operator(self._ca(), name, roles))

    def issue_agent(self, host: str) -> bool:
        """Into agents/HOST/, with a copy of the CA's certificate."""
        pki.check_host(host)
        own = self.folder / "agents" / host
        made = self._ensure(own / "agent", lambda: pki.issue_agent(self._ca(), host))
        if not (own / "ca.pem").exists():
            write_new(own / "ca.pem", self._ca().certificate, PUBLIC)
        return made

    def make_halt_token(self) -> bool:
        return self.write("halt-token", f"{secrets.token_urlsafe(32)}\n", PRIVATE)

    def write(self, name: str, text: str, mode: int) -> bool:
        path = self.folder / name
        if path.exists():
            return False
        write_new(path, text.encode(), mode)
        return True

    def operators(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "operators").glob("*.pem"))

    def _ca(self) -> Pair:
        return _read(self.folder / "ca")

    @staticmethod
    def _ensure(stem: Path, make: Callable[[], Pair]) -> bool:
        certificate, key = _files(stem)
        if certificate.exists() or key.exists():
            _read(stem)
            return False
        pair = make()
        write_new(key, pair.key, PRIVATE)
        write_new(certificate, pair.certificate, PUBLIC)
        return True


def write_new(path: Path, content: bytes, mode: int) -> None:
    """A file that was not there, durable. Raises KeyringError, also where it exists."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            # The umask may take from a certificate what everybody may read; a key's mode it leaves.
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as cause:
        raise KeyringError(
            f"cannot write {path}: it is there already, and is never written over; move it away"
        ) from cause
    except OSError as cause:
        raise KeyringError(f"cannot write {path}: {cause.strerror}; choose another folder with --dir") from cause


def _files(stem: Path) -> tuple[Path, Path]:
    # Not with_suffix: a host's or an operator's name may hold dots.
    return stem.parent / f"{stem.name}.pem", stem.parent / f"{stem.name}.key"


def _read(stem: Path) -> Pair:
    certificate, key = _files(stem)
    try:
        return Pair(certificate=certificate.read_bytes(), key=key.read_bytes())
    except FileNotFoundError as cause:
        there = key if certificate == Path(cause.filename) else certificate
        raise KeyringError(
            f"cannot find {cause.filename}: restore it, or move {there} away too and run init again"
        ) from cause
    except OSError as cause:
        raise KeyringError(f"cannot read {cause.filename}: {cause.strerror}; mend its mode") from cause

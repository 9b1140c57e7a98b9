"""Who this host is, as files that its agent may write: STATE/tls/agent.pem, key and certificate in one, so that
both change at once; and STATE/tls/ca.pem, the authorities it trusts. A host without them has what `init` made."""

import contextlib
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from killdeer_agent.introduction import Introduction, IntroductionError

FOLDER, OWN, AUTHORITIES = "tls", "agent.pem", "ca.pem"
AGENT_USER = "killdeer"
_NEW = ".new"


class IdentityError(Exception):
    """The files cannot be used or written; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    own: Path
    authorities: Path

    @classmethod
    def below(cls, state: Path) -> "Identity":
        return cls(own=state / FOLDER / OWN, authorities=state / FOLDER / AUTHORITIES)

    def lifetime(self) -> tuple[float, float]:
        """When the certificate begins and ends, in seconds since the epoch. Raises IdentityError."""
        try:
            introduction = _introduction(self.own, self.authorities)
            return introduction.begins_s(), introduction.read()[1]
        except IntroductionError as error:
            raise IdentityError(f"{error}; {error.remedy}") from error

    def put(self, host: str, *, key: bytes, certificate: bytes, authorities: bytes, owner: "Owner") -> None:
        """All of it, once it is known to belong together and to name this host; or nothing.

        Raises IdentityError, OSError.
        """
        with (
            staged(self.authorities, authorities, owner) as trusted,
            staged(self.own, key + certificate, owner) as own,
        ):
            try:
                named, _ = _introduction(own.path, trusted.path).read()
            except IntroductionError as error:
                raise IdentityError(f"cannot use the certificate that came: {error}") from error
            if named != host:
                raise IdentityError(f"cannot use the certificate that came: it is for {named}, this host is {host}")
            trusted.commit()
            own.commit()

    def trust(self, authorities: bytes, owner: "Owner") -> None:
        """These from now on, if this host's own certificate is of one of them. Raises IdentityError, OSError."""
        with staged(self.authorities, authorities, owner) as trusted:
            try:
                _introduction(self.own, trusted.path).read()
            except IntroductionError as error:
                raise IdentityError(f"cannot trust the authorities that came: {error}") from error
            trusted.commit()


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose the files are."""

    uid: int
    gid: int

    @classmethod
    def of(cls, state: Path) -> "Owner":
        """The owner of the state directory, the agent's user; where there is none yet, the user killdeer."""
        try:
            found = state.stat()
            return cls(found.st_uid, found.st_gid)
        except FileNotFoundError:
            pass
        with contextlib.suppress(KeyError):
            if os.geteuid() == 0:
                user = pwd.getpwnam(AGENT_USER)
                return cls(user.pw_uid, user.pw_gid)
        return cls(os.geteuid(), os.getegid())

    def own(self, descriptor: int) -> None:
        if os.geteuid() == 0:
            os.fchown(descriptor, self.uid, self.gid)


@dataclass(slots=True)
class Staged:
    """Beside the file whose place it is to take."""

    path: Path
    place: Path
    mode: int

    def fill(self, content: bytes, owner: Owner | None) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, self.mode)
            if owner is not None:
                owner.own(descriptor)
            file.write(content)
            file.flush()
            os.fsync(descriptor)

    def commit(self) -> None:
        self.path.replace(self.place)
        descriptor = os.open(self.place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def staged(place: Path, content: bytes, owner: Owner | None, mode: int = 0o600) -> Iterator[Staged]:
    """Durable, and gone at the end unless it was committed. Raises OSError."""
    one = Staged(place.with_name(place.name + _NEW), place, mode)
    one.path.unlink(missing_ok=True)
    os.close(os.open(one.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    try:
        one.fill(content, owner)
        yield one
    finally:
        one.path.unlink(missing_ok=True)


def make_folder(state: Path, owner: Owner) -> None:
    """STATE and STATE/tls, for the owner alone. Raises OSError."""
    for folder in (state, state / FOLDER):
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                owner.own(descriptor)
            finally:
                os.close(descriptor)


def _introduction(own: Path, authorities: Path) -> Introduction:
    return Introduction(ca=authorities, cert=own, key=own)

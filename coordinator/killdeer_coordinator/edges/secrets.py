"""Headers whose values stand in the environment or a file of this machine, read at the moment of use.

A value leaves in a request and in no other way: messages name the place alone.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from killdeer.v1.probe_pb2 import Header
from killdeer_coordinator.edges.answers import Unknown
from killdeer_coordinator.edges.aside import Aside

VALUE_MOST_BYTES = 16 * 1024
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# The coordinator's own keys to its store and to what it runs under. Who may write an experiment may not have them.
_OWN_ENVIRONMENT = re.compile(r"PG.*|NOTIFY_SOCKET|CREDENTIALS_DIRECTORY|LISTEN_.*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Headers:
    fields: tuple[tuple[bytes, bytes], ...] = ()
    secret: bool = False
    """One of the values is a secret, which whoever answers could echo."""


class Secrets:
    def __init__(self, aside: Aside, folder: Path | None, environment: Mapping[str, str] = os.environ) -> None:
        """`folder`: that of the files which may be sent; none may without it. Who may run an experiment is not to
        have the coordinator's own keys by a header to a server of their choice."""
        self._aside = aside
        self._folder = folder
        self._environment = environment

    async def resolve(self, headers: Iterable[Header]) -> Headers:
        """Raises Unknown."""
        asked = list(headers)
        fields = tuple([(self._name(each), await self._value(each)) for each in asked])
        return Headers(fields, any(each.WhichOneof("source") != "value" for each in asked))

    def _name(self, header: Header) -> bytes:
        if not _NAME.fullmatch(header.name):
            raise Unknown(f"cannot send the header {header.name!r}: that is no name of one")
        return header.name.encode()

    async def _value(self, header: Header) -> bytes:
        match header.WhichOneof("source"):
            case "from_env":
                place = f"the variable {header.from_env}"
                found = self._from_environment(header)
            case "from_file":
                place = header.from_file
                found = await self._aside.do(
                    ("secret", header.from_file), lambda: self._from_file(header.name, Path(header.from_file))
                )
            case _:
                place, found = "the file", header.value.encode()
        value = found.rstrip(b"\r\n")
        if _UNSENDABLE.search(value):
            raise Unknown(
                f"cannot send the header {header.name} with what stands in {place}: it has a line break or a "
                "control character inside; keep one line there"
            )
        return value.strip(b" \t")

    def _from_environment(self, header: Header) -> bytes:
        if _OWN_ENVIRONMENT.fullmatch(header.from_env):
            raise Unknown(
                f"cannot send the header {header.name}: the variable {header.from_env} is the coordinator's own; "
                "keep what a probe sends under another name"
            )
        found = self._environment.get(header.from_env, "")
        if not found:
            raise Unknown(
                f"cannot send the header {header.name}: the variable {header.from_env} is not set for the "
                "coordinator; set it in its unit (systemctl edit killdeer-coordinator) and restart it"
            )
        return found.encode(errors="surrogateescape")

    def _from_file(self, name: str, path: Path) -> bytes:
        cannot = f"cannot send the header {name} from {path}"
        try:
            folder = self._folder.resolve() if self._folder else None
            real = path if folder is None else (folder / path).resolve()
            if folder is None or not real.is_relative_to(folder):
                raise Unknown(
                    f"{cannot}: the coordinator sends files of {self._folder or 'no folder'} alone; put it there"
                )
            found = _read(real)
        except OSError as error:
            raise Unknown(
                f"{cannot}: {(error.strerror or 'it cannot be read').lower()}; the coordinator's user must be able "
                "to read it"
            ) from None
        except RuntimeError:  # links in a circle
            raise Unknown(f"{cannot}: its links lead in a circle") from None
        if found is None:
            raise Unknown(f"{cannot}: it is no regular file")
        if not found.strip():
            raise Unknown(f"{cannot}: it is empty")
        if len(found) > VALUE_MOST_BYTES:
            raise Unknown(f"{cannot}: it is longer than {VALUE_MOST_BYTES} bytes")
        return found


def _read(path: Path) -> bytes | None:
    """One byte more than may be. None for what is no regular file, and is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(VALUE_MOST_BYTES + 1)
    finally:
        os.close(descriptor)

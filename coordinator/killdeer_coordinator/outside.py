"""What must survive a lost or restored store: the halts and the highest store position (rules R10, R22).

One small JSON file in the state directory, replaced as a whole; it carries out the effect Keep. It keeps what
it is told: merging and comparing are the core's.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from killdeer.halts import Halts
from killdeer.v1.process_pb2 import HaltSet, StorePosition

FILE_NAME = "outside.json"
_FORMAT = 1


class OutsideError(Exception):
    """The file cannot be read or written; the message names it and says what to do."""


class Outside:
    """One per state directory; used by one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME

    def load(self) -> tuple[Halts, StorePosition]:
        """What was kept last; nothing where there is no file yet.

        Raises OutsideError for a file that cannot be understood: it may hold a halt, so no empty one is made
        of it.
        """
        try:
            document = json.loads(self._path.read_bytes())
            if document["format"] != _FORMAT:
                raise OutsideError(
                    f"cannot read {self._path}: it has format {document['format']!r}, this version knows "
                    f"{_FORMAT}; install the version of Killdeer that wrote it"
                )
            halts = ParseDict(document["halts"], HaltSet())
            position = ParseDict(document["position"], StorePosition())
        except FileNotFoundError:
            return Halts(), StorePosition()
        except OSError as cause:
            raise OutsideError(f"cannot read {self._path}: {cause.strerror}; mend its mode or disk") from cause
        except (ValueError, KeyError, TypeError, ParseError) as cause:
            raise OutsideError(
                f"cannot read {self._path}: {cause!r}; it may hold a halt, so it is not passed over: restore it, "
                "or, once you know that no halt is engaged, move it away"
            ) from cause
        return Halts.from_wire(halts), position

    def keep(self, halts: Halts, position: StorePosition) -> None:
        """Durable when it returns. Raises OutsideError; then the old content stands."""
        document = {
            "format": _FORMAT,
            "halts": MessageToDict(halts.to_wire(), preserving_proto_field_name=True),
            "position": MessageToDict(position, preserving_proto_field_name=True),
        }
        put_whole(self._path, document)


def put_whole(path: Path, document: Mapping[str, object]) -> None:
    """As JSON; durable when it returns. Raises OutsideError; then the old content stands."""
    new = path.with_suffix(".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync(path.parent)
    except OSError as cause:
        raise OutsideError(f"cannot write {path}: {cause.strerror}; look at its disk's space and mode") from cause


def sync(directory: Path) -> None:
    """The rename is durable once the directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

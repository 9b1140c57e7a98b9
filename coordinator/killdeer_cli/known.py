"""Hosts that were named, and that nobody has: said, rather than nothing found on them."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from killdeer_cli.exits import Refused
from killdeer_client.client import Client


def refuse_unknown(client: Client, named: Sequence[str], *, globs: bool = False) -> None:
    """Asks for the hosts where any was named. Raises Refused for one that the coordinator does not know."""
    if not named:
        return
    known = [host.host for host in client.list_hosts().hosts]
    for name in named:
        if name not in known and not (globs and any(fnmatchcase(host, name) for host in known)):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise Refused(f"there is no host {name!r}", f"{hint}see the hosts with: killdeer hosts")

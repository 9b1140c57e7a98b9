"""The line to add, and the file to add it to, for a process that nothing on the host opts in."""

import json
import re
from collections.abc import Callable

from killdeer_agent.core.facts import FactMissing, Facts

# Their name says nothing of what they run.
_INTERPRETER = re.compile(r"(python|pypy|ruby|perl|php|node|nodejs|java|bash|dash|sh|lua|deno|bun)[\d.]*")

# systemd lets a unit carry what it does not know itself.
_UNIT_LINES = "[X-Killdeer]\nAllow={action}"


def remedy(facts: Facts, action: str, directory: str, unit_directory: str, redact: Callable[[str], str]) -> str:
    """`in FILE:` and the lines, which the guard reads back; empty where the process cannot be named.

    A service consents in a drop-in of its own unit, a template for all of its instances; anything else in a guard
    file, named by what every agent can read.
    """
    try:
        if facts.unit.endswith(".service"):
            template, at, _ = facts.unit.partition("@")
            unit = f"{template}@.service" if at else facts.unit
            return f"in {unit_directory}/{unit}.d/killdeer.conf:\n{_UNIT_LINES.format(action=action)}"
        if not facts.name:
            return ""
        terms = _naming(facts, redact)
    except FactMissing:
        return ""
    file = re.sub(r"[^A-Za-z0-9_-]+", "-", facts.name).strip("-") or "process"
    quoted = ", ".join(_quoted(term) for term in terms)
    return f'in {directory}/{file}.toml:\n[[allow]]\nprocess = [{quoted}]\nactions = ["{action}"]'


def _naming(facts: Facts, redact: Callable[[str], str]) -> list[str]:
    terms = [f"name={_literal(facts.name)}", f"user={_literal(facts.user)}"]
    cmdline = facts.cmdline
    if _INTERPRETER.fullmatch(facts.name) and cmdline and redact(cmdline) == cmdline:
        terms.append(f"cmdline={_literal(cmdline)}")
    return terms


def _literal(text: str) -> str:
    """A glob that matches this text alone."""
    # A term's text is stripped when it is read, so white space at its end needs a coat.
    return re.sub(r"[*?\[]|\s\Z", r"[\g<0>]", text)


def _quoted(text: str) -> str:
    """A TOML basic string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

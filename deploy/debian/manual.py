"""Man pages and shell completion of the three programs, from their own help, so that neither can lag behind it."""

import argparse
import contextlib
import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from killdeer.version import VERSION

WIDTH = "80"
SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    name: str
    section: int
    what: str
    """One line."""
    see: tuple[str, ...]


PROGRAMS = {
    one.name: one
    for one in (
        Program(
            name="killdeer",
            section=1,
            what="break processes of a fleet on purpose, within limits and on the record",
            see=("killdeer-agent(8)", "killdeer-coordinator(8)"),
        ),
        Program(
            name="killdeer-agent",
            section=8,
            what="strike processes of this host on command, and report what the kernel saw",
            see=("killdeer(1)", "killdeer-coordinator(8)", "systemd.unit(5)"),
        ),
        Program(
            name="killdeer-coordinator",
            section=8,
            what="run experiments on a fleet, hold its limits, halt it",
            see=("killdeer(1)", "killdeer-agent(8)", "systemd.unit(5)"),
        ),
    )
}
Verbs = tuple[str, ...]


def man_page(name: str) -> str:
    """roff: what the program says of itself, and then of each verb."""
    program = PROGRAMS[name]
    lines = [
        f'.TH {name.upper()} {program.section} "" "Killdeer {VERSION}" "Killdeer"',
        *(".SH NAME", _roff(f"{name} - {program.what}"), ".SH DESCRIPTION"),
    ]
    for verbs, text in helps(name):
        lines += [".SH VERBS"] if lines[-1] == ".fi" and ".SH VERBS" not in lines else []
        lines += [f".SS {_roff(' '.join((name, *verbs)))}"] if verbs else []
        lines += [".nf", _roff(text), ".fi"]
    return "\n".join([*lines, ".SH SEE ALSO", _roff(", ".join(program.see)), ""])


def completions(name: str) -> dict[str, str]:
    """Text by shell."""
    if name != "killdeer":
        return {"bash": _bash(name)}
    return {shell: _told_by_typer(shell) for shell in SHELLS}


def helps(name: str) -> Iterator[tuple[Verbs, str]]:
    """The help of the program, then of each verb, as a terminal of 80 columns shows it."""
    for verbs in _tree(name):
        yield verbs, _help(name, verbs)


def _tree(name: str) -> dict[Verbs, list[str]]:
    """Verbs of verbs too: what may follow each."""
    found = dict[Verbs, list[str]]()
    if name == "killdeer":
        import typer

        from killdeer_cli.main import app

        _walk_typer(typer.main.get_command(app), (), found)
    else:
        _walk_argparse(_argparser(name), (), found)
    return found


def _walk_typer(command: Any, at: Verbs, found: dict[Verbs, list[str]]) -> None:
    names = command.list_commands(None) if hasattr(command, "list_commands") else []
    found[at] = [*names]
    for one in names:
        _walk_typer(command.get_command(None, one), (*at, one), found)


def _walk_argparse(parser: argparse.ArgumentParser, at: Verbs, found: dict[Verbs, list[str]]) -> None:
    options = [word for action in parser._actions for word in action.option_strings]
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    verbs = {name: verb for action in inner for name, verb in action.choices.items()}
    found[at] = [*verbs, *options]
    for name, verb in verbs.items():
        _walk_argparse(verb, (*at, name), found)


def _argparser(name: str) -> argparse.ArgumentParser:
    cli: Any = importlib.import_module(f"{name.replace('-', '_')}.cli")
    parser: argparse.ArgumentParser = cli._parser()
    return parser


def _help(name: str, verbs: Verbs) -> str:
    from killdeer_cli.main import app

    main: Callable[[list[str]], object]
    main = (lambda words: app(words, prog_name=name)) if name == "killdeer" else _argparser(name).parse_args
    plain = patch.dict(os.environ, {"COLUMNS": WIDTH, "TERMINAL_WIDTH": WIDTH, "NO_COLOR": "1"})
    with plain, contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main([*verbs, "--help"])
    return said.getvalue().strip("\n")


def _told_by_typer(shell: str) -> str:
    said = subprocess.run(
        [sys.executable, "-c", "from killdeer_cli.main import main; main()"],
        env=os.environ | {"_KILLDEER_COMPLETE": f"source_{shell}"},
        check=True,
        capture_output=True,
        text=True,
    )
    return said.stdout.lstrip("\n")


def _bash(name: str) -> str:
    function = "_" + name.replace("-", "_")
    cases = "\n".join(
        f"    '{' '.join(verbs)}') words='{' '.join(words)}' ;;" for verbs, words in _tree(name).items()
    )
    return f"""# bash completion of {name}
{function}_words() {{
    case "$1" in
{cases}
    *) return 1 ;;
    esac
}}

{function}() {{
    local at="" word words=""
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        {function}_words "${{at:+$at }}$word" && at="${{at:+$at }}$word"
    done
    {function}_words "$at"
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}

complete -o default -F {function} {name}
"""


def _roff(text: str) -> str:
    quoted = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"(?m)^(?=[.'])", r"\&", quoted)

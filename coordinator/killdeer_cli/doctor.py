"""`killdeer doctor`: what stands between this machine and the fleet, and how to mend it. It changes nothing."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from killdeer_cli import exits
from killdeer_cli.checkup import Answer, Finding, ask, certificate, findings_of
from killdeer_cli.screen import chosen, say
from killdeer_cli.verbs import Verb, application
from killdeer_client.contexts import Context, ContextError

app = application()


@app.command(cls=Verb)
def doctor(
    ctx: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help='Print [{"name", "ok", "needed", "fact", "remedy"}, …].')
    ] = False,
) -> None:
    """Look at the context, its keys, each coordinator, the store and the hosts, and say how to mend what is wrong.

    On a host, killdeer-agent doctor looks at that host.
    """
    try:
        context = chosen(ctx)
    except ContextError as error:
        found, code = [_no_context(error)], exits.REFUSED
    else:
        found, code = _examined(context)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        for line in _lines(found):
            say(line)
    raise typer.Exit(code)


def _no_context(error: ContextError) -> Finding:
    remedy = "write it as `killdeer-coordinator init` prints it, or try: killdeer sandbox start"
    return Finding(name="context", ok=False, needed=True, fact=str(error), remedy=remedy)


def _examined(context: Context) -> tuple[list[Finding], int]:
    production = " (production)" if context.production else ""
    fact = f"{context.name}{production}: {', '.join(context.coordinators)}"
    found = [Finding(name="context", ok=True, fact=fact), certificate(context, time.time())]
    if not found[-1].ok and found[-1].needed:
        return found, exits.REFUSED
    with ThreadPoolExecutor(len(context.coordinators)) as pool:
        answers: list[Answer] = list(pool.map(lambda address: ask(context, address), context.coordinators))
    found += findings_of(answers)
    if all(answer.status is None for answer in answers):
        refused = any(answer.problem is not None and answer.problem.refused for answer in answers)
        return found, exits.REFUSED if refused else exits.UNREACHED
    return found, exits.DONE if all(one.ok for one in found if one.needed) else exits.DEVIATED


def _lines(found: Sequence[Finding]) -> list[Text]:
    width = max(len(one.name) for one in found)
    lines = []
    for one in found:
        mark, style = ("ok", "green") if one.ok else (("FAIL", "red") if one.needed else ("warn", "yellow"))
        lines.append(Text.assemble((f"{mark:<4}", style), f"  {one.name:<{width}}  {one.fact}"))
        if not one.ok and one.remedy:
            lines.append(Text(f"{'':<{width + 8}}-> {one.remedy}"))
    return lines

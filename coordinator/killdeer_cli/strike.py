"""`killdeer strike`: one strike on one host; a run of one wave, with all that holds for runs."""

import difflib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from killdeer.terms import TermError
from killdeer_cli.exits import Refused
from killdeer_cli.launching import launch
from killdeer_cli.run import Detach, Yes
from killdeer_cli.screen import AsJsonLines, connected
from killdeer_cli.verbs import Verb, application
from killdeer_client.client import Client

if TYPE_CHECKING:
    from killdeer_experiment.action import Action

KILL, TERMINATE = "SIGKILL", "10s"
"""What the bare options mean."""
RECOVERS_WITHIN_MS = 120_000

app = application()


class _Strike(Verb):
    """Typer has no option whose value may be left out; the value must be joined to it with `=`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        bare = {"--kill": f"--kill={KILL}", "--terminate": f"--terminate={TERMINATE}"}
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [bare.get(arg, arg) for arg in args[:end]] + args[end:])


@app.command(cls=_Strike)
def strike(
    ctx: typer.Context,
    host: Annotated[str, typer.Argument(metavar="HOST")],
    terms: Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="Such as unit=worker@*.service.")],
    kill: Annotated[str | None, typer.Option("--kill", metavar="[=SIG]", help=f"Send SIG; alone, {KILL}.")] = None,
    terminate: Annotated[
        str | None,
        typer.Option(
            "--terminate",
            metavar="[=GRACE]",
            help=f"Send SIGTERM and, after the grace, SIGKILL; alone, {TERMINATE}; 0s: no SIGKILL.",
        ),
    ] = None,
    pause: Annotated[
        str | None, typer.Option("--pause", metavar="FOR", help="Stop it for so long, then resume it.")
    ] = None,
    hold_down: Annotated[
        str | None,
        typer.Option("--hold-down", metavar="FOR", help="Kill it and, for so long, each successor as it appears."),
    ] = None,
    yes: Yes = False,
    detach: Detach = False,
    as_json: AsJsonLines = False,
) -> None:
    """Hit one process on HOST, drawn from those that match, and stay until it has recovered.

    Ctrl-C aborts it and waits for the reverts; a second one leaves. With --json each line is a WatchRunResponse.
    """
    action = _action(kill, terminate, pause, hold_down)
    with connected(ctx) as client:
        source = _source(client, host, terms, action)
        code = launch(
            client, source, "strike", seed=None, plan_hash="", yes=yes, detach=detach, as_json=as_json, whole=True
        )
    raise typer.Exit(code)


def _action(kill: str | None, terminate: str | None, pause: str | None, hold_down: str | None) -> "Action":
    from killdeer_experiment.action import read_action
    from killdeer_experiment.faults import Unfit

    asked: dict[str, tuple[str, object]] = {}
    if kill is not None:
        asked["--kill"] = (kill, {"kill": int(kill) if kill.isdigit() else kill})
    if terminate is not None:
        asked["--terminate"] = (terminate, {"terminate": {"grace": terminate}})
    if pause is not None:
        asked["--pause"] = (pause, {"pause": pause})
    if hold_down is not None:
        asked["--hold-down"] = (hold_down, {"hold-down": hold_down})
    if len(asked) != 1:
        raise Refused(
            f"cannot strike with {' and '.join(asked) or 'no action'}: name one of --kill[=SIG],"
            " --terminate[=GRACE], --pause=FOR or --hold-down=FOR"
        )
    ((option, (value, written)),) = asked.items()
    try:
        return read_action(written)
    except Unfit as error:
        raise Refused(f"cannot use {option}={value}: {error}") from error


def _source(client: Client, host: str, terms: list[str], action: "Action") -> str:
    from killdeer_experiment.faults import Unfit
    from killdeer_experiment.strike import one_strike

    try:
        return one_strike(
            host=host,
            environment=_environment(client, host),
            terms=terms,
            action=action,
            name=f"strike on {host}",
            within_ms=RECOVERS_WITHIN_MS + getattr(action, "length_ms", 0) + getattr(action, "grace_ms", 0),
        )
    except (TermError, Unfit) as error:
        raise Refused(str(error)) from error


def _environment(client: Client, host: str) -> str:
    known = {view.host: view for view in client.list_hosts().hosts}
    if host not in known:
        near = difflib.get_close_matches(host, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise Refused(f"cannot find the host {host!r}", f"{hint}list them with: killdeer hosts")
    environment = known[host].labels.get("environment", "")
    if not environment:
        raise Refused(
            f"cannot strike on {host}: it has no `environment` label, so nothing on it may be hit",
            "set `environment` under [labels] in its agent.toml and restart its agent",
        )
    return environment

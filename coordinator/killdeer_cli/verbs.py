"""The verbs of the command line: each is imported when it is called, and its errors become exit codes."""

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from killdeer.output import nobody_reads
from killdeer_cli import exits
from killdeer_cli.plain import Verb, made_plain
from killdeer_client.contexts import ContextError
from killdeer_client.errors import ClientError

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


def application(**settings: Any) -> typer.Typer:
    """The Typer of one verb's module."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings)


class Group(TyperGroup):
    """A verb with verbs of its own, such as `limits set`."""

    def get_params(self, ctx: Any) -> list[Any]:
        return made_plain(super().get_params(ctx))


class Verbs(Group):
    """The root. `verbs` are names of modules in this package, each with a Typer called `app`."""

    verbs: tuple[str, ...] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.verbs)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.verbs:
            return None
        if cmd_name not in self.commands:
            module = importlib.import_module(f"killdeer_cli.{cmd_name}")
            command: Any = typer.main.get_command(module.app)
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.verbs:  # for the nearest verb in the error
            for verb in self.verbs:
                self.get_command(ctx, verb)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except ClientError as error:
            code = exits.of_error(error)
            complain(error.message, error.remedy, error.field if error.refused else "")
        except exits.BadFile as faults:
            code = exits.REFUSED
            complain(faults.message, head="")
        except exits.Refused as refused:
            code = exits.REFUSED
            complain(refused.message, refused.remedy)
        except ContextError as error:
            code = exits.REFUSED
            complain(str(error))
        except typer.Abort:
            code = exits.REFUSED
            complain("not confirmed: nothing was hit")
        except KeyboardInterrupt:
            code = INTERRUPTED
        except BrokenPipeError:
            code = nobody_reads()
        raise typer.Exit(code)


def complain(message: str, remedy: str = "", field: str = "", head: str = "Error: ") -> None:
    """One error for a person, on standard error."""
    from killdeer_cli.screen import errors
    from killdeer_cli.visible import in_lines

    console = errors()
    console.print(in_lines(f"{head}{field + ': ' if field else ''}{message}"), style="red", soft_wrap=True)
    if remedy:
        console.print(in_lines(remedy), soft_wrap=True)


__all__ = ["Group", "Verb", "Verbs", "application", "complain"]

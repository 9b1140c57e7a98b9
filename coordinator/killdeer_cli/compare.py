"""`killdeer compare`: two runs of one experiment side by side, as before and after a fix."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from killdeer_cli.placed import file_name
from killdeer_cli.report import Format, Output, account_of, extra_needed, put
from killdeer_cli.screen import connected
from killdeer_cli.verbs import Verb, application

if TYPE_CHECKING:
    from killdeer_report.comparison import Comparison

app = application()


@app.command(cls=Verb)
def compare(
    ctx: typer.Context,
    before: Annotated[str, typer.Argument(metavar="RUN", help="The one before, by id or a unique prefix of it.")],
    after: Annotated[str, typer.Argument(metavar="RUN", help="The one after.")],
    format: Annotated[Format, typer.Option(help="A page with plots, Markdown, or JSON for programs.")] = Format.MD,
    output: Output = "",
) -> None:
    """Set two runs side by side: their verdicts, findings and measures, and what else differs between them.

    On a terminal, a page goes to killdeer-RUN-RUN.html here; all else goes to standard output.
    """
    with connected(ctx) as client:
        responses = (client.report(before), client.report(after))
    with extra_needed():
        from killdeer_report.comparison import compare as side_by_side

        told = side_by_side(*(account_of(response) for response in responses))
        text = _text(told, format)
    first, second = (response.run.run_id for response in responses)
    page_here = format is Format.HTML and sys.stdout.isatty()
    put(text, output or (file_name(f"killdeer-{first}-{second}.html") if page_here else ""), told.stamp)


def _text(told: "Comparison", format: Format) -> str:
    match format:
        case Format.HTML:
            from killdeer_report.page import comparison_page

            return comparison_page(told)
        case Format.MD:
            from killdeer_report.markdown import comparison_markdown

            return comparison_markdown(told)
        case Format.JSON:
            from killdeer_report.as_json import comparison_json

            return comparison_json(told)

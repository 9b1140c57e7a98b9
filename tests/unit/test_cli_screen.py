"""Text from afar on the screen: nothing in it steers the terminal, and a row stays a row."""

from collections.abc import Iterator

import pytest
from rich.console import Group
from rich.live import Live
from rich.text import Text

from killdeer_cli.screen import errors, say, screen, table, warn
from killdeer_cli.verbs import complain

HOSTILE = "a\x1b]0;title\x07b\x9b31mc\x7f"
SHOWN = "a␛]0;title␇b�31mc␡"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Consoles made under a test's settings, and none left behind."""
    for console in (screen, errors):
        console.cache_clear()
    yield
    for console in (screen, errors):
        console.cache_clear()


def test_a_plain_line_and_an_error_show_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    warn(HOSTILE)
    complain(HOSTILE, HOSTILE)
    said = capsys.readouterr()
    assert said.out == f"{SHOWN}\n"
    assert said.err == f"{SHOWN}\nError: {SHOWN}\n{SHOWN}\n"


def test_styled_text_and_groups_hold_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    say(Text.assemble(("x\x1b[2J", "bold"), "\ny\u202ez"))
    say(Group(Text("in\x1b[2J"), "side\x1b[2J"))
    assert capsys.readouterr().out == "x␛[2J\ny�z\nin␛[2J\nside␛[2J\n"


def test_a_live_view_holds_only_the_control_characters_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Live(console=screen(), auto_refresh=False) as live:
        live.update(Group(Text("w\x1b[6n")), refresh=True)
    out = capsys.readouterr().out
    assert "w␛[6n" in out
    assert "\x1b[6n" not in out
    assert "\x1b[?25l" in out


def test_a_row_with_line_ends_is_one_row_and_its_columns_stand(capsys: pytest.CaptureFixture[str]) -> None:
    made = table("name", "pid")
    made.add_row("one\nforged  1", "7")
    made.add_row(Text("two\x1b[1A", style="red"), "8")
    screen().print(made)
    rows = [row.rstrip() for row in capsys.readouterr().out.splitlines()]
    assert rows == ["name           pid", "one␊forged  1  7", "two␛[1A        8"]

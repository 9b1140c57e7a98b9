"""A file that is wrong: every fault at once, each with its place, and never a traceback."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killdeer_experiment.faults import Fault, FileFaults
from killdeer_experiment.file import load

BAD = Path(__file__).parent / "experiments" / "bad"
EXPECTED = re.compile(rb"^# expect (.*)$", re.MULTILINE)
LEAST = (BAD.parent / "good" / "least.yaml").read_text()
EVERYTHING = (BAD.parent / "good" / "everything.yaml").read_text()
MEASURED = (BAD.parent / "good" / "measured.yaml").read_text()


def faults(text: str | bytes) -> tuple[Fault, ...]:
    with pytest.raises(FileFaults) as raised:
        load(text, "bad.yaml")
    return raised.value.faults


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_defect_is_named_with_its_place_and_nothing_else_is(path: Path) -> None:
    text = path.read_bytes()
    expected = [line.decode() for line in EXPECTED.findall(text)]
    assert expected
    found = [f"{fault.line}:{fault.column}: {fault.message}" for fault in faults(text)]
    assert found == expected


def test_a_fault_is_shown_with_its_line_and_a_caret() -> None:
    (fault,) = faults(LEAST.replace("environment:", "enviroment:"))
    assert fault.render() == (
        "bad.yaml:3:1: unknown key 'enviroment': did you mean 'environment'?\n"
        "    enviroment: production-lite\n"
        "    ^"
    )
    assert fault.nearest == "environment"


def test_the_caret_stands_under_its_character_in_a_line_too_long_to_show() -> None:
    (fault,) = faults(LEAST.replace("{name: redis-server}", f"{{cmdline: {'x' * 300}, nmae: y}}"))
    _head, line, caret = fault.render().splitlines()
    assert len(line) <= 104
    assert line[caret.index("^") :].startswith("nmae")


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    (fault,) = faults(f"{LEAST}owner: \x1b[31mred\n")
    assert "\x1b" not in fault.render()


def test_an_enormous_file_is_refused_unread() -> None:
    (fault,) = faults("# " + "x" * (256 * 1024))
    assert fault.message == "cannot read 262146 bytes: an experiment file ends at 256 KiB"


@pytest.mark.parametrize("text", ["[" * 200_000, "{" * 200_000, "- " * 100_000, "x: [" + "1," * 100_000])
def test_a_file_made_to_keep_the_reader_busy_is_refused_early(text: str) -> None:
    assert len(faults(text)) == 1


def test_only_the_first_fifty_faults_are_printed() -> None:
    notes = "".join(f"  k{number}: {number}\n" for number in range(60))
    with pytest.raises(FileFaults) as raised:
        load(f"{LEAST}notes:\n{notes}", "bad.yaml")
    assert len(raised.value.faults) == 60
    assert str(raised.value).endswith("\nand 10 more")


def test_a_key_of_a_later_format_is_not_taken_for_another() -> None:
    (fault,) = faults(f"{LEAST}budgets: []\n")
    assert fault.message.startswith("unknown key 'budgets': known here are killdeer, name,")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
WORDS = ["killdeer", "name", "target", "process", "not", "limits", "waves", "strikes", "action", "kill", "pause"]
WORDS += ["probes", "http", "take", "as", "over", "steady_state", "abort_when", "recovery", "then", "else", "load"]
pieces = st.sampled_from(
    [
        *WORDS,
        "1",
        "5%",
        "10s",
        ": ",
        ", ",
        "- ",
        "\n",
        "\n  ",
        "{",
        "}",
        "[",
        "]",
        "'",
        '"',
        "&a",
        "*a",
        "!!x",
        "#",
        "|",
        ">",
        "%",
        "\t",
        "? ",
        "---",
        "\\U",
        "\x85",
        "<<",
    ]
)


def never_a_traceback(text: str | bytes) -> None:
    try:
        load(text, "fuzz.yaml")
    except FileFaults as refused:
        assert refused.faults
        assert all(fault.line >= 1 and fault.column >= 1 for fault in refused.faults)
        assert str(refused)


@settings(deadline=None)
@given(st.text(st.characters(), max_size=200))
def test_any_text_is_an_experiment_or_faults(text: str) -> None:
    never_a_traceback(text)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_experiment_or_faults(content: bytes) -> None:
    never_a_traceback(content)


@settings(max_examples=80, deadline=None)
@given(st.lists(pieces, max_size=40).map("".join))
def test_anything_made_of_the_parts_of_files_is_an_experiment_or_faults(text: str) -> None:
    never_a_traceback(text)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_good_file_with_a_piece_replaced_is_an_experiment_or_faults(data: st.DataObject) -> None:
    good = data.draw(st.sampled_from([EVERYTHING, MEASURED]))
    begin = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(begin, min(len(good), begin + 30)))
    piece = data.draw(pieces | scalars.map(repr))
    never_a_traceback(good[:begin] + piece + good[end:])


ODD = ["", "~", "true", "0", "-1", "3.5", "x", "'x y'", "[]", "[[]]", "{}", "{x: 1}", "[1, {x: []}]", "'<'", "10s"]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_good_file_with_a_value_of_another_kind_is_an_experiment_or_faults(data: st.DataObject) -> None:
    good = data.draw(st.sampled_from([EVERYTHING, MEASURED]))
    value = data.draw(
        st.sampled_from(list(re.finditer(r"(?<=: )[^\s,{}\[\]][^,{}\[\]\n]*|\{[^{}]*\}|\[[^\[\]]*\]", good)))
    )
    never_a_traceback(good[: value.start()] + data.draw(st.sampled_from(ODD)) + good[value.end() :])

"""`killdeer report` and `compare`: what is asked, what is written where, and what is never overwritten."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from killdeer.v1 import operator_pb2 as o
from tests.support import reports
from tests.support.commandline import Terminal, killdeer
from tests.support.htmlpage import Page
from tests.support.operator import DEADLINE_S, FakeOperator


def answer(request: o.GetReportRequest, context: Any) -> o.GetReportResponse:
    return reports.held() if request.run == "r8c4" else reports.deviated()


@pytest.fixture(autouse=True)
def here(operator: FakeOperator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    operator.answers["GetReport"] = answer
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_latest_run_is_told_and_units_come_from_its_file(operator: FakeOperator) -> None:
    said = killdeer("report", "--format", "json")
    assert said.code == 0, said
    assert operator.requests("GetReport") == [o.GetReportRequest(run="latest")]
    found = json.loads(said.out)
    assert found["units"] == {"healthy": "met", "errors": "fraction", "p95": "seconds"}
    assert found["file_notes"] == {"runbook": "https://wiki.example.com/payments"}


def test_markdown_and_a_page_go_to_standard_output_where_there_is_no_terminal(here: Path) -> None:
    assert "# payments-survive: DEVIATED" in killdeer("report", "r7f3", "--format", "md").out
    assert "What it did to the probes" in Page(killdeer("report", "r7f3").out).text
    assert list(here.iterdir()) == []


def test_on_a_terminal_a_page_becomes_a_file_of_its_run(here: Path) -> None:
    terminal = Terminal("report", "r7f3")
    assert terminal.ended() == 0, terminal.read
    terminal.close()
    assert "written to killdeer-r7f3.html" in terminal.read
    (written,) = here.iterdir()
    assert written.name == "killdeer-r7f3.html"
    assert written.read_text().endswith("</html>\n")


@pytest.mark.parametrize("format", ["html", "md", "json"])
def test_a_report_of_the_same_run_is_replaced_and_one_of_another_is_not(here: Path, format: str) -> None:
    for _ in range(2):
        said = killdeer("report", "r7f3", "--format", format, "--output", "it")
        assert said.code == 0, said
        assert said.out == "written to it\n"
    before = (here / "it").read_bytes()
    said = killdeer("report", "r8c4", "--format", format, "--output", "it")
    assert said.code == 2
    assert "cannot write it: it is there, and is no killdeer report of run r8c4" in said.err
    assert (here / "it").read_bytes() == before
    assert [path.name for path in here.iterdir()] == ["it"]


def test_what_is_no_report_is_never_replaced(here: Path) -> None:
    (here / "mine").write_text("my own")
    (here / "link").symlink_to("mine")
    (here / "folder").mkdir()
    for name in ("mine", "link", "folder", "/dev/null"):
        said = killdeer("report", "r7f3", "--format", "md", "--output", name)
        assert said.code == 2, said
        assert "--output" in said.err
    assert (here / "mine").read_text() == "my own"
    assert (here / "link").is_symlink()


def test_a_folder_that_is_not_there_is_named(here: Path) -> None:
    said = killdeer("report", "--format", "md", "--output", "none/it.md")
    assert said.code == 2
    assert "cannot write none/it.md: No such file or directory" in said.err


def test_the_coordinator_cannot_choose_where_a_file_goes(here: Path, operator: FakeOperator) -> None:
    report = reports.held()
    report.run.run_id = "../../elsewhere"
    operator.answers["GetReport"] = lambda request, context: report
    terminal = Terminal("report")
    assert terminal.ended() == 0, terminal.read
    terminal.close()
    assert [path.name for path in here.iterdir()] == ["killdeer-.._.._elsewhere.html"]


def test_a_file_that_this_killdeer_cannot_read_makes_plain_numbers(operator: FakeOperator) -> None:
    report = reports.deviated()
    report.source = "killdeer: 99"
    operator.answers["GetReport"] = lambda request, context: report
    said = killdeer("report", "--format", "json")
    assert set(json.loads(said.out)["units"].values()) == {"number"}
    assert "cannot read the file of this run" in said.err


def test_the_bounds_of_the_file_are_drawn_in_the_plots(operator: FakeOperator) -> None:
    said = Page(killdeer("report", "r7f3").out).text
    plots = said[said.index("over the repetitions.") : said.index("How long it took")]
    assert "errors < 0.1%" in plots
    assert "p95 > 1.3x baseline for 10s" in plots


def test_compare_asks_for_both_and_says_what_changed(operator: FakeOperator) -> None:
    said = killdeer("compare", "r7f3", "r8c4")
    assert said.code == 0, said
    assert [request.run for request in operator.requests("GetReport")] == ["r7f3", "r8c4"]
    assert "r8c4 against r7f3" in said.out
    assert json.loads(killdeer("compare", "r7f3", "r8c4", "--format", "json").out)["comparison"] == 1


def test_a_page_of_two_runs_becomes_a_file(here: Path) -> None:
    terminal = Terminal("compare", "r7f3", "r8c4", "--format", "html")
    assert terminal.ended() == 0, terminal.read
    terminal.close()
    assert [path.name for path in here.iterdir()] == ["killdeer-r7f3-r8c4.html"]


@pytest.mark.parametrize(
    ("missing", "format"), [("scipy", "md"), ("jinja2", "html"), ("matplotlib", "html"), ("numpy", "json")]
)
def test_without_the_extra_it_says_what_to_install(missing: str, format: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from killdeer_cli.main import main; main()"
    done = _python(code, "report", "--format", format)
    assert done.returncode == 2
    assert f"cannot write a report: {missing} is not installed" in done.stderr
    assert "pip install 'killdeer[report]'" in done.stderr
    assert done.stdout == ""


def test_no_verb_loads_what_only_reports_need_before_it_is_called() -> None:
    heavy = "{'scipy', 'numpy', 'matplotlib', 'jinja2'} & sys.modules.keys()"
    code = f"import sys, atexit; atexit.register(lambda: print('loaded:', {heavy}))"
    done = _python(f"{code}; from killdeer_cli.main import main; main()", "--help")
    assert "compare" in done.stdout
    assert "loaded: set()" in done.stdout


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S * 3,
        check=False,
    )

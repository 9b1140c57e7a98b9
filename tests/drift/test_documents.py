"""What the documents name exists, and what README tells a reader to type works."""

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])

_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)\)")
_FILE = re.compile(r"`((?:agent|coordinator|proto|deploy|docs|examples|tests)/[\w./-]+)`")


def typed(document: Path) -> list[str]:
    """The lines behind `$ ` of its console blocks."""
    blocks = _CONSOLE.findall(document.read_text())
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text()
    named = [document.parent / link for link in _LINK.findall(text) if "://" not in link]
    named += [ROOT / name for name in _FILE.findall(text)]
    assert [str(path) for path in named if not path.exists()] == []


def test_every_make_target_that_readme_names_exists() -> None:
    targets = re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text())
    made = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets
    assert set(targets) <= set(made)


# --- docs/operating.md ---------------------------------------------------------------------------------------

_OPERATING = ROOT / "docs/operating.md"
_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_CORES = frozenset({"note", "warn"})  # what a core has its shell log
_WRONG = frozenset({"warning", "error", "exception", "critical", "warn"})
_METRIC = re.compile(r"killdeer_[a-z_]+")


def section(title: str) -> str:
    """Of docs/operating.md, down to the next heading."""
    found = re.search(rf"(?m)^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", _OPERATING.read_text(), re.DOTALL)
    assert found, title
    return found[1]


def first_column(title: str) -> list[str]:
    return re.findall(r"(?m)^\| `([^`]+)` \|", section(title))


def logged(package: str) -> dict[str, set[str]]:
    """Every event that the sources of a daemon log by name, with the levels it is logged at."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in sorted((ROOT / package).rglob("*.py")):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and call.args and (level := _level(call.func)):
                for event in _names(call.args[0]):
                    found[event].add(level)
    return found


def _level(function: ast.expr) -> str:
    """Empty where it logs nothing."""
    if not isinstance(function, ast.Attribute):
        return ""
    on = function.value.id if isinstance(function.value, ast.Name) else ""
    logs = (function.attr in _LEVELS and on == "log") or function.attr in _CORES
    return function.attr if logs else ""


def _names(argument: ast.expr) -> Iterator[str]:
    """A text, or either of two; a line that is put together is of a run, not of the log."""
    if isinstance(argument, ast.IfExp):
        yield from _names(argument.body)
        yield from _names(argument.orelse)
    elif isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value


SECTIONS = pytest.mark.parametrize(
    ("title", "package"),
    [("Agent", "agent/killdeer_agent"), ("Coordinator", "coordinator/killdeer_coordinator")],
)


@SECTIONS
def test_operating_says_of_every_log_event_what_it_means(title: str, package: str) -> None:
    said = first_column(title)
    assert len(said) == len(set(said))
    assert set(said) == set(logged(package))


@SECTIONS
def test_what_somebody_should_see_is_never_logged_as_mere_information(title: str, package: str) -> None:
    levels = logged(package)
    marked = re.findall(r"(?m)^\| `([^`]+)` \| \*\*!\*\*", section(title))
    assert marked
    assert {event: levels[event] - _WRONG for event in marked if levels[event] - _WRONG} == {}


def test_operating_says_what_every_metric_is() -> None:
    source = (ROOT / "agent/killdeer_agent/exposition.py").read_text()
    texts = [one.value for one in ast.walk(ast.parse(source)) if isinstance(one, ast.Constant)]
    made = {text for text in texts if isinstance(text, str) and _METRIC.fullmatch(text)}
    assert made
    assert set(first_column("The metrics")) == made


def test_operating_names_every_reloadable_key_of_both_daemons() -> None:
    from killdeer_agent import reloading as agent
    from killdeer_coordinator import reloading as coordinator

    row = {line.split(" | ")[0].strip("| "): line for line in section("Change the configuration").splitlines()}
    assert all(f"`[{key}]`" in row["agent"] or f"`{key}`" in row["agent"] for key in agent.AT_ONCE)
    keys = [key.removesuffix("_days") for key in coordinator.AT_ONCE]
    assert all(f"`[{key}]`" in row["coordinator"] or f"`{key}`" in row["coordinator"] for key in keys)


def test_every_port_of_the_example_configuration_is_in_operating() -> None:
    example = (ROOT / "deploy/systemd/coordinator.toml").read_text()
    listeners = re.findall(r"(?m)^#? ?(listen_\w+) = \"[^\"]*:(\d+)\"", example)
    assert len(listeners) >= 3
    ports = section("What runs where")
    for key, port in listeners:
        assert f"{port}/tcp" in ports, key
        assert f"`{key}`" in ports


def test_the_verbs_that_operating_tells_to_type_exist() -> None:
    import killdeer_cli.main
    from killdeer_agent.cli import _parser as agent_parser
    from killdeer_coordinator.cli import _parser as coordinator_parser

    known = {
        "killdeer": set(killdeer_cli.main.Verbs.verbs),  # type: ignore[attr-defined]
        "killdeer-agent": set(re.findall(r"[a-z]+", agent_parser().format_help())),
        "killdeer-coordinator": set(re.findall(r"[a-z]+", coordinator_parser().format_help())),
    }
    text = _OPERATING.read_text()
    typed = re.findall(r"(?m)(?:^ {4}|`)(killdeer(?:-agent|-coordinator)?) ([a-z]+)\b", text)
    assert len(typed) > 20
    assert {f"{program} {verb}" for program, verb in typed if verb not in known[program]} == set()


def test_the_links_within_operating_lead_somewhere() -> None:
    text = _OPERATING.read_text()
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    anchors = {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    assert [path.name for path in sorted(ROOT.glob("docs/decisions/0*.md")) if path.name not in index] == []


def test_what_readme_tells_to_type_works(tmp_path: Path) -> None:
    lines = [line.replace("/tmp/try", str(tmp_path / "try")) for line in typed(ROOT / "README.md")]
    assert any("killdeer run" in line for line in lines)
    assert any("killdeer halt" in line for line in lines)
    script = tmp_path / "typed.sh"
    script.write_text("set -eux\n" + "\n".join(lines) + "\n")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(script)],
        cwd=ROOT,
        env=os.environ | {"PATH": path, "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    subprocess.run(
        [Path(sys.executable).with_name("killdeer"), "sandbox", "stop", "--dir", tmp_path / "try"], check=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

"""What the documents name exists, and what README tells a reader to type works."""

import os
import re
import subprocess
import sys
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

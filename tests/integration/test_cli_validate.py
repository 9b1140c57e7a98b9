"""`killdeer validate` on a folder of malformed files, each named by its defect."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.malformed import MALFORMED, places, text_of


def test_a_hundred_malformed_files_are_each_refused_at_the_right_places_without_a_traceback(tmp_path: Path) -> None:
    files = {re.sub(r"\W+", "-", defect) + ".yaml": marked for defect, (marked, _) in MALFORMED.items()}
    assert len(files) == len(MALFORMED) > 100
    for name, marked in files.items():
        (tmp_path / name).write_text(text_of(marked))
    killdeer = Path(sys.executable).with_name("killdeer")
    said = subprocess.run(
        [killdeer, "validate", *sorted(files)],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert said.returncode == 2
    assert "Traceback" not in said.stdout + said.stderr
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in files}
    for name, line, column in re.findall(r"(?m)^(\S+\.yaml):(\d+):(\d+): ", said.stdout + said.stderr):
        found[name].append((int(line), int(column)))
    assert {name: sorted(at) for name, at in found.items()} == {
        name: sorted(places(marked)) for name, marked in files.items()
    }

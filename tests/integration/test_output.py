"""Whoever reads a command's output may go away, as `head` does: it ends as other programs do, and says nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.operator import DEADLINE_S

AGENT = "from killdeer_agent.cli import main; main()"
COORDINATOR = "import sys; from killdeer_coordinator.cli import main; sys.exit(main())"
CONFIG = """\
host = "host-1"
coordinators = ["127.0.0.1:1"]
state = "{folder}/state"

ca = "ca.pem"
cert = "agent.pem"
key = "agent.key"
"""


@pytest.mark.parametrize(
    ("program", "arguments", "code"),
    [
        (AGENT, ["--config", "{folder}/agent.toml", "doctor"], 141),
        (AGENT, ["--config", "{folder}/agent.toml", "doctor", "--json"], 141),
        (AGENT, ["--config", "{folder}/agent.toml", "guard", "test", "name=python*"], 141),
        (AGENT, ["--config", "{folder}/agent.toml", "halt"], 141),
        (AGENT, ["--config", "{folder}/agent.toml", "rearm"], 141),
        (COORDINATOR, ["init", "--dir", "{folder}/keys"], 141),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_a_reader_that_has_gone_is_no_traceback(
    program: str, arguments: list[str], code: int, tmp_path: Path
) -> None:
    (tmp_path / "agent.toml").write_text(CONFIG.format(folder=tmp_path))
    typed = [argument.format(folder=tmp_path) for argument in arguments]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", program, *typed],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == code

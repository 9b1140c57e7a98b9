"""What `killdeer sandbox` advises can be typed as it stands."""

from pathlib import Path

import pytest

from killdeer_cli import sandbox
from killdeer_cli.exits import Refused


def test_a_running_sandbox_is_stopped_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_keeper", lambda layout: 7)
    folder = tmp_path / "my fleet"
    with pytest.raises(Refused) as refused:
        sandbox.start(folder=folder)
    assert refused.value.remedy == f"stop it with: killdeer sandbox stop --dir '{folder}'"
    with pytest.raises(Refused) as refused:
        sandbox.start()
    assert refused.value.remedy == "stop it with: killdeer sandbox stop"

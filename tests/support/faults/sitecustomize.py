"""Real daemons with a fault at a place of a test's choice; on the PYTHONPATH of a sandbox.

Both daemons carry out their core's effects one by one in `Shell._carry_out`. The file that KILLDEER_TEST_FAULT
names says where one of them is to end or to freeze:
`{"daemon": "agent", "when": "before", "effect": "Strike", "signal": 9}`.
Whoever comes there first takes the file away, leaves its pid in `PATH.hit`, and sends itself the signal.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

SHELLS = {"killdeer_agent.shell": "agent", "killdeer_coordinator.shell": "coordinator"}


def name_of(effect: Any) -> str:
    """`Strike`; of a frame with what is in it, `Send strike_update`, of a record with its kind, `Write intent`."""
    name = type(effect).__name__
    if frame := getattr(effect, "frame", None):
        name += f" {frame.WhichOneof('frame')}"
    if record := getattr(effect, "record", None):
        name += f" {record.kind}"
    return name


def reached(daemon: str, when: str, effect: Any) -> None:
    file = Path(os.environ["KILLDEER_TEST_FAULT"])
    try:
        fault = json.loads(file.read_text())
    except FileNotFoundError:
        return
    if (fault["daemon"], fault["when"], fault["effect"]) != (daemon, when, name_of(effect)):
        return
    try:
        file.unlink()
    except FileNotFoundError:
        return  # another was first
    file.with_suffix(".hit").write_text(str(os.getpid()))
    os.kill(os.getpid(), fault["signal"])


def faulty(module: ModuleType, daemon: str) -> None:
    carry_out = module.Shell._carry_out

    def carry_out_with_faults(self: Any, effect: Any, *more: Any) -> None:
        reached(daemon, "before", effect)
        carry_out(self, effect, *more)
        reached(daemon, "after", effect)

    module.Shell._carry_out = carry_out_with_faults


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in SHELLS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader)
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            faulty(module, SHELLS[name])

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "KILLDEER_TEST_FAULT" in os.environ:
    sys.meta_path.insert(0, Finder())

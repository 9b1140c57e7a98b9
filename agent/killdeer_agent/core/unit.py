"""A systemd unit, as far as a hold must know it: what is started again, and what is left alone (rule R15)."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.facts import FactMissing
from killdeer_agent.core.signals import KILL

# `Restart=` of units that systemd leaves down after a clean end (systemd.service(5)).
_LEFT_AFTER_CLEAN = frozenset({"no", "on-failure", "on-abnormal", "on-watchdog", "on-abort"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState:
    """What systemd says of it now. `main_pid` is its main process, the last there was; `main_signal` what ended
    that one, 0: no signal."""

    name: str
    loaded: bool  # neither masked nor gone
    active: str  # ActiveState: active, activating, failed, inactive …
    result: str = ""  # of the last run: success, signal, start-limit-hit …
    main_pid: int = 0
    main_signal: int = 0
    stop_ordered: bool = False  # it is deactivating, and a stop waits for that to be over
    restart: str = ""  # its Restart=; empty: not known

    @property
    def on_its_way(self) -> bool:
        """It is not said yet whether it will be up or down: systemd may fail or give it up at the next attempt."""
        return self.loaded and self.active in ("activating", "deactivating")

    def unnoticed(self, struck: Container[int]) -> bool:
        """Its main process was struck, and systemd has not heard of its end."""
        return self.loaded and self.active == "active" and self.main_pid in struck and not self.main_signal

    @property
    def runs(self) -> bool:
        """It can be told later whether somebody has stopped it. A scope has nobody who starts it."""
        return self.loaded and self.active in ("active", "reloading") and self.name.endswith(".service")

    def failed_by(self, struck: Container[int]) -> bool:
        """systemd has given it up after a SIGKILL to one of these pids. What somebody stops is `inactive`, also if
        it was about to be restarted; what failed for a reason of its own is its own affair."""
        ours = self.main_pid in struck and self.main_signal == KILL
        return self.loaded and self.active == "failed" and ours

    def ended_by(self, struck: Container[int]) -> bool:
        """It is down since the end of one of these pids. After a clean end it is `inactive` by that alone where
        systemd does not restart it then; any other that is `inactive` was stopped by somebody."""
        if not self.loaded or self.main_pid not in struck:
            return False
        clean = self.result == "success" and self.restart in _LEFT_AFTER_CLEAN
        return self.active == "failed" or (self.active == "inactive" and clean)

    def only_reset(self, struck: Container[int]) -> bool:
        """After a start of ours that came no further than `reset-failed`: nobody has run it since. A unit that
        nothing refers to is forgotten by then, its main process with it."""
        return self.loaded and self.active == "inactive" and (not self.main_pid or self.main_pid in struck)


class _Missing:
    """A fact of a process, where there is none."""

    def __get__(self, owner: object, kind: type) -> Any:
        raise FactMissing(Reason.REASON_CANNOT_EVALUATE, "no process of the unit is there")


class UnitFacts:
    """A unit of which nothing runs, for a guard: of the Facts nothing but its name is known."""

    pid = start_ticks = state = threads = kernel_thread = _Missing()
    name = cmdline = uid = user = parent_pid = parent_name = _Missing()
    cgroup = container = exe = ports = program = started_boot_ns = _Missing()

    def __init__(self, unit: str, service: str) -> None:
        self.unit = unit
        self.service = service

"""Units as systemd itself says they are, over D-Bus (org.freedesktop.systemd1(5)). It is asked, never told.

All properties come in one answer each; of what comes, only the settings below are kept, and no environment or
command line leaves this module.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from killdeer_agent.core.preparedness import UnitSettings

if TYPE_CHECKING:
    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

SYSTEM_BUS: Final = "unix:path=/run/dbus/system_bus_socket"
# systemd answers in milliseconds; one that is stuck is not waited for.
PATIENCE_S = 3.0
_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER_PATH = "/org/freedesktop/systemd1"
_NO_SUCH_UNIT = f"{_SYSTEMD}.NoSuchUnit"
_INFINITY: Final = 2**64 - 1

T = TypeVar("T")


class Unasked(Exception):
    """systemd cannot be asked; the message says why, and what to do."""


class UnitBus:
    def __init__(self, address: str = SYSTEM_BUS, patience_s: float = PATIENCE_S) -> None:
        self._address = address
        self._patience_s = patience_s

    def settings(self, names: Iterable[str]) -> tuple[UnitSettings, ...]:
        """Of those that are loaded, in the order of the names. Blocks: beside the loop only. Raises Unasked."""
        wanted = tuple(dict.fromkeys(names))
        if not wanted:
            return ()
        try:
            from dbus_fast import DBusFastError  # 3 MiB, with its library, where an inspection asks for it
        except ImportError as error:
            raise Unasked(f"cannot ask systemd: {error}; pip install 'killdeer[agent]'") from error
        try:
            return asyncio.run(asyncio.wait_for(self._ask(wanted), self._patience_s))
        except TimeoutError as error:
            raise Unasked(f"cannot ask systemd: it has not answered in {self._patience_s:g} s") from error
        except (OSError, EOFError, DBusFastError) as error:
            cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unasked(f"cannot ask systemd over {self._address}: {cause}") from error

    async def _ask(self, names: tuple[str, ...]) -> tuple[UnitSettings, ...]:
        from dbus_fast.aio import MessageBus

        bus = await MessageBus(bus_address=self._address).connect()
        try:
            found = [await _unit(bus, name) for name in names]
        finally:
            bus.disconnect()
            with contextlib.suppress(OSError, EOFError):
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        return tuple(one for one in found if one is not None)


async def _unit(bus: "MessageBus", name: str) -> UnitSettings | None:
    """None: it is not loaded any more."""
    from dbus_fast import MessageType

    reply = await _call(bus, _MANAGER_PATH, f"{_SYSTEMD}.Manager", "GetUnit", name)
    if reply.message_type is MessageType.ERROR:
        if reply.error_name == _NO_SUCH_UNIT:
            return None
        raise Unasked(f"cannot ask systemd about {name}: {reply.error_name} {' '.join(map(str, reply.body))}")
    path = str(reply.body[0])
    kind = "Service" if name.endswith(".service") else "Scope"
    said: dict[str, Any] = {}
    for interface in (f"{_SYSTEMD}.Unit", f"{_SYSTEMD}.{kind}"):
        answer = await _call(bus, path, "org.freedesktop.DBus.Properties", "GetAll", interface)
        if answer.message_type is MessageType.ERROR:
            raise Unasked(f"cannot ask systemd about {name}: {answer.error_name}")
        said |= {key: variant.value for key, variant in answer.body[0].items()}
    return settings_of(name, said)


async def _call(bus: "MessageBus", path: str, interface: str, member: str, argument: str) -> "Message":
    from dbus_fast import Message

    reply = await bus.call(
        Message(destination=_SYSTEMD, path=path, interface=interface, member=member, signature="s", body=[argument])
    )
    if reply is None:
        raise EOFError("the bus has hung up")
    return reply


def settings_of(name: str, said: Mapping[str, Any]) -> UnitSettings:
    """From the properties of both interfaces. What is missing, or of another type, is at its default."""

    def one(key: str, default: T) -> T:
        value = said.get(key)
        return value if type(value) is type(default) else default

    def bounded(key: str, default: int) -> int | None:
        value = one(key, default)
        return None if value == _INFINITY else value

    return UnitSettings(
        name=name,
        main_pid=one("MainPID", 0),
        kind=one("Type", ""),
        restart=one("Restart", ""),
        restart_us=bounded("RestartUSec", 100_000),
        stop_us=bounded("TimeoutStopUSec", 90_000_000),
        watchdog_us=bounded("WatchdogUSec", 0) or None,
        kill_mode=one("KillMode", "control-group"),
        kill_signal=one("KillSignal", 15),
        final_signal=one("FinalKillSignal", 9),
        sends_kill=one("SendSIGKILL", True),
        start_interval_us=bounded("StartLimitIntervalUSec", 0) or 0,
        start_burst=one("StartLimitBurst", 0),
        start_action=one("StartLimitAction", "none"),
        failure_action=one("FailureAction", "none"),
        clean_signals=_signals(said.get("SuccessExitStatus")),
        unrestarted_signals=_signals(said.get("RestartPreventExitStatus")),
        restarted_signals=_signals(said.get("RestartForceExitStatus")),
        restarts=one("NRestarts", 0),
        result=one("Result", "success"),
        state=one("SubState", ""),
        oom_policy=one("OOMPolicy", ""),
        reload_needed=one("NeedDaemonReload", False),
    )


def _signals(value: object) -> frozenset[int]:
    """Of `(aiai)`, exit codes and signals, the signals."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return frozenset()
    return frozenset(value[1])

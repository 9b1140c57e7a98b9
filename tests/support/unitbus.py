"""A bus of a test's own with a systemd on it that says what the test tells it to: real D-Bus, by dbus-daemon."""

import asyncio
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""
_PATIENCE_S = 20.0  # against hanging only
Properties = Mapping[str, Variant]


@contextmanager
def bus(folder: Path) -> Iterator[str]:
    """Its address. Nobody is on it."""
    program = shutil.which("dbus-daemon")
    if program is None:
        pytest.skip("needs dbus-daemon (dbus-daemon)")
    socket, config = folder / "bus", folder / "bus.conf"
    config.write_text(_CONFIG.format(socket=socket))
    daemon = subprocess.Popen(
        [program, f"--config-file={config}", "--nofork", "--print-address=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert daemon.stdout is not None
        assert daemon.stdout.readline().startswith("unix:"), "it listens"
        yield f"unix:path={socket}"
    finally:
        daemon.terminate()
        daemon.communicate(timeout=_PATIENCE_S)


class FakeSystemd:
    """`units`: name -> its properties, of both interfaces. `mute`: it takes calls and answers none. `asked`: every
    call's member and arguments."""

    def __init__(self, units: Mapping[str, Properties], *, mute: bool = False) -> None:
        self.units = units
        self.mute = mute
        self.asked: list[tuple[str, list[Any]]] = []

    def answer(self, call: Message) -> Message | None:
        """None: it is not for systemd."""
        if call.message_type is not MessageType.METHOD_CALL or (call.path or "") == "/org/freedesktop/DBus":
            return None
        self.asked.append((call.member or "", list(call.body)))
        paths = {f"/org/freedesktop/systemd1/unit/u{place}": name for place, name in enumerate(self.units)}
        if call.member == "GetUnit":
            found = next((path for path, name in paths.items() if name == call.body[0]), None)
            if found is None:
                error = "org.freedesktop.systemd1.NoSuchUnit"
                return Message.new_error(call, error, f"Unit {call.body[0]} not loaded.")
            return Message.new_method_return(call, "o", [found])
        if call.member == "GetAll" and call.path in paths:
            return Message.new_method_return(call, "a{sv}", [dict(self.units[paths[call.path]])])
        return Message.new_error(call, "org.freedesktop.DBus.Error.UnknownMethod", str(call.member))


@contextmanager
def systemd_on(address: str, fake: FakeSystemd) -> Iterator[FakeSystemd]:
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        connected = await MessageBus(bus_address=address).connect()

        def handle(call: Message) -> Message | bool | None:
            answer = fake.answer(call)
            if answer is None:
                return None
            return True if fake.mute else answer

        connected.add_message_handler(handle)
        await connected.request_name("org.freedesktop.systemd1")
        ready.set()
        await asyncio.to_thread(done.wait, _PATIENCE_S * 3)
        connected.disconnect()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        assert ready.wait(_PATIENCE_S), "the fake systemd is on the bus"
        yield fake
    finally:
        done.set()
        thread.join(_PATIENCE_S)

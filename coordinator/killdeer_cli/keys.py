"""The keys that are pressed while a run is watched, and what the terminal must be told for that.

Each key comes at once and unseen only in the terminal's cbreak mode. The mode is left whenever the watching is:
at its end, on a signal that ends it, and while it is stopped with Ctrl-Z.
"""

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import FrameType
from typing import Any

WITHIN_S = 2.0
"""Two presses that are further apart are two first ones."""
_SEQUENCE_S = 0.5
"""The rest of what a key such as Home sends comes sooner; later it is a key of its own."""
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_SHOW_CURSOR = b"\x1b[?25h\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressed:
    """What one read brought; `at_s` is monotonic."""

    keys: bytes
    at_s: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Ctrl-Z."""


@dataclass(frozen=True, slots=True)
class Continued:
    """After a stop, in the foreground or not."""


class Press(Enum):
    OTHER = "nothing, or another key"
    FIRST = "H"
    SECOND = "H once more, in time"


class Chord:
    """H twice, alone: neither within pasted text nor within what another key sends (Home is ESC [ H)."""

    def __init__(self) -> None:
        self._armed_until_s = 0.0
        self._sequence = ""  # how far one that began with ESC has come: "", "esc", "one", "many"
        self._sequence_until_s = 0.0

    def press(self, pressed: Pressed) -> Press:
        keys = self._without_sequences(pressed)
        if not keys or keys.upper().strip("H"):
            self._armed_until_s = 0.0 if keys else self._armed_until_s
            return Press.OTHER
        if len(keys) > 1 or pressed.at_s <= self._armed_until_s:
            self._armed_until_s = 0.0
            return Press.SECOND
        self._armed_until_s = pressed.at_s + WITHIN_S
        return Press.FIRST

    def _without_sequences(self, pressed: Pressed) -> str:
        keys = ""
        if pressed.at_s > self._sequence_until_s:
            self._sequence = ""
        for key in pressed.keys.decode("latin-1"):
            if key == "\x1b":
                self._sequence, self._sequence_until_s = "esc", pressed.at_s + _SEQUENCE_S
            elif self._sequence == "esc":
                self._sequence = {"[": "many", "O": "one"}.get(key, "")
            elif self._sequence == "one" or (self._sequence == "many" and "\x40" <= key <= "\x7e"):
                self._sequence = ""
            elif not self._sequence:
                keys += key
        return keys


class Keys:
    """Standard input as keys, from `open` to `close`. `post` hears of them from a thread and signal handlers."""

    def __init__(self, post: Callable[[Pressed | Stop | Continued], None]) -> None:
        self._post = post
        self._terminal, self._screen = sys.stdin.fileno(), sys.stdout.fileno()
        self._before: dict[signal.Signals, Any] = {}
        self._mode: list[int | list[bytes | int]] | None = None
        self._reader: threading.Thread | None = None
        self._end = -1  # written to when the reader is to leave

    def open(self) -> bool:
        """Whether keys come: they do in the foreground. May be called again, as after Continued."""
        if not self._before:
            self._listen()
        if self._mode is None and self._foreground() == os.getpgrp():
            try:
                self._mode = termios.tcgetattr(self._terminal)
                # What was typed before is not meant for us.
                tty.setcbreak(self._terminal, termios.TCSAFLUSH)
            except termios.error:
                self._mode = None
                return False
            ours, self._end = os.pipe()
            self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
            self._reader.start()
        return self._mode is not None

    def rest(self) -> None:
        """No more keys until `open`."""
        self._restore()
        if self._reader is not None:
            os.close(self._end)
            self._reader.join()
            self._reader = None

    def close(self) -> None:
        self.rest()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def stop(self) -> None:
        """As Ctrl-Z does where nobody listens; comes back when continued."""
        self.rest()
        if signal.SIGTSTP not in self._before:
            return
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._stopped)

    @property
    def in_background(self) -> bool:
        """Who is may neither read from the terminal nor change its mode: the kernel would stop it."""
        return self._foreground() not in (os.getpgrp(), None)

    def _foreground(self) -> int | None:
        """The process group that has the terminal; None: it is not this session's, or gone."""
        try:
            return os.tcgetpgrp(self._terminal)
        except OSError:
            return None

    def _listen(self) -> None:
        handlers: dict[signal.Signals, Any] = dict.fromkeys(_ENDING, self._ended)
        handlers |= {signal.SIGTSTP: self._stopped, signal.SIGCONT: self._continued}
        for number, handler in handlers.items():
            before = signal.getsignal(number)
            if before != signal.SIG_IGN:  # as nohup has it
                self._before[number] = before
                signal.signal(number, handler)

    def _restore(self) -> None:
        if self._mode is not None and not self.in_background:
            with contextlib.suppress(termios.error):  # it is gone
                termios.tcsetattr(self._terminal, termios.TCSANOW, self._mode)
        self._mode = None

    def _read(self, end: int) -> None:
        try:
            while True:
                ready, _, _ = select.select([self._terminal, end], [], [])
                if end in ready or self.in_background:
                    return
                keys = os.read(self._terminal, 1_024)
                if not keys:
                    return
                self._post(Pressed(keys=keys, at_s=time.monotonic()))
        except OSError:  # the terminal is gone
            return
        finally:
            os.close(end)

    def _ended(self, number: int, _frame: FrameType | None) -> None:
        """At once, even if nobody attends: the mode back, and then what the signal does by itself."""
        self._restore()
        with contextlib.suppress(OSError):
            os.write(self._screen, _SHOW_CURSOR)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _stopped(self, _number: int, _frame: FrameType | None) -> None:
        self._post(Stop())

    def _continued(self, _number: int, _frame: FrameType | None) -> None:
        self._post(Continued())

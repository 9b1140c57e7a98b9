"""What both daemons say to the machine they run on: words to systemd, and log lines.

It stands beside the wire because the daemons share nothing else.
"""

import logging
import os
import socket

import structlog
from structlog.typing import EventDict, WrappedLogger

_least = logging.INFO


class Notifier:
    """sd_notify(3): a datagram of KEY=VALUE lines; READY, WATCHDOG, STATUS, STOPPING.

    Does nothing where the service manager did not ask for it. Never raises: a lost word is no reason to die.
    Made without an address it takes the environment's away: what this process runs is not to speak for it."""

    def __init__(self, address: str | None = None, watchdog_usec: str | None = None) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "") if address is None else address
        usec = os.environ.get("WATCHDOG_USEC", "") if watchdog_usec is None else watchdog_usec
        # Half the time allowed, as sd_watchdog_enabled(3) advises.
        self.watchdog_every_ns = int(usec) * 1_000 // 2 if usec.isdigit() else 0

    def say(self, **words: str) -> None:
        if not self._address:
            return
        # A leading @ names a socket in the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(f"{key}={value}" for key, value in words.items()).encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.connect(address)
                notify.send(message)
        except OSError:
            return


def log_to_stdout(level: str) -> None:
    """JSON lines, which journald takes as they are. `level`: debug, info, warning or error."""
    set_log_level(level)
    structlog.configure(
        processors=[
            _worth_saying,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        # Loggers are made once; what passes is asked anew with each line, for the level may change.
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
        cache_logger_on_first_use=True,
    )


def set_log_level(level: str) -> None:
    """From the next line on: debug, info, warning or error."""
    global _least
    _least = logging.getLevelNamesMapping()[level.upper()]


def _worth_saying(_logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    if logging.getLevelNamesMapping().get(method.upper(), logging.ERROR) < _least:
        raise structlog.DropEvent
    return line

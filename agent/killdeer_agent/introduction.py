"""The agent introduces itself: what its certificate says, and whether a coordinator takes it. For `doctor`."""

import contextlib
import errno
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from killdeer.handshake import met

AGENT_URI = "spiffe://killdeer/agent/"

NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID
SET_CLOCK = "its time has not come by this host's clock: set the clock right (timedatectl set-ntp true)"
RENEW = (
    "join again: `killdeer-coordinator token create --host HOST` prints how; or move agents/HOST away on the "
    "coordinator, `killdeer-coordinator init --agent HOST`, and take what it makes"
)


class IntroductionError(Exception):
    """What is wrong, and, as `remedy`, what to do."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """The files that the agent dials with."""

    ca: Path
    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """As the agent dials. IntroductionError names the file at fault."""
        for file in (self.ca, self.cert, self.key):
            _readable(file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        with _named(self.ca, "give it the fleet's CA certificate, PEM"):
            context.load_verify_locations(self.ca)
        with _named(self.cert, f"it must be PEM, and the certificate of the key in {self.key}"):
            context.load_cert_chain(self.cert, self.key)
        return context

    def read(self) -> tuple[str, float]:
        """The host that the certificate names, and when it ends (seconds since the epoch).

        The agent dials itself, in memory: the far side checks key, chain, dates and use just as a coordinator does,
        and reads the names.
        """
        seen = self._seen()
        names = [value for kind, value in seen.get("subjectAltName", ()) if kind == "URI"]
        hosts = [name.removeprefix(AGENT_URI) for name in names if name.startswith(AGENT_URI)]
        if len(hosts) != 1:
            raise IntroductionError(
                f"{self.cert}: it names no agent (a URI {AGENT_URI}HOST)", "take the one issued for this host"
            )
        return hosts[0], ssl.cert_time_to_seconds(seen["notAfter"])

    def begins_s(self) -> float:
        """Since when it is good, in seconds since the epoch. Raises IntroductionError."""
        return ssl.cert_time_to_seconds(self._seen()["notBefore"])

    def _seen(self) -> dict[str, Any]:
        here = self.context()
        here.check_hostname, here.verify_mode = False, ssl.CERT_NONE
        there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        there.load_cert_chain(self.cert, self.key)
        there.load_verify_locations(self.ca)
        there.verify_mode = ssl.CERT_REQUIRED
        try:
            return met(here, there)
        except ssl.SSLCertVerificationError as error:
            remedy = SET_CLOCK if error.verify_code == NOT_YET_VALID else RENEW
            raise IntroductionError(f"{self.cert}: {error.verify_message}", remedy) from error
        except ssl.SSLError as error:
            raise IntroductionError(f"{self.cert}: {error.reason or error}", RENEW) from error

    def dial(self, coordinator: str, server_name: str, seconds: float) -> None:
        """TCP, TLS with our certificate, and the first word of HTTP/2, which comes only to whom it takes.

        IntroductionError says how far that went; it takes no longer than `seconds`, names included.
        """
        context = self.context()
        host, _, port = coordinator.rpartition(":")
        address = (host.strip("[]"), int(port) if port.isdecimal() else 0)
        try:
            _within(seconds, lambda: _hear(context, address, server_name, seconds))
        except ssl.SSLCertVerificationError as error:
            raise IntroductionError(
                f"its certificate is not to be trusted: {error.verify_message}",
                f"check ca, and server_name = {server_name!r}; or is another program listening there?",
            ) from error
        except ssl.SSLError as error:
            raise IntroductionError(
                f"TLS fails: {error.reason or error}", "check that this host's certificate is of the fleet's CA"
            ) from error
        except TimeoutError as error:
            raise IntroductionError(f"no answer within {seconds:g} s", _NETWORK) from error
        except OSError as error:
            raise IntroductionError(error.strerror or str(error), _NETWORK) from error


_NETWORK = "check the address, that the coordinator runs, and what stands between"


def _hear(context: ssl.SSLContext, address: tuple[str, int], server_name: str, seconds: float) -> None:
    with (
        socket.create_connection(address, timeout=seconds) as plain,
        context.wrap_socket(plain, server_hostname=server_name) as secured,
    ):
        # In TLS 1.3 a server refuses a client's certificate only after the client holds its side for done.
        if not secured.recv(1):
            raise ConnectionResetError(errno.ECONNRESET, "it hung up after TLS")


def _within(seconds: float, work: Callable[[], None]) -> None:
    """TimeoutError when it takes longer: names are looked up without any limit of their own."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError
    if raised:
        raise raised[0]


def _readable(file: Path) -> None:
    try:
        with file.open("rb"):
            return
    except FileNotFoundError as error:
        raise IntroductionError(
            f"{file} is not there",
            "join with what `killdeer-coordinator token create` prints, or take what its `init --agent HOST` makes",
        ) from error
    except OSError as error:
        raise IntroductionError(
            f"cannot read {file} as {_user()}: {error.strerror}", f"chgrp killdeer {file} && chmod 640 {file}"
        ) from error


def _user() -> str:
    return "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"


@contextlib.contextmanager
def _named(file: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise IntroductionError(f"cannot use {file}: {error.reason or error}", remedy) from error

"""A PostgreSQL server of the tests' own: a temporary directory, a free loopback port, ended by its own pid."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import IO

import psycopg

READY = "database system is ready to accept connections"
WITHIN_S = 60
OWNER = "killdeer"
PASSWORD = "of the tests"


def missing() -> str:
    """What this machine lacks for a server of one's own; empty: nothing."""
    return "" if _programs() else "no initdb (apt install postgresql)"


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).parent if elsewhere else None


class Server:
    """Connections through its socket need no password, those over loopback do."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        programs = _programs()
        assert programs is not None, missing()
        self.folder = folder
        self.port = _free_port()
        self._durable = durable
        self._programs = programs
        self._names = count(1)
        self._process: subprocess.Popen[str] | None = None
        # A server refuses to run as root; whoever has no rights anywhere will do.
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self._user:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self.passfile = folder / "passfile"
        self.passfile.write_text(f"127.0.0.1:{self.port}:*:{OWNER}:{PASSWORD}\n")
        self.passfile.chmod(0o600)
        self._init()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str) -> str:
        return f"postgresql://{OWNER}@/{database}?host={self.folder}&port={self.port}"

    def loopback_url(self, database: str) -> str:
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        process = self._run(
            "postgres",
            *("-D", str(self.folder / "data"), "-k", str(self.folder), "-p", str(self.port)),
            *(
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                f"fsync={'on' if self._durable else 'off'}",
                "-c",
                "max_connections=200",
            ),
        )
        self._process = process
        ready, lines = Event(), list[str]()
        assert process.stderr is not None
        self._listening = Thread(target=_listen, args=(process.stderr, ready, lines), daemon=True)
        self._listening.start()
        if not ready.wait(WITHIN_S) or process.poll() is not None:
            raise RuntimeError("cannot start PostgreSQL: " + "".join(lines))

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT: at once and in order. SIGQUIT: as a crash, without writing anything down."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(WITHIN_S)
            self._listening.join(WITHIN_S)

    def create(self, template: str = "template1", encoding: str = "") -> str:
        """A fresh database's name."""
        name = f"killdeer_{next(self._names)}"
        words = f" TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'" if encoding else f" TEMPLATE {template}"
        self.execute("postgres", f"CREATE DATABASE {name}{words}")
        return name

    def drop(self, database: str) -> None:
        self.execute("postgres", f"DROP DATABASE {database} WITH (FORCE)")

    def execute(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """As a stranger to the store."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _init(self) -> None:
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        made = self._run(
            "initdb",
            *("-D", str(self.folder / "data"), "--username", OWNER, "--pwfile", str(secret), "--no-sync"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--auth-local", "trust", "--auth-host", "scram-sha-256"),
        )
        _, problem = made.communicate(timeout=WITHIN_S)
        if made.returncode:
            raise RuntimeError(f"cannot make a PostgreSQL cluster: {problem}")

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(self._programs / program), *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            user=self._user.pw_uid if self._user else None,
            group=self._user.pw_gid if self._user else None,
            extra_groups=[] if self._user else None,
        )


@contextmanager
def running(*, durable: bool = False) -> Iterator[Server]:
    """`durable`: what is committed is on disk."""
    folder = Path(tempfile.mkdtemp(prefix="killdeer-postgres-"))
    try:
        server = Server(folder, durable=durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _listen(said: IO[str], ready: Event, lines: list[str]) -> None:
    with said:
        for line in said:
            lines.append(line)
            if READY in line:
                ready.set()
    ready.set()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])

"""A real browser without a window, which reaches loopback alone and says what each page asked for."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

DEADLINE_S = 120
"""A guard against hanging; nothing is timed by it."""

# Its own errands (updates, the time, accounts) find no name to go to.
_ALONE = (
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class Chromium:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def found() -> str | None:
        return shutil.which("chromium") or shutil.which("chromium-browser")

    def dom(self, url: str) -> tuple[str, list[str]]:
        """(the document as it stands once loaded, the addresses that it asked for)."""
        log = self._folder / "net.json"
        dumped = self._run(f"--log-net-log={log}", "--dump-dom", url)
        return dumped, _asked_for(json.loads(log.read_text()), url)

    def screenshot(self, url: str, *more: str) -> Path:
        shot = self._folder / "shot.png"
        self._run(f"--screenshot={shot}", "--window-size=1100,2400", "--hide-scrollbars", *more, url)
        return shot

    def _run(self, *arguments: str) -> str:
        program = self.found()
        assert program is not None
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()  # it refuses to be root with one
        common = ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", *_ALONE, *sandbox)
        done = subprocess.run(
            [program, *common, f"--user-data-dir={self._folder / 'profile'}", *arguments],
            env={**os.environ, "HOME": str(self._folder), "XDG_CONFIG_HOME": str(self._folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def _asked_for(log: dict[str, object], url: str) -> list[str]:
    """Of its log: what the page at `url` set off, by its origin; what the browser does for itself has another."""
    origin = "/".join(url.split("/")[:3])
    events = log["events"]
    assert isinstance(events, list)
    params = [event.get("params", {}) for event in events]
    assert any(one.get("url") == url for one in params), "the log has the page itself"
    return [one["url"] for one in params if "url" in one and one.get("initiator") == origin and one["url"] != url]


class Site:
    """Pages by their path on loopback, and every path that was asked for."""

    def __init__(self, pages: dict[str, str]) -> None:
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                body = pages.get(self.path, "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.pages = pages


@contextmanager
def site(pages: dict[str, str]) -> Iterator[Site]:
    """`pages` may be filled in later, once the address is known."""
    made = Site(pages)
    thread = Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()

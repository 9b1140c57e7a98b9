"""The main job for real, on this machine: a fleet in a sandbox, a seeded roulette with the kernel's evidence, an
emergency stop in mid-flight, and nothing left behind. `make demo` runs it."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KILLDEER = Path(sys.executable).with_name("killdeer")
PATIENCE_S = 60.0


class Demo:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"KILLDEER_CONFIG": str(folder / "config.toml")}

    def say(self, text: str) -> None:
        print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)

    def killdeer(self, *arguments: str, code: int = 0) -> None:
        """Runs and shows a command; ends the demo when it ends otherwise than it should."""
        print(f"$ killdeer {shlex.join(arguments)}", flush=True)
        found = subprocess.run([KILLDEER, *arguments], env=self.environment, check=False).returncode
        if found != code:
            raise SystemExit(f"the demo failed: exit {found}, expected {code}")

    def asked(self, *arguments: str) -> dict[str, Any]:
        """The JSON of a command."""
        command = [str(KILLDEER), *arguments, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, check=True)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def await_flight(self, run: "subprocess.Popen[bytes]", victims: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.asked("status").get("permits_held", 0) < victims:
            if run.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the demo failed: the pauses did not begin")
            time.sleep(0.1)

    def show(self) -> None:
        roulette, pause = str(HERE / "roulette.yaml"), str(HERE / "demo-halt.yaml")
        self.say("1. The fleet: three hosts, each with three supervised workers that serve HTTP")
        self.killdeer("hosts")
        self.killdeer("validate", roulette, pause)

        self.say("2. The experiment: a rehearsal, one terminate, then a seeded roulette; with what the kernel saw")
        self.killdeer("run", roulette)

        self.say("3. An emergency stop, with victims paused and strikes waiting for their permits")
        print(f"$ killdeer run {pause} &", flush=True)
        with (self.folder / "run.txt").open("wb") as output:
            running = subprocess.Popen([KILLDEER, "run", pause], env=self.environment, stdout=output, stderr=output)
        self.await_flight(running, victims=3)
        self.killdeer("halt", "--reason", "demo")
        if running.wait(PATIENCE_S) != 3:
            raise SystemExit(f"the demo failed: the run was not halted\n{(self.folder / 'run.txt').read_text()}")
        print((self.folder / "run.txt").read_text().rstrip())

        self.say("4. The halt is latched: nothing runs until somebody lifts it")
        self.killdeer("run", roulette, code=2)
        self.killdeer("rearm", "--reason", "the demo goes on")
        self.killdeer("strike", "sandbox-2", "name=sandbox-worker", "newest", "--kill")

        self.say("5. What is on the record")
        self.killdeer("runs")
        self.killdeer("audit", "--verify", "--limit", "8")

    def summary(self) -> str:
        ended = [run["verdict"].removeprefix("RUN_VERDICT_").lower() for run in self.asked("runs")["runs"]]
        return f"{len(ended)} runs, {', '.join(reversed(ended))}"


def main() -> None:
    began = time.monotonic()
    if os.geteuid():
        print("You are no root: it all runs, but without eBPF. Evidence comes from pidfds: no sender, no cause.")
    with tempfile.TemporaryDirectory(prefix="killdeer-demo-") as folder:
        demo = Demo(Path(folder))
        demo.killdeer("sandbox", "start", "--dir", folder)
        try:
            demo.show()
            summary = demo.summary()
        finally:
            demo.killdeer("sandbox", "stop", "--dir", folder)
    print(f"\nDone in {time.monotonic() - began:.0f} s: {summary}; nothing is left running.")


if __name__ == "__main__":
    main()

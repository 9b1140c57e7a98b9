"""What the kernel's record costs: the host that is watched, and the agent that watches.

The load is a small C program on one processor, the collector a process on another, in blocks attached, detached,
detached, attached, of a fifth of a second, so that a drift of the machine falls on both alike. bcc and bpftrace
take the same five tracepoints in the same run.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from killdeer.v1.process_pb2 import KernelEvent
from killdeer_agent.kernel import clock
from killdeer_agent.kernel.collector import load_collector

ROOT = Path(__file__).parents[2]
BLOCKS = 100  # of four runs each: attached, detached, detached, attached
LOADS = {"fork": 600, "spawn": 100, "kill": 40_000}
TO_HOLD = {"fork": 1.03, "spawn": 1.03, "kill": None}
NAMES = {
    "fork": "fork and kill, collector attached",
    "spawn": "spawn and exec, collector attached",
    "kill": "kill flood nobody asked for, attached",
}
RATES = (10_000, 20_000, 40_000, 80_000, 120_000, 160_000, 240_000)  # a second; then as fast as it can
LATENCY_ROUNDS = 2_000
PARTS = {"p50": 0.5, "p99": 0.99}
# Its raw tracepoints end in an assertion of its own (0.17), and the others want to see tracefs.
COUNTED = ("signal:signal_generate", "sched:sched_process_exit", "sched:sched_process_exec", "oom:mark_victim")
BPFTRACE = " ".join(
    f"tracepoint:{name} {{ @{name.partition(':')[2]} = count(); }}" for name in (*COUNTED, "cgroup:cgroup_mkdir")
)
SEEING_TRACEFS = ("unshare", "--mount", "sh", "-c", 'mount -t tracefs tracefs /sys/kernel/tracing; exec "$@"', "sh")


class Watcher:
    """A collector of this kind in a process of its own, on the last processor."""

    def __init__(self, way: str) -> None:
        began = time.monotonic()
        command = [*_on(max), sys.executable, "-m", "tests.bench.bench_collector", way]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.loaded_s = float(self._line())
        self.ready_s = time.monotonic() - began
        self.mib = psutil.Process(self._process.pid).memory_info().rss / (1 << 20)

    def asked(self) -> dict[str, float]:
        """Since it was asked last: `events` handed over, `lost`, and `p50`, `p99` of their way here in us."""
        found: dict[str, float] = json.loads(self._answer("tell"))
        return found

    def attach(self) -> None:
        """Loads another one; the first is attached from the beginning."""
        self._answer("attach")

    def detach(self) -> None:
        self._answer("detach")

    def close(self) -> None:
        self._process.communicate("")

    def _answer(self, asked: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{asked}\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the collector could not be loaded"
        return line


@contextmanager
def watcher(way: str) -> Iterator[Watcher]:
    watching = Watcher(way)
    try:
        yield watching
    finally:
        watching.close()


def run() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        load = Path(folder) / "load"
        subprocess.run(["clang", "-O2", "-o", load, Path(__file__).with_name("load.c")], check=True)
        rows = [_overhead(load, kind) for kind in LOADS]
        with watcher("core") as core, watcher("bcc") as bcc:
            rows += [
                _row("collector load time, s", core.loaded_s, bcc.loaded_s, 0.1, "bcc"),
                _row("collector memory, MiB", core.mib, bcc.mib, 0.25, "bcc"),
            ]
            rows += _bpftrace(core)
        rows += _latency(load)
        rows.append(_lossless(load))
    return rows


def _overhead(load: Path, kind: str) -> dict[str, object]:
    """Microseconds of one round, with the collector attached and without."""
    attached, detached, ratios = [], [], []
    with watcher("core") as core:
        for _ in range(BLOCKS):
            first = _ns(load, kind)
            core.detach()
            _ns(load, kind)  # what loading and freeing programs leaves to do is done meanwhile
            without = [_ns(load, kind), _ns(load, kind)]
            core.attach()
            _ns(load, kind)
            both = [first, _ns(load, kind)]
            attached += both
            detached += without
            ratios.append(sum(both) / sum(without))
    row = _row(NAMES[kind], statistics.median(attached) / 1e3, statistics.median(detached) / 1e3, TO_HOLD[kind], "")
    quartiles = [round(ratio, 3) for ratio in statistics.quantiles(ratios)]
    return row | {"ratio": quartiles[1], "detail": {"quartiles of the ratios": quartiles}}


def _bpftrace(core: Watcher) -> list[dict[str, object]]:
    if not shutil.which("bpftrace"):
        return []
    began = time.monotonic()
    program = f'{BPFTRACE} BEGIN {{ printf("ready\\n"); }}'
    counting = subprocess.Popen([*SEEING_TRACEFS, "bpftrace", "-e", program], stdout=subprocess.PIPE, text=True)
    try:
        assert counting.stdout is not None
        while "ready" not in counting.stdout.readline():
            assert counting.poll() is None, "bpftrace did not start"
        ready_s = time.monotonic() - began
        mib = psutil.Process(counting.pid).memory_info().rss / (1 << 20)
    finally:
        counting.terminate()
        counting.communicate()
    return [
        _row("collector and its Python, start to ready, s", core.ready_s, ready_s, None, "bpftrace, counting only"),
        _row("collector memory, MiB", core.mib, mib, None, "bpftrace, counting only"),
    ]


def _latency(load: Path) -> list[dict[str, object]]:
    """From the event in the kernel to its hand-over, microseconds, at 1,000 events a second."""
    found = {}
    for way in ("core", "bcc"):
        with watcher(way) as watching:
            watching.asked()
            _ns(load, "cont", LATENCY_ROUNDS, 1_000)
            found[way] = watching.asked()
    return [
        _row(f"event to agent, {part}, us", found["core"][part], found["bcc"][part], None, "bcc") for part in PARTS
    ]


def _lossless(load: Path) -> dict[str, object]:
    """The highest rate, in thousands a second, at which nothing is lost for two seconds."""
    best = dict.fromkeys(("core", "bcc"), 0.0)
    for way in best:
        with watcher(way) as watching:
            for rate in (*RATES, 0):
                watching.asked()
                ns = _ns(load, "cont", 2 * (rate or RATES[-1]), rate)
                told = watching.asked()
                if told["lost"] or told["events"] < 2 * (rate or RATES[-1]):
                    break
                best[way] = 1e6 / ns
    return _row("thousand events a second without loss", best["core"], best["bcc"], None, "bcc")


def _ns(load: Path, kind: str, rounds: int = 0, rate: int = 0) -> int:
    words = [*_on(min), str(load), kind, str(rounds or LOADS[kind]), *([str(rate)] if rate else [])]
    return int(subprocess.run(words, check=True, capture_output=True).stdout)


def _on(which: Callable[[set[int]], int]) -> list[str]:
    """A command's beginning: on the first or the last processor."""
    return ["taskset", "--cpu-list", str(which(os.sched_getaffinity(0)))]


def _row(name: str, ours: float, reference: float, to_hold: float | None, against: str) -> dict[str, object]:
    return {
        "name": f"{name} (against {against})" if against else name,
        "ours": round(ours, 3),
        "reference": round(reference, 3),
        "ratio": round(ours / reference, 3),
        "to_hold": to_hold,
    }


def _watch(way: str) -> None:
    began = time.monotonic()
    collector = load_collector(way)
    print(time.monotonic() - began, flush=True)
    late_us: list[float] = []
    lock = threading.Lock()

    def taken(events: list[KernelEvent]) -> None:
        now = clock.boot_ns()
        with lock:
            late_us.extend((now - event.at_boot_ns) / 1e3 for event in events)

    def told() -> dict[str, float]:
        collector.flush()
        with lock:
            times, late_us[:] = sorted(late_us), []
        parts = {name: times[int(part * (len(times) - 1))] if times else 0.0 for name, part in PARTS.items()}
        return parts | {"events": len(times), "lost": sum(collector.lost().values())}

    collector.start(taken)
    lost = 0.0
    for asked in sys.stdin:
        answer: dict[str, float] = {}
        if asked == "detach\n":
            collector.close()
        elif asked == "attach\n":
            collector = load_collector(way)
            collector.start(taken)
        else:
            answer = told()
            answer["lost"], lost = answer["lost"] - lost, answer["lost"]
        print(json.dumps(answer), flush=True)
    collector.close()


if __name__ == "__main__":
    _watch(sys.argv[1]) if len(sys.argv) > 1 else print(json.dumps(run(), indent=1))

"""One process as plain values, for tests of what is decided from facts."""

from dataclasses import dataclass, field

from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.facts import FactMissing


@dataclass(slots=True, kw_only=True)
class PlainFacts:
    """A facts port whose answers a test sets. `missing` names facts that cannot be had, and why."""

    pid: int = 4242
    start_ticks: int = 1_000
    state: str = "S"
    threads: int = 1
    kernel_thread: bool = False
    name: str = "worker"
    cmdline: str = "worker --queue payments"
    uid: int = 990
    user: str = "payments"
    parent_pid: int = 1
    parent_name: str = "systemd"
    cgroup: str = "/system.slice/payment-worker@3.service"
    unit: str = "payment-worker@3.service"
    container: str = ""
    service: str = "payment-worker@"
    exe: str = "/usr/bin/worker"
    ports: frozenset[int] = frozenset({8080})
    program: str = "aa"
    started_boot_ns: int = 10_000_000_000
    missing: dict[str, Reason] = field(default_factory=dict)

    def __getattribute__(self, name: str) -> object:
        missing: dict[str, Reason] = object.__getattribute__(self, "missing")
        if name in missing:
            raise FactMissing(missing[name], f"cannot have its {name}")
        return object.__getattribute__(self, name)

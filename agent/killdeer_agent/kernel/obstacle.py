"""Why the kernel's evidence cannot be had on this host, and how to mend it."""

import os
import sys
from pathlib import Path

INITIAL_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO
CAPABILITIES = {"CAP_BPF": 39, "CAP_PERFMON": 38}
CAP_SYS_ADMIN, CAP_SYSLOG = 21, 34
INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO


class CollectorUnavailable(Exception):
    """Kernel evidence cannot be had. `cause` names what stands in the way, `remedy` what to do about it."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"cannot collect kernel evidence: {cause}; {remedy}")
        self.cause = cause
        self.remedy = remedy


def libbpf_missing() -> CollectorUnavailable:
    return CollectorUnavailable("libbpf is not installed", "apt install libbpf1 (dnf install libbpf)")


def look(proc: Path = Path("/proc"), sys_root: Path = Path("/sys")) -> CollectorUnavailable | None:
    """What stands in the way as far as can be told before trying; None: nothing that is known of."""
    if sys.byteorder != "little":
        return CollectorUnavailable("the BPF object is for little-endian machines", "nothing to be done here")
    if not (sys_root / "kernel/btf/vmlinux").exists():
        return CollectorUnavailable(
            f"this kernel does not describe its types (no {sys_root}/kernel/btf/vmlinux)",
            "boot a kernel with CONFIG_DEBUG_INFO_BTF: Debian 11, Ubuntu 20.10, RHEL 8.2 and later have it",
        )
    return rights(proc)


def rights(proc: Path = Path("/proc")) -> CollectorUnavailable | None:
    """What of it has nothing to do with how the programs come into the kernel."""
    if (proc / "self/ns/user").stat().st_ino != INITIAL_USER_NAMESPACE:
        return CollectorUnavailable(
            "the agent runs in a user namespace, where the kernel grants no BPF rights",
            "run it as a service of the host, without PrivateUsers=",
        )
    return _missing_capability(proc)


def holds(capability: int, proc: Path = Path("/proc")) -> bool:
    """Whether this process may use it now."""
    status = (proc / "self/status").read_text()
    return bool(int(status.split("CapEff:")[1].split()[0], 16) >> capability & 1)


def _missing_capability(proc: Path) -> CollectorUnavailable | None:
    missing = [name for name, bit in CAPABILITIES.items() if not holds(bit, proc)]
    if not missing or holds(CAP_SYS_ADMIN, proc):
        return None
    return CollectorUnavailable(
        f"the agent lacks {' and '.join(missing)} ({_unprivileged(proc)})",
        "give them in the unit: AmbientCapabilities=CAP_KILL CAP_BPF CAP_PERFMON, and run it as a service",
    )


def _unprivileged(proc: Path) -> str:
    try:
        value = (proc / "sys/kernel/unprivileged_bpf_disabled").read_text().strip()
    except OSError:
        value = "unknown"
    return f"kernel.unprivileged_bpf_disabled is {value}"


def explain(problem: OSError, proc: Path = Path("/proc"), sys_root: Path = Path("/sys")) -> CollectorUnavailable:
    """What the kernel's refusal of the object most likely comes from."""
    said = problem.strerror or str(problem)
    if isinstance(problem, PermissionError):
        if "[confidentiality]" in _text(sys_root / "kernel/security/lockdown"):
            return CollectorUnavailable(
                "the kernel is locked down for confidentiality", "boot with lockdown=integrity or none"
            )
        if "Seccomp:\t2" in _text(proc / "self/status"):
            return CollectorUnavailable(
                f"{said}, and a seccomp filter is in force", "let it pass bpf: SystemCallFilter=@system-service bpf"
            )
        return CollectorUnavailable(said, "see `dmesg`; kernels before 5.11 also want LimitMEMLOCK=infinity")
    return CollectorUnavailable(
        f"{said} on Linux {os.uname().release}",
        "kernel evidence wants Linux 5.8 or later with BTF, ring buffers and these tracepoints",
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

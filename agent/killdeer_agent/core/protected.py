"""What is never struck on any host, whatever its guard says: that by which the host is reached and run (I7).

A process may call itself what it likes; calling itself one of these only makes it safer.
"""

import re

# comm ends at 15 bytes, so a longer name is known by its first 15 as well.
_COMM = 15

_NAMES = frozenset(
    {
        # the way in
        *("sshd", "agetty", "getty", "mingetty", "login", "sudo", "su", "doas", "runuser"),
        # the system itself
        *("init", "systemd", "(sd-pam)", "dbus-daemon", "dbus-broker", "dbus-broker-launch"),
        # container runtimes
        *("containerd", "dockerd", "docker-proxy", "docker-init", "runc", "crun", "conmon", "conmonrs", "podman"),
        *("kubelet", "crio", "cri-o", "cri-dockerd", "buildkitd"),
        # cloud agents
        *("amazon-ssm-agent", "ssm-agent-worker", "ssm-session-worker", "google_guest_agent"),
        *("google_guest_agent_manager", "google_osconfig_agent", "waagent", "WALinuxAgent", "cloud-init"),
        *("qemu-ga", "vmtoolsd", "VGAuthService", "hv_kvp_daemon", "hv_vss_daemon"),
    }
)
_CUT_NAMES = frozenset(name[:_COMM] for name in _NAMES)

_PREFIXES = ("sshd-", "systemd-", "containerd-shim", "google_", "cloud-init")

# Those that run under an interpreter's name, or whose children are cut off with them.
_UNITS = frozenset(
    {
        *("init.scope", "ssh.service", "sshd.service", "dbus.service", "dbus-broker.service"),
        *("containerd.service", "docker.service", "podman.service", "crio.service", "kubelet.service"),
        *("amazon-ssm-agent.service", "snap.amazon-ssm-agent.amazon-ssm-agent.service"),
        *("waagent.service", "walinuxagent.service", "qemu-guest-agent.service", "open-vm-tools.service"),
        *("vmtoolsd.service", "cloud-config.service", "cloud-final.service", "console-getty.service"),
    }
)
_UNIT_PREFIXES = (
    *("systemd-", "ssh@", "sshd@", "getty@", "serial-getty@", "container-getty@"),
    *("google-guest-agent", "google-osconfig-agent", "cloud-init"),
)

_SESSION = re.compile(r"session-[^/]*\.scope|user@[^/]*\.service")


def protected(name: str, unit: str) -> str:
    """The name or unit for which it is never struck; empty: it is none of these."""
    if name in _NAMES or name in _CUT_NAMES or name.startswith(_PREFIXES):
        return name
    if unit in _UNITS or unit.startswith(_UNIT_PREFIXES):
        return unit
    return ""


def login_session(cgroup: str) -> str:
    """The part of a cgroup path that is somebody's login session; empty: there is none."""
    for part in cgroup.split("/"):
        if _SESSION.fullmatch(part):
            return part
    return ""

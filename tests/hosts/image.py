"""What a host of the tests is made of: a disk with Debian, the victims and Killdeer's packages, and an initramfs
that finds it.

Debian and the initramfs are kept in the user's cache folder under the hash of their recipe; the packages are laid
over them for each run.
"""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.support import debian

TOOLS = ("qemu-system-x86_64", "qemu-img", "debootstrap", "mkfs.ext4", "cpio", "apt-get", "dpkg-deb")
SERIES = "6.1"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd", "polkitd", "procps", "iproute2", "python3", "libbpf1"),
    *("nginx-light", "redis-server", "postgresql"),
)
NEEDLESS = ("usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "var/lib/apt/lists/*", "var/log/*.log")
# Each host is told what to start; nothing else is wanted of a boot, which is emulated.
UNWANTED = tuple(f"etc/systemd/system/{target}.wants" for target in ("multi-user.target", "timers.target"))
MASKED = (
    *("getty.target", "systemd-logind", "systemd-update-utmp", "systemd-update-utmp-runlevel", "systemd-pstore"),
    *("systemd-random-seed", "systemd-machine-id-commit", "systemd-udevd", "systemd-udev-trigger"),
    *("systemd-binfmt", "systemd-modules-load", "modprobe@", "kmod-static-nodes", "systemd-tmpfiles-clean.timer"),
    *("ldconfig", "systemd-hwdb-update", "systemd-journal-catalog-update", "systemd-update-done"),
)
SIZE = "3G"  # sparse
# In the order of what they need.
MODULES = (
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"),
    *("failover", "net_failover", "virtio_net"),
)
INIT = f"""#!/busybox sh
# The kernel hands over words of its command line that it doesn't know as environment.
/busybox mount -t devtmpfs none /dev
for module in {" ".join(MODULES)}; do /busybox insmod /$module.ko; done
/busybox ip addr add $address/24 dev eth0
/busybox ip link set eth0 up
if [ -n "$outside" ]; then /busybox ip addr add $outside/24 dev eth1; /busybox ip link set eth1 up; fi
/busybox mount -t ext4 /dev/vda /root
/busybox mount --move /dev /root/dev
exec /busybox switch_root /root /lib/systemd/systemd
"""


def obstacle() -> str:
    """Why there can be no such hosts on this machine; empty: there can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if platform.machine() != "x86_64":
        return f"needs an x86-64 machine with Debian's packages, this is {platform.machine()}"
    if missing:
        return f"needs {', '.join(missing)}: apt install qemu-system-x86 qemu-utils debootstrap e2fsprogs cpio"
    return "" if os.geteuid() == 0 else "needs root: a disk is filled with files of all users"


def disk(folder: Path, packages: Iterable[Path]) -> Path:
    """An ext4 file system, in a file, with Killdeer's packages installed and no host's own files yet."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        tree = Path(work)
        archive = debian.tree("hosts", PACKAGES, NEEDLESS)
        debian.said("tar", "--extract", f"--file={archive}", "--numeric-owner", f"--directory={tree}")
        for package in packages:
            shutil.copy(package, tree / "tmp")
        install = "DEBIAN_FRONTEND=noninteractive dpkg --force-unsafe-io --install /tmp/*.deb && rm /tmp/*.deb"
        # systemd-tmpfiles wants to see /proc; mounted for this command alone.
        inside = ("unshare", "--mount", "--pid", "--fork", f"--mount-proc={tree}/proc", "chroot", str(tree))
        debian.said(*inside, "sh", "-c", install)
        for wanted in UNWANTED:
            shutil.rmtree(tree / wanted)
        for name in MASKED:
            unit = name if "." in name else f"{name}.service"
            (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
        shutil.copytree(Path(__file__).with_name("root"), tree, dirs_exist_ok=True)
        tree.chmod(0o755)
        made = folder / "disk"
        debian.said("mkfs.ext4", "-q", "-d", str(tree), str(made), SIZE)
    return made


def kernel() -> Path:
    return debian.kernel(SERIES)


def initramfs(kernel: Path) -> Path:
    """For exactly this kernel."""
    archive = debian.cache("hosts") / f"initramfs-{debian.recipe(kernel.stem, MODULES, INIT)}.cpio"
    if not archive.exists():
        with (
            debian.unpacked("busybox-static", kernel.stem) as files,
            tempfile.TemporaryDirectory(dir=archive.parent) as folder,
        ):
            tree = Path(folder)
            for name in ("dev", "root"):
                (tree / name).mkdir()
            shutil.copy(files / "bin/busybox", tree)
            for name in MODULES:
                (module,) = files.glob(f"lib/modules/*/kernel/**/{name}.ko")
                shutil.copy(module, tree)
            (tree / "init").write_text(INIT)
            (tree / "init").chmod(0o755)
            debian.keep(debian.packed(tree), archive)
    return archive

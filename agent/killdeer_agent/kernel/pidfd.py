"""A pidfd: the one handle of a process that no later process can slip into (pidfd_open(2))."""

import errno
import os
import select
import signal

from killdeer.v1.process_pb2 import Reason
from killdeer_agent.core.facts import Process, Refusal


class Pidfd:
    """An open pidfd. Whose it is, is proven by facts that were read after it was opened and before a poll that
    says it lives: `process` is whom it was opened for."""

    def __init__(self, fd: int, process: Process) -> None:
        self.fd = fd
        self.process = process
        self._exit = select.poll()
        self._exit.register(fd, select.POLLIN)

    @classmethod
    def open(cls, process: Process) -> "Pidfd | Refusal":
        """Of whoever has the pid now. The caller closes it."""
        try:
            return cls(os.pidfd_open(process.pid), process)
        except ProcessLookupError:
            return Refusal(Reason.REASON_GONE, f"there is no pid {process.pid}")
        except OverflowError:
            return Refusal(Reason.REASON_GONE, f"{process.pid} is no pid")
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # ENOENT in newer kernels
                return Refusal(Reason.REASON_REUSED, f"pid {process.pid} is a thread of another process now")
            return unreadable(process.pid, error)

    def exited(self, wait_ms: int = 0) -> bool:
        """True once every thread has exited, reaped or not; a first thread that is dead alone does not count."""
        return bool(self._exit.poll(wait_ms))

    def send(self, number: int) -> Refusal | None:
        """None: the kernel has taken the signal."""
        pid = self.process.pid
        try:
            signal.pidfd_send_signal(self.fd, number)
        except ProcessLookupError:
            return Refusal(Reason.REASON_GONE, f"pid {pid} has exited")
        except OSError as error:
            return Refusal(Reason.REASON_NOT_PERMITTED, f"cannot signal pid {pid}: {error.strerror}")
        return None

    def close(self) -> None:
        os.close(self.fd)


def unreadable(pid: int, error: Exception) -> Refusal:
    """A look that failed in a way that has no name of its own is a refusal too (I10)."""
    return Refusal(Reason.REASON_UNREADABLE, f"cannot look at pid {pid}: {error}")

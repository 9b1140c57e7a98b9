"""The fuse: a kernel timer that ends the agent when it is held up past its right to act (rule R2).

A POSIX timer rather than setitimer: it runs on CLOCK_BOOTTIME, the lease's own clock, and to an absolute time,
so a stall between reading the clock and arming cannot lengthen it. Without a sigevent it sends SIGALRM to the
process (timer_create(2)); the signal's place is reserved at creation, so it cannot be lost.
"""

import ctypes
import os
import signal
import time
from types import TracebackType

FUSE_NS = 1_000_000_000  # the longest that it burns

_TIMER_ABSTIME = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def _library() -> ctypes.CDLL:
    """The C library; before glibc 2.34 the timers were in librt."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc if hasattr(libc, "timer_create") else ctypes.CDLL("librt.so.1", use_errno=True)


_libc = _library()
_libc.timer_create.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p))
_libc.timer_settime.argtypes = (
    ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Itimerspec), ctypes.c_void_p,
)  # fmt: skip
_libc.timer_delete.argtypes = (ctypes.c_void_p,)


def problem() -> str:
    """Why SIGALRM would not end this process, with what to do; empty when it would."""
    if os.getpid() == 1:
        # The kernel drops signals with the default action that an init process gets from its own namespace.
        return "the agent is pid 1 of its pid namespace, which SIGALRM does not end; run it under an init"
    if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        return "SIGALRM is handled or ignored in this process; leave it at its default action"
    if signal.SIGALRM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        return "SIGALRM is blocked in this thread; unblock it"
    return ""


class Fuse:
    """`with Fuse(until_boot_ns):` ends the process at that time of CLOCK_BOOTTIME, unless left before.

    Entering raises OSError when the kernel has no timer to give. A time that is past ends the process at once.
    """

    def __init__(self, until_boot_ns: int) -> None:
        self._until_ns = until_boot_ns
        self._timer = ctypes.c_void_p()

    def __enter__(self) -> None:
        _called("timer_create", _libc.timer_create(time.CLOCK_BOOTTIME, None, ctypes.byref(self._timer)))
        seconds, nanoseconds = divmod(max(self._until_ns, 1), 1_000_000_000)  # all zero would disarm
        at = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
        armed = _libc.timer_settime(self._timer, _TIMER_ABSTIME, ctypes.byref(at), None)
        if armed != 0:
            error = ctypes.get_errno()
            _libc.timer_delete(self._timer)
            raise OSError(error, f"timer_settime: {os.strerror(error)}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _libc.timer_delete(self._timer)


def _called(name: str, result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")

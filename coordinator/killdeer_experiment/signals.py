"""Linux signals by name. Their numbers are the host's, so they are listed here, not taken from this machine."""

from killdeer_experiment.faults import Problem, Unfit, nearest, unfit

# signal(7), the numbers of x86 and ARM. 32 and up are the real-time signals, by number only.
# fmt: off
_NAMES = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE",
    "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
    "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU",
    "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
)
# fmt: on
NUMBERS = {f"SIG{name}": number for number, name in enumerate(_NAMES, start=1)}

# What these stop nobody would continue; what CONT continues, somebody else has stopped.
_OF_PAUSE = frozenset(NUMBERS[name] for name in ("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGCONT"))


def read_signal(written: str | int) -> int:
    """`SIGHUP`, `hup`, `1` -> 1. Raises Unfit, also for the signals that stop and continue."""
    number = int(written) if str(written).isascii() and str(written).isdigit() and len(str(written)) < 4 else 0
    if not number:
        name = str(written).upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        if name not in NUMBERS:
            near = nearest(name, NUMBERS)
            hint = f": did you mean {near}?" if near else ""
            message = f"wants a signal such as SIGHUP, or its number from 1 to 64, found {written!r:.60}{hint}"
            raise Unfit(Problem(message=message, nearest=near))
        number = NUMBERS[name]
    if number > 64:
        raise unfit(f"wants a signal from 1 to 64, found {number}")
    if number in _OF_PAUSE:
        raise unfit(f"cannot kill by {signal_name(number)}: use {{pause: 30s}}, which resumes what it stopped")
    return number


def signal_name(number: int) -> str:
    """1 -> `SIGHUP`; a real-time signal is its number."""
    return f"SIG{_NAMES[number - 1]}" if 1 <= number <= len(_NAMES) else str(number)

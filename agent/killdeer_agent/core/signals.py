"""Signal numbers and names, as Linux has them on every machine but MIPS and SPARC."""

HUP, INT, QUIT, ILL, TRAP, ABRT, BUS, FPE, KILL, SEGV = 1, 2, 3, 4, 5, 6, 7, 8, 9, 11
PIPE, ALRM, TERM, CHLD, XCPU, XFSZ, VTALRM, PROF, SYS = 13, 14, 15, 17, 24, 25, 26, 27, 31
SI_TIMER = -2

ASK_TO_END = frozenset({INT, QUIT, TERM})
TIMERS = frozenset({ALRM, VTALRM, PROF})
SESSIONS = frozenset({HUP, INT, QUIT})
FAULTS = {
    SEGV: "a memory fault of its own",
    BUS: "a memory fault of its own, what was mapped there is gone",
    ILL: "an instruction that is none",
    FPE: "an arithmetic fault of its own",
    TRAP: "a breakpoint, and no debugger",
    SYS: "a system call that seccomp forbids",
}

_NAMES = (
    *("", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE"),
    *("ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM"),
    *("PROF", "WINCH", "IO", "PWR", "SYS"),
)


def name(number: int) -> str:
    return f"SIG{_NAMES[number]}" if 0 < number < len(_NAMES) else f"signal {number}"

"""Percentages of processes, always to the safe side (rule R19)."""


def share(percent: int, total: int) -> int:
    """So many percent of a total, rounded down: what may be harmed."""
    return percent * total // 100


def share_kept(percent: int, total: int) -> int:
    """So many percent of a total, rounded up: what must be left."""
    return -(-percent * total // 100)


def comes_to_nothing(percent: int, total: int, what: str) -> str:
    """Why a share is nothing: `5% of 3 candidates is 0.15, rounded down to 0: name a count, …`."""
    return (
        f"{percent}% of {total} {what} is {percent * total / 100:g}, rounded down to 0: "
        "name a count, or a higher percentage"
    )

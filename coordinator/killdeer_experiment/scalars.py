"""The single values of a file: text, counts, amounts, durations. Each reader raises Unfit."""

from dataclasses import dataclass
from typing import cast

from killdeer.durations import DurationError, parse_duration
from killdeer_experiment.faults import Problem, Unfit, nearest, read_all, unfit
from killdeer_experiment.plain import Odd, found

ENVIRONMENTS = ("development", "staging", "production-lite", "production")

MOST = 100_000  # of anything that is counted
LONGEST_LINE = 200
_LONGEST_TEXT = 10_000


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A count, from 1, or a whole percentage, 1 to 100. What a percentage is of, its key says."""

    number: int
    percent: bool = False
    about: bool = False  # of a wave's strikes: a rate

    def __str__(self) -> str:
        if self.about:
            return f"about {self.number}"
        return f"{self.number}%" if self.percent else str(self.number)

    @property
    def written(self) -> int | str:
        """As a file has it."""
        return str(self) if self.percent or self.about else self.number


def read_line(value: object) -> str:
    """One line of text, without control characters."""
    text = _text(value, "text")
    if not text.isprintable():
        raise unfit(f"wants one line of printable text, found {found(text)}")
    if len(text) > LONGEST_LINE:
        raise unfit(f"wants at most {LONGEST_LINE} characters, found {len(text)}")
    return text


def read_prose(value: object) -> str:
    """Text of any number of lines, without other control characters."""
    text = _text(value, "text")
    if not text.replace("\n", "").replace("\t", "").isprintable():
        raise unfit(f"wants printable text, found {found(text)}")
    if len(text) > _LONGEST_TEXT:
        raise unfit(f"wants at most {_LONGEST_TEXT} characters, found {len(text)}")
    return text


def read_term_value(value: object, wanted: str = "text or a whole number") -> str:
    """The text to match a label or a process field with; whole numbers may go without quotes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(value, wanted)


def read_notes(value: object) -> tuple[tuple[str, str], ...]:
    """A mapping of text to text, in the file's order."""
    notes = as_mapping(value, "wants a mapping such as {ticket: CHG-1234}")
    return tuple(zip(notes, read_all(read_prose, [((key,), note) for key, note in notes.items()]), strict=True))


def read_environment(value: object) -> str:
    wanted = f"wants {', '.join(ENVIRONMENTS[:-1])} or {ENVIRONMENTS[-1]}"
    if isinstance(value, str) and value in ENVIRONMENTS:
        return value
    near = nearest(value, ENVIRONMENTS) if isinstance(value, str) else ""
    hint = f": did you mean {near!r}?" if near else ""
    raise Unfit(Problem(message=f"{wanted}, found {found(value)}{hint}", nearest=near))


def read_flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise unfit(f"wants true or false, found {found(value)}")


def read_seed(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise unfit(f"wants a whole number, found {found(value)}")
    if not 0 <= value < 2**64:
        raise unfit(f"wants a number from 0 to 18446744073709551615, found {value}")
    return value


def read_count(value: object) -> int:
    """A whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise unfit(f"wants a whole number, found {found(value)}")
    return _counted(value)


def read_amount(value: object) -> Amount:
    """`3` or `5%`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Amount(number=_counted(value))
    if isinstance(value, str) and value.endswith("%") and _is_digits(value[:-1]):
        number = int(value[:-1])
        if not 1 <= number <= 100:
            raise unfit(f"wants a percentage from 1% to 100%, found {value}")
        return Amount(number=number, percent=True)
    raise unfit(f"wants a count such as 3, or a whole percentage such as 50%, found {found(value)}")


def read_duration(value: object) -> int:
    """`10s` -> 10_000 milliseconds. Zero is valid here."""
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except DurationError as error:
            raise unfit(str(error)) from error
    hint = f": write a unit, such as {value}s" if isinstance(value, int) and value > 1 else ""
    raise unfit(f"wants a duration such as 10s or 2m, found {found(value)}{hint}")


def read_length(value: object) -> int:
    """A duration longer than nothing, in milliseconds."""
    length = read_duration(value)
    if not length:
        raise unfit("wants more than 0: leave the key out for none")
    return length


def _counted(value: int) -> int:
    if value < 1:
        raise unfit(f"wants 1 or more, found {value}: nothing could ever be struck with it")
    if value > MOST:
        raise unfit(f"wants at most {MOST}, found {value}")
    return value


def _text(value: object, wanted: str) -> str:
    if isinstance(value, str):
        if not value.strip():
            raise unfit(f"wants {wanted}, found only blanks" if value else f"wants {wanted}, found empty text")
        return value
    quotes = ": put it in quotes" if isinstance(value, int | Odd) else ""
    raise unfit(f"wants {wanted}, found {found(value)}{quotes}")


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def as_mapping(value: object, wanted: str) -> dict[str, object]:
    """The value, if it is a mapping. Raises Unfit with the words of `wanted`."""
    if not isinstance(value, dict):
        raise unfit(f"{wanted}, found {found(value)}")
    return cast("dict[str, object]", value)

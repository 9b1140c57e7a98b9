"""What a wave leaves to chance, which is the seed: how many, when, and whom."""

from killdeer_experiment.faults import nearest, read_at, unfit
from killdeer_experiment.plain import found
from killdeer_experiment.scalars import Amount, as_mapping, read_amount, read_line

PAUSES = ("even", "random")
CHOICES = ("process", "host", "service")
HEAVIEST = 1_000

Weights = tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
"""Label -> its value -> how many times the chance."""

_ABOUT = "about "


def read_strikes(value: object) -> Amount:
    """`3`, `5%`, or `about 10`, which with `over` is a rate."""
    if not isinstance(value, str) or not value.startswith(_ABOUT):
        return read_amount(value)
    number = value.removeprefix(_ABOUT).strip()
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise unfit(f"wants a count after about, such as about 10, found {found(value)}")
    return Amount(number=read_amount(int(number)).number, about=True)


def read_pauses(value: object) -> str:
    return _one_of(value, PAUSES)


def read_choice(value: object) -> str:
    return _one_of(value, CHOICES)


def read_weights(value: object) -> Weights:
    """`{zone: {a: 3, b: 1}}`. Raises Unfit."""
    labels = as_mapping(value, "wants weights by label, such as {zone: {a: 3}}")
    if not labels:
        raise unfit("wants at least one label, such as {zone: {a: 3}}: leave the key out for none")
    return tuple((read_line(label), read_at((label,), _read_values, values)) for label, values in labels.items())


def _read_values(value: object) -> tuple[tuple[str, int], ...]:
    values = as_mapping(value, "wants a weight for each value of the label, such as {a: 3}")
    if not values:
        raise unfit("wants at least one value with its weight, such as {a: 3}")
    return tuple((str(name), read_at((name,), _read_weight, weight)) for name, weight in values.items())


def _read_weight(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= HEAVIEST:
        raise unfit(f"wants a weight from 1 to {HEAVIEST}, found {found(value)}")
    return value


def _one_of(value: object, known: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in known:
        return value
    near = nearest(value, known) if isinstance(value, str) else ""
    hint = f": did you mean {near!r}?" if near else ""
    raise unfit(f"wants {', '.join(known[:-1])} or {known[-1]}, found {found(value)}{hint}")

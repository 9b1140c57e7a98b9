"""Which hosts, as a file says it: `{role: payment, zone: [a, b], host: web-*}`. All labels must match."""

from dataclasses import dataclass, replace
from typing import Any

from killdeer.v1.operator_pb2 import LabelMatch
from killdeer_experiment.faults import Unfit, each, read_all, unfit
from killdeer_experiment.scalars import as_mapping, read_line, read_term_value


@dataclass(frozen=True, kw_only=True)
class Label:
    """Holds on a host whose label matches any of the values, which are globs; `host` is the host's name."""

    key: str
    values: tuple[str, ...]

    def to_wire(self) -> LabelMatch:
        return LabelMatch(key=self.key, values=self.values)


def read_hosts(value: object) -> tuple[Label, ...]:
    """The labels a file's value means, in its order. Raises Unfit, with every problem in it."""
    labels = as_mapping(value, "wants a mapping such as {role: payment, zone: [a, b]}")
    if not labels:
        raise unfit("wants at least one label: leave the key out for every host of the environment")
    return tuple(read_all(_read_label, [((key,), (key, inner)) for key, inner in labels.items()]))


def _read_label(item: Any) -> Label:
    key, value = item
    try:
        read_line(key)
    except Unfit as fault:
        raise Unfit(*(replace(problem, of_key=True) for problem in fault.problems)) from fault
    if value == []:
        raise unfit("wants at least one value, found an empty list")
    return Label(key=key, values=tuple(read_all(read_term_value, each(value))))

"""The experiment behind `killdeer strike`: a run of one wave of one strike on one host."""

from collections.abc import Iterable

from killdeer.durations import format_duration
from killdeer.terms import parse_selector
from killdeer_experiment import selector
from killdeer_experiment.action import Action
from killdeer_experiment.faults import unfit
from killdeer_experiment.scalars import read_environment, read_line
from killdeer_experiment.writing import to_yaml


def one_strike(
    *, host: str, environment: str, terms: Iterable[str], action: Action, name: str, within_ms: int
) -> str:
    """The text of a file that strikes one process, drawn from those that match the terms.

    `terms` are words of the command line (`unit=worker@*.service`, `user!=root`). Raises TermError for
    them, and Unfit where another argument is no value for its key.
    """
    if any(character in host for character in "*?["):
        raise unfit(f"cannot strike on {host!r}: a strike names one host, without * ? or [")
    return to_yaml(
        {
            "killdeer": 1,
            "name": read_line(name),
            "environment": read_environment(environment),
            "target": {
                "hosts": {"host": read_line(host)},
                "process": selector.written(selector.from_wire(parse_selector(terms))),
            },
            "limits": {"in_flight": 1, "per_host": 1},
            "action": action.written,
            "waves": [{"name": "strike", "strikes": 1}],
            "recovery": {"within": format_duration(within_ms)},
        }
    )

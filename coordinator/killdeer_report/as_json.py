"""A report as JSON, for programs. Its keys are stable: more may come, none goes or changes its meaning.

report        1, the format
verdict       held | deviated | inconclusive | not recovered | aborted | halted | refused; running | aborting
sentence      the verdict in one sentence
replay        the command that runs it again with its seed
advice        what to look at next, a sentence each
units         probe -> met | seconds | fraction | number
file_notes    the notes of the experiment's file, key -> text
measures      lengths in milliseconds, null where it was not seen:
              first_strike_unix_ms, detected_after_ms, recovered_after_ms, rehearsed (strikes),
              term (honoured | escalated | ignored | unknown -> victims),
              victims [{command_id, place, exit_after_ms, successor_after_exit_ms, …}],
              times [{what, spread, median}], impacts [{probe, before, during, unknown, baseline, repeated,
              why_not}] in the probe's unit, history {runs, held, share, times, impacts [{probe, unit, repeated}]}
              spread is {count, median, mean, lowest, highest}; an interval is {low, high, method}, of 95%;
              repeated is {sample: {count, mean, deviation, lowest, highest}, interval}, over the repetitions of the
              run or, in history, over the runs; interval null: there were not two, or
              each came to the same
run, readings, log, notes, earlier, source, file
              as on the wire (GetReportResponse): protobuf JSON with the wire's names, 64-bit numbers as strings

Of a comparison:

    comparison    1, the format
    title         `killdeer comparison of runs RUN and RUN`
    first, second each as a report is, without readings, log, notes and earlier
    differs       what makes them less comparable, a sentence each
    probes        [{what, unit, first, second, difference, interval, no_interval}], of the mean impacts
    lengths       the same in milliseconds, without unit
    file_changes  lines of a unified diff
"""

import json
from dataclasses import asdict
from typing import Any

from google.protobuf.json_format import MessageToDict

from killdeer_report.account import Account
from killdeer_report.comparison import Comparison
from killdeer_report.wording import UNITS

FORMAT = 1


def as_json(told: Account) -> str:
    return json.dumps(as_dict(told), indent=2) + "\n"


def comparison_json(told: Comparison) -> str:
    whole = {
        "comparison": FORMAT,
        "title": told.stamp,
        "first": _without_record(told.first),
        "second": _without_record(told.second),
        "differs": list(told.differs),
        "probes": [asdict(one) | {"unit": unit_word(one.unit)} for one in told.probes],
        "lengths": [{key: value for key, value in asdict(one).items() if key != "unit"} for one in told.lengths],
        "file_changes": list(told.file_changes),
    }
    return json.dumps(whole, indent=2) + "\n"


def _without_record(told: Account) -> dict[str, Any]:
    left_out = ("readings", "log", "notes", "earlier")
    return {key: value for key, value in as_dict(told).items() if key not in left_out}


def as_dict(told: Account) -> dict[str, Any]:
    return {
        "report": FORMAT,
        "title": told.stamp,
        "verdict": told.verdict,
        "sentence": told.sentence,
        "replay": told.replay,
        "advice": list(told.advice),
        "units": {one.probe: unit_word(one.unit) for one in told.measured.series},
        "file_notes": dict(told.asked.notes),
        "measures": measures_dict(told),
        **MessageToDict(told.report, preserving_proto_field_name=True, always_print_fields_with_no_presence=True),
    }


def measures_dict(told: Account) -> dict[str, Any]:
    found = asdict(told.measured)
    del found["series"]  # the readings are there as on the wire
    for one in (*found["impacts"], *found["history"]["impacts"]):
        one["unit"] = unit_word(one["unit"])
    return found


def unit_word(unit: int) -> str:
    return UNITS.get(unit, "number")

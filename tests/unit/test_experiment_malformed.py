"""A hundred malformed files, each named by its defect: refused with the right place, and never with a traceback."""

import pytest

from killdeer_experiment.faults import FileFaults
from killdeer_experiment.file import load
from tests.support.malformed import MALFORMED, places, text_of


@pytest.mark.parametrize("defect", MALFORMED)
def test_a_defect_is_refused_at_its_places(defect: str) -> None:
    marked, message = MALFORMED[defect]
    with pytest.raises(FileFaults) as refused:
        load(text_of(marked), "bad.yaml")
    faults = refused.value.faults
    assert [(fault.line, fault.column) for fault in faults] == places(marked), str(refused.value)
    assert message in faults[0].message
    assert str(refused.value).startswith(f"bad.yaml:{faults[0].line}:{faults[0].column}: ")


def test_there_are_more_than_a_hundred() -> None:
    assert len(MALFORMED) > 100

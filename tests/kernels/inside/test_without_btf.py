"""A kernel that does not describe its types: the agent turns to bcc and the kernel's headers, and is right."""

import pytest

from tests.kernels.inside.service import no_btf
from tests.support.coroner import Coroner, coroner, table, word
from tests.support.corpus.every import KINDS, Kind

MADE = [kind for kind in KINDS if kind.cheap][::3]  # a guest is emulated


def told(deaths: Coroner, kind: Kind) -> tuple[str, str, str, bool | None]:
    deaths.strikes.clear()
    (death,) = deaths.of(kind.make(deaths))
    return kind.name, word(death.cause), death.why, death.cause == kind.cause and kind.check(death)


def test_causes_are_right_by_bcc_and_the_kernels_headers(capsys: pytest.CaptureFixture[str]) -> None:
    with no_btf(), coroner("auto") as deaths:
        detail = deaths.collector.detail
        rows = [told(deaths, kind) for kind in MADE]
    with capsys.disabled():
        print(f"\nmeasured: {detail}\n{table(rows)}")
    assert detail.startswith("raw tracepoints through bcc, with this kernel's headers")
    assert [row for row in rows if not row[3]] == []

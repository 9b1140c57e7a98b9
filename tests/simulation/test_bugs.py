"""The simulation bites: it finds every deliberate bug there is, and the code as it is passes the histories."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation import invariants
from tests.simulation.bugs import BUGS, ELSEWHERE, Bug, Cut, CutError
from tests.simulation.bugs_hunt import REGENERATE, catalogue
from tests.simulation.bugs_table import elsewhere, rows
from tests.simulation.history import run
from tests.simulation.plots import FIRST, LATER, plot_of

ROOT = Path(__file__).parents[2]
FOUND = catalogue()

each_bug = pytest.mark.parametrize("bug", BUGS.values(), ids=lambda bug: bug.name)


@each_bug
def test_a_bug_is_in_force_within_its_context_and_nowhere_else(bug: Bug) -> None:
    whole = [(function, function.__code__) for function, _ in bug.codes()]
    with bug.apply():
        assert all(function.__code__ != code for function, code in whole)
    assert all(function.__code__ is code for function, code in whole)


def test_a_cut_that_no_longer_fits_is_an_error() -> None:
    where = "killdeer_agent.core.lease:Lease.holds"
    for cut in (Cut(where, "no such fragment", ""), Cut(where, "now", "then"), Cut(f"{where}_not", "now", "then")):
        bug = Bug(name="unfit", rule="R7", invariant="I5", what="", cuts=(cut,))
        with pytest.raises(CutError, match="cannot cut"), bug.apply():
            pass


@pytest.mark.parametrize("name", FOUND)
def test_the_simulation_finds(name: str) -> None:
    bug = BUGS[name]
    with bug.apply():
        told = run(FOUND[bug.name])
    assert [violation.invariant for violation in told.violations] == [bug.invariant], (
        f"seed {FOUND[bug.name]} finds it no longer (code or world have changed?): {REGENERATE}\n{told.violations}"
    )


@pytest.mark.parametrize("seed", sorted(set(FOUND.values())))
def test_the_code_as_it_is_passes_the_same_history(seed: int) -> None:
    assert run(seed, to_the_end=False).violations == ()


def test_every_bug_that_is_written_is_found() -> None:
    assert BUGS.keys() - FOUND.keys() == set(), f"not in the catalogue: {REGENERATE}"


def test_every_rule_has_a_bug_or_a_proof_elsewhere() -> None:
    broken = {bug.rule for bug in BUGS.values()}
    assert broken & ELSEWHERE.keys() == set()
    assert broken | ELSEWHERE.keys() == {f"R{number}" for number in range(1, 31)}
    assert [test for tests in ELSEWHERE.values() for test in tests if not (ROOT / test).exists()] == []


def test_of_every_rule_that_it_can_hold_the_simulation_finds_a_bug() -> None:
    assert {BUGS[name].rule for name in FOUND} | ELSEWHERE.keys() == {f"R{number}" for number in range(1, 31)}


def test_every_invariant_has_a_bug() -> None:
    assert {BUGS[name].invariant for name in FOUND} == {f"I{number}" for number in range(1, 11)}


def test_the_catalogue_holds_no_bug_that_is_gone() -> None:
    assert FOUND.keys() - BUGS.keys() == set()


def test_of_the_histories_every_plot_has_about_one_in_a_hundred() -> None:
    plots = Counter(plot.name for seed in range(1_100) if (plot := plot_of(seed)) is not None)
    assert plots == {plot.name: 10 for plot in FIRST} | {plot.name: 11 for plot in LATER}


def test_the_table_in_the_documents_is_that_of_the_catalogue() -> None:
    document = (ROOT / "docs/safety.md").read_text()
    told = re.findall(r"^\| I\d+ \| R\d.*$", document, re.MULTILINE)
    assert told == rows(), "docs/safety.md is to say:\n" + "\n".join(rows())
    assert [line for line in elsewhere() if line not in document] == []


def test_the_safety_document_counts_what_is_there_by_invariant() -> None:
    """How many histories there were is of their last full run; what is found beside them is of now."""
    document = (ROOT / "docs/safety.md").read_text()
    told = [line.split("|")[-3:] for line in document.splitlines() if re.match(r"\| I\d+ \| [\d,]+ \|", line)]
    assert told == [line.split("|")[-3:] for line in invariants.rows(0, 0, 0, Counter())]

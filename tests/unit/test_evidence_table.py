"""The table [evidence] of agent.toml: what it may say, and that what causes rest on cannot be left out."""

import re
import signal
from pathlib import Path

import pytest

from killdeer_agent.config import ConfigError, load_config
from killdeer_agent.evidence import Evidence, evidence_of
from killdeer_agent.kernel.filter import ALWAYS, REACHED, VERDICTS, Filter


def bits(mask: int) -> set[int]:
    return {number for number in range(64) if mask >> number & 1}


def test_without_a_table_the_defaults_are_in_force(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('coordinators = ["c:1"]')
    assert load_config(tmp_path / "agent.toml").evidence == evidence_of({}) == Evidence()


def test_signals_are_named_with_or_without_sig() -> None:
    told = evidence_of({"signals": ["SIGHUP", "USR1"]}).told
    assert told.signals == {signal.SIGHUP, signal.SIGUSR1}
    assert bits(told.signal_mask) == {number - 1 for number in {*ALWAYS, signal.SIGHUP, signal.SIGUSR1}}


def test_nothing_that_a_cause_rests_on_can_be_left_out() -> None:
    told = evidence_of({"signals": [], "verdicts": []}).told
    assert bits(told.signal_mask) == {number - 1 for number in ALWAYS}
    assert bits(told.verdict_mask) == {VERDICTS.index(word) for word in REACHED}


def test_by_default_every_verdict_is_told() -> None:
    assert bits(Filter().verdict_mask) == set(range(len(VERDICTS)))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("auto", "wants a table"),
        ({"signal": []}, "unknown key 'signal': did you mean 'signals'?"),
        ({"collector": "kore"}, "'collector' wants one of auto, core, bcc, pidfd; found 'kore'"),
        ({"collector": 1}, "found 1"),
        ({"signals": "TERM"}, "'signals' wants a list of texts, found 'TERM'"),
        ({"signals": [15]}, "found 15 in it"),
        ({"signals": ["TRM"]}, "no signal is called 'TRM': did you mean 'TERM'?"),
        ({"verdicts": ["refused"]}, "the kernel gives none that is called 'refused'"),
        ({"cgroups": ["payment.service"]}, "wants patterns for paths"),
        ({"cgroups": ["/*"]}, "wants patterns for paths"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(table: object, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        evidence_of(table)


def test_the_file_with_a_fault_is_named(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('coordinators = ["c:1"]\n[evidence]\nsignals = ["TRM"]')
    with pytest.raises(ConfigError, match=r"agent.toml: 'evidence': 'signals': no signal is called 'TRM'"):
        load_config(tmp_path / "agent.toml")


@pytest.mark.parametrize(
    ("path", "chosen"),
    [
        ("/system.slice/payment-a.service", True),
        ("/system.slice/payment-a.service/worker", True),
        ("/system.slice", False),
        ("/system.slice/other.service", False),
        ("/", False),
        ("", False),
    ],
)
def test_a_pattern_chooses_the_cgroup_and_those_below_it(path: str, chosen: bool) -> None:
    told = evidence_of({"cgroups": ["/system.slice/payment-*.service"]}).told
    assert told.chooses(path) == chosen

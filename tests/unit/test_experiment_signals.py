"""Signals by name are the host's numbers, whatever machine reads the file."""

import signal
import sys

import pytest

from killdeer_experiment.signals import NUMBERS, read_signal, signal_name


@pytest.mark.skipif(sys.platform != "linux", reason="the numbers are Linux's")
def test_the_table_is_what_linux_says() -> None:
    for name, number in NUMBERS.items():
        known = getattr(signal, name, number)  # some Pythons do not name SIGSTKFLT
        assert number == known
    assert set(NUMBERS.values()) == set(range(1, 32))


@pytest.mark.parametrize(("written", "number"), [("SIGHUP", 1), ("hup", 1), ("1", 1), (15, 15), ("sigterm", 15)])
def test_a_signal_is_read_by_name_or_number(written: str | int, number: int) -> None:
    assert read_signal(written) == number


def test_real_time_signals_go_by_number() -> None:
    assert signal_name(34) == "34"
    assert read_signal(signal_name(34)) == 34

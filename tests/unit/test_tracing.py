"""The filter's cgroups, kept in the kernel's table while cgroups come and go and the filter changes."""

import errno

import pytest

from killdeer_agent.kernel import layout
from killdeer_agent.kernel.filter import Filter
from killdeer_agent.kernel.tracing import TracingCollector

PAYMENT = Filter(cgroups=("/payment-*",))


class Programs:
    """Stands in for programs in the kernel. `full`: how many cgroups there is room for."""

    detail, held_up, lags = "none", False, False

    def __init__(self, config: layout.Config) -> None:
        self.config = config
        self.chosen: set[int] = set()
        self.full = 1_000
        self.records: list[bytes] = []

    def put(self, name: str, key: bytes, value: bytes) -> None:
        if name == "config":
            self.config = layout.Config._make(layout.CONFIG_RECORD.unpack(value))
        elif name == "chosen":
            if len(self.chosen) >= self.full:
                raise OSError(errno.E2BIG, "cannot fill a BPF map")
            self.chosen.add(int.from_bytes(key, "little"))

    def drop(self, name: str, key: bytes) -> None:
        if name == "chosen":
            self.chosen.discard(int.from_bytes(key, "little"))

    def losses(self) -> list[int]:
        return [0] * layout.LOST_SLOTS

    def wait(self, came: bool) -> bool:
        return False

    def drain(self, limit: int) -> list[bytes]:
        records, self.records = self.records, []
        return records

    def stop(self) -> None: ...
    def close(self) -> None: ...


class Host:
    """A collector over such programs, and the cgroups that there are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.living: dict[int, str] = {}
        self.meanwhile: list[tuple[int, str]] = []  # are made while the others are looked for
        monkeypatch.setattr("killdeer_agent.kernel.cgroups.Cgroups.living", lambda _: self._look())
        monkeypatch.setattr("killdeer_agent.kernel.cgroups.INITIAL_NAMESPACE", 0)
        monkeypatch.setattr("killdeer_agent.kernel.cgroups._inode", lambda _: 0)
        self.collector = TracingCollector(self._load)

    def _load(self, config: layout.Config) -> Programs:
        self.programs = Programs(config)
        return self.programs

    def _look(self) -> dict[int, str]:
        there = dict(self.living)
        for cgroup_id, path in self.meanwhile:
            self.make(cgroup_id, path)
        return there

    def make(self, cgroup_id: int, path: str) -> None:
        self.living[cgroup_id] = path
        self.programs.records.append(
            layout.CGROUP_RECORD.pack(1, layout.CGROUP, 0, cgroup_id, path.encode().ljust(256, b"\0"))
        )
        self.collector.flush()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_those_that_are_there_and_those_that_come_are_chosen_and_counted(host: Host) -> None:
    host.living = {1: "/payment-a", 2: "/other"}
    host.collector.choose(PAYMENT)
    host.make(3, "/payment-b")
    host.make(4, "/another")
    assert host.programs.chosen == {1, 3}
    assert host.programs.config.choosing == 2


def test_one_that_is_made_while_the_filter_changes_is_chosen(host: Host) -> None:
    host.meanwhile = [(5, "/payment-c")]
    host.collector.choose(PAYMENT)
    assert host.programs.chosen == {5}


def test_another_filter_lets_go_of_what_it_does_not_choose(host: Host) -> None:
    host.living = {1: "/payment-a", 2: "/other"}
    host.collector.choose(PAYMENT)
    host.collector.choose(Filter(cgroups=("/other",)))
    assert host.programs.chosen == {2}
    host.collector.choose(Filter())
    assert (host.programs.chosen, host.programs.config.choosing) == (set(), 0)


def test_a_filter_that_does_not_fit_leaves_no_trace(host: Host) -> None:
    host.living = {1: "/other"}
    host.collector.choose(Filter(signals=frozenset({1}), cgroups=("/other",)))
    before = host.programs.config
    host.living |= {2: "/payment-a", 3: "/payment-b"}
    host.meanwhile = [(4, "/payment-c")]
    host.programs.full = 3
    with pytest.raises(OSError, match="cannot fill a BPF map"):
        host.collector.choose(PAYMENT)
    assert (host.programs.chosen, host.programs.config) == ({1}, before)
    host.make(5, "/payment-d")
    host.make(6, "/other/worker")
    assert host.programs.chosen == {1, 6}


def test_cgroups_that_have_gone_make_room_for_new_ones(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.chosen.MOST_CHOSEN", 2)
    host.programs.full = 2
    host.living = {1: "/payment-a", 2: "/payment-b"}
    host.collector.choose(PAYMENT)
    del host.living[1]
    host.make(3, "/payment-c")
    assert host.programs.chosen == {2, 3}
    assert host.collector.detail == "none"


def test_what_there_is_no_room_for_is_said(host: Host) -> None:
    host.programs.full = 1
    host.collector.choose(PAYMENT)
    host.make(1, "/payment-a")
    host.make(2, "/payment-b")
    assert host.collector.detail == "none; 1 cgroups of evidence.cgroups left out, for want of room"


def test_at_the_start_a_filter_that_does_not_fit_stops_nothing_but_its_cgroups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("killdeer_agent.kernel.chosen.MOST_CHOSEN", 1)
    monkeypatch.setattr(
        "killdeer_agent.kernel.cgroups.Cgroups.living", lambda _: {1: "/payment-a", 2: "/payment-b"}
    )
    made: list[Programs] = []

    def load(config: layout.Config) -> Programs:
        made.append(Programs(config))
        return made[0]

    told = Filter(signals=frozenset({1}), cgroups=PAYMENT.cgroups)
    collector = TracingCollector(load, told)
    assert collector.detail == "none; evidence.cgroups is not in force: evidence.cgroups are 2, there is room for 1"
    assert (made[0].chosen, made[0].config.signals) == (set(), told.signal_mask)

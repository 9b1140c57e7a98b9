"""An experiment file that is right: what it means, and that files of one meaning are one plan."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from killdeer.v1 import operator_pb2, probe_pb2, process_pb2
from killdeer_experiment.action import Action, HoldDown, Kill, Pause, Terminate
from killdeer_experiment.file import Experiment, load
from killdeer_experiment.scalars import Amount

GOOD = Path(__file__).parent / "experiments" / "good"
EXAMPLES = Path(__file__).parents[2] / "examples"
LEAST = (GOOD / "least.yaml").read_text()


def good(name: str) -> Experiment:
    return load((GOOD / f"{name}.yaml").read_bytes(), name)


FOR_THE_SANDBOX = [path for path in sorted(EXAMPLES.glob("*.yaml")) if path.stem != "production-lite"]


@pytest.mark.parametrize("path", FOR_THE_SANDBOX, ids=lambda path: path.stem)
def test_every_example_loads_is_for_the_sandbox_and_is_quick(path: Path) -> None:
    experiment = load(path.read_bytes(), path.name)
    assert experiment.environment == "development"
    assert experiment.target.process[0].field == "name"
    assert experiment.waves[0].dry_run
    assert experiment.recovery.within_ms <= 30_000
    assert all(wave.over_ms <= 10_000 for wave in experiment.waves)


def test_there_are_examples() -> None:
    ideas = {
        "single-kill",
        "graceful-drain",
        "roulette",
        "pause",
        "hold-down",
        "canary",
        "oom-watch",
        "production-lite",
    }
    assert ideas | {"first-kill", "demo-halt"} == {path.stem for path in EXAMPLES.glob("*.yaml")}


def test_the_example_with_everything_on_leaves_out_no_key() -> None:
    said = load((EXAMPLES / "production-lite.yaml").read_bytes(), "x")
    assert said.environment == "production-lite"
    assert said.model_fields_set == set(Experiment.model_fields)
    assert {probe.to_wire().WhichOneof("source") for probe in said.probes} == {
        field.name for field in probe_pb2.Probe.DESCRIPTOR.oneofs_by_name["source"].fields
    }


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("least", "789d7c9e6f97c636"),
        ("everything", "9c608369a1e84e1d"),
        ("everything-said-otherwise", "9c608369a1e84e1d"),
    ],
)
def test_a_file_without_probes_keeps_the_plan_that_it_had_before_there_were_any(name: str, canonical: str) -> None:
    assert hashlib.sha256(good(name).canonical().encode()).hexdigest().startswith(canonical)


def test_every_key_is_read_as_it_is_meant() -> None:
    experiment = good("everything")
    assert experiment.seed == 2**64 - 1
    assert experiment.hypothesis.startswith("Killing one payment worker keeps errors under 0.1% and")
    assert dict(experiment.notes)["ticket"] == "CHG-1234"
    limits = experiment.limits
    assert (limits.in_flight, limits.per_host, limits.per_minute, limits.cooldown_ms) == (2, 1, 6, 300_000)
    assert limits.per_service == Amount(number=50, percent=True)
    assert limits.min_healthy == Amount(number=1)
    rehearsal, one, canary, hang = experiment.waves
    assert rehearsal.dry_run and rehearsal.strikes is None
    assert one.strikes == Amount(number=1) and not one.dry_run
    assert canary.strikes == Amount(number=10, percent=True)
    assert (canary.over_ms, canary.jitter_ms, canary.repeat) == (600_000, 10_000, 1)
    assert (hang.repeat, hang.every_ms) == (3, 60_000)
    assert experiment.recovery.stable_for_ms == 10_000


def test_the_target_is_what_the_wire_carries() -> None:
    target = good("everything").target
    assert target.label_matches() == [
        operator_pb2.LabelMatch(key="role", values=["payment"]),
        operator_pb2.LabelMatch(key="zone", values=["a", "b"]),
        operator_pb2.LabelMatch(key="rack", values=["12"]),
        operator_pb2.LabelMatch(key="host", values=["web-*"]),
    ]
    unit, port, cmdline, _age, oldest, user, canary = target.selector().terms
    assert unit.field == process_pb2.FIELD_UNIT and unit.match == process_pb2.MATCH_GLOB
    assert list(port.values) == ["8080", "8081"]
    assert cmdline.match == process_pb2.MATCH_PATTERN and list(cmdline.values) == [r"worker\.py"]
    assert list(oldest.values) == ["2"]
    assert user.negated and list(user.values) == ["root", "postgres"]
    assert canary.negated and canary.match == process_pb2.MATCH_PATTERN


def test_a_wave_has_its_own_action_or_else_the_files() -> None:
    experiment = good("everything")
    assert [experiment.action_of(wave) for wave in experiment.waves] == [
        Terminate(grace_ms=10_000),
        Terminate(grace_ms=10_000),
        Kill(signal=9),
        Pause(length_ms=30_000),
    ]


def test_without_limits_one_victim_at_a_time_and_two_minutes_to_recover() -> None:
    experiment = good("least")
    assert (experiment.limits.in_flight, experiment.limits.per_host) == (1, 1)
    assert (experiment.recovery.within_ms, experiment.recovery.stable_for_ms) == (120_000, 0)
    assert experiment.target.label_matches() == []
    assert experiment.seed is None


def test_limits_that_say_nothing_of_in_flight_and_per_host_keep_them_at_one() -> None:
    limits = load(f"{LEAST}limits: {{per_minute: 6}}\n", "x").limits
    assert (limits.in_flight, limits.per_host, limits.per_minute) == (1, 1, 6)


def test_files_that_mean_the_same_have_one_canonical_text() -> None:
    assert good("everything").canonical() == good("everything-said-otherwise").canonical()


def test_the_seed_is_no_part_of_the_canonical_text() -> None:
    assert load(f"{LEAST}seed: 1\n", "x").canonical() == load(f"{LEAST}seed: 2\n", "x").canonical()


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("environment: production-lite", "environment: production"),
        ("name: redis-server", "name: redis"),
        ("name: redis-server", "name~: redis-server"),
        ("{name: redis-server}", "{name: redis-server, not: {user: root}}"),
        ("target: {process", "target: {hosts: {role: db}, process"),
        ("kill: HUP", "kill: INT"),
        ("strikes: 1", "strikes: 1%"),
        ("strikes: 1", "strikes: 2"),
        ("strikes: 1", "strikes: 1, over: 1s"),
        ("strikes: 1", "strikes: 1, jitter: 1s"),
        ("strikes: 1", "strikes: 1, repeat: 2, every: 1s"),
        ("strikes: 1", "strikes: 1, dry_run: true"),
        ("waves:", "limits: {in_flight: 2}\nwaves:"),
        ("waves:", "recovery: {within: 1m}\nwaves:"),
        ("waves:", "hypothesis: none\nwaves:"),
    ],
)
def test_another_meaning_is_another_canonical_text(was: str, becomes: str) -> None:
    assert was in LEAST
    assert load(LEAST.replace(was, becomes, 1), "x").canonical() != good("least").canonical()


def test_the_canonical_text_is_sorted_json_in_ascii() -> None:
    text = load(f"{LEAST}hypothesis: café\n", "x").canonical()
    assert text.isascii()
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text


@pytest.mark.parametrize("name", ["everything", "everything-said-otherwise", "least", "measured"])
def test_an_experiment_written_out_again_means_the_same(name: str) -> None:
    experiment = good(name)
    again = load(experiment.to_source(), "written")
    assert again.canonical() == experiment.canonical()
    assert again.seed == experiment.seed


def test_an_experiment_cannot_be_changed() -> None:
    experiment = good("least")
    with pytest.raises(ValidationError, match="frozen"):
        experiment.name = "other"
    assert hash(experiment) == hash(good("least"))


@pytest.mark.parametrize(
    ("written", "action"),
    [
        ("kill", Kill(signal=9)),
        ("{kill: SIGHUP}", Kill(signal=1)),
        ("{kill: usr1}", Kill(signal=10)),
        ("{kill: 64}", Kill(signal=64)),
        ("{kill: '15'}", Kill(signal=15)),
        ("terminate", Terminate(grace_ms=10_000)),
        ("{terminate: {}}", Terminate(grace_ms=10_000)),
        ("{terminate: {grace: 0s}}", Terminate(grace_ms=0)),
        ("{pause: 90s}", Pause(length_ms=90_000)),
        ("{pause: {for: 1m30s}}", Pause(length_ms=90_000)),
        ("{hold-down: 90s}", HoldDown(length_ms=90_000)),
        ("{hold-down: {for: 1m30s}}", HoldDown(length_ms=90_000)),
    ],
)
def test_each_way_to_write_an_action(written: str, action: Action) -> None:
    experiment = load(LEAST.replace("{kill: HUP}", written), "x")
    assert experiment.action_of(experiment.waves[0]) == action
    again = load(experiment.to_source(), "written")
    assert again.action_of(again.waves[0]).to_wire() == action.to_wire()


def test_a_byte_order_mark_and_line_ends_of_windows_are_read() -> None:
    text = LEAST.replace("\n", "\r\n")
    assert load(b"\xef\xbb\xbf" + text.encode(), "x").canonical() == good("least").canonical()


def test_examples_name_only_commands_and_files_that_are_there() -> None:
    for path in EXAMPLES.glob("*.yaml"):
        named = re.findall(r"examples/[a-z-]+\.yaml", path.read_text())
        assert named and all((EXAMPLES.parent / name).exists() for name in named)

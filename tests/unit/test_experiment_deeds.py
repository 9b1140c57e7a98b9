"""Load, hooks and recovery: each deed reaches the wire under the name of where the file says it."""

import pytest

from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.file import Experiment, load

HEAD = """\
killdeer: 1
name: x
environment: staging
target: {process: {name: redis-server}}
action: terminate
waves: [{name: one, strikes: 1}]
probes: {healthy: {tcp: "127.0.0.1:80"}}
"""


def experiment(more: str) -> Experiment:
    made = load(HEAD + more, "x")
    again = load(made.to_source(), "written")
    assert again.canonical() == made.canonical()
    assert hash(made) == hash(load(HEAD + more, "x"))
    return again


def test_a_webhook_is_a_post_and_has_ten_seconds() -> None:
    made = experiment("on_end: {webhook: 'http://x/end'}\n")
    assert made.on_end == (
        wire.Deed(name="on_end", webhook=wire.HttpSource(url="http://x/end", method="POST"), within_ms=10_000),
    )
    assert (made.on_start, made.on_abort, made.load_start, made.load_stop) == ((), (), (), ())


def test_a_long_webhook_says_all_of_the_request() -> None:
    request = "{url: 'https://x', method: PUT, headers: {A: {env: B}}, body: hi, status: 202, ca_file: /ca}"
    (deed,) = experiment(f"on_start: {{webhook: {request}, within: 1m}}\n").on_start
    assert deed.webhook == wire.HttpSource(
        url="https://x",
        method="PUT",
        headers=[wire.Header(name="A", from_env="B")],
        body="hi",
        status=[202],
        ca_file="/ca",
    )
    assert deed.within_ms == 60_000


def test_several_deeds_are_named_by_their_places() -> None:
    made = experiment("on_abort: [{command: [page, oncall]}, {webhook: 'http://x'}]\n")
    assert [deed.name for deed in made.on_abort] == ["on_abort[0]", "on_abort[1]"]
    assert made.on_abort[0].command == wire.CommandSource(command="page", arguments=["oncall"])


def test_load_is_started_and_stopped() -> None:
    made = experiment(
        "load: {start: {command: replay, within: 1m}, stop: [{command: stop}, {webhook: 'http://x'}]}\n"
    )
    assert [(deed.name, deed.within_ms) for deed in made.load_start] == [("load.start", 60_000)]
    assert [deed.name for deed in made.load_stop] == ["load.stop[0]", "load.stop[1]"]


def test_recovery_names_a_probe_and_what_is_tried_in_order() -> None:
    steps = "[resume, {webhook: 'http://x'}, start_unit, {command: scale}]"
    recovery = experiment(f"recovery: {{within: 1m, ready: healthy, then: {steps}}}\n").recovery
    assert recovery.ready == "healthy"
    assert [step.kind for step in recovery.then] == ["resume", "deed", "start_unit", "deed"]
    assert [step.deed.name if step.deed else None for step in recovery.then] == [
        None,
        "recovery.then[1]",
        None,
        "recovery.then[3]",
    ]
    assert recovery.otherwise == ()


@pytest.mark.parametrize(
    ("written", "deed"),
    [
        ("oncall", wire.Deed(command=wire.CommandSource(command="oncall"))),
        ("{command: [page, oncall]}", wire.Deed(command=wire.CommandSource(command="page", arguments=["oncall"]))),
        ("{webhook: 'http://x'}", wire.Deed(webhook=wire.HttpSource(url="http://x", method="POST"))),
    ],
)
def test_who_is_told_is_a_command_by_name_or_a_deed(written: str, deed: wire.Deed) -> None:
    (told,) = experiment(f"recovery: {{else: {{notify: {written}}}}}\n").recovery.otherwise
    deed.name, deed.within_ms = "recovery.else.notify", 10_000
    assert told == deed


def test_a_wave_may_hold() -> None:
    made = load(HEAD.replace("strikes: 1", "strikes: 1, hold: 90s"), "x")
    assert made.waves[0].hold_ms == 90_000
    assert load(made.to_source(), "written").waves[0].hold_ms == 90_000
    assert made.canonical() != experiment("").canonical()


def test_without_any_of_it_nothing_is_done_or_waited_for() -> None:
    made = experiment("")
    assert (made.recovery.ready, made.recovery.then, made.recovery.otherwise) == ("", (), ())
    assert made.waves[0].hold_ms == 0

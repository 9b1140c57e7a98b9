"""Probes as a file has them: what each way to write one comes to on the wire, and that no secret is in it."""

import pytest

from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.faults import FileFaults
from killdeer_experiment.file import Experiment, load

HEAD = """\
killdeer: 1
name: x
environment: staging
target: {process: {name: redis-server}}
action: terminate
waves: [{name: one, strikes: 1}]
"""
SERVER = "http://127.0.0.1:9090"


def probed(written: str) -> Experiment:
    return load(f"{HEAD}probes: {{a: {written}}}\n", "x")


def probe(written: str) -> wire.Probe:
    experiment = probed(written)
    (only,) = experiment.probes
    again = load(experiment.to_source(), "written")
    assert again.canonical() == experiment.canonical()
    assert again.probes[0].to_wire() == only.to_wire()
    return only.to_wire()


def test_a_probe_is_taken_every_second_and_has_two_to_answer_unless_it_says_otherwise() -> None:
    assert probe("{tcp: 'db:5432'}") == wire.Probe(
        name="a",
        tcp=wire.TcpSource(host="db", port=5432),
        within_ms=2_000,
        every_ms=1_000,
        take=wire.TAKE_MET,
        unit=wire.UNIT_MET,
    )


def test_every_common_key_reaches_the_wire() -> None:
    made = probe(
        "{http: 'http://x', within: 500ms, every: 100ms, take: latency, as: p99, over: 30s, fresh_within: 1m}"
    )
    assert (made.within_ms, made.every_ms, made.over_ms, made.fresh_within_ms) == (500, 100, 30_000, 60_000)
    assert (made.take, made.summary, made.unit) == (wire.TAKE_LATENCY, wire.SUMMARY_P99, wire.UNIT_SECONDS)


def test_a_short_http_probe_is_a_get_of_its_url() -> None:
    assert probe("{http: 'http://127.0.0.1:8080/healthz'}").http == wire.HttpSource(
        url="http://127.0.0.1:8080/healthz", method="GET"
    )


def test_a_long_http_probe_says_all_of_the_request_and_of_the_answer() -> None:
    written = (
        "{http: {url: 'https://x/y?z=1', method: POST, headers: {Accept: text/plain, X-Id: 7}, body: 'a\nb', "
        "status: [200, 202], contains: ok, ca_file: /etc/ca.pem}}"
    ).replace("'a\nb'", '"a\\nb"')
    assert probe(written).http == wire.HttpSource(
        url="https://x/y?z=1",
        method="POST",
        headers=[wire.Header(name="Accept", value="text/plain"), wire.Header(name="X-Id", value="7")],
        body="a\nb",
        status=[200, 202],
        contains="ok",
        ca_file="/etc/ca.pem",
    )


def test_one_status_needs_no_list() -> None:
    assert list(probe("{http: {url: 'http://x', status: 204}}").http.status) == [204]


def test_a_secret_is_named_by_its_place_and_its_place_alone() -> None:
    written = "{http: {url: 'http://x', headers: {Authorization: {env: TOKEN}, Cookie: {file: /run/cookie}}}}"
    assert list(probe(written).http.headers) == [
        wire.Header(name="Authorization", from_env="TOKEN"),
        wire.Header(name="Cookie", from_file="/run/cookie"),
    ]


@pytest.mark.parametrize(
    "written",
    [
        "{http: {url: 'http://x', headers: {Authorization: hunter2}}}",
        "{http: {url: 'http://x', headers: {X-API-Key: hunter2}}}",
        "{http: 'http://x/?access_token=hunter2'}",
        "{http: 'http://me:hunter2@x/'}",
        "{prometheus: up, server: 'http://me:hunter2@x/'}",
        "{prometheus: up, server: 'http://x', headers: {authorization: hunter2}}",
    ],
)
def test_a_secret_in_the_file_is_refused_without_being_repeated(written: str) -> None:
    with pytest.raises(FileFaults) as refused:
        probed(written)
    assert [("hunter2" in fault.message) for fault in refused.value.faults] == [False]


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("db.example.com:5432", "db.example.com", 5432), ("'[::1]:80'", "::1", 80)],
)
def test_an_address_is_a_host_and_a_port(written: str, host: str, port: int) -> None:
    assert probe(f"{{tcp: {written}}}").tcp == wire.TcpSource(host=host, port=port)


def test_a_grpc_probe_is_short_or_long() -> None:
    assert probe("{grpc: 'x:9000'}").grpc == wire.GrpcSource(address="x:9000")
    written = "{grpc: {address: '[::1]:9000', service: a.B, tls: true, ca_file: /ca.pem}}"
    assert probe(written).grpc == wire.GrpcSource(address="[::1]:9000", service="a.B", tls=True, ca_file="/ca.pem")


def test_a_query_stands_beside_its_server() -> None:
    written = (
        f"{{prometheus: 'sum(rate(x[1m]))', server: '{SERVER}', headers: {{A: {{env: B}}}}, ca_file: /ca.pem}}"
    )
    made = probe(written)
    assert made.prometheus == wire.PrometheusSource(
        server=SERVER,
        query="sum(rate(x[1m]))",
        headers=[wire.Header(name="A", from_env="B")],
        ca_file="/ca.pem",
    )
    assert (made.take, made.unit) == (wire.TAKE_UNSPECIFIED, wire.UNIT_UNSPECIFIED)


@pytest.mark.parametrize(
    ("metric", "on_the_wire", "unit"),
    [
        ("cpu_percent", wire.HOST_METRIC_CPU_PERCENT, wire.UNIT_FRACTION),
        ("memory_percent", wire.HOST_METRIC_MEMORY_PERCENT, wire.UNIT_FRACTION),
        ("memory_pressure", wire.HOST_METRIC_MEMORY_PRESSURE, wire.UNIT_FRACTION),
        ("load_1m", wire.HOST_METRIC_LOAD, wire.UNIT_UNSPECIFIED),
    ],
)
def test_a_percentage_of_a_host_is_a_fraction_and_load_is_a_number(
    metric: str, on_the_wire: wire.HostMetric, unit: wire.Unit
) -> None:
    made = probe(f"{{host: {metric}}}")
    assert (made.host.metric, made.unit) == (on_the_wire, unit)


@pytest.mark.parametrize(
    ("written", "kind"),
    [("oom", wire.EVENT_KIND_OOM), ("deaths", wire.EVENT_KIND_DEATH), ("restarts", wire.EVENT_KIND_RESTART)],
)
def test_events_are_counted_of_the_target_or_of_units(written: str, kind: wire.EventKind) -> None:
    assert probe(f"{{events: {written}}}").events == wire.EventsSource(kind=kind)
    made = probe(f"{{events: {written}, unit: 'payment-*', over: 5m}}")
    assert (made.events.unit, made.over_ms, made.unit) == ("payment-*", 300_000, wire.UNIT_UNSPECIFIED)


def test_a_command_is_a_name_and_arguments_and_never_a_shells_line() -> None:
    assert probe("{command: check}").command == wire.CommandSource(command="check")
    assert probe("{command: [check, --limit, 5, 'a b; c']}").command == wire.CommandSource(
        command="check", arguments=["--limit", "5", "a b; c"]
    )


@pytest.mark.parametrize(
    ("written", "take", "path", "unit"),
    [
        ("{http: 'http://x'}", wire.TAKE_MET, [], wire.UNIT_MET),
        ("{http: 'http://x', take: met}", wire.TAKE_MET, [], wire.UNIT_MET),
        ("{http: 'http://x', take: status}", wire.TAKE_STATUS, [], wire.UNIT_UNSPECIFIED),
        ("{http: 'http://x', take: number}", wire.TAKE_NUMBER, [], wire.UNIT_UNSPECIFIED),
        (
            "{http: 'http://x', take: json.queue.0.depth}",
            wire.TAKE_JSON,
            ["queue", "0", "depth"],
            wire.UNIT_UNSPECIFIED,
        ),
        ("{http: 'http://x', take: latency}", wire.TAKE_LATENCY, [], wire.UNIT_SECONDS),
        ("{tcp: 'x:1', take: latency}", wire.TAKE_LATENCY, [], wire.UNIT_SECONDS),
        ("{grpc: 'x:1'}", wire.TAKE_MET, [], wire.UNIT_MET),
        ("{command: x}", wire.TAKE_MET, [], wire.UNIT_MET),
        ("{command: x, take: number}", wire.TAKE_NUMBER, [], wire.UNIT_UNSPECIFIED),
        ("{command: x, take: json.a}", wire.TAKE_JSON, ["a"], wire.UNIT_UNSPECIFIED),
    ],
)
def test_the_unit_follows_from_what_is_taken(
    written: str, take: wire.Take, path: list[str], unit: wire.Unit
) -> None:
    made = probe(written)
    assert (made.take, list(made.path), made.unit) == (take, path, unit)


def test_an_experiment_with_probes_can_be_hashed_and_is_equal_to_its_like() -> None:
    written = "{http: {url: 'http://x', headers: {A: {env: B}}}}"
    assert hash(probed(written)) == hash(probed(written))
    assert probed(written) == probed(written)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{http: 'http://x'}", "{http: {url: 'http://x', method: GET}, within: 2000ms, every: 1s, take: met}"),
        ("{grpc: 'x:1'}", "{grpc: {address: 'x:1', tls: false}}"),
        ("{command: x}", "{command: [x]}"),
    ],
)
def test_probes_that_mean_the_same_are_one_plan(one: str, other: str) -> None:
    assert probed(one).canonical() == probed(other).canonical()


@pytest.mark.parametrize(
    "other",
    [
        "{http: 'http://y'}",
        "{http: {url: 'http://x', method: HEAD}}",
        "{http: {url: 'http://x', headers: {A: {env: B}}}}",
        "{http: {url: 'http://x', contains: ok}}",
        "{http: 'http://x', within: 1s}",
        "{http: 'http://x', every: 2s}",
        "{http: 'http://x', take: status}",
        "{http: 'http://x', fresh_within: 1m}",
    ],
)
def test_another_probe_is_another_plan(other: str) -> None:
    assert probed(other).canonical() != probed("{http: 'http://x'}").canonical()

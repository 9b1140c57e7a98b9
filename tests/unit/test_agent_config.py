"""Where the agent's metrics may go: nowhere by default, and never to the network."""

from pathlib import Path

import pytest

from killdeer_agent.config import ConfigError, Loopback, load_config


def metrics(tmp_path: Path, line: str) -> Loopback | Path | None:
    file = tmp_path / "agent.toml"
    file.write_text(f'coordinators = ["c:7442"]\n{line}\n')
    return load_config(file).metrics


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("", None),
        ('metrics = "off"', None),
        ('metrics = "127.0.0.1:9477"', Loopback("127.0.0.1", 9477)),
        ('metrics = "127.1.2.3:9477"', Loopback("127.1.2.3", 9477)),
        ('metrics = "[::1]:9477"', Loopback("::1", 9477)),
        ('metrics = "/run/killdeer/killdeer.prom"', Path("/run/killdeer/killdeer.prom")),
    ],
)
def test_metrics_are_off_or_on_loopback_or_in_a_file(
    tmp_path: Path, line: str, where: Loopback | Path | None
) -> None:
    assert metrics(tmp_path, line) == where


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("0.0.0.0:9477", "listens on this host alone, such as"),
        ("[::]:9477", "listens on this host alone"),
        ("192.0.2.7:9477", "listens on this host alone"),
        ("[::ffff:192.0.2.7]:9477", "listens on this host alone"),
        ("localhost:9477", "wants a number for an address"),
        ("db.example.com:9477", "wants a number for an address"),
        (":9477", "wants a number for an address"),
        ("127.0.0.1", 'wants "off", "127.0.0.1:PORT" or the path of a file'),
        ("127.0.0.1:0", 'wants "off"'),
        ("127.0.0.1:65536", 'wants "off"'),
        ("on", 'wants "off"'),
        ("killdeer.prom", 'wants "off"'),
        ("/run/killdeer/metrics.txt", "wants a name that ends in .prom"),
    ],
)
def test_anything_else_is_refused_with_what_it_wants(tmp_path: Path, said: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        metrics(tmp_path, f'metrics = "{said}"')
    assert f"'metrics': {why}" in str(refused.value)
    assert repr(said) in str(refused.value)

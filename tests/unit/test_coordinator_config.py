"""coordinator.toml: every default in one place, every fault by file, line and key, all of them at once."""

import re
import tomllib
from pathlib import Path

import pytest

from killdeer_coordinator import config
from killdeer_coordinator.config import Address, Config, ConfigError
from killdeer_coordinator.example import example_toml

FILE = Path("/etc/killdeer/coordinator.toml")


def test_an_empty_file_gives_the_defaults() -> None:
    read = config.parse("", FILE)
    assert (str(read.listen_agents), str(read.listen_operators), str(read.listen_halt)) == (
        "0.0.0.0:7442",
        "127.0.0.1:7443",
        "127.0.0.1:7444",
    )
    assert (read.lease_ms, read.heartbeat_ms, read.retention_days) == (15_000, 5_000, 30)
    assert read.limits.limits == {"in_flight": 3, "per_host": 1, "per_service": 1}
    assert set(read.limits.sources.values()) == {"built in"}
    assert read.state == Path("/var/lib/killdeer-coordinator")
    assert read.store_url == "sqlite:////var/lib/killdeer-coordinator/killdeer.db"
    assert read.ca == Path("/etc/killdeer/ca.pem")
    assert read.reflection is False
    assert read.commands == {}
    assert read.secrets == Path("/etc/killdeer/secrets")


def test_the_file_that_init_writes_holds_every_key_with_its_default() -> None:
    text = example_toml()
    said, defaults = config.parse(text, FILE), config.parse("", FILE)
    assert said.limits.limits == defaults.limits.limits
    assert set(said.limits.sources.values()) == {"coordinator.toml"}
    assert {name: getattr(said, name) for name in Config.__slots__ if name != "limits"} == {
        name: getattr(defaults, name) for name in Config.__slots__ if name != "limits"
    }
    uncommented = tomllib.loads(
        re.sub(r"(?m)^# (?=(heartbeat|listen_join|agents_at|per_\w+|url) = |\[store\])", "", text)
    )
    keys = {key for key, value in uncommented.items() if not isinstance(value, dict)}
    keys |= {f"{section}.{key}" for section in ("tls", "halt", "store", "limits") for key in uncommented[section]}
    assert keys == set(config._KEYS)
    assert uncommented["commands"] == {}


def test_everything_can_be_said() -> None:
    text = """
    name = "north"
    listen_agents = "[::]:1"
    listen_operators = "ops.example.com:0"
    state = "books"
    secrets = "/run/killdeer/secrets"
    lease = "1m"
    heartbeat = "4s"
    retention = "90d"
    reflection = true
    log_level = "debug"
    [tls]
    ca = "/pki/ca.pem"
    [halt]
    token = "secret/token"
    [commands]
    count = ["/bin/sh", "-c", "echo 5"]
    [store]
    url = "postgresql://killdeer@db.example.com:5433/killdeer?sslmode=verify-full"
    [limits]
    in_flight = 0
    per_zone = 2
    per_minute = 6
    """
    read = config.parse(text, FILE)
    assert read.listen_agents == Address("::", 1)
    assert str(read.listen_agents) == "[::]:1"
    assert read.listen_operators == Address("ops.example.com", 0)
    assert (read.lease_ms, read.heartbeat_ms, read.retention_days) == (60_000, 4_000, 90)
    assert (read.state, read.ca) == (Path("/etc/killdeer/books"), Path("/pki/ca.pem"))
    assert read.halt_token == Path("/etc/killdeer/secret/token")
    assert read.secrets == Path("/run/killdeer/secrets")
    assert read.store_url == "postgresql://killdeer@db.example.com:5433/killdeer?sslmode=verify-full"
    assert read.commands == {"count": ("/bin/sh", "-c", "echo 5")}
    assert read.limits.limits == {"in_flight": 0, "per_host": 1, "per_service": 1, "per_zone": 2, "per_minute": 6}
    assert read.limits.sources["per_host"] == "built in"
    assert read.limits.sources["per_zone"] == "coordinator.toml"


def test_the_heartbeat_is_a_third_of_the_lease_and_never_so_rare_that_strikes_come_too_late() -> None:
    assert config.parse('lease = "12s"', FILE).heartbeat_ms == 4_000
    assert config.parse('lease = "5m"', FILE).heartbeat_ms == 5_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('lise = "15s"', "toml:1: cannot use the key 'lise': there is none of that name; did you mean 'lease'?"),
        ("[limits]\n\nin_fligth = 1", "toml:3: cannot use the key 'limits.in_fligth'.*'limits.in_flight'"),
        ("in_flight = 1", "did you mean 'limits.in_flight'"),
        ("[limit]\nin_flight = 1", "toml:1: cannot use the key 'limit'.*did you mean 'limits'"),
        ("limits.per_hots = 1", "toml:1: .*'limits.per_host'"),
        ("[probes]\nx = 1", "known here are name, listen_agents"),
        ('listen_halt = "7444"', 'toml:1: cannot read listen_halt = "7444": write HOST:PORT'),
        ('listen_halt = "127.0.0.1:70000"', "write HOST:PORT"),
        ("listen_halt = 7444", "cannot read listen_halt = 7444"),
        ("lease = 15", 'cannot read lease = 15: write a duration in quotes, such as "15s"'),
        ('lease = "15"', "cannot read '15' as a duration"),
        ('lease = "10m"', "between 1s and 5m"),
        ('heartbeat = "0s"', "more than 0"),
        ('lease = "2s"\n\nheartbeat = "1500ms"', "toml:3: cannot use the heartbeat.*1000 ms or less"),
        ('lease = "8s"\nheartbeat = "5s"', "cannot use the heartbeat"),
        ('lease = "1m"\nheartbeat = "6s"', "toml:2: cannot read heartbeat = .6s.: write 5s or less"),
        ('retention = "12h"', "whole days"),
        ('reflection = "yes"', "true or false, without quotes"),
        ('log_level = "loud"', "debug, info, warning, error"),
        ("[limits]\nper_host = true", "toml:2: cannot read limits.per_host = true: write a whole number from 0"),
        ("[limits]\nper_host = -1", "whole number"),
        ("limits = 3", "cannot use the key 'limits'"),
        ("name = ''", "write text"),
        ("[tls]\nkey = 1", "cannot read tls.key = 1"),
        ("[commands]\nx = '/bin/sh'", r"toml:2: cannot read commands\.x = \"/bin/sh\": write a list of texts"),
        ("[commands]\nx = []", "write a list of texts"),
        ("[commands]\nx = ['/bin/sh', 5]", "write a list of texts"),
        ("[commands]\nx = ['sh']", "absolute path"),
        ("[commands]\n'a b' = ['/bin/sh']", "letters, digits"),
        ("[commands]\n'a.b' = ['/bin/sh']", "letters, digits"),
        ("commands = 3", "cannot use the key 'commands'"),
        ("lease 15s", r"cannot read /etc/killdeer/coordinator.toml: .*line 1"),
        ("lease = '1s'\nlease = '2s'", "cannot read /etc/killdeer/coordinator.toml: .*overwrite"),
    ],
)
def test_a_fault_is_named_with_its_place_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config.parse(text, FILE)
    assert str(caught.value).startswith(("cannot read /etc/killdeer", "/etc/killdeer/coordinator.toml:"))


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse('lease = 1\nnope = 2\n[limits]\nper_host = "x"\n', FILE)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [
        f"{FILE}:1",
        f"{FILE}:2",
        f"{FILE}:4",
    ]


def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it is not there; `killdeer-coordinator init` makes one"):
        config.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        config.load(tmp_path / "bad.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        config.load(tmp_path)


@pytest.mark.parametrize(
    "url",
    ["sqlite:////x.db", "killdeer.db", "postgresql://db.example.com", "postgresql://[::1/killdeer"],
)
def test_a_store_that_is_no_postgresql_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"coordinator\.toml:2: cannot read store\.url .*postgresql://USER@HOST"):
        config.parse(f'[store]\nurl = "{url}"', FILE)


@pytest.mark.parametrize("url", ["postgresql://k:geheim@db/killdeer", "postgresql://k@db/killdeer?password=geheim"])
def test_a_password_in_the_file_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url: a password is not written here.*PGPASSFILE") as caught:
        config.parse(f'[store]\nurl = "{url}"', FILE)
    assert "geheim" not in str(caught.value)

"""The file of contexts: what it means, and what is refused with the nearest known key."""

from pathlib import Path

import pytest

from killdeer_client.contexts import ContextError, config_path, load_contexts, parse_contexts, with_current

FILE = """\
# where the fleets are
current = "sandbox"

[context.sandbox]
coordinators = ["127.0.0.1:7443", "[::1]:7443"]
ca = "keys/ca.crt"
cert = "/etc/killdeer/operator.crt"
key = "~/operator.key"

[context.live]
coordinators = ["coordinator:7443"]
ca = "ca"
cert = "c"
key = "k"
production = true
server_name = "elsewhere"
"""
PATH = Path("/home/op/config.toml")


def test_the_current_context_is_chosen_unless_another_is_named() -> None:
    contexts = parse_contexts(FILE, PATH)
    assert contexts.choose().name == "sandbox"
    assert contexts.choose("live").production
    assert contexts.choose("live").server_name == "elsewhere"
    assert contexts.choose().server_name == "killdeer-coordinator"


def test_relative_keys_are_beside_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/op")
    context = parse_contexts(FILE, PATH).choose()
    assert context.ca == Path("/home/op/keys/ca.crt")
    assert context.cert == Path("/etc/killdeer/operator.crt")
    assert context.key == Path("/home/op/operator.key")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FILE.replace("current", "curent"), "unknown key 'curent'; did you mean 'current'?"),
        (FILE.replace("cert =", "crt ="), "unknown key 'crt'; did you mean 'cert'?"),
        (FILE.replace("production = true", "produktion = true"), "did you mean 'production'?"),
        (FILE.replace("production = true", 'production = "yes"'), "production is true or false"),
        (FILE.replace('ca = "ca"\n', ""), "'ca' is missing"),
        (FILE.replace('ca = "ca"', "ca = 3"), "ca is a text"),
        (FILE.replace('["coordinator:7443"]', '"coordinator:7443"'), "coordinators is a list"),
        (FILE.replace('["coordinator:7443"]', '["coordinator"]'), "coordinators is a list"),
        (FILE.replace('["coordinator:7443"]', "[]"), "coordinators is a list"),
        ("current = [", "cannot read"),
        ("context = 3", "[context.NAME]"),
        ("[context]\nlive = 3", "it is no table"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(ContextError) as refused:
        parse_contexts(text, PATH)
    assert words in str(refused.value)
    assert str(PATH) in str(refused.value)


@pytest.mark.parametrize(("name", "words"), [("lve", "did you mean 'live'?"), ("", "killdeer context use NAME")])
def test_a_context_that_is_not_known_is_refused(name: str, words: str) -> None:
    contexts = parse_contexts(FILE.replace('current = "sandbox"', ""), PATH)
    with pytest.raises(ContextError, match=words.replace("?", r"\?")):
        contexts.choose(name)


@pytest.mark.parametrize(
    "written", ['current = "sandbox"\n', "", '  current="sandbox" # was\n', "current = 'sandbox'\n"]
)
def test_another_current_context_leaves_the_rest_of_the_file_alone(written: str) -> None:
    text = FILE.replace('current = "sandbox"\n', written)
    changed = with_current(text, "live")
    contexts = parse_contexts(changed, PATH)
    assert contexts.current == "live"
    assert set(contexts.known) == {"sandbox", "live"}
    assert [line for line in changed.splitlines() if "current" not in line] == [
        line for line in text.splitlines() if "current" not in line
    ]


def test_a_key_called_current_inside_a_context_is_not_taken_for_it() -> None:
    assert with_current("[context.a]\ncurrent = 3\n", "b") == 'current = "b"\n[context.a]\ncurrent = 3\n'


def test_the_file_is_where_the_environment_says() -> None:
    assert config_path({"KILLDEER_CONFIG": "/x/y.toml"}) == Path("/x/y.toml")
    assert config_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/killdeer/config.toml")
    assert config_path({}) == Path("~/.config/killdeer/config.toml").expanduser()


def test_a_missing_file_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="killdeer sandbox start"):
        load_contexts(tmp_path / "none.toml")

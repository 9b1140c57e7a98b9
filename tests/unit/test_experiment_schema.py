"""The JSON Schema for editors: every key is in it and says what it is for, and the examples hold to it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from killdeer_experiment.file import Experiment
from killdeer_experiment.schema import DIALECT, json_schema

ROOT = Path(__file__).parents[2]
FILES = [
    *sorted((ROOT / "examples").glob("*.yaml")),
    *sorted((Path(__file__).parent / "experiments/good").glob("*.yaml")),
]
SCHEMA = json_schema()


def problems(value: Any, schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """What a reader of schemas would find wrong, by the keywords that ours uses."""
    assert set(schema) <= KEYWORDS, set(schema) - KEYWORDS
    if "$ref" in schema:
        yield from problems(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], at)
    if "anyOf" in schema and not any(not list(problems(value, one, at)) for one in schema["anyOf"]):
        yield f"{at}: none of {len(schema['anyOf'])}"
    if "const" in schema and (value != schema["const"] or type(value) is not type(schema["const"])):
        yield f"{at}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if "type" in schema and not (
        isinstance(value, TYPES[schema["type"]]) and not (isinstance(value, bool) and schema["type"] != "boolean")
    ):
        yield f"{at}: {value!r} is no {schema['type']}"
    elif isinstance(value, str):
        if not re.search(schema.get("pattern", ""), value):
            yield f"{at}: {value!r} does not match {schema['pattern']}"
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**6):
            yield f"{at}: {value!r} is too short or too long"
    elif isinstance(value, int):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield f"{at}: {value} is too small or too large"
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{at}: too few"
        for index, item in enumerate(value):
            yield from problems(item, schema.get("items", {}), f"{at}[{index}]")
    elif isinstance(value, dict):
        yield from problems_of_mapping(value, schema, at)


def problems_of_mapping(value: dict[str, Any], schema: dict[str, Any], at: str) -> Iterator[str]:
    for key in schema.get("required", ()):
        if key not in value:
            yield f"{at}: {key} is missing"
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", 10**6):
        yield f"{at}: too few or too many keys"
    more = schema.get("additionalProperties", True)
    for key, inner in value.items():
        own = schema.get("properties", {}).get(key)
        if own is None and more is False:
            yield f"{at}: unknown key {key}"
        yield from problems(inner, own or (more if isinstance(more, dict) else {}), f"{at}.{key}")


TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
KEYWORDS = {
    "$schema", "$defs", "$ref", "anyOf", "const", "enum", "type", "pattern", "minLength", "maxLength", "minimum",
    "maximum", "exclusiveMaximum", "items", "minItems", "required", "properties", "additionalProperties",
    "minProperties", "maxProperties", "title", "description", "examples",
}  # fmt: skip


def mappings(schema: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of the schema that has properties."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield at, schema
        for key, inner in schema.items():
            yield from mappings(inner, f"{at}/{key}")
    elif isinstance(schema, list):
        for index, inner in enumerate(schema):
            yield from mappings(inner, f"{at}/{index}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_that_loads_is_right_by_the_schema(path: Path) -> None:
    value = YAML(typ="safe", pure=True).load(path.read_text())
    assert list(problems(value, SCHEMA)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("killdeer: 2", ".killdeer: 2 is not 1"),
        ("environment: prod", ".environment: 'prod' is none of"),
        ("probs: {}", ": unknown key probs"),
        ("probes: {a: {htp: x}}", ".probes.a: unknown key htp"),
        ("probes: {a: {host: cpu}}", ".probes.a.host: 'cpu' is none of"),
        ("baseline: 10", ".baseline: 10 is no string"),
        ("steady_state: healthy", ".steady_state: 'healthy' is no array"),
        ("waves: []", ".waves: too few"),
        ("action: explode", ".action: none of"),
        ("load: {start: {webhook: 'http://x'}}", ".load: stop is missing"),
        ("target: {process: {nmae: x}}", ".target.process: none of"),
    ],
)
def test_what_an_editor_can_see_wrong_is_wrong_by_the_schema(text: str, problem: str) -> None:
    found = list(problems(YAML(typ="safe", pure=True).load(text), SCHEMA))
    assert any(one.startswith(problem) for one in found), found


def test_every_key_says_what_it_is_for() -> None:
    silent = [
        f"{at}/{key}"
        for at, mapping in mappings(SCHEMA)
        for key, inner in mapping["properties"].items()
        if not inner.get("description")
    ]
    assert silent == []


def test_every_value_says_what_it_may_be() -> None:
    shapeless = [
        f"{at}/{key}"
        for at, mapping in mappings(SCHEMA)
        for key, inner in mapping["properties"].items()
        if not {"type", "$ref", "anyOf", "enum", "const"} & inner.keys()
    ]
    assert shapeless == []


def test_no_mapping_takes_keys_that_are_not_known() -> None:
    assert [at for at, mapping in mappings(SCHEMA) if mapping["additionalProperties"] is not False] == []


def test_every_key_of_a_file_is_in_it() -> None:
    keys = {field.alias or name for name, field in Experiment.model_fields.items()}
    assert set(SCHEMA["properties"]) == keys
    assert set(SCHEMA["required"]) == {"killdeer", "name", "environment", "target", "waves"}


def test_sentences_come_with_examples() -> None:
    for section in ("preconditions", "steady_state", "abort_when"):
        assert "errors < 0.1%" in SCHEMA["properties"][section]["items"]["examples"]


def test_it_is_json_and_says_which_dialect() -> None:
    assert json.loads(json.dumps(SCHEMA))["$schema"] == DIALECT


def test_it_has_no_default_that_a_file_could_not_say() -> None:
    assert '"default"' not in json.dumps(SCHEMA)

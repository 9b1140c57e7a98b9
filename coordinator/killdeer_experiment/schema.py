"""The JSON Schema of experiment files, for editors: what pydantic says of the models, in the file's own words."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from killdeer_experiment.file import Experiment

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _AsWritten(GenerateJsonSchema):
    """Without defaults, which are the models' own values (milliseconds, records) and nothing a file could say."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """What an editor needs to complete the keys of a file and to say what each is for.

    It is looser than `load`: what keys say of each other, and what sentences say of probes, is not in it.
    """
    schema = Experiment.model_json_schema(schema_generator=_AsWritten)
    return {"$schema": DIALECT, **schema, "title": "Killdeer experiment"}

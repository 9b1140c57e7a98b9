"""`killdeer schema`: the JSON Schema of experiment files. Needs no coordinator."""

import json

from killdeer_cli.verbs import Verb, application

app = application()


@app.command(cls=Verb)
def schema() -> None:
    """Print the JSON Schema of experiment files, for an editor that completes and explains their keys.

    Keep it in a file, killdeer.schema.json say, and begin experiments with the line

    # yaml-language-server: $schema=killdeer.schema.json

    `killdeer validate` sees more: what keys say of each other, and where in a sentence a word is at fault.
    """
    from killdeer_experiment.schema import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))

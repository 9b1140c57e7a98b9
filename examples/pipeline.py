"""An experiment as a step of a pipeline: runs a file, shows how it goes, and leaves its result as JUnit XML.

    python examples/pipeline.py examples/first-kill.yaml killdeer.xml

The exit code is that of `killdeer run`: 0 only where the hypothesis held. KILLDEER_CONFIG names the fleet.
"""

import sys
from pathlib import Path

from killdeer_cli import exits
from killdeer_client import Client, ClientError, ContextError, Lost, load_contexts
from killdeer_client.junit import to_junit
from killdeer_client.pipeline import Change, conduct


def show(change: Change) -> None:
    lines = [f"lost sight of it: {change.error.message}"] if isinstance(change, Lost) else change.log
    for line in lines:
        print(line, flush=True)


def main(file: str, junit: str) -> int:
    try:
        with Client(load_contexts().choose()) as client:
            report = conduct(client, Path(file).read_text(), file=file, on_change=show)
    except ClientError as error:
        print(f"{error.message}\n{error.remedy}".strip(), file=sys.stderr)
        return exits.of_error(error)
    except (ContextError, OSError) as error:
        print(error, file=sys.stderr)
        return exits.REFUSED
    Path(junit).write_text(to_junit(report), encoding="utf-8")
    print(f"run {report.run.run_id}: {report.run.why}")
    return exits.of_verdict(report.run.verdict)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    raise SystemExit(main(*sys.argv[1:]))

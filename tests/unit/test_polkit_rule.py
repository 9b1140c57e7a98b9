"""deploy/systemd/killdeer.rules: what the agent's user may have systemd do (I7, R15)."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

RULE = Path(__file__).parents[2] / "deploy/systemd/killdeer.rules"
NODE = shutil.which("node")
PLACEHOLDER = '// "payment.service", "payment-worker@",'
ASKS = """
const asked = JSON.parse(process.argv[1]);
let rule;
const polkit = {addRule: found => { rule = found; }, Result: {YES: "yes"}};
%s
console.log(JSON.stringify(asked.map(([unit, verb, user]) =>
  rule({id: "org.freedesktop.systemd1.manage-units", lookup: key => ({unit, verb})[key]}, {user}) === "yes")));
"""

Ask = tuple[str | None, str, str]

pytestmark = pytest.mark.skipif(NODE is None, reason="no node to run the rule, which is JavaScript")


def allowed(rule: str, *asked: Ask) -> list[bool]:
    command = [NODE or "", "-e", ASKS % rule, json.dumps(asked)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    found: list[bool] = json.loads(said)
    return found


def test_i7_as_shipped_it_allows_nothing() -> None:
    asks: list[Ask] = [(unit, "start", "killdeer") for unit in ("payment.service", "run-1.service", None)]
    assert allowed(RULE.read_text(), *asks) == [False, False, False]


def test_r15_the_services_that_it_names_may_be_started_and_nothing_else() -> None:
    text = RULE.read_text()
    assert PLACEHOLDER in text
    rule = text.replace(PLACEHOLDER, PLACEHOLDER.removeprefix("// "))
    yes: list[Ask] = [
        ("payment.service", "start", "killdeer"),
        ("payment.service", "reset-failed", "killdeer"),
        ("payment-worker@3.service", "start", "killdeer"),
    ]
    no: list[Ask] = [
        ("payment.service", "stop", "killdeer"),
        ("payment.service", "restart", "killdeer"),
        ("payment.service", "start", "somebody"),
        ("payment-worker@3.timer", "start", "killdeer"),
        ("payment-workers@3.service", "start", "killdeer"),
        ("rescue.target", "start", "killdeer"),
        ("run-p1-i1.service", "start", "killdeer"),  # a transient unit, as systemd 257 asks for it
        (None, "start", "killdeer"),
    ]
    assert allowed(rule, *yes, *no) == [True] * len(yes) + [False] * len(no)

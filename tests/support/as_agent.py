"""What a process with the agent's rights can do to another user's process. Run as a program, with that one's
pid and a port that it listens on; prints one JSON object. The last thing it does is strike it with SIGTERM.
"""

import json
import signal
import sys

from killdeer.terms import parse_selector
from killdeer.v1.agent_pb2 import EvidenceLevel
from killdeer.v1.process_pb2 import Action, Kill, Reason
from killdeer_agent.core.guard import Guard
from killdeer_agent.core.selector import Matcher
from killdeer_agent.kernel import clock
from killdeer_agent.kernel.collector import open_collector
from killdeer_agent.kernel.proc import ProcFacts
from killdeer_agent.kernel.scan import Scanner
from killdeer_agent.surroundings import evidence, selectors
from tests.support.strikes import blow, identity, opening, striker, warrant

MINUTE_NS = 60_000_000_000


def scan(*terms: str) -> list[int] | str:
    """The pids that match, or why that cannot be told."""
    scanner = Scanner(host="h", boot_id=clock.boot_id(), clock=clock.boot_ns)
    now = clock.now()
    kill = Action(kill=Kill(signal=signal.SIGKILL))
    result = scanner.scan(Matcher(parse_selector(terms)), Guard(), kill, now, now.boot_ns + MINUTE_NS)
    return Reason.Name(result.failure) if result.failure else [one.identity.pid for one in result.candidates]


def main(pid: int, port: int) -> None:
    facts = ProcFacts(pid)
    user = f"user={facts.uid}"
    collector = open_collector()
    collector.close()
    told = {
        "state": facts.state,
        "cmdline": facts.cmdline,
        "uid": facts.uid,
        "cgroup": facts.cgroup,
        "cheap": scan(user, "name=sleep"),
        "exe": scan(user, "exe~=sleep"),
        "port": scan(user, f"port={port}"),
        "evidence": EvidenceLevel.Name(collector.level),
        "doctor_evidence": evidence("auto").ok,
        "doctor_selectors": selectors().ok,
    }
    right = warrant(identity(pid))
    hand = striker()
    told["opened"] = str(hand.open(opening(right)) or "yes")
    told["struck"] = str(hand.strike(blow(right, signal.SIGTERM)).refusal or "yes")
    print(json.dumps(told))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

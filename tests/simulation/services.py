"""The services of a simulated host: what runs in them, who restarts it, and what its host allows to be hit."""

from dataclasses import dataclass, replace

from killdeer.terms import parse_selector
from killdeer_agent.core.guard import Guard, Rule
from killdeer_agent.core.selector import Matcher
from tests.simulation.clock import MS
from tests.simulation.processes import Proc

ACTIONS = ("kill", "terminate", "pause", "hold-down")
AGENT_PID = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """`units` is a name with `{}` for the instance, or a plain one. `restart_ns` -1: nobody restarts it."""

    name: str  # as the agent works it out (rule R19)
    units: str
    replicas: int
    exe: str
    user: str = "app"
    protected: bool = False
    restart_ns: int = 500 * MS
    kernel_thread: bool = False
    slice: str = "system.slice"

    def unit_of(self, slot: int) -> str:
        return self.units.format(slot + 1)

    def cgroup_of(self, slot: int) -> str:
        return f"/{self.slice}/{self.unit_of(slot)}" if self.units else f"/{self.slice}"


WORKER = Service(name="worker@", units="worker@{}.service", replicas=3, exe="/usr/bin/worker")
MAIL = Service(name="mail.service", units="mail.service", replicas=2, exe="/usr/bin/mail", user="mail")
# Called like a worker, and nothing on the host opts it in.
LEDGER = Service(name="ledger.service", units="ledger.service", replicas=1, exe="/usr/bin/worker", user="ledger")
SSHD = Service(
    name="ssh.service", units="ssh.service", replicas=1, exe="/usr/bin/worker", user="root", protected=True
)
LOGIN = Service(
    name="session-1.scope",
    units="session-1.scope",
    replicas=1,
    exe="/usr/bin/worker",
    user="ada",
    protected=True,
    restart_ns=-1,
    slice="user.slice/user-1000.slice",
)
EVERY = (WORKER, MAIL, LEDGER, SSHD, LOGIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFiles:
    """A host's guard, as its files say it: service -> actions; users who are never hit."""

    allow: tuple[tuple[str, tuple[str, ...]], ...]
    deny_users: tuple[str, ...] = ()
    per_minute: int | None = None
    number: int = 1
    problem: str = ""

    def allows(self, proc: Proc, action: str) -> bool:
        """The truth that the oracle judges by: nothing of the agent's own code is asked."""
        if self.problem or proc.protected or proc.kernel_thread or proc.pid == 1 or proc.pid == AGENT_PID:
            return False
        if proc.user in self.deny_users or proc.unreadable:
            return False
        return any(proc.service == service and action in actions for service, actions in self.allow)

    def changed(self, **fields: object) -> "GuardFiles":
        return replace(self, number=self.number + 1, **fields)  # type: ignore[arg-type]

    def guard(self) -> Guard:
        """As the agent's reader of these files makes it."""
        return Guard(
            own=frozenset({AGENT_PID, 1}),
            allow=tuple(
                Rule(
                    matcher=Matcher(parse_selector([f"unit={_units(service)}"])),
                    source=f"{service}.toml",
                    actions=frozenset(actions),
                )
                for service, actions in self.allow
            ),
            deny=tuple(
                Rule(matcher=Matcher(parse_selector([f"user={user}"]), strict=True), source="deny.toml")
                for user in self.deny_users
            ),
            per_minute=self.per_minute,
            version=f"v{self.number}",
            problem=self.problem,
        )


def _units(service: str) -> str:
    return f"{service}*.service" if service.endswith("@") else service

"""One line of `killdeer-agent doctor`."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`needed`: without it the agent strikes nothing here, or cannot keep its word. `remedy`: what to do when it is
    not `ok`."""

    name: str
    ok: bool
    needed: bool = False
    fact: str
    remedy: str = ""

    def as_json(self) -> dict[str, object]:
        return asdict(self)

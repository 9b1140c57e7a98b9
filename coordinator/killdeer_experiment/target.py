"""What may be hit."""

from typing import Any

from pydantic import Field

from killdeer.v1.operator_pb2 import LabelMatch
from killdeer.v1.process_pb2 import Selector
from killdeer_experiment import selector
from killdeer_experiment.parts import Hosts, Part, Processes


class Target(Part):
    """What may be hit: processes that match every term, on hosts that match every label.

    Without `hosts`: every host of the experiment's environment.
    """

    hosts: Hosts = Field(
        default=(), description="labels that a host must have, such as {role: payment, zone: [a, b]}"
    )
    process: Processes = Field(description="which processes, such as {unit: payment-worker@*.service}")

    def label_matches(self) -> list[LabelMatch]:
        return [label.to_wire() for label in self.hosts]

    def selector(self) -> Selector:
        return selector.to_wire(self.process)

    def written(self) -> dict[str, Any]:
        hosts = {label.key: selector.one_or_list(label.values) for label in self.hosts}
        return ({"hosts": hosts} if hosts else {}) | {"process": selector.written(self.process)}

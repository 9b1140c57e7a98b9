"""What a probe asks over the network: an HTTP server, a TCP port, a gRPC health service."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from killdeer.v1 import probe_pb2 as wire
from killdeer_experiment.addresses import (
    Address,
    AuthorityFile,
    Body,
    Headers,
    HostPort,
    Method,
    Statuses,
    Url,
    read_address,
    written_headers,
)
from killdeer_experiment.faults import Problem
from killdeer_experiment.parts import Flag, Line, Part
from killdeer_experiment.reading import reader
from killdeer_experiment.selector import one_or_list


class Http(Part):
    """An HTTP request, and which of its answers are as they should be.

    Without `status`: 200 to 299. `ca_file`, and what headers refer to, are on the machine that asks.
    """

    url: Url = Field(description="what is asked, such as http://127.0.0.1:8080/healthz")
    method: Method = Field(default="GET", description="the request's method; GET unless said, POST for a webhook")
    headers: Headers = Field(
        default=(), description="headers of the request; secrets by {env: NAME} or {file: /PATH}, never written out"
    )
    body: Body = Field(
        default="", description="the request's body; of a webhook the run's state as JSON unless said"
    )
    status: Statuses = Field(
        default=(), description="the statuses that are as they should be; 200 to 299 unless said"
    )
    contains: Line = Field(default="", description="text that the answer's body has when it is as it should be")
    ca_file: AuthorityFile = Field(default="", description="authorities to trust; the system's unless said")

    def to_wire(self) -> wire.HttpSource:
        return wire.HttpSource(
            url=self.url,
            method=self.method,
            headers=[header.to_wire() for header in self.headers],
            body=self.body,
            status=self.status,
            contains=self.contains,
            ca_file=self.ca_file,
        )

    def written(self, usual: str = "GET") -> object:
        """As a file has it, where `usual` is the method that goes without saying."""
        whole: dict[str, Any] = {"method": self.method} if self.method != usual else {}
        whole |= {"headers": written_headers(self.headers)} if self.headers else {}
        whole |= {"body": self.body} if self.body else {}
        whole |= {"status": one_or_list(self.status)} if self.status else {}
        whole |= {"contains": self.contains} if self.contains else {}
        whole |= {"ca_file": self.ca_file} if self.ca_file else {}
        return {"url": self.url} | whole if whole else self.url


class Grpc(Part):
    """A server's standard health service."""

    address: HostPort = Field(description="the server's HOST:PORT, such as 127.0.0.1:9000")
    service: Line = Field(default="", description="the service that is asked after; the whole server unless said")
    tls: Flag = Field(default=False, description="whether to speak TLS")
    ca_file: AuthorityFile = Field(default="", description="authorities to trust; the system's unless said")

    def to_wire(self) -> wire.GrpcSource:
        return wire.GrpcSource(address=str(self.address), service=self.service, tls=self.tls, ca_file=self.ca_file)

    @property
    def written(self) -> object:
        """As a file has it."""
        whole: dict[str, Any] = {"service": self.service} if self.service else {}
        whole |= {"tls": True} if self.tls else {}
        whole |= {"ca_file": self.ca_file} if self.ca_file else {}
        return {"address": str(self.address)} | whole if whole else str(self.address)


def _of_grpc(mapping: Mapping[str, object]) -> list[Problem]:
    if "ca_file" in mapping and mapping.get("tls", False) is False:
        return [Problem(message="'ca_file' goes with tls: true", path=("ca_file",), of_key=True)]
    return []


def of_http(mapping: Mapping[str, object]) -> list[Problem]:
    if "ca_file" in mapping and str(mapping.get("url", "")).startswith("http://"):
        return [Problem(message="'ca_file' goes with an https URL", path=("ca_file",), of_key=True)]
    return []


read_http = reader(Http, "wants a URL, or a mapping such as {url: URL, contains: ok}", short="url", between=of_http)
read_grpc = reader(
    Grpc, "wants HOST:PORT, or a mapping such as {address: HOST:PORT}", short="address", between=_of_grpc
)

OptionalHttp = Annotated[Http | None, PlainValidator(read_http, json_schema_input_type=str | Http)]
OptionalGrpc = Annotated[Grpc | None, PlainValidator(read_grpc, json_schema_input_type=str | Grpc)]
OptionalAddress = Annotated[
    Address | None,
    PlainValidator(read_address, json_schema_input_type=Annotated[str, Field(examples=["127.0.0.1:5432"])]),
]

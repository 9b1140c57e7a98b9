"""Killdeer's Python API: everything an operator can do, over the operator service.

from killdeer_client import Client, load_contexts

with Client(load_contexts().choose()) as client:
    print(client.status())
"""

from killdeer_client.client import Client
from killdeer_client.contexts import Context, ContextError, Contexts, load_contexts
from killdeer_client.errors import ClientError
from killdeer_client.following import Lost, follow
from killdeer_client.halting import HaltProgress, halt

__all__ = [
    "Client",
    "ClientError",
    "Context",
    "ContextError",
    "Contexts",
    "HaltProgress",
    "Lost",
    "follow",
    "halt",
    "load_contexts",
]

"""Is a message newer than its reader? A command with anything unknown in it is refused (rule R25)."""

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet


def newer_than_me(message: Message) -> str:
    """Where an unknown field or enum value is, at any depth: `Strike.action: field 9`; else empty."""
    name = message.DESCRIPTOR.name
    unknown = UnknownFieldSet(message)
    if len(unknown):
        return f"{name}: field {unknown[0].field_number}"
    for descriptor, value in message.ListFields():
        # Iterating a map gives its keys; the wire's maps hold no messages.
        values = value if descriptor.is_repeated else [value]
        for inner in values:
            if descriptor.enum_type is not None and inner not in descriptor.enum_type.values_by_number:
                return f"{name}.{descriptor.name}: value {inner}"
            if isinstance(inner, Message) and (found := newer_than_me(inner)):
                return f"{name}.{descriptor.name}: {found}"
    return ""

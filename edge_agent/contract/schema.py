"""JSON Schema 2020-12 of every message, from its type."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import msgspec

from edge_agent import topics
from edge_agent.contract.channels import Channel, Message, channels

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def schemas() -> dict[str, Schema]:
    """One self-contained schema a message, by its name."""
    found: dict[str, Schema] = {}
    for channel in channels():
        for message in channel.messages:
            if message.wrapper is not None:
                found[message.name] = schema(message)
    return found


def schema(message: Message, template: str = "#/$defs/{name}") -> Schema:
    """The schema of one message, with the definitions that it refers to."""
    assert message.wrapper is not None
    _, parts = msgspec.json.schema_components([message.wrapper, *message.bodies], ref_template=template)
    parts = {name: _clean(part) for name, part in parts.items()}
    whole = dict(parts.pop(message.wrapper.__name__))
    if message.field is not None and message.bodies:
        whole["properties"] = {**whole["properties"], message.field: _body(message, parts, template)}
    if message.name.startswith(("ev.", "cmd.")):
        name = "type" if message.name.startswith("ev.") else "name"
        const = message.name if name == "type" else message.name.removeprefix("cmd.")
        whole["properties"] = {**whole["properties"], name: {"const": const}}
    head = {"$schema": DIALECT, "$id": f"urn:edge-agent:{topics.ROOT.replace('/', ':')}:{message.name}"}
    return head | whole | {"title": message.name} | ({"$defs": dict(sorted(parts.items()))} if parts else {})


def find(topic: str) -> tuple[Channel, Message] | None:
    """The channel and message of a topic; None where it is none of the contract."""
    levels = topic.split("/")
    for channel in channels():
        address = channel.address.split("/")
        if len(address) == len(levels) and all(
            a.startswith("{") or a == b for a, b in zip(address, levels, strict=True)
        ):
            named = (message for message in channel.messages if message.name == f"cmd.{levels[-1]}")
            return channel, next(named, channel.messages[0])
    return None


def _body(message: Message, parts: dict[str, Schema], template: str) -> Schema:
    """What stands in the wrapper's field. The arguments of a command leave out the name, which stands beside them."""
    if message.name.startswith("cmd."):
        part = parts.pop(message.bodies[0].__name__)
        properties = {name: value for name, value in part["properties"].items() if name != "name"}
        required = [name for name in part.get("required", ()) if name != "name"]
        return {**part, "properties": properties, "required": required}
    refs = [{"$ref": template.format(name=kind.__name__)} for kind in message.bodies]
    return refs[0] if len(refs) == 1 else {"anyOf": refs}


def _clean(value: Any) -> Any:
    """Descriptions without the indentation of the source, and without OpenAPI's `discriminator`."""
    match value:
        case dict():
            return {
                key: inspect.cleandoc(part) if key == "description" and isinstance(part, str) else _clean(part)
                for key, part in value.items()
                if not (key == "discriminator" and isinstance(part, dict))
            }
        case list():
            return [_clean(part) for part in value]
        case _:
            return value


def names(whole: Schema) -> Iterator[str]:
    """The names of a schema's definitions."""
    yield from whole.get("$defs", {})

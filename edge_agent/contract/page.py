"""The contract as one HTML page that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from edge_agent import topics
from edge_agent.contract.channels import Channel, channels
from edge_agent.contract.schema import Schema, schema

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; } h3 { margin: 2.5rem 0 .3rem; }
code, pre { font: .88em/1.45 ui-monospace, monospace; } code { background: var(--soft); padding: .1em .3em; }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; margin: .5rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top; }
.facts { color: #777; margin: .2rem 0; } a { color: inherit; }
"""


def page(examples: Mapping[str, str]) -> str:
    """The page; `examples` are JSON texts by the name of their message."""
    up = [channel for channel in channels() if channel.sender == "device"]
    down = [channel for channel in channels() if channel.sender == "centre"]
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>edge-agent contract {topics.VERSION}</title><style>{STYLE}</style></head><body>",
            f"<h1>edge-agent: the contract, version {topics.VERSION}</h1>",
            "<p>What a device and its centre say to each other over MQTT 5. Generated from the message types by"
            " <code>make contract</code>; the same as <a href='asyncapi.json'>AsyncAPI 3</a> and as"
            " <a href='schema/'>JSON Schema</a>. How to use it: <a href='README.md'>README</a>.</p>",
            "<h2>All topics</h2>",
            *_table(("topic", "QoS", "retained", "expires", "answered on"), map(_row, (*up, *down))),
            "<h2>Up: the device publishes</h2>",
            *(line for channel in up for line in _section(channel, examples)),
            "<h2>Down: the centre publishes</h2>",
            *(line for channel in down for line in _section(channel, examples)),
            "</body></html>\n",
        )
    )


def _row(channel: Channel) -> tuple[str, ...]:
    link = f"<a href='#{channel.name}'><code>{escape(channel.address)}</code></a>"
    return link, str(channel.qos), "yes" if channel.retain else "no", _expiry(channel), channel.reply or ""


def _expiry(channel: Channel) -> str:
    match channel.expiry:
        case None:
            return "never"
        case "mandatory":
            return "mandatory"
        case seconds:
            return f"{seconds} s"


def _section(channel: Channel, examples: Mapping[str, str]) -> Iterator[str]:
    yield f"<h3 id='{channel.name}'><code>{escape(channel.address)}</code></h3>"
    kept = ", retained" if channel.retain else ""
    yield f"<p class='facts'>QoS {channel.qos}{kept}; expires: {_expiry(channel)}</p><p>{_text(channel.text)}</p>"
    for message in channel.messages:
        if message.wrapper is None:
            yield f"<p>{_text(message.text)}</p>"
            continue
        whole = schema(message)
        yield from _table(("field", "type", "", "meaning"), _fields(whole, whole))
        if message.name in examples:
            yield f"<pre>{escape(examples[message.name])}</pre>"
        yield f"<p class='facts'><a href='schema/{message.name}.json'>schema/{message.name}.json</a></p>"


def _fields(part: Schema, whole: Schema, path: str = "", depth: int = 0) -> Iterator[tuple[str, ...]]:
    """A row a field; objects inside are opened, but no deeper than a person follows."""
    for name, field in part.get("properties", {}).items():
        here = f"{path}{name}"
        needed = "required" if name in part.get("required", ()) else ""
        yield f"<code>{escape(here)}</code>", escape(_type(field)), needed, _text(_meaning(field, whole))
        for inner in _objects(field, whole) if depth < 2 else ():
            yield from _fields(inner, whole, f"{here}.", depth + 1)


def _objects(field: Schema, whole: Schema) -> Iterator[Schema]:
    """The objects that a field may hold."""
    if "$ref" in field:
        field = whole["$defs"][field["$ref"].rsplit("/", 1)[1]]
    for choice in field.get("anyOf", ()):
        yield from _objects(choice, whole)
    if "properties" in field:
        yield field
    if field.get("type") == "array" and isinstance(field.get("items"), dict):
        yield from _objects(field["items"], whole)


def _type(field: Schema) -> str:
    """A type in a few words: `number, -90 to 90`, `"a" or "b"`."""
    if "$ref" in field:
        return str(field["$ref"].rsplit("/", 1)[1])
    if "anyOf" in field:
        return " or ".join(_type(choice) for choice in field["anyOf"])
    if "const" in field:
        return json.dumps(field["const"])
    if "enum" in field:
        return " or ".join(json.dumps(choice) for choice in field["enum"])
    words = str(field.get("type", "any"))
    if words == "array" and isinstance(field.get("items"), dict):
        words = f"array of {_type(field['items'])}"
    low, high = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum")
    if low is not None and high is not None:
        words += ", 0 or more" if (low, high) == (0, 2**53) else f", {low:g} to {high:g}"
    if "maxLength" in field:
        words += f", at most {field['maxLength']} characters"
    return words


def _meaning(field: Schema, whole: Schema) -> str:
    if "$ref" in field:
        field = whole["$defs"][field["$ref"].rsplit("/", 1)[1]]
    told = str(field.get("description", ""))
    return told.split("\n\n", maxsplit=1)[0]


def _text(text: str) -> str:
    """Escaped, with `code` as code."""
    parts = escape(text, quote=False).split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))


def _table(head: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield "<div class='scroll'><table><tr>" + "".join(f"<th>{name}</th>" for name in head) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    yield "</table></div>"

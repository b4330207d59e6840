"""The contract as an AsyncAPI 3.0 document with MQTT bindings."""

from __future__ import annotations

from typing import Any

from edge_agent import topics
from edge_agent.contract.channels import Channel, Message, channels
from edge_agent.contract.schema import schema

BINDING = "0.2.0"
SCHEMAS = "#/components/schemas/{name}"
PARAMETERS = {
    "device": "The device's id: its certificate's common name, its user name and its client id.",
    "centre": "The centre's id.",
    "group": "A name that several devices have in `mqtt.groups`.",
    "name": "The command's name.",
    "event": "The id of the event that the picture belongs to.",
    "epoch": "With `seq` the place in the stream.",
    "seq": "With `epoch` the place in the stream.",
}


def document() -> dict[str, Any]:
    """The whole document."""
    parts: dict[str, Any] = {}
    messages = {
        message.name: _message(channel, message, parts) for channel in channels() for message in channel.messages
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "edge-agent",
            "version": f"{topics.VERSION}.0",
            "description": "What a device and its centre say to each other over MQTT 5. Within version 1 fields are"
            " only added: readers ignore what they do not know.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": topics.JSON,
        "servers": {"broker": _server()},
        "channels": {channel.name: _channel(channel) for channel in channels()},
        "operations": {_operation_name(channel): _operation(channel) for channel in channels()},
        "components": {"messages": messages, "schemas": dict(sorted(parts.items()))},
    }


def _server() -> dict[str, Any]:
    will = {"topic": topics.status("{device}"), "qos": 1, "retain": True, "message": "status with state: offline"}
    return {
        "host": "broker.example.org:8883",
        "protocol": "secure-mqtt",
        "protocolVersion": "5",
        "description": "Mutual TLS; one certificate a device.",
        "security": [{"type": "X509", "description": "The certificate's common name is the device's id."}],
        "bindings": {
            "mqtt": {
                "clientId": "{device}",
                "cleanSession": False,
                "lastWill": will,
                "keepAlive": 30,
                "sessionExpiryInterval": 86_400,
                "maximumPacketSize": 262_144,
                "bindingVersion": BINDING,
            }
        },
    }


def _channel(channel: Channel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "address": channel.address,
        "description": channel.text,
        "messages": {_key(m): {"$ref": f"#/components/messages/{m.name}"} for m in channel.messages},
    }
    names = [level[1:-1] for level in channel.address.split("/") if level.startswith("{")]
    return found | {"parameters": {name: {"description": PARAMETERS[name]} for name in names}}


def _operation_name(channel: Channel) -> str:
    return f"{'send' if channel.sender == 'device' else 'receive'}_{channel.name}"


def _operation(channel: Channel) -> dict[str, Any]:
    """As the device sees it."""
    mqtt: dict[str, Any] = {"qos": channel.qos, "retain": channel.retain, "bindingVersion": BINDING}
    if isinstance(channel.expiry, int):
        mqtt["messageExpiryInterval"] = channel.expiry
    elif channel.expiry == "mandatory":
        mqtt["messageExpiryInterval"] = {"type": "integer", "minimum": 1, "description": "mandatory; seconds"}
    found: dict[str, Any] = {
        "action": "send" if channel.sender == "device" else "receive",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "summary": channel.text,
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{_key(m)}"} for m in channel.messages],
        "bindings": {"mqtt": mqtt},
    }
    if channel.reply is not None:
        found["reply"] = {"channel": {"$ref": f"#/channels/{channel.reply}"}}
        if channel.expiry == "mandatory":
            found["reply"]["address"] = {
                "location": "$message.header#/responseTopic",
                "description": "MQTT 5's Response Topic; without one, the channel given here.",
            }
            del found["reply"]["channel"]
    return found


def _message(channel: Channel, message: Message, parts: dict[str, Any]) -> dict[str, Any]:
    mqtt: dict[str, Any] = {"bindingVersion": BINDING}
    found: dict[str, Any] = {"name": message.name, "title": message.name, "summary": message.text}
    if message.wrapper is None:
        return found | {
            "contentType": topics.JPEG,
            "payload": {"type": "string", "format": "binary"},
            "bindings": {"mqtt": mqtt},
        }
    whole = schema(message, SCHEMAS)
    parts |= {name: _draft7(part) for name, part in whole.pop("$defs", {}).items()}
    for name in ("$schema", "$id"):
        del whole[name]
    mqtt |= {"payloadFormatIndicator": 1, "contentType": topics.JSON}
    if channel.expiry == "mandatory" or channel.name == "res":
        mqtt["correlationData"] = {"type": "string", "format": "binary", "maxLength": 64}
        found["correlationId"] = {"location": "$message.payload#/id", "description": "The id of the command."}
    if channel.expiry == "mandatory":
        mqtt["responseTopic"] = topics.result("{device}")
    header = {"type": "string", "description": "Which message this is, and of which version of the contract."}
    user = {"schema": {**header, "examples": [f"{message.name}/{topics.VERSION}"]}}
    if channel.name.startswith("ev_"):
        user["lane"] = {"type": "string", "description": "0 (alarms, audit) to 3 (aggregates)."}
        user["hist"] = {"type": "string", "description": "1: sent late; it must not move the live picture."}
    return found | {
        "contentType": topics.JSON,
        "headers": {"type": "object", "description": "MQTT 5's user properties.", "properties": user},
        "payload": _draft7(whole),
        "bindings": {"mqtt": mqtt},
    }


def _key(message: Message) -> str:
    return message.name.replace(".", "_")


def _draft7(value: Any) -> Any:
    """AsyncAPI's schemas are those of draft 7, where a tuple is written `items: [...]`."""
    match value:
        case {"prefixItems": items, **rest}:
            return _draft7({**rest, "items": items, "additionalItems": False})
        case dict():
            return {key: _draft7(part) for key, part in value.items()}
        case list():
            return [_draft7(part) for part in value]
        case _:
            return value

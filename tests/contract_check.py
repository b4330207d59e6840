"""Whether a message is as the contract says: for every test that publishes or receives one."""

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from edge_agent.contract.schema import find, schema


def check(topic: str, payload: bytes) -> None:
    """AssertionError for a topic that is none, or a message that is not what its topic promises."""
    found = find(topic)
    assert found, f"{topic} is no topic of the contract"
    channel, message = found
    if message.wrapper is None:
        assert payload.startswith(b"\xff\xd8"), f"{topic}: is no JPEG"
        return
    if not payload and channel.retain:
        return
    faults = [
        f"{'.'.join(map(str, fault.absolute_path)) or 'the message'}: {fault.message[:200]}"
        for fault in validator(message.name).iter_errors(json.loads(payload))
    ]
    assert not faults, f"{topic}: {'; '.join(faults)}"


@cache
def validator(name: str) -> Any:
    """The validator of a message by its name."""
    from edge_agent.contract.channels import channels

    return Draft202012Validator(schema(next(m for c in channels() for m in c.messages if m.name == name)))

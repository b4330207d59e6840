"""Send one command to a device and wait for its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from ulid import ULID

from edge_agent import topics
from edge_agent.config import Mqtt
from edge_agent.pipe import Broker
from edge_agent.runtime import Clock


async def ask(
    section: Mqtt, device: str, name: str, args: dict[str, Any], *, by: str, id: str, expires_s: float, clock: Clock
) -> topics.Result | None:
    """The device's answer, or None where none came before the command expired; raises `DriverError`."""
    wake = asyncio.Event()
    answers = topics.result(device)
    command = topics.Command(id=id, name=name, args=args, by=by, not_after=topics.rfc3339(clock.wall() + expires_s))
    pipe = await Broker(section).connect(f"ask-{ULID()}", [answers], wake)
    try:
        async with asyncio.timeout(expires_s):
            facts = {"ContentType": topics.JSON, "MessageExpiryInterval": max(1, round(expires_s))}
            pipe.publish(topics.command(device, name), msgspec.json.encode(command), facts)
            while True:
                wake.clear()
                while pipe.messages:
                    message = pipe.messages.popleft()
                    if message.topic == answers and (result := _read(message.payload)) and result.id == id:
                        return result
                pipe.check()
                await wake.wait()
    except TimeoutError:
        return None
    finally:
        await pipe.close()


def _read(payload: bytes) -> topics.Result | None:
    try:
        return msgspec.json.decode(payload, type=topics.Result)
    except (msgspec.DecodeError, ValueError):
        return None

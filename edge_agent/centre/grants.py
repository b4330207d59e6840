"""Answers what devices ask over MQTT before they upload an original: where to put it, or that it is here already."""

from __future__ import annotations

import asyncio
import logging

import msgspec
from ulid import ULID

from edge_agent import topics
from edge_agent.centre.evidence import EvidenceServer
from edge_agent.config import Mqtt
from edge_agent.pipe import Broker, Message
from edge_agent.twin import Answer, Ask

log = logging.getLogger(__name__)

ANSWER_EXPIRY_S = 60


class Grants:
    """Call `run` under `supervise`."""

    def __init__(self, section: Mqtt, server: EvidenceServer) -> None:
        self._broker, self._server = Broker(section), server

    async def run(self) -> None:
        """One connection, from its start to its end; raises `DriverError` when the broker or the disk fails."""
        wake = asyncio.Event()
        pipe = await self._broker.connect(f"grants-{ULID()}", [topics.request("+", "grant")], wake)
        try:
            while True:
                wake.clear()
                pipe.pubacks.clear()
                while pipe.messages:
                    message = pipe.messages.popleft()
                    if (parts := topics.split(message.topic)) and (answer := await self._answer(parts[0], message)):
                        facts = {"ContentType": topics.JSON, "MessageExpiryInterval": ANSWER_EXPIRY_S}
                        pipe.publish(topics.answer(parts[0]), msgspec.json.encode(answer), facts)
                pipe.check()
                await wake.wait()
        finally:
            await pipe.close()

    async def _answer(self, device: str, message: Message) -> Answer | None:
        """None for a question without an id: nobody could know the answer for his."""
        try:
            ask = msgspec.json.decode(message.payload, type=Ask)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("%s: cannot be read: %s", message.topic, error)
            return None
        try:
            request = msgspec.convert(ask.data, type=topics.GrantRequest)
        except msgspec.ValidationError as error:
            return Answer(id=ask.id, state="refused", reason=f"`data`: {error}")
        return Answer(id=ask.id, state="ok", data=await self._server.grant(device, request))

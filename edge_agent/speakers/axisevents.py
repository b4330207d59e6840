"""What an Axis device says of itself: its events over WebSocket, and the report of its speaker test.

https://developer.axis.com/vapix/network-video/event-streaming-over-websocket (topics and fields: "Media clip events"),
https://developer.axis.com/vapix/audio-systems/auto-speaker-test-service-api
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from datetime import datetime
from typing import Any

from edge_agent.runtime import DriverError
from edge_agent.speakers import websocket
from edge_agent.speakers.http import Device
from edge_agent.speakers.stored import Playing

STREAM = "/vapix/ws-data-stream?sources=events"
TOPIC = "tnsaxis:MediaClip/tnsaxis:Playing"
TESTS = "/vapix/axast"
FRESH_S = 24 * 3600.0  # a speaker test is good for a day
READY_S = 2.0


class ClipEvents(Playing):
    """A connection that hears whether a clip is playing."""

    tells = True

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._reader, self._writer = reader, writer
        self._frames = websocket.Reader(wants_mask=False)
        self._agreed = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    @classmethod
    async def opened(cls, device: Device) -> ClipEvents:
        """Connected, and the device has agreed to tell; `DriverError` where it has no such events."""
        events = cls(*await device.upgrade(STREAM))
        wish = {"eventFilterList": [{"topicFilter": TOPIC}]}
        events._send(websocket.TEXT, json.dumps({"apiVersion": "1.0", "method": "events:configure", "params": wish}))
        try:
            async with asyncio.timeout(READY_S):
                await events._agreed.wait()
        except TimeoutError:
            await events.close()
            raise device.refused("its event stream does not answer") from None
        return events

    async def close(self) -> None:
        """Hear no more."""
        self._task.cancel()
        await asyncio.wait([self._task])
        with suppress(OSError):
            self._send(websocket.CLOSE, "")
        self._writer.close()

    def _send(self, opcode: int, text: str) -> None:
        self._writer.write(websocket.frame(opcode, text.encode(), os.urandom(4)))

    async def _listen(self) -> None:
        with suppress(OSError, websocket.ProtocolError):
            while data := await self._reader.read(65536):
                for message in self._frames.feed(data):
                    if message.opcode == websocket.PING:
                        self._writer.write(websocket.frame(websocket.PONG, message.data, os.urandom(4)))
                    elif message.opcode == websocket.TEXT:
                        self._heard(message.data)

    def _heard(self, data: bytes) -> None:
        try:
            said = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(said, dict):
            return
        if said.get("method") == "events:configure" and "error" not in said:
            self._agreed.set()
        state = playing(said)
        if state:
            self.seen = True
        elif state is False and self.seen:
            self.over = True


def playing(said: dict[str, Any]) -> bool | None:
    """Whether a notification says that a clip plays; None where it says nothing of it."""
    try:
        notification = said["params"]["notification"]
        if "MediaClip" not in notification["topic"]:
            return None
        value = notification["message"]["data"]["Playing"]
    except (KeyError, TypeError):
        return None
    return str(value).lower() in ("1", "true")


async def test_report(device: Device, wall_s: float) -> str:
    """The device's last test of its own loudspeaker: "OK", or why it proves nothing. Wants an administrator."""
    report = (await _call(device, "GetSpeakerTestReport")).get("SpeakerTestReport")
    if not isinstance(report, dict):
        return "no report"
    status = str(report.get("SpeakerTestStatus"))
    if status != "OK":
        return status
    try:
        age_s = wall_s - datetime.fromisoformat(str(report.get("TestTimestamp"))).timestamp()
    except ValueError:
        return "its time cannot be read"
    return "OK" if -3600 <= age_s <= FRESH_S else f"OK, but {age_s / 3600:.0f} h ago"


async def perform_test(device: Device) -> None:
    """Start the test: it is heard, and lasts some seconds. It must have been calibrated before."""
    await _call(device, "PerformSpeakerTest")


async def _call(device: Device, name: str) -> dict[str, Any]:
    body = json.dumps({f"axast:{name}": {}}).encode()
    answer = await device.request("POST", TESTS, headers={"Content-Type": "application/json"}, body=body)
    if answer.status >= 300:
        raise device.refused(answer)
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise DriverError(f"{device.where}: its speaker test answers, but not in JSON") from None
    return found if isinstance(found, dict) else {}

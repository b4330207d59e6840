"""MQTT 5 at QoS 0 by hand: listens to everything, or says whatever bytes it likes. Knows nothing of edge_agent."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence

Hear = Callable[[str, bytes, float], None]  # topic, payload, monotonic time


def publish_packet(topic: bytes, payload: bytes, *, retain: bool = False, expiry_s: int | None = None) -> bytes:
    """A PUBLISH at QoS 0; the topic may be any bytes at all."""
    facts = b"" if expiry_s is None else b"\x02" + expiry_s.to_bytes(4, "big")
    return _packet(0x30 | retain, _text(topic) + bytes([len(facts)]) + facts + payload)


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, name: str = "") -> Wire:
        """Connect to 127.0.0.1; `ConnectionError` where the broker does not let us in."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        wire = cls(reader, writer)
        client = name or f"wire-{os.urandom(6).hex()}"
        writer.write(_packet(0x10, _text(b"MQTT") + b"\x05\x02\x00\x00\x00" + _text(client.encode())))
        kind, body = await wire._read()
        if kind >> 4 != 2 or body[1]:
            raise ConnectionError(f"CONNACK {body!r}")
        return wire

    async def listen(self, filters: Sequence[str], hear: Hear, ready: asyncio.Event | None = None) -> None:
        """Subscribe, and hear until the connection ends."""
        body = b"\x00\x01\x00" + b"".join(_text(each.encode()) + b"\x00" for each in filters)
        self.writer.write(_packet(0x82, body))
        while True:
            kind, body = await self._read()
            if kind >> 4 == 9 and ready:
                ready.set()
            if kind >> 4 == 3:
                end = 2 + int.from_bytes(body[:2], "big")
                length, at = _varint(body, end)
                hear(body[2:end].decode(errors="replace"), body[at + length :], time.monotonic())

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.writer.write(publish_packet(topic.encode(), payload, retain=retain))
        await self.writer.drain()

    def close(self) -> None:
        self.writer.transport.abort()

    async def _read(self) -> tuple[int, bytes]:
        [kind] = await self._reader.readexactly(1)
        length = shift = 0
        while True:
            [byte] = await self._reader.readexactly(1)
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return kind, await self._reader.readexactly(length)


async def listen_for_ever(port: int, filters: Sequence[str], hear: Hear, ready: asyncio.Event) -> None:
    """Listen, and come back whenever the broker does."""
    while True:
        try:
            wire = await Wire.open(port)
            try:
                await wire.listen(filters, hear, ready)
            finally:
                wire.close()
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    number = shift = 0
    while True:
        number |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not body[at - 1] & 0x80:
            return number, at


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _packet(kind: int, body: bytes) -> bytes:
    length, rest = b"", len(body)
    while True:
        rest, byte = rest >> 7, rest & 0x7F
        length += bytes([byte | (0x80 if rest else 0)])
        if not rest:
            return bytes([kind]) + length + body

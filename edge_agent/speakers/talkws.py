"""A live voice over WebSocket: the device connects, so an operator's page behind a NAT can speak through a relay.

Each binary message is mu-law at 8 kHz, of any length; text is left unread; a close ends the talk (RFC 6455).
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import numpy as np

from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import reason, websocket
from edge_agent.speakers.g711 import decode
from edge_agent.speakers.http import read_answer
from edge_agent.speakers.listen import Floor, watched
from edge_agent.speakers.live import STEP, Live

CONNECT_S = 5.0
SUBPROTOCOL = "edge-agent.pcmu"  # asked for; a server may leave it out


@asynccontextmanager
async def fetched(source: str, for_s: float, clock: Clock) -> AsyncIterator[Live]:
    """The voice that `source` sends; raises `DriverError` where it cannot be had. Its `why` says how it ended."""
    reader, writer = await _connected(source)
    where = source.partition("?")[0]  # what follows may be a token: no record and no log needs it
    voice, floor = Live(), Floor(clock)
    try:
        async with asyncio.TaskGroup() as tasks:
            parts = [
                tasks.create_task(watched(voice, floor, for_s, where)),
                tasks.create_task(_take(reader, writer, voice, floor)),
            ]
            try:
                yield voice
            finally:
                voice.end("stopped")
                for part in parts:
                    part.cancel()
    finally:
        with suppress(OSError):
            writer.write(websocket.frame(websocket.CLOSE, b"\x03\xe8", os.urandom(4)))  # 1000: its purpose is fulfilled
        writer.close()


async def _connected(source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The handshake of RFC 6455, 4.1."""
    parts = urlsplit(source)
    key = base64.b64encode(os.urandom(16)).decode()
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Protocol: {SUBPROTOCOL}"]
    context = ssl.create_default_context() if parts.scheme == "wss" else None
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(CONNECT_S):
            port = parts.port or (443 if context else 80)
            reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            answer = await read_answer(reader, upgrade=True)
        if answer.status != 101 or answer.headers.get("sec-websocket-accept") != [websocket.accept(key)]:
            raise ValueError(f"answers, but not as a WebSocket (HTTP {answer.status})")
    except (TimeoutError, OSError, EOFError, ValueError) as error:
        if writer is not None:
            writer.close()
        raise DriverError(
            f"talk: {source.partition('?')[0]}: {reason(error) or f'no answer in {CONNECT_S:g} s'}"
        ) from None
    return reader, writer


async def _take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, voice: Live, floor: Floor) -> None:
    frames, at = websocket.Reader(wants_mask=False), 0
    try:
        while data := await reader.read(65536):
            for opcode, payload in frames.feed(data):
                match opcode:
                    case websocket.BINARY if payload:
                        floor.said()
                        at = _put(voice, at, payload)
                    case websocket.PING:
                        writer.write(websocket.frame(websocket.PONG, payload, os.urandom(4)))
                    case websocket.CLOSE:
                        return voice.end("the speaker hung up")
                    case websocket.TEXT:
                        floor.foreign = "text; send binary messages of mu-law"
    except (OSError, websocket.ProtocolError) as error:
        return voice.end(f"the connection broke: {reason(error)}")
    return voice.end("the connection ended")


def _put(voice: Live, at: int, payload: bytes) -> int:
    """In packets of a step, as RTP would bring them; where the next one begins."""
    samples = decode(payload, "pcmu")
    for part in np.split(samples, range(STEP, len(samples), STEP)):
        voice.put(at % 2**32, part)
        at += len(part)
    return at

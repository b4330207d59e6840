"""A live voice over WebSocket, fetched from a relay that shares no code with the agent."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from edge_agent.runtime import DriverError, SystemClock
from edge_agent.speakers import listen, talkws
from edge_agent.speakers.listen import listening
from edge_agent.speakers.live import Live

CLOCK = SystemClock()


class Jumping(SystemClock):
    """A clock that a test sets forward."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class Relay:
    """A server at `/talk/7`: RFC 6455's handshake by its own words, then whatever a test wants sent."""

    def __init__(self) -> None:
        self.asked, self.got, self.status = "", b"", 101
        self.joined = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Relay:
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/talk/7?t=abc"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.close()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.writers.append(writer)
        self.joined.set()
        self.asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in self.asked.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        proof = base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()
        writer.write(f"HTTP/1.1 {self.status} x\r\nSec-WebSocket-Accept: {proof}\r\n".encode())
        writer.write(b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n")
        while data := await reader.read(4096):
            self.got += data

    def send(self, head: bytes, data: bytes = b"") -> None:
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
        self.writer.write(head + size + data)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with Relay() as relay:
        yield relay


async def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


async def ended(voice: Live) -> str:
    await until(lambda: voice.why)
    return str(voice.why)


async def test_what_the_relay_sends_is_heard_in_order_until_it_closes(relay: Relay) -> None:
    async with listening(relay.url, 10, CLOCK) as voice:
        tap = voice.tap(8000)
        relay.send(b"\x89", b"ping")
        relay.send(b"\x82", bytes([0x80]) * 400 + bytes([0x00]) * 240)  # mu-law's largest, up and down: 80 ms
        await until(lambda: voice.heard_s == pytest.approx(0.08))
        relay.send(b"\x88", b"\x03\xe8")
        assert await ended(voice) == "the speaker hung up"
        steps = []
        while (step := tap.take()) is not None:
            steps.append(step)
        heard = np.concatenate(steps)
        assert (heard[:400] == 32124).all()
        assert (heard[400:640] == -32124).all()
    assert relay.asked.startswith("GET /talk/7?t=abc HTTP/1.1\r\n")
    assert "Sec-WebSocket-Protocol: edge-agent.pcmu\r\n" in relay.asked
    await until(lambda: b"\x8a\x84" in relay.got and b"\x88\x82" in relay.got)  # pong and close, masked


async def test_a_relay_that_refuses_or_is_not_there_is_told(relay: Relay) -> None:
    relay.status = 403
    with pytest.raises(DriverError, match=r"not as a WebSocket \(HTTP 403\)"):
        async with listening(relay.url, 10, CLOCK):
            pass
    with pytest.raises(DriverError, match=r"talk: ws://127\.0\.0\.1:9/x: Connection refused"):
        async with listening("ws://127.0.0.1:9/x?t=secret", 10, CLOCK):
            pass


async def test_a_relay_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talkws, "CONNECT_S", 0.2)
    callers: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(lambda _, writer: callers.append(writer), "127.0.0.1", 0) as server:
        with pytest.raises(DriverError, match="no answer in"):
            async with listening(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x", 10, CLOCK):
                pass
        for writer in callers:
            writer.close()


async def test_each_way_a_talk_ends_is_told(relay: Relay) -> None:
    clock = Jumping()
    async with listening(relay.url, 60, clock) as voice:
        relay.send(b"\x81", b"hello")
        relay.send(b"\x89")
        await until(lambda: b"\x8a\x80" in relay.got)  # its pong: the text was taken, too
        clock.ahead_s += listen.PATIENCE_S
        assert "send binary messages of mu-law" in await ended(voice)
    async with listening(relay.url, 30, clock) as voice:
        relay.send(b"\x82", b"\x80" * 160)
        await until(lambda: voice.heard_s)
        clock.ahead_s += 30
        assert await ended(voice) == "its time of 30 s is over"
    for wire, told in ((b"\xf2\x00", "the connection broke: an extension"), (b"", "the connection ended")):
        async with listening(relay.url, 10, CLOCK) as voice:
            relay.writer.write(wire)
            if not wire:
                relay.writer.close()
            assert (await ended(voice)).startswith(told)

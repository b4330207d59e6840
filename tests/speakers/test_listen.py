"""A voice from the network: who may speak, how long, and what is said where nobody does."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from edge_agent.runtime import DriverError, SystemClock
from edge_agent.speakers import listen
from edge_agent.speakers.listen import listening
from edge_agent.speakers.live import Live

CLOCK = SystemClock()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def rtp(n: int, *, ssrc: int = 7, kind: int = 0) -> bytes:
    return struct.pack("!BBHII", 0x80, kind, n, 160 * n, ssrc) + b"\x80" * 160


async def until(true: Callable[[], object], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


async def ended(voice: Live) -> str:
    await until(lambda: voice.why)
    return str(voice.why)


async def test_what_is_sent_to_the_named_port_is_heard(port: int, sender: socket.socket) -> None:
    async with listening(f"rtp://127.0.0.1:{port}", 10, CLOCK) as voice:
        for n in range(5):
            sender.sendto(rtp(n), ("127.0.0.1", port))
        await until(lambda: voice.heard_s == pytest.approx(0.1))
    assert voice.why == "stopped"


async def test_one_source_has_the_floor_and_strangers_are_not_mixed_in(port: int, sender: socket.socket) -> None:
    async with listening(f"rtp://127.0.0.1:{port}", 10, CLOCK) as voice:
        for n in range(4):
            sender.sendto(rtp(n), ("127.0.0.1", port))
            sender.sendto(rtp(n, ssrc=8), ("127.0.0.1", port))
            sender.sendto(rtp(n, kind=96), ("127.0.0.1", port))
            sender.sendto(b"\x00hello", ("127.0.0.1", port))
        await until(lambda: voice.heard_s >= 0.08)
        await asyncio.sleep(0.02)
        assert voice.heard_s == pytest.approx(0.08)


async def test_a_farewell_ends_it(port: int, sender: socket.socket) -> None:
    async with listening(f"rtp://127.0.0.1:{port}", 10, CLOCK) as voice:
        sender.sendto(rtp(0), ("127.0.0.1", port))
        sender.sendto(bytes.fromhex("80c90001 00000007 81cb0001 00000007"), ("127.0.0.1", port))
        assert await ended(voice) == "the speaker hung up"


async def test_its_time_is_limited_however_long_somebody_speaks(port: int, sender: socket.socket) -> None:
    async with listening(f"rtp://127.0.0.1:{port}", 0.3, CLOCK) as voice:
        began = time.monotonic()
        sender.sendto(rtp(0), ("127.0.0.1", port))
        assert await ended(voice) == "its time of 0.3 s is over"
        assert 0.25 < time.monotonic() - began < 2


async def test_who_says_nothing_is_told_where_and_what(
    port: int, sender: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "PATIENCE_S", 0.2)
    monkeypatch.setattr(listen, "KNOCK_S", 0.05)
    async with listening(f"rtp://127.0.0.1:{port}", 10, CLOCK) as voice:
        assert f"no voice came to UDP port {port}" in await ended(voice)
    async with listening(f"rtp://127.0.0.1:{port}", 10, CLOCK) as voice:
        sender.sendto(rtp(0, kind=18), ("127.0.0.1", port))
        assert "payload type 18; send PCMU (0) or PCMA (8)" in await ended(voice)


async def test_a_pause_ends_it(port: int, sender: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "PAUSE_S", 0.2)
    monkeypatch.setattr(listen, "KNOCK_S", 0.05)
    async with listening(f"rtp://127.0.0.1:{port}", 10, CLOCK) as voice:
        sender.sendto(rtp(0), ("127.0.0.1", port))
        assert "nobody has spoken" in await ended(voice)


async def test_a_sender_with_a_port_of_its_own_is_knocked_at(sender: socket.socket) -> None:
    """The operator's socket holds HOST:PORT itself: the knock tells it where to send, through any NAT."""
    async with listening(f"rtp://127.0.0.1:{sender.getsockname()[1]}", 10, CLOCK) as voice:
        async with asyncio.timeout(30):
            knock, peer = await asyncio.get_running_loop().sock_recvfrom(sender, 100)
        assert knock == b""
        sender.sendto(rtp(0), peer)
        await until(lambda: voice.heard_s)


@pytest.mark.parametrize("source", ["rtp://127.0.0.1:80000", "rtp://no.such.host.invalid:5004", "rtp://a..b:5004"])
async def test_a_source_that_cannot_be_is_named(source: str) -> None:
    with pytest.raises(DriverError, match=f"talk: {source}: "):
        async with listening(source, 10, CLOCK):
            pass

"""A live voice from the network: RTP that comes in on a UDP port becomes a `Live` (RFC 3550; rtcp-mux, RFC 5761)."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import rtpwire
from edge_agent.speakers.g711 import Codec, decode
from edge_agent.speakers.live import Live

CODECS: dict[int, Codec] = {0: "pcmu", 8: "pcma"}
PATIENCE_S = 5.0  # for the first packet
PAUSE_S = 10.0  # without a packet, then the talk is over
KNOCK_S = 0.5


class Floor:
    """When the voice of one talk was heard, and `foreign`: why what came is none."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.began_s = self.last_s = clock.monotonic()
        self.heard, self.foreign = False, ""

    def said(self) -> None:
        """Something was said now."""
        self.heard, self.last_s = True, self.clock.monotonic()


class Receiver(Floor, asyncio.DatagramProtocol):
    """Takes the packets of one source: the first SSRC that speaks, from the named host alone."""

    def __init__(self, voice: Live, host: str | None, clock: Clock) -> None:
        super().__init__(clock)
        self._voice, self._host = voice, host
        self._ssrc: int | None = None

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if not data or (self._host is not None and addr[0] != self._host):
            return
        try:
            if rtpwire.is_rtcp(data):
                if self._ssrc is not None and self._ssrc in rtpwire.read_rtcp(data).byes:
                    self._voice.end("the speaker hung up")
                return
            packet = rtpwire.unpack(data)
        except rtpwire.MalformedError as error:
            self.foreign = str(error)
            return
        codec = CODECS.get(packet.payload_type)
        if codec is None:
            self.foreign = f"RTP of payload type {packet.payload_type}; send PCMU (0) or PCMA (8)"
        elif self._ssrc in (None, packet.ssrc):
            self._ssrc = packet.ssrc
            self.said()
            self._voice.put(packet.timestamp, decode(packet.payload, codec))


@asynccontextmanager
async def listening(source: str, for_s: float, clock: Clock) -> AsyncIterator[Live]:
    """A voice from `rtp://HOST:PORT`, for at most `for_s`; raises `DriverError` where the port cannot be had.

    From `wss://` or `ws://` it is fetched (`talkws`). The voice says in `why` how it ended. A group is joined. Where
    HOST is this machine, PORT is where it listens and anyone who reaches it may speak; else only HOST may, and it is
    knocked at HOST:PORT (RFC 6263, 4.1) until it speaks, so that a NAT in between opens.
    """
    if source.startswith("ws"):
        from edge_agent.speakers.talkws import fetched

        async with fetched(source, for_s, clock) as voice:
            yield voice
        return
    host, _, port_text = source.removeprefix("rtp://").rpartition(":")
    voice, loop = Live(), asyncio.get_running_loop()
    try:
        if not 0 < int(port_text) < 2**16:
            raise OverflowError("no such port: 1 to 65535")
        found = await loop.getaddrinfo(host, int(port_text), family=socket.AF_INET, type=socket.SOCK_DGRAM)
        address = str(found[0][4][0]), int(found[0][4][1])
        sock, ours = _bound(*address)
    except (OSError, UnicodeError, OverflowError) as error:
        raise DriverError(f"talk: {source}: {getattr(error, 'strerror', None) or error}") from None
    receiver = Receiver(voice, None if ours else address[0], clock)
    transport, _ = await loop.create_datagram_endpoint(lambda: receiver, sock=sock)
    try:
        async with asyncio.TaskGroup() as tasks:
            where = f"UDP port {sock.getsockname()[1]}"
            knock = None if ours else partial(sock.sendto, b"", address)  # asyncio's transport leaves empty ones out
            watch = tasks.create_task(watched(voice, receiver, for_s, where, knock))
            try:
                yield voice
            finally:
                voice.end("stopped")
                watch.cancel()
    finally:
        transport.close()


async def watched(
    voice: Live, floor: Floor, for_s: float, where: str, knock: Callable[[], object] | None = None
) -> None:
    """End the voice at its limit, or where nobody speaks; knock until somebody does."""
    clock = floor.clock
    while voice.why is None:
        now = clock.monotonic()
        quiet_s = now - floor.last_s
        if not floor.heard and quiet_s >= min(PATIENCE_S, for_s):
            what = f"what came was {floor.foreign}" if floor.foreign else "is it sent, and let through?"
            voice.end(f"no voice came to {where} within {quiet_s:.0f} s: {what}")
        elif now - floor.began_s >= for_s:
            voice.end(f"its time of {for_s:g} s is over")
        elif quiet_s >= PAUSE_S:
            voice.end(f"nobody has spoken for {quiet_s:.0f} s")
        elif knock is not None and not floor.heard:
            with suppress(OSError):
                knock()
        await clock.sleep(min(KNOCK_S, max(0.02, floor.began_s + for_s - now)))


def _bound(host: str, port: int) -> tuple[socket.socket, bool]:
    """A socket that hears `host:port`, and whether that address is ours (or a group's)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if ipaddress.ip_address(host).is_multicast:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            member = socket.inet_aton(host) + struct.pack("!I", socket.INADDR_ANY)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            return sock, True
        for candidate in ((host, port), ("", port), ("", 0)):  # ours; another's; another's that lives on this machine
            try:
                sock.bind(candidate)
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
                    raise
            else:
                return sock, candidate[0] == host
    except OSError:
        sock.close()
        raise
    raise AssertionError("the kernel gives out a free port, or says why not")

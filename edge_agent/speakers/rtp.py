"""RTP loudspeakers: G.711 in 20 ms packets to a unicast or multicast address (RFC 3550, RFC 3551)."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import struct

import numpy as np

from edge_agent import config
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import Delivery
from edge_agent.speakers.g711 import PAYLOAD_TYPES, RATE_HZ, Codec, encode
from edge_agent.speakers.sound import Clip, Pcm

PACKET_S = 0.020
SAMPLES = 160
DSCP_EF = 0xB8  # expedited forwarding, as the whole TOS byte (RFC 3246)
RESYNC_S = 0.2  # later than this, a gap is less harm than a burst that overruns the receiver's jitter buffer


class RtpSpeaker:
    """Sends clips; there is no answer on the wire, so its proof is never more than `none`."""

    def __init__(self, section: config.RtpSpeaker, clock: Clock, rng: random.Random | None = None) -> None:
        self.name = section.name
        self._section, self._clock = section, clock
        self._rng = rng or random.SystemRandom()
        self._stopped = False

    async def play(self, clip: Clip, _announcement: str, /) -> Delivery:
        """Send at the pace of the sound; returns when the last packet's time is over."""
        if clip.rate_hz != RATE_HZ:
            raise ValueError(f"G.711 has {RATE_HZ} samples a second, this clip has {clip.rate_hz}")
        self._stopped = False
        ssrc, seq, timestamp = (self._rng.getrandbits(bits) for bits in (32, 16, 32))  # RFC 3550, section 5.1
        data = packets(clip.samples, self._section.codec, ssrc=ssrc, seq=seq, timestamp=timestamp)
        try:
            with await self._connect() as sock:
                return await self._send(sock, data)
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be a name
            where = f"{self._section.host}:{self._section.port}"
            reason = getattr(error, "strerror", None) or str(error)
            raise DriverError(f"speaker {self.name}: rtp to {where}: {reason}") from None

    async def stop(self) -> None:
        """The running `play` sends no further packet."""
        self._stopped = True

    async def _send(self, sock: socket.socket, data: list[bytes]) -> Delivery:
        worst_s, due = 0.0, self._clock.monotonic()
        for sent, packet in enumerate(data):
            late_s = self._clock.monotonic() - due
            worst_s = max(worst_s, late_s)
            if late_s > RESYNC_S:
                due += late_s
            if self._stopped:
                return Delivery(finished=False, played_s=sent * PACKET_S, proof="none", late_ms=worst_s * 1000)
            sock.send(packet)
            due += PACKET_S
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
        return Delivery(finished=True, played_s=len(data) * PACKET_S, proof="none", late_ms=worst_s * 1000)

    async def _connect(self) -> socket.socket:
        """A socket that knows its peer, so that a port where nobody listens is an error and not a silence."""
        section, loop = self._section, asyncio.get_running_loop()
        found = await loop.getaddrinfo(section.host, section.port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
        address = found[0][4]
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP_EF)
            if ipaddress.ip_address(address[0]).is_multicast:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, section.ttl)
                if section.interface is not None:
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(section.interface))
            elif section.interface is not None:
                sock.bind((section.interface, 0))
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock


def packets(samples: Pcm, codec: Codec, *, ssrc: int, seq: int, timestamp: int) -> list[bytes]:
    """RTP packets of 160 samples, the last one filled up with silence; the marker begins the talk (RFC 3551, 4.1)."""
    samples = np.pad(samples, (0, -len(samples) % SAMPLES))
    payload = encode(samples, codec)
    return [
        struct.pack(
            "!BBHII",
            2 << 6,  # version 2, no padding, no extension, no contributing sources
            (0x80 if n == 0 else 0) | PAYLOAD_TYPES[codec],
            (seq + n) & 0xFFFF,
            (timestamp + n * SAMPLES) & 0xFFFFFFFF,
            ssrc,
        )
        + payload[n * SAMPLES : (n + 1) * SAMPLES]
        for n in range(len(samples) // SAMPLES)
    ]

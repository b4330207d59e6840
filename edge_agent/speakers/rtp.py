"""RTP loudspeakers: 20 ms packets to a unicast or multicast address (RFC 3550, RFC 3551), and RTCP on demand."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import Clock
from edge_agent.speakers.codecs import open_encoder, rate_hz
from edge_agent.speakers.paced import Paced
from edge_agent.speakers.rtpstream import RtpLine, RtpStream

DSCP_EF = 0xB8  # expedited forwarding, as the whole TOS byte (RFC 3246)


class RtpSpeaker(Paced):
    """There is no answer on the wire: its proof is `none`, or `delivered` where the speaker sends RTCP reports."""

    def __init__(self, section: config.RtpSpeaker, clock: Clock, rng: random.Random | None = None) -> None:
        super().__init__(section.name, clock)
        self._section = section
        self._rng = rng or random.SystemRandom()
        self.rate_hz = rate_hz(section.codec)
        self.best: Proof = "delivered" if section.rtcp else "none"

    def where(self) -> str:
        return f"rtp to {self._section.host}:{self._section.port}"

    async def open(self, _announcement: str, _samples: int | None, /) -> RtpLine:
        """The sockets know their peer, so that a port where nobody listens is an error and not a silence."""
        section, loop = self._section, asyncio.get_running_loop()
        found = await loop.getaddrinfo(section.host, section.port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
        host, port = str(found[0][4][0]), int(found[0][4][1])
        stream = RtpStream(open_encoder(section.codec), self._clock, self._rng)
        media = prepared(host, ttl=section.ttl, interface=section.interface)
        reports = prepared(host, ttl=section.ttl, interface=section.interface) if section.rtcp else None
        try:
            media.connect((host, port))
        except OSError:
            for sock in (media, reports):
                if sock is not None:
                    sock.close()
            raise
        return RtpLine(stream, media, reports, (host, port + 1), self._clock)


def prepared(host: str, *, ttl: int, interface: str | None) -> socket.socket:
    """A UDP socket for one peer or group, marked DSCP EF."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP_EF)
        if ipaddress.ip_address(host).is_multicast:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
            if interface is not None:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        elif interface is not None:
            sock.bind((interface, 0))
    except OSError:
        sock.close()
        raise
    return sock

"""GB/T 28181 voice broadcast as text: its XML, its SDP, and who is registered. Pure.

GB/T 28181-2016, 9.12: the platform announces a broadcast by MESSAGE, the device agrees by MESSAGE, and then it is the
device that sends INVITE, for sound that the platform sends. SDP has two lines of its own: `y=` is the SSRC in decimal,
`f=` the format (audio 1, 8 kbit/s steps, 8 kHz: G.711).
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge_agent.speakers import digest, sipmessage
from edge_agent.speakers.g711 import Codec

KIND = "Application/MANSCDP+xml"
KEPT_NONCES = 64
EXPIRES_S = 3600
_CODECS: dict[str, Codec] = {"8": "pcma", "0": "pcmu"}

Address = tuple[str, int]


def broadcast(number: int, platform: str, channel: str) -> str:
    """The platform wants to speak on a channel."""
    return (
        '<?xml version="1.0" encoding="GB2312"?>\r\n<Notify>\r\n<CmdType>Broadcast</CmdType>\r\n'
        f"<SN>{number}</SN>\r\n<SourceID>{platform}</SourceID>\r\n<TargetID>{channel}</TargetID>\r\n</Notify>\r\n"
    )


def element(xml: str, name: str) -> str:
    """The text of the first element of this name, or nothing (expat knows no GB2312, and expands entities)."""
    found = re.search(rf"<{name}\b[^>]*>\s*([^<]*?)\s*</{name}>", xml)
    return found[1] if found else ""


@dataclass(frozen=True)
class Wanted:
    """The sound that a device asks for; over TCP either the device `connects`, or we do."""

    host: str
    port: int
    tcp: bool
    connects: bool
    codec: Codec
    payload_type: int
    ssrc: int | None


def wanted(sdp: str) -> Wanted:
    """The offer of a device's INVITE; raises `sipmessage.MalformedError` where we cannot send what it asks for."""
    host, media, setup, ssrc = "", "", "passive", None
    for line in sdp.splitlines():
        key, _, value = line.strip().partition("=")
        if key == "c" and value.split():
            host = value.split()[-1]
        elif key == "m" and value.startswith("audio "):
            media = value
        elif key == "a" and value.startswith("setup:"):
            setup = value.removeprefix("setup:")
        elif key == "y" and (number := sipmessage.whole(value)) is not None:
            ssrc = number & 0xFFFFFFFF
    words = media.split()
    port = sipmessage.whole(words[1]) if len(words) >= 4 else None
    if port is None or port >= 2**16 or not _is_address(host):  # a name would have to be looked up, which blocks
        raise sipmessage.MalformedError(f"its INVITE asks for no audio at an IPv4 address ({host}, {media})")
    kind = next((one for one in words[3:] if one in _CODECS), None)
    if kind is None:
        raise sipmessage.MalformedError(f"it wants another codec than G.711 ({media}); set its audio to G.711A")
    tcp = words[2].startswith("TCP")
    return Wanted(host, port, tcp, tcp and setup == "active", _CODECS[kind], int(kind), ssrc)


def _is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def agreed(platform: str, host: str, port: int, to: Wanted, ssrc: int) -> str:
    """Our answer: what the device asked for, from `host`:`port`."""
    name = "PCMA" if to.codec == "pcma" else "PCMU"
    lines = ["v=0", f"o={platform} 0 0 IN IP4 {host}", "s=Play", f"c=IN IP4 {host}", "t=0 0"]
    lines.append(f"m=audio {port} {'TCP/' if to.tcp else ''}RTP/AVP {to.payload_type}")
    lines += [f"a=rtpmap:{to.payload_type} {name}/8000", "a=sendonly"]
    if to.tcp:
        lines += [f"a=setup:{'passive' if to.connects else 'active'}", "a=connection:new"]
    return "\r\n".join([*lines, f"y={ssrc:010d}", "f=v/////a/1/8/1", ""])


@dataclass(frozen=True)
class Registered:
    """Where a device is, until when (monotonic seconds)."""

    address: Address
    until_s: float


Verdict = tuple[Literal[200, 401, 403], tuple[tuple[str, str], ...]]


class Registrar:
    """Who is there. A device without a password among `expected` is taken at its word; a nonce is good once."""

    def __init__(self, realm: str) -> None:
        self._realm = realm
        self.expected: dict[str, Callable[[], str] | None] = {}  # device: what reads its password
        self.refused: dict[str, str] = {}  # why a device is not there
        self._there: dict[str, Registered] = {}
        self._asked: list[digest.Digest] = []

    def register(self, message: sipmessage.Message, address: Address, now: float) -> Verdict:
        """A REGISTER: the status, and the headers that go with it (RFC 3261, 10.3)."""
        device = user(message.first("from"))
        if device not in self.expected:
            return 403, ()
        password = self.expected[device]
        if password is not None:
            said = message.first("authorization")
            fresh = [one for one in self._asked if f'"{one.nonce}"' in said]
            self._asked = [one for one in self._asked if one not in fresh]
            if not any(digest.answers(said, device, password(), "REGISTER", one) for one in fresh):
                if fresh:
                    self.refused[device] = "wrong user name or password"
                return 401, (("WWW-Authenticate", self._challenge()),)
        self.refused.pop(device, None)
        expires_s = sipmessage.expires(message, EXPIRES_S)
        self._there[device] = Registered(address, now + expires_s)
        if not expires_s:
            del self._there[device]
        return 200, (("Contact", message.first("contact")), ("Expires", str(expires_s)))

    def heard(self, device: str, address: Address) -> None:
        """A registered device spoke: behind a NAT its port may have changed; another host must register first."""
        there = self._there.get(device)
        if there is not None and there.address[0] == address[0]:
            self._there[device] = Registered(address, there.until_s)

    def address(self, device: str, now: float) -> Address | None:
        """Where a device is now."""
        there = self._there.get(device)
        return there.address if there is not None and now < there.until_s else None

    def _challenge(self) -> str:
        asked = digest.Digest(self._realm, secrets.token_hex(16))
        self._asked = [*self._asked, asked][-KEPT_NONCES:]
        return f'Digest realm="{asked.realm}", nonce="{asked.nonce}", algorithm=MD5'


def user(header: str) -> str:
    """The user part of the URI of a From, To or Contact."""
    found = re.search(r"sips?:([^@>;\s]+)@", header)
    return found[1] if found else ""

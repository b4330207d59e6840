"""Loudspeakers and cameras of this network: WS-Discovery (ONVIF) and multicast DNS. The messages are pure functions."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from html import unescape
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from msgspec import Struct

WS_GROUP = ("239.255.255.250", 3702)
MDNS_GROUP = ("224.0.0.251", 5353)
SERVICES = ("_axis-video._tcp.local", "_sip._udp.local", "_rtsp._tcp.local", "_http._tcp.local")
_PTR, _A, _SRV = 12, 1, 33
MAX_RECORDS = 200


class Device(Struct, frozen=True, kw_only=True, order=True):
    """One answer: `address` is what to put into agent.toml as far as it says."""

    host: str
    name: str
    found_by: str
    address: str


def probe() -> bytes:
    """WS-Discovery's Probe for ONVIF devices (OASIS WS-Discovery 1.1, ONVIF Core 7.3.1)."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
<e:Header><w:MessageID>uuid:{uuid4()}</w:MessageID><w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>
<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>
<e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>""".encode()


def read_match(data: bytes, host: str) -> Device | None:
    """A ProbeMatch as a device; None where it is none."""
    text = data.decode("utf-8", "replace")
    found = re.search(r"<(?:\w+:)?XAddrs[^>]*>([^<]*)<", text)
    if found is None or "ProbeMatch" not in text:
        return None
    addresses = unescape(found[1]).split()
    name = re.search(r"onvif://www\.onvif\.org/name/([^\s<]+)", text)
    return Device(
        host=host, name=unquote(name[1]) if name else host, found_by="onvif", address=(addresses or [host])[0]
    )


def question(services: tuple[str, ...] = SERVICES) -> bytes:
    """A DNS query for who offers these services, answers by unicast (RFC 6762, 5.4)."""
    asked = b"".join(_name(service) + struct.pack("!HH", _PTR, 0x8001) for service in services)
    return struct.pack("!HHHHHH", 0, 0, len(services), 0, 0, 0) + asked


def read_answer(data: bytes, host: str) -> list[Device]:
    """The services that a DNS answer names; nothing where it cannot be read."""
    try:
        return _services(data, host)
    except (struct.error, IndexError, UnicodeDecodeError):
        return []


async def discover(
    seconds: float, *, ws: tuple[str, int] = WS_GROUP, mdns: tuple[str, int] = MDNS_GROUP
) -> list[Device]:
    """Ask, and gather what answers within `seconds`; raises OSError where there is no network."""
    found: dict[tuple[str, str, str], Device] = {}
    failed: list[Exception] = []

    class Ask(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
            match = read_match(data, str(addr[0]))
            for device in [match] if match else read_answer(data, str(addr[0])):
                found[device.host, device.found_by, device.name] = device

        def error_received(self, exc: Exception) -> None:
            failed.append(exc)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Ask, family=socket.AF_INET)
    try:
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        for _ in range(2):  # datagrams get lost
            transport.sendto(probe(), ws)
            transport.sendto(question(), mdns)
            await asyncio.sleep(seconds / 2)
    finally:
        transport.close()
    if failed and not found:
        raise failed[0]
    return sorted(found.values())


# --- DNS ----------------------------------------------------------------------------------------------------------


def _name(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def _services(data: bytes, host: str) -> list[Device]:
    _, flags, questions, *counts = struct.unpack_from("!HHHHHH", data)
    if not flags & 0x8000:
        return []
    at = 12
    for _ in range(min(questions, MAX_RECORDS)):
        at = _read_name(data, at)[1] + 4
    instances: list[tuple[str, str]] = []
    ports: dict[str, int] = {}
    for _ in range(min(sum(counts), MAX_RECORDS)):
        if at >= len(data):
            break
        owner, at = _read_name(data, at)
        kind, _, _, size = struct.unpack_from("!HHIH", data, at)
        at += 10
        if kind == _PTR:
            instances.append((_read_name(data, at)[0], owner))
        elif kind == _SRV:
            ports[owner] = struct.unpack_from("!HHH", data, at)[2]
        at += size
    devices = []
    for instance, service in instances:
        port = f":{ports[instance]}" if instance in ports else ""
        name = instance.removesuffix("." + service)
        devices.append(Device(host=host, name=name, found_by=service.removesuffix(".local"), address=f"{host}{port}"))
    return devices


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    """A name that may be compressed (RFC 1035, 4.1.4), and where it ends."""
    parts: list[str] = []
    end = 0
    for _ in range(64):
        size = data[at]
        if size >= 0xC0:
            end = end or at + 2
            at = (size & 0x3F) << 8 | data[at + 1]
        elif size:
            parts.append(data[at + 1 : at + 1 + size].decode())
            at += 1 + size
        else:
            return ".".join(parts), end or at + 1
    raise IndexError("a name that never ends")

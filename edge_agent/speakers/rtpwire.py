"""RTP packets and RTCP reports as bytes (RFC 3550, RFC 3551). Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

SENDER_REPORT, RECEIVER_REPORT, DESCRIPTION, BYE = 200, 201, 202, 203
NTP_EPOCH_S = 2_208_988_800  # 1900 to 1970
_CNAME = 1


class MalformedError(ValueError):
    """Bytes that are neither RTP nor RTCP."""


@dataclass(frozen=True)
class Packet:
    """One RTP packet; the timestamp is in units of the payload type's clock."""

    payload_type: int
    seq: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def pack(self) -> bytes:
        """With a plain header: version 2, no padding, no extension, no contributing sources."""
        second = (0x80 if self.marker else 0) | self.payload_type
        header = struct.pack("!BBHII", 0x80, second, self.seq & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc)
        return header + self.payload


def unpack(data: bytes) -> Packet:
    """The packet in a datagram; raises `MalformedError`."""
    if len(data) < 12 or data[0] >> 6 != 2:
        raise MalformedError("no RTP: 12 bytes of version 2 at least")
    first, second, seq, timestamp, ssrc = struct.unpack_from("!BBHII", data)
    start = 12 + 4 * (first & 0x0F)
    if first & 0x10:  # a header extension: 16 bits of its own, then its length in words
        if len(data) < start + 4:
            raise MalformedError("no RTP: the header extension is cut off")
        start += 4 + 4 * struct.unpack_from("!H", data, start + 2)[0]
    end = len(data) - (data[-1] if first & 0x20 else 0)
    if end < start:
        raise MalformedError("no RTP: the payload is cut off")
    return Packet(second & 0x7F, seq, timestamp, ssrc, data[start:end], bool(second & 0x80))


@dataclass(frozen=True)
class Report:
    """What a receiver says of one source: the share of packets lost since its last report, and the newest it has."""

    about: int  # SSRC
    lost_share: float
    lost: int
    newest: int  # extended sequence number: cycles in the upper 16 bits


@dataclass(frozen=True)
class Reports:
    """All that one RTCP datagram says."""

    reports: tuple[Report, ...] = ()
    byes: tuple[int, ...] = ()


def is_rtcp(data: bytes) -> bool:
    """Whether a datagram on a shared port is RTCP (RFC 5761, section 4)."""
    return len(data) >= 8 and data[0] >> 6 == 2 and 192 <= data[1] <= 223


def read_rtcp(data: bytes) -> Reports:
    """The reports and the farewells of a compound packet; raises `MalformedError`."""
    reports: list[Report] = []
    byes: list[int] = []
    while data:
        if len(data) < 4 or data[0] >> 6 != 2:
            raise MalformedError("no RTCP: its version is not 2")
        kind, size = data[1], 4 * (struct.unpack_from("!H", data, 2)[0] + 1)
        body, count = data[4:size], data[0] & 0x1F
        if len(data) < size:
            raise MalformedError("no RTCP: a packet is cut off")
        data = data[size:]
        if kind in (SENDER_REPORT, RECEIVER_REPORT):
            start = 24 if kind == SENDER_REPORT else 4
            if len(body) < start + 24 * count:
                raise MalformedError("no RTCP: a report is cut off")
            reports += [_report(body[start + 24 * n :]) for n in range(count)]
        elif kind == BYE:
            byes += [struct.unpack_from("!I", body, 4 * n)[0] for n in range(min(count, len(body) // 4))]
    return Reports(tuple(reports), tuple(byes))


def _report(block: bytes) -> Report:
    about, lost, newest = struct.unpack_from("!III", block)
    cumulative = lost & 0xFFFFFF
    return Report(about, (lost >> 24) / 256, cumulative - ((cumulative & 0x800000) << 1), newest)


def sender_report(ssrc: int, *, wall_s: float, timestamp: int, packets: int, octets: int) -> bytes:
    """SR and SDES with a CNAME: what was sent so far, and which instant the timestamp stands for."""
    ntp = round((wall_s + NTP_EPOCH_S) * 2**32)
    body = struct.pack(
        "!IQIII", ssrc, ntp & 0xFFFFFFFFFFFFFFFF, timestamp & 0xFFFFFFFF, packets & 0xFFFFFFFF, octets & 0xFFFFFFFF
    )
    return _packet(SENDER_REPORT, 0, body) + _description(ssrc)


def receiver_report(ssrc: int, reports: tuple[Report, ...]) -> bytes:
    """RR and SDES with a CNAME."""
    blocks = b"".join(
        struct.pack(
            "!IIIIII", r.about, min(255, round(r.lost_share * 256)) << 24 | r.lost & 0xFFFFFF, r.newest, 0, 0, 0
        )
        for r in reports
    )
    return _packet(RECEIVER_REPORT, len(reports), struct.pack("!I", ssrc) + blocks) + _description(ssrc)


def bye(ssrc: int) -> bytes:
    """This source is over (after an empty RR, as every compound packet begins with a report)."""
    return receiver_report(ssrc, ()) + _packet(BYE, 1, struct.pack("!I", ssrc))


def _description(ssrc: int) -> bytes:
    name = b"edge-agent"
    item = bytes([_CNAME, len(name)]) + name
    item += b"\0" * (4 - len(item) % 4)
    return _packet(DESCRIPTION, 1, struct.pack("!I", ssrc) + item)


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body

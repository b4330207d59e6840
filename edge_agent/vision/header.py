"""How many pixels a picture file says it has, told from its first bytes: pure; nothing is decoded."""

from __future__ import annotations

import re
import struct

KINDS = "JPEG, PNG, BMP, WebP, TIFF"

_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # those with a segment: no stuffed 0, no TEM, no restart, no fill
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})  # of the markers C0 to CF those that are no start of frame


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as stored, before any EXIF orientation; None where the data are of no kind in `KINDS`."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":  # ISO/IEC 15948, 11.2.2: IHDR comes first
            return _two(">8x4x4xII", data)
        if data.startswith(b"BM"):
            return _bmp(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        if data.startswith((b"II*\0", b"MM\0*")):
            return _tiff(data)
    except struct.error:  # the data end within the header
        return None
    return None


def is_cut_short(data: bytes) -> bool:
    """Whether a JPEG stops before its end-of-image marker (ITU-T T.81, B.1.1); decoders fill the rest with grey."""
    at = 2
    while found := _MARKER.search(data, at):
        code, at = data[found.end() - 1], found.end()
        if code == 0xD9:  # EOI
            return False
        at += int.from_bytes(data[at : at + 2], "big")  # the segment of the marker; SOS is followed by coded data
    return True


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """ITU-T T.81, B.2.2: the start of frame has its length, the precision, the lines, and the samples a line."""
    at = 2
    while found := _MARKER.search(data, at):
        code, at = data[found.end() - 1], found.end()
        if 0xC0 <= code <= 0xCF and code not in _NO_FRAME:
            height, width = _two(">3xHH", data, at)
            return width, height
        (length,) = struct.unpack_from(">H", data, at)
        at += length
    return None


def _bmp(data: bytes) -> tuple[int, int]:
    """BITMAPCOREHEADER has 16 bits a side, all later ones 32; rows from the top down have a negative height."""
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = _two("<HH", data, 18) if header == 12 else _two("<ii", data, 18)
    return abs(width), abs(height)


def _webp(data: bytes) -> tuple[int, int] | None:
    """RFC 9649, 2.5 to 2.7: the canvas of VP8X, the 14 bits a side of VP8L, or those in VP8's key frame (RFC 6386)."""
    match data[12:16]:
        case b"VP8X":
            size = data[24:30].ljust(6, b"\0")
            return 1 + int.from_bytes(size[:3], "little"), 1 + int.from_bytes(size[3:], "little")
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = _two("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case _:
            return None


def _tiff(data: bytes) -> tuple[int, int] | None:
    """TIFF 6.0, section 2: the tags 256 and 257 of the first directory, each SHORT (3) or LONG (4)."""
    order = "<" if data.startswith(b"II") else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    sides: dict[int, int] = {}
    for number in range(count):
        tag, kind = _two(f"{order}HH", data, start + 2 + 12 * number)
        if tag in (256, 257):
            (side,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, start + 10 + 12 * number)
            sides[tag] = max(side, sides.get(tag, 0))
    return (sides[256], sides[257]) if len(sides) == 2 else None


def _two(form: str, data: bytes, at: int = 0) -> tuple[int, int]:
    first, second = struct.unpack_from(form, data, at)
    return first, second

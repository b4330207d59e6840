"""The size that a picture file says it has, compared with that of an independent encoder and with literal headers."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.vision.header import picture_size

NOISE = np.random.default_rng(1).integers(0, 255, (47, 131, 3)).astype(np.uint8)
FLAGS = {
    "progressive.jpg": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts.jpg": [cv2.IMWRITE_JPEG_RST_INTERVAL, 1],
    "lossless.webp": [cv2.IMWRITE_WEBP_QUALITY, 101],
    "lossy.webp": [cv2.IMWRITE_WEBP_QUALITY, 50],
}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tiff", *FLAGS])
def test_every_kind_of_file_tells_its_size(name: str) -> None:
    data = cv2.imencode("." + name.split(".")[1], NOISE, FLAGS.get(name, []))[1].tobytes()
    assert picture_size(data) == (131, 47)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        # BITMAPCOREHEADER: 12 bytes, two 16-bit sides (Windows GDI, BITMAPCOREHEADER)
        (b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 300, 200, 1, 24), (300, 200)),
        # BITMAPINFOHEADER, rows from the top down
        (b"BM" + bytes(12) + struct.pack("<Iii", 40, 30_000, -20_000), (30_000, 20_000)),
        # TIFF 6.0, big-endian; tag 256 a SHORT at the left of its field, tag 257 a LONG
        (
            b"MM\0*\0\0\0\x08\0\x02" + bytes.fromhex("0100000300000001 12340000 0101000400000001 00010000"),
            (4660, 65536),
        ),
        # WebP, extended: flags, three reserved bytes, then 24 bits a side, less one (RFC 9649, 2.7)
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + bytes.fromhex("ff3f00 0f0000"), (16384, 16)),
    ],
)
def test_headers_read_as_their_standards_say(data: bytes, size: tuple[int, int]) -> None:
    assert picture_size(data) == size


def test_a_thumbnail_in_front_is_not_taken_for_the_picture() -> None:
    whole, small = (cv2.imencode(".jpg", NOISE[:h, :w])[1].tobytes() for h, w in ((47, 131), (8, 16)))
    exif = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    assert picture_size(whole[:2] + exif + whole[2:]) == (131, 47)


@given(
    st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\0\0\0\0WEBPVP8", b"II*\0", b"MM\0*", b""]),
    st.binary(max_size=200),
)
def test_no_bytes_are_beyond_it(magic: bytes, rest: bytes) -> None:
    size = picture_size(magic + rest)
    assert size is None or (size[0] >= 0 and size[1] >= 0)


def test_what_is_of_another_kind_has_no_size() -> None:
    assert picture_size(b"GIF89a" + bytes(20)) is None and picture_size(b"") is None

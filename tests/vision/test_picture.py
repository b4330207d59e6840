"""Picture files of every kind."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.runtime import DriverError
from edge_agent.vision.picture import find_pictures, read_picture

# An EXIF segment that says "turn by 90 degrees" (orientation 6), little endian, one entry (CIPA DC-008, 4.6).
EXIF_TURNED = (
    b"\xff\xe1\x00\x22Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00"
    b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4), (1, 1), (1, 1, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_grey_deep_and_transparent_pictures_become_bgr_bytes(
    tmp_path: Path, shape: tuple[int, ...], kind: type
) -> None:
    file = tmp_path / "图片 ü.png"  # a name that C libraries stumble over
    data = cv2.imencode(".png", np.full(shape, np.iinfo(kind).max // 2, kind))[1]
    file.write_bytes(data.tobytes())
    pixels = read_picture(file)
    assert pixels.shape == (*shape[:2], 3) and pixels.dtype == np.uint8
    assert pixels.mean() == pytest.approx(127, abs=1)


def test_the_orientation_in_exif_is_applied(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + EXIF_TURNED + jpeg[2:])
    assert read_picture(tmp_path / "turned.jpg").shape == (30, 20, 3)


@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_that_was_cut_short_is_refused_rather_than_filled_with_grey(tmp_path: Path, progressive: int) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    jpeg = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    file = tmp_path / "cut.jpg"
    for length in (len(jpeg) // 4, len(jpeg) // 2, len(jpeg) - 3):
        file.write_bytes(jpeg[:length])
        with pytest.raises(DriverError, match=r"cut\.jpg: is a JPEG that was cut short"):
            read_picture(file)
    file.write_bytes(jpeg + b"\xff\xda and whatever a phone appends")
    assert read_picture(file).shape == (200, 200, 3)


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "is empty"), (b"text", "no picture"), (b"\x89PNG\r\n\x1a\n", "picture|decoded")]
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "bad.png"
    file.write_bytes(content)
    with pytest.raises(DriverError, match=says):
        read_picture(file)
    with pytest.raises(DriverError, match="No such file"):
        read_picture(tmp_path / "gone.png")


def test_pictures_of_a_directory_come_sorted_without_strangers(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [f.name for f in find_pictures(tmp_path)] == ["a.png", "b.JPG"]


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["2.jpg", "10.jpg", "a1b2.png", "a1b10.png", "a02.png", "a2.png", "bild.png", "中2.jpg", "中10.jpg"]
    for name in reversed(names):
        (tmp_path / name).write_bytes(b"x")
    assert [f.name for f in find_pictures(tmp_path)] == names


@pytest.mark.timeout(20)
def test_only_regular_files_are_pictures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    assert [f.name for f in find_pictures(tmp_path)] == ["a.jpg", "gone.jpg", "link.jpg"]
    with pytest.raises(DriverError, match=r"pipe\.jpg: is no regular file"):
        read_picture(tmp_path / "pipe.jpg")


def png(width: int, height: int) -> bytes:
    """A black picture in PNG (ISO/IEC 15948), a thousandth of its pixels long."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(1), bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.png").write_bytes(png(20_000, 20_000))
    (tmp_path / "small.png").write_bytes(png(2_000, 1_000))
    assert read_picture(tmp_path / "small.png").shape == (1_000, 2_000, 3)
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(DriverError, match=r"large\.png: is 20000x20000, 400 megapixels; a picture may have 100"):
        read_picture(tmp_path / "large.png")

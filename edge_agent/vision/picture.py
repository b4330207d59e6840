"""Picture files become pixels: any depth, any path, EXIF orientation applied, a truncated file refused."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.runtime import DriverError
from edge_agent.vision.header import KINDS, is_cut_short, picture_size

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
MAX_BYTES = 256 << 20
MAX_PIXELS = 100_000_000  # decoded they are 300 MB, and a small file may hold far more

cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # what does not decode is told by our own errors, with its name


def read_picture(file: Path) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR of an image file; grey is spread, 16 bit reduced, alpha dropped; raises DriverError."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
            raise DriverError(f"{file}: is no regular file")
        if status.st_size > MAX_BYTES:
            raise DriverError(f"{file}: is larger than {MAX_BYTES >> 20} MiB")
        data = file.read_bytes()
    except OSError as error:
        raise DriverError(f"{file}: cannot be read: {error.strerror}") from None
    if not data:
        raise DriverError(f"{file}: is empty")
    size = picture_size(data)
    if size is None:
        raise DriverError(f"{file}: is no picture that can be decoded ({KINDS})")
    if size[0] * size[1] > MAX_PIXELS:
        has = f"{size[0]}x{size[1]}, {size[0] * size[1] // 1_000_000} megapixels"
        raise DriverError(f"{file}: is {has}; a picture may have {MAX_PIXELS // 1_000_000}")
    if data.startswith(b"\xff\xd8") and is_cut_short(data):
        raise DriverError(f"{file}: is a JPEG that was cut short")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DriverError(f"{file}: cannot be decoded: {error.err}") from None
    if pixels is None:
        raise DriverError(f"{file}: is no picture that can be decoded: it is damaged, or of a rare kind")
    return np.asarray(pixels, dtype=np.uint8)


def find_pictures(directory: Path) -> list[Path]:
    """The picture files of a directory by name, 2 before 10, without hidden ones, pipes …; raises DriverError."""
    try:
        named = (f for f in directory.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
        files = sorted((f for f in named if _may_be_picture(f)), key=_by_number)
    except OSError as error:
        raise DriverError(f"{directory}: cannot be read: {error.strerror}") from None
    if not files:
        raise DriverError(f"{directory}: holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return files


def _by_number(file: Path) -> tuple[list[str | int], str]:
    """The name with its numbers by value; names that differ by leading noughts alone go by the letter."""
    parts = re.split("([0-9]+)", file.name)  # the odd ones are numbers
    return [int(part) if n % 2 else part for n, part in enumerate(parts)], file.name


def _may_be_picture(file: Path) -> bool:
    """Whether it is a regular file, or cannot be looked at: then `read_picture` says why."""
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except OSError:
        return True

"""Evidence pictures and thumbnails."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.runtime import DriverError
from edge_agent.vision.camera import Frame
from edge_agent.vision.record import ascii_caption, thumbnail, write_picture


@pytest.fixture
def noisy() -> Frame:
    pixels = np.random.default_rng(3).integers(0, 255, (720, 1280, 3)).astype(np.uint8)
    return Frame("cam", 1, 0.0, 0.0, pixels)


def test_a_picture_is_complete_hashed_and_marked(tmp_path: Path) -> None:
    frame = Frame("cam", 1, 0.0, 0.0, np.full((720, 1280, 3), 40, np.uint8))
    picture = write_picture(tmp_path / "new" / "dir", "01ABC", frame, [((100.0, 200.0, 300.0, 400.0), "京A12345")])
    file = Path(picture.path)
    data = file.read_bytes()
    assert file == tmp_path / "new" / "dir" / "01ABC.jpg" and list(file.parent.iterdir()) == [file]
    assert (picture.sha256, picture.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (picture.width, picture.height) == (1280, 720)
    assert [path.stat().st_mode & 0o077 for path in (file, file.parent)] == [0, 0]  # nobody else's business
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert drawn[300, 100].max() > 150 and drawn[300, 200].max() < 60  # the edge is drawn, the inside is left
    assert (frame.pixels == 40).all()  # the frame itself is not touched


def test_boxes_beyond_the_edges_and_long_captions_are_drawn_all_the_same(tmp_path: Path) -> None:
    frame = Frame("cam", 1, 0.0, 0.0, np.zeros((1, 1, 3), np.uint8))
    assert write_picture(tmp_path, "tiny", frame, [((-50.0, -9.0, 5000.0, 9.0), "long " * 50)]).width == 1


def test_captions_are_ascii_and_keep_the_province() -> None:
    assert ascii_caption("vehicle 沪B96T43 停") == "vehicle SH-B96T43 ?"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DriverError, match=r"x\.jpg: cannot be written"):
        write_picture(tmp_path / "file" / "dir", "x", Frame("c", 0, 0.0, 0.0, np.zeros((8, 8, 3), np.uint8)), [])


@pytest.mark.parametrize("box", [(0.0, 0.0, 1280.0, 720.0), (600.0, 300.0, 610.0, 330.0), (-90.0, -90.0, -10.0, -10.0)])
def test_a_thumbnail_never_exceeds_its_limit(noisy: Frame, box: tuple[float, float, float, float]) -> None:
    for limit in (24 * 1024, 3000):
        data = thumbnail(noisy, box, limit)
        assert data.startswith(b"\xff\xd8") and len(data) <= limit


def test_a_thumbnail_shows_the_box_and_its_surroundings() -> None:
    pixels = np.zeros((720, 1280, 3), np.uint8)
    pixels[300:400, 500:550] = 255
    small = cv2.imdecode(np.frombuffer(thumbnail(Frame("c", 0, 0.0, 0.0, pixels), (500, 300, 550, 400)), np.uint8), 1)
    assert small is not None
    height, width = small.shape[:2]
    assert small[height // 2, width // 2].min() > 240 and small[2, 2].max() < 20

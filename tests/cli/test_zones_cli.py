"""`edge-agent zones draw`: the zones as they are now, over a frame of their camera."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent import config
from edge_agent.cli import main
from edge_agent.desired import Wishes
from edge_agent.messages import Corners
from edge_agent.vision.masks import VEIL

TEXT = """
data_dir = "state"
[site]
device = "D"
[[detector]]
name = "d"
type = "simulated"
[[camera]]
name = "bank"
type = "simulated"
detector = "d"
width = 640
height = 360
[[zone]]
name = "water"
camera = "bank"
polygon = [[0.1, 0.1], [0.4, 0.1], [0.4, 0.9], [0.1, 0.9]]
[[rule]]
id = "bather"
type = "forbidden_zone"
zone = "water"
"""


def test_zones_are_drawn_where_they_are_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "agent.toml", tmp_path / "zones.png"
    file.write_text(TEXT)

    def tint() -> tuple[float, float]:
        """How red the picture is in its left and in its right half."""
        assert main(["zones", "draw", "-c", str(file), "-o", str(out), "--json"]) == 0
        picture = cv2.imread(str(out)).astype(int)
        red = picture[:, :, 2] - picture[:, :, 0]
        return float(red[100:260, 100:220].mean()), float(red[100:260, 420:540].mean())

    left, right = tint()
    assert json.loads(capsys.readouterr().out)["zones"] == ["water"]
    wishes = Wishes(tmp_path / "state" / "desired.json", config.load(file))
    (tmp_path / "state").mkdir()
    moved = Corners(name="water", camera="bank", polygon=((0.6, 0.1), (0.9, 0.1), (0.9, 0.9), (0.6, 0.9)))
    assert wishes.move((moved,), "li", 0.0) == ()
    later_left, later_right = tint()
    assert left > later_left + 20
    assert later_right > right + 20


MASK = """
[[camera.mask]]
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
hide = true
"""


@pytest.mark.parametrize("frame", ["the camera's", "a file's"])
def test_what_a_mask_hides_is_in_no_picture_with_zones(tmp_path: Path, frame: str) -> None:
    file, out, given = tmp_path / "agent.toml", tmp_path / "zones.png", tmp_path / "given.png"
    file.write_text(TEXT.replace("[[zone]]", f"{MASK}[[zone]]"))
    cv2.imwrite(str(given), np.full((360, 640, 3), 255, np.uint8))
    more = ["--frame", str(given)] if frame == "a file's" else []
    assert main(["zones", "draw", "-c", str(file), "-o", str(out), *more]) == 0
    assert (cv2.imread(str(out))[:, 400:] == VEIL).all()  # the zone is on the left


def test_a_camera_without_zones_and_a_bad_configuration_are_told(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(TEXT)
    assert main(["zones", "draw", "-c", str(file), "--camera", "roof"]) == 78
    file.write_text(TEXT.replace("[0.4, 0.1], [0.4, 0.9]", "[0.4, 0.9], [0.4, 0.1]"))
    assert main(["zones", "draw", "-c", str(file)]) == 78

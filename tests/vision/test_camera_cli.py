"""`camera test|calibrate`: how a camera does, and what its lens does, or what is wrong with the pictures."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent import config
from edge_agent.cli import main
from edge_agent.runtime import DriverError
from edge_agent.vision import camera
from edge_agent.vision.camera import Frame
from edge_agent.vision.masks import VEIL

MATRIX = np.array([[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]])


def board_pictures(directory: Path, count: int) -> None:
    """A board of 6 x 5 squares as a camera with MATRIX and no distortion sees it from several sides."""
    squares = np.kron(np.indices((7, 8)).sum(axis=0) % 2, np.ones((40, 40))).astype(np.uint8) * 255
    flat = cv2.cvtColor(np.pad(squares, 40, constant_values=255), cv2.COLOR_GRAY2BGR)
    height, width = flat.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    world = np.column_stack([(corners - [width / 2, height / 2]) / 1000, np.zeros(4)])
    for number in range(count):
        tilt = np.array([0.4 * np.sin(number), 0.4 * np.cos(number * 1.7), 0.1 * number])
        at = np.array([0.03 * np.sin(number * 2), 0.02 * np.cos(number), 0.55])
        seen, _ = cv2.projectPoints(world, tilt, at, MATRIX, None)
        warp = cv2.getPerspectiveTransform(corners, seen.reshape(4, 2).astype(np.float32))
        picture = cv2.warpPerspective(flat, warp, (640, 480), borderValue=(120, 120, 120))
        cv2.imwrite(str(directory / f"{number}.png"), picture)


def test_a_lens_is_found_from_pictures_of_a_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board_pictures(tmp_path, 8)
    out = tmp_path / "lens.json"
    assert main(["camera", "calibrate", str(tmp_path), "--board", "7x6", "--json", "-o", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert np.abs(np.array(found["matrix"]) - MATRIX).max() < 10
    assert found["rms_px"] < 0.3
    assert json.loads(out.read_text())["width"] == 640


def test_pictures_without_a_board_are_no_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((480, 640, 3), np.uint8))
    assert main(["camera", "calibrate", str(tmp_path)]) == 1
    assert "0 of 1 pictures show a board of 9x6" in capsys.readouterr().err


def test_a_simulated_camera_is_live(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["camera", "test", "simulated", "--seconds", "0.5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["state"], found["size"]) == (True, "live", "1280x720")
    assert found["states"][-1] == "live" and found["light"] in ("day", "night") and found["luma"] > 0
    assert found["age_ms"] <= found["age_ms_max"] and found["fps"] > 0 and isinstance(found["drops"], dict)


class Dying:
    """A camera that shows three pictures, hangs for a while, and is gone."""

    def __init__(self) -> None:
        self.state, self.drops = "connecting", Counter({"late": 2})

    async def frames(self) -> AsyncGenerator[Frame, None]:
        for number in range(3):
            self.state = "live"
            yield Frame("c", number, time.monotonic(), time.time(), np.zeros((48, 64, 3), np.uint8))
        self.state = "stalled"
        await asyncio.sleep(0.3)
        raise DriverError("rtsp://h/live: the stream ended")


def test_a_camera_that_fails_on_the_way_is_told_with_what_it_showed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(camera, "open_camera", lambda section, clock: Dying())
    assert main(["camera", "test", "rtsp://h/live", "--json", "--seconds", "30"]) == 1
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["ok"], found["frames"], found["error"]) == (False, 3, "rtsp://h/live: the stream ended")
    assert [state for state in found["states"] if state != "connecting"] == ["live", "stalled"]
    assert (found["drops"], found["light"]) == ({"late": 2}, "night")
    assert told.err == ""  # no progress in a pipe
    assert main(["camera", "test", "rtsp://h/live"]) == 1
    assert "drops: late 2\n" in capsys.readouterr().out


def test_what_a_mask_hides_is_not_in_the_picture_of_a_test(tmp_path: Path) -> None:
    file, out = tmp_path / "agent.toml", tmp_path / "seen.png"
    file.write_text(
        'data_dir = "state"\n[site]\ndevice = "D"\n[[detector]]\nname = "d"\ntype = "simulated"\n'
        '[[camera]]\nname = "bank"\ntype = "simulated"\ndetector = "d"\n'
        "[[camera.mask]]\npolygon = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]\nhide = true\n"
    )
    assert main(["camera", "test", "bank", "-c", str(file), "--seconds", "0.3", "--picture", str(out)]) == 0
    picture = cv2.imread(str(out))
    assert (picture[:, : picture.shape[1] // 2 - 1] == VEIL).all()
    assert not (picture[:, picture.shape[1] // 2 + 2 :] == VEIL).all()


@pytest.mark.parametrize(
    ("camera", "why"),
    [
        ("/nowhere.mp4", "cannot be read"),
        ("/dev/null9", "No such file"),
        ("picamera", "apt install python3-picamera2"),
        ("rtsp://li:geheim@h/live", "put it in a file"),
        ("rtsp:///live", "names no host"),
        ("http://li:geheim@h/live", "'http' is no camera; one is: rtsp://HOST"),
    ],
)
def test_what_is_no_camera_is_said(camera: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["camera", "test", camera, "--json"]) == 1
    told = capsys.readouterr()
    assert why in json.loads(told.out)["error"]
    assert "geheim" not in told.out + told.err


def test_a_password_has_no_place_in_the_configuration(tmp_path: Path) -> None:
    text = (
        'data_dir = "s"\n[site]\ndevice = "D"\n[[detector]]\nname = "d"\ntype = "onnx"\nmodel = "m"\n'
        '[[camera]]\nname = "c"\ntype = "rtsp"\ndetector = "d"\n'
    )
    with pytest.raises(config.ConfigError) as refused:
        config.parse(text + 'url = "rtsp://li:geheim@10.0.0.7/live"\n', tmp_path / "a.toml")
    assert "camera[c].url" in str(refused.value)
    assert "geheim" not in str(refused.value)
    login = tmp_path / "login"
    login.write_text("li:geheim")
    login.chmod(0o644)
    with pytest.raises(config.ConfigError, match="chmod 600"):
        config.parse(text + 'url = "rtsp://10.0.0.7/live"\ncredentials = "login"\n', tmp_path / "a.toml")
    login.chmod(0o600)
    [camera] = config.parse(text + 'url = "rtsp://h/live"\ncredentials = "login"\n', tmp_path / "a.toml").cameras
    assert isinstance(camera, config.RtspCamera)
    assert camera.credentials == str(login)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("0.1,0.1,nan,120", "point 1 is at x 0.1, y 0.1, lat nan"),
        ("0.1,0.1,95,120", "lat 95"),
        ("inf,0.1,30,120", "x inf"),
        ("a,0.1,30,120", "could not convert"),
    ],
)
def test_points_that_lie_nowhere_are_told(
    tmp_path: Path, row: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "points.csv"
    file.write_text(f"x,y,lat,lon\n{row}\n0.9,0.1,30,120.001\n0.1,0.9,30.001,120\n0.9,0.9,30.001,120.001\n")
    assert main(["camera", "calibrate", "--points", str(file)]) == 1
    assert f"{file}: holds no marked points" in (told := capsys.readouterr().err)
    assert why in told


def test_a_file_without_an_end_is_read_to_its_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["camera", "calibrate", "--points", "/dev/zero"]) == 1
    assert "/dev/zero: holds no marked points: is larger than 4 MiB" in capsys.readouterr().err

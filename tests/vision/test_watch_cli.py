"""`edge-agent watch` as it is typed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge_agent.cli import main

CONFIG = """
data_dir = "state"
[site]
device = "EA-WATCH"
[[detector]]
name = "main"
type = "onnx"
model = "{model}"
[[camera]]
name = "cam"
type = "video"
path = "unused"
detector = "main"
"""


@pytest.fixture
def config(make_yolox: Any, tmp_path: Path) -> str:
    """A detector that sees a person in every frame."""
    person = [0.0] * 80
    person[0] = 0.9
    model = make_yolox(80, {19: [0.5, 0.25, 0.7, 1.4, 1.0, *person]})
    (tmp_path / "agent.toml").write_text(CONFIG.format(model=model))
    return str(tmp_path / "agent.toml")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """An AVI of 50 frames of noise, 2 s long."""
    rng = np.random.default_rng(1)
    with av.open(str(tmp_path / "clip.avi"), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(50):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 64, 3)).astype(np.uint8))))
        out.mux(stream.encode(None))
    return tmp_path / "clip.avi"


def test_a_video_that_is_whole_ends_well(config: str, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(clip), "-c", config, "--json"]) == 0
    captured = capsys.readouterr()
    track, end = [json.loads(line) for line in captured.out.splitlines()]
    assert track["label"] == "person" and track["hits"] == 50
    assert end == {"type": "end", "frames": 50, "complete": True}
    assert captured.err == ""


ZONE = """
[[zone]]
name = "all"
camera = "cam"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
[[rule]]
id = "night"
type = "forbidden_zone"
zone = "all"
after_s = 0.5
active = [{from = "22:00", to = "06:00"}]
"""


@pytest.mark.parametrize(
    ("began", "wall"),
    [
        ([], None),
        (["--began", "2026-11-22T23:00"], 1795359600.0),  # 15:00 UTC
        (["--began", "2026-11-22T15:00+00:00"], 1795359600.0),
        (["--began", "2026-11-22T21:00"], 0.0),
    ],
)
def test_a_rule_holds_at_the_times_at_which_the_video_was_taken(
    config: str, clip: Path, began: list[str], wall: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path(config).read_text().replace('"EA-WATCH"', '"EA-WATCH"\ntime_zone = "Asia/Shanghai"')
    Path(config).write_text(text + ZONE)
    assert main(["watch", str(clip), "-c", config, "--json", *began]) == 0
    found = [one for one in map(json.loads, capsys.readouterr().out.splitlines()) if one["type"] == "incident"]
    assert len(found) == (wall != 0.0)
    for one in found:
        assert one["began_s"] < one["at_s"] < 1.0
        assert one["wall_s"] == (None if wall is None else pytest.approx(wall + one["at_s"]))


def test_rules_on_the_map_of_a_drone_are_said_not_to_be_judged(
    config: str, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path(config).read_text() + 'view = {type = "drone", hfov_deg = 70.0}\n'
    text = text.replace("[site]", "[site]\nlat = 30.25\nlon = 120.15").replace('"EA-WATCH"', '"EA-WATCH"\n[vehicle]\n'
        'type = "simulated"')  # fmt: skip
    zone = ZONE.replace(
        "polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]", "map = [[30.2, 120.1], [30.3, 120.1], [30.3, 120.2]]"
    )
    Path(config).write_text(text + zone)
    assert main(["watch", str(clip), "-c", config, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "night: on the map, and a video does not tell where the drone was: not judged\n"
    assert '"incident"' not in captured.out


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_a_video_that_was_cut_short_is_told_after_all_that_was_seen(
    config: str, clip: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * share)])
    assert main(["watch", str(clip), "-c", config, "--json"]) == 1
    captured = capsys.readouterr()
    track, end = [json.loads(line) for line in captured.out.splitlines()]
    assert track["label"] == "person"
    assert end["type"] == "end" and 10 < end["frames"] < 50 and end["complete"] is False
    assert "clip.avi: ends early" in captured.err
    assert main(["watch", str(clip), "-c", config]) == 1
    assert f"{end['frames']} frames, not all" in capsys.readouterr().out


def test_a_picture_that_is_broken_makes_a_directory_incomplete(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    (tmp_path / "shots").mkdir()
    for n in range(4):
        cv2.imwrite(str(tmp_path / "shots" / f"{n}.png"), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "shots" / "2.png").write_bytes(b"broken")
    assert main(["watch", str(tmp_path / "shots"), "-c", config, "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1]) == {"type": "end", "frames": 3, "complete": False}
    assert "shots: 1 part of it cannot be decoded" in captured.err


@pytest.mark.timeout(30)
def test_a_pipe_is_refused_alone_and_left_out_of_a_directory(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shots").mkdir()
    os.mkfifo(tmp_path / "shots" / "pipe.jpg")
    for source, says in (("shots", "holds no pictures"), ("shots/pipe.jpg", "is neither a regular file")):
        assert main(["watch", str(tmp_path / source), "-c", config, "--json"]) == 1
        captured = capsys.readouterr()
        assert says in captured.err
        assert json.loads(captured.out) == {"type": "end", "frames": 0, "complete": False}

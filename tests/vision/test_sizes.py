"""Nets that leave their input's size open: each picture in its own shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import config, weights
from edge_agent.cli import main
from edge_agent.runtime import DriverError
from edge_agent.vision.camera import Frame
from edge_agent.vision.detect import OnnxDetector
from edge_agent.vision.load import SMALL
from edge_agent.vision.net import Net
from edge_agent.vision.sizes import LONGEST, OVER, budget, own_size

SIDES = st.integers(1, 20_000)


@pytest.mark.parametrize(
    ("picture", "side", "size"),
    [
        ((1920, 1080), 288, (384, 224)),
        ((1080, 1920), 288, (224, 384)),
        ((640, 480), 288, (320, 256)),
        ((700, 700), 288, (288, 288)),
        ((1280, 720), 416, (544, 320)),
        ((1920, 1080), 640, (864, 480)),
        ((1, 1), 416, (416, 416)),
        ((20_000, 1), 416, (704, 256)),
        ((1, 20_000), 416, (256, 704)),
    ],
)
def test_the_input_takes_the_picture_s_shape(picture: tuple[int, int], side: int, size: tuple[int, int]) -> None:
    assert own_size(*picture, side * side) == size


@given(SIDES, SIDES, st.sampled_from([64, 288, 416, 512, 640]))
def test_a_picture_is_never_smaller_than_in_the_square_and_costs_no_more(width: int, height: int, side: int) -> None:
    wide, high = own_size(width, height, side * side)
    assert wide % 32 == 0 and high % 32 == 0 and wide * high <= OVER * side * side
    assert own_size(height, width, side * side) == (high, wide)
    if 1 / LONGEST <= width / height <= LONGEST and side > 64:
        assert min(wide / width, high / height) >= side / max(width, height) * 0.999


def test_a_large_picture_is_looked_at_with_more_pixels_as_far_as_the_model_goes() -> None:
    own, most = 288 * 288, 480 * 480
    assert budget(640, 480, own, most) == own
    assert budget(960, 540, own, most) == 480 * 270
    assert budget(1920, 1080, own, most) == budget(8000, 6000, own, most) == most
    assert budget(1920, 1080, own, 0) == own


def test_the_model_says_how_far_it_goes_and_the_user_has_the_last_word() -> None:
    file = weights.path("person-vehicle")
    assert Net(file, 1).size_for(1920, 1080) == (640, 352) and Net(file, 1).size_for(640, 480) == (320, 256)
    assert Net(file, 1, side_px=288).size_for(1920, 1080) == (384, 224)


def test_there_are_but_a_few_dozen_sizes_whatever_comes() -> None:
    found = {own_size(width, height, 640 * 640) for width in range(1, 4000, 7) for height in (1, 480, 1080, 20_000)}
    assert len(found) < 60


def test_a_net_is_kept_ready_for_the_last_sizes_alone(make_spotter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.vision.net.KEPT_SIZES", 8)
    net = Net(make_spotter(imgsz="[288, 288]", imgsz_most="[480, 480]"), 1)
    first, sizes = net.size_for(300, 500), {net.size_for(width, 500) for width in range(300, 1500, 40)}
    assert len(net._sizes) == 1 + 8 < len(sizes)
    assert net.size_for(300, 500) == first and (net.width, net.height) in net._sizes


SHAPES = [(720, 1280), (1280, 720), (640, 640), (480, 640), (300, 3000)]


def spot(height: int, width: int) -> tuple[np.ndarray[Any, Any], tuple[float, float]]:
    """A dark picture with a bright spot, a twelfth of its longer side wide, at three quarters of each side."""
    pixels = np.zeros((height, width, 3), np.uint8)
    x, y, half = width * 3 // 4, height * 3 // 4, max(height, width) // 25
    pixels[max(y - half, 0) : y + half, x - half : x + half] = 255
    return pixels, (x, y)


def middles(detector: OnnxDetector, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where it sees something, a row each."""
    boxes = [d.box for d in detector.detect(Frame("c", 0, 0.0, 0.0, pixels))]
    return np.array([((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in boxes])


def test_whatever_shapes_take_turns_what_is_seen_is_where_it_is(make_spotter: Any) -> None:
    detector = OnnxDetector(config.OnnxDetector(name="d", model=make_spotter(), threads=1, score=0.9))
    for shape in SHAPES * 2:
        pixels, (x, y) = spot(*shape)
        for share in (1.0, SMALL):
            detector.share = share
            seen = middles(detector, pixels)
            assert np.abs(seen.mean(axis=0) - (x, y)).max() <= max(shape) / 20, (shape, share, seen)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_pictures_that_are_hardly_any_are_looked_at(make_spotter: Any, shape: tuple[int, int]) -> None:
    detector = OnnxDetector(config.OnnxDetector(name="d", model=make_spotter(), threads=1))
    assert len(middles(detector, np.zeros((*shape, 3), np.uint8))) == 0


@pytest.mark.parametrize(
    ("told", "size"),
    [
        ("", (384, 224)),
        ('shape = "fixed"', (288, 288)),
        ("width = 160\nheight = 96", (160, 96)),
        ('shape = "own"\nwidth = 416\nheight = 416', (544, 320)),
        ('fit = "stretch"', (288, 288)),
    ],
)
def test_a_sidecar_fixes_the_size_or_says_how_many_pixels(make_spotter: Any, told: str, size: tuple[int, int]) -> None:
    model = make_spotter()
    Path(f"{model}.toml").write_text(f"[input]\n{told}\n")
    assert Net(model, 1).size_for(1920, 1080) == size


def test_a_model_that_takes_no_other_size_whatever_its_axes_say_is_run_at_its_own(make_model: Any) -> None:
    answer = np.zeros((1, 84, 2100))  # of 320 x 320, always
    model = make_model(answer, size=("w", "h"), metadata={"imgsz": "[320, 320]"})
    net = Net(model, 1)
    assert net.open and net.size_for(1920, 1080) == (320, 320)
    assert len(net.look(np.zeros((90, 160, 3), np.uint8), None, 0.5)[0].scores) == 0


def test_a_model_of_coarser_stride_gets_sides_of_that(make_spotter: Any) -> None:
    assert Net(make_spotter(imgsz="[640, 640]", stride="64"), 1).size_for(1920, 1080) == (832, 512)


def test_a_model_of_one_size_stays_at_it_and_says_so(make_yolox: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_yolox(80, {})
    assert OnnxDetector(config.OnnxDetector(name="d", model=model, threads=1)).share is None
    with pytest.raises(DriverError, match=r"model\.onnx: its input is fixed at 64 x 64: `side_px`"):
        OnnxDetector(config.OnnxDetector(name="d", model=model, threads=1, side_px=416))
    assert main(["models", "check", str(model), "--side", "416"]) == 1
    assert "`side_px` cannot change it" in capsys.readouterr().err


def test_how_many_pixels_is_for_the_site_to_say(make_spotter: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_spotter()
    assert Net(model, 1, side_px=416).size_for(1920, 1080) == (544, 320)
    Path(f"{model}.toml").write_text('[input]\nshape = "fixed"\nwidth = 320\nheight = 192\n')
    assert Net(model, 1, side_px=416).size_for(1920, 1080) == (416, 416)
    Path(f"{model}.toml").unlink()
    detector = OnnxDetector(config.OnnxDetector(name="d", model=model, threads=1, score=0.9, side_px=416))
    pixels, at = spot(720, 1280)
    assert np.abs(middles(detector, pixels).mean(axis=0) - at).max() <= 64
    assert main(["models", "bench", "--json", "--rounds", "3", "--side", "416", str(model)]) == 0
    assert json.loads(capsys.readouterr().out)["input"] == {"width": 416, "height": 416}


@pytest.mark.parametrize("side", ["300", "0", "-64", "1e3", "99999999999"])
def test_a_side_that_is_none_is_refused_in_words(side: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["detect", "picture.jpg", f"--side={side}"])
    assert refused.value.code == 2
    assert "a multiple of 32 from 64 to 2048 is wanted" in capsys.readouterr().err


def test_models_check_tells_the_sizes(make_spotter: Any, make_yolox: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "check", "--json", str(make_spotter()), str(make_yolox(80, {}))]) == 0
    own, fixed = (json.loads(line)["input"] for line in capsys.readouterr().out.splitlines())
    assert (own["width"], own["height"]) == (288, 288)
    shapes = {"1920x1080": [384, 224], "640x480": [320, 256], "1080x1920": [224, 384]}
    assert own["own_shape"] == shapes and fixed["own_shape"] == {}
    assert main(["models", "check", str(make_spotter())]) == 0
    assert "384x224 for 1920x1080" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in weights.names() if name.startswith("person-vehicle")])
def test_our_own_take_any_shape(name: str) -> None:
    net = Net(weights.path(name), 1)
    assert net.open and net.size_for(640, 480) == own_size(640, 480, net.width * net.height) != (net.width,) * 2

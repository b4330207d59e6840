"""Day, night and heat: which profile is in force, and that nothing short changes it."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent import config
from edge_agent.messages import Detection
from edge_agent.vision.camera import Frame
from edge_agent.vision.eye import Eye, Look
from edge_agent.vision.light import LightSwitch, Signs, signs_of

DAY, DUSK, NIGHT = Signs(120, 30), Signs(60, 12), Signs(20, 8)
INFRARED = Signs(110, 0.5)
BOTH: set[config.Light] = {"day", "night"}


def run(switch: LightSwitch, signs: list[Signs], from_s: float = 0.0) -> list[config.Light]:
    return [switch.update(from_s + n, one) for n, one in enumerate(signs)]


def test_the_first_look_decides_and_later_ones_must_agree_for_a_while() -> None:
    switch = LightSwitch("auto", BOTH, 60.0)
    assert switch.update(0.0, NIGHT) == "night"
    told = run(switch, [DAY] * 62, 1.0)
    assert told == ["night"] * 60 + ["day"] * 2


def test_a_headlight_or_a_cloud_changes_nothing() -> None:
    switch = LightSwitch("auto", BOTH, 10.0)
    switch.update(0.0, DAY)
    assert {*run(switch, ([NIGHT] * 9 + [DAY]) * 5, 1.0)} == {"day"}


def test_between_the_thresholds_all_stays_as_it_is() -> None:
    for first, light in ((DAY, "day"), (NIGHT, "night")):
        switch = LightSwitch("auto", BOTH, 2.0)
        switch.update(0.0, first)
        assert {*run(switch, [DUSK] * 20, 1.0)} == {light}


@pytest.mark.parametrize(
    ("source", "known", "signs", "light"),
    [
        ("auto", BOTH, Signs(20, 8, lux=900.0), "day"),  # a dark picture in good light: exposure has not caught up
        ("auto", BOTH, Signs(120, 30, lux=2.0), "night"),  # long exposure makes night bright
        ("picture", BOTH, Signs(120, 30, lux=2.0), "day"),
        ("sensor", BOTH, NIGHT, "night"),  # a sensor that does not say leaves it to the picture
        ("sun", BOTH, Signs(120, 30, sun_deg=-9.0), "night"),
        ("sun", BOTH, Signs(20, 8, sun_deg=30.0), "day"),
        ("auto", BOTH, INFRARED, "night"),
        ("auto", {"thermal"}, INFRARED, "thermal"),
        ("auto", {"night", "thermal"}, Signs(110, 0.5, sun_deg=20.0), "thermal"),
        ("auto", {"night", "thermal"}, Signs(110, 0.5, sun_deg=-20.0), "night"),
        ("auto", {"night", "thermal"}, Signs(20, 8), "night"),
        ("auto", {"thermal"}, NIGHT, "day"),  # no profile for the night: that of the day goes on
        ("thermal", {"thermal"}, DAY, "thermal"),
    ],
)
def test_what_tells_of_the_light(source: config.LightFrom, known: set[config.Light], signs: Signs, light: str) -> None:
    switch = LightSwitch(source, known, 0.0)
    if switch.due(0.0):
        switch.update(0.0, signs)
    assert switch.light == light


def test_a_camera_without_profiles_is_not_looked_at_for_its_light() -> None:
    assert not LightSwitch("auto", set(), 0.0).due(0.0)
    switch = LightSwitch("auto", BOTH, 0.0)
    switch.update(5.0, DAY)
    assert [switch.due(at_s) for at_s in (5.5, 6.0, 0.0)] == [False, True, True]


def test_brightness_and_colour_are_those_of_the_picture() -> None:
    grey = np.full((80, 80, 3), 90, np.uint8)
    assert signs_of(grey) == Signs(90.0, 0.0)
    blue = np.zeros((80, 80, 3), np.uint8)
    blue[:, :, 0] = 120
    assert signs_of(blue) == Signs(40.0, 120.0)


class Model:
    """Sees one person, not very surely; remembers how often it was asked."""

    name, labels = "model", ("person",)
    share: float | None = None

    def __init__(self, score: float) -> None:
        self.score, self.asked = score, 0

    def detect(self, frame: Frame) -> list[Detection]:
        self.asked += 1
        return [Detection(label="person", score=0.4, box=(100, 100, 140, 200))]


def test_each_profile_looks_with_its_own_model_and_threshold() -> None:
    by_day, by_night = Model(0.5), Model(0.5)
    section = config.SimulatedCamera(name="c", detector="d", motion="off", light_after_s=1.5)
    eye = Eye(by_day, config.Plates(), None, section, profiles={"night": Look(by_night, 0.3, 4.0)})
    dim = np.full((360, 640, 3), 20, np.uint8)
    bright = np.full((360, 640, 3), (60, 120, 180), np.uint8)
    told = [len(eye.process(Frame("c", n, n * 0.5, n * 0.5, bright if n < 8 else dim)).tracks) for n in range(20)]
    assert (by_day.asked, by_night.asked) == (12, 8)  # looked for every second, believed after one and a half
    assert eye.light == "night" and eye.look.max_exposure_ms == 4.0
    assert not any(told[:12]) and told[-1] == 1  # 0.4 starts no track by day


def test_profiles_that_ask_for_what_is_not_there_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = """
data_dir = "/tmp/x"
[site]
device = "d"
[[camera]]
type = "rtsp"
name = "gate"
url = "rtsp://10.0.0.1/"
detector = "eyes"
light = "sun"
[[camera.profile]]
when = "night"
detector = "owl"
max_exposure_ms = 4.0
[[camera.profile]]
when = "night"
[[detector]]
type = "onnx"
name = "eyes"
model = "x.onnx"
"""
    file = tmp_path_factory.mktemp("c") / "agent.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(config.ConfigError) as refused:
        config.load(file)
    told = str(refused.value)
    for fault in ("no detector is called `owl`", "`night` stands 2 times", ".light: the sun", "max_exposure_ms: only"):
        assert fault in told

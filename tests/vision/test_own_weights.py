"""The models that come along: what their files say of themselves, and that they see the demo's scene."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_agent import config, weights
from edge_agent.messages import Detection
from edge_agent.vision.boxes import iou
from edge_agent.vision.camera import Frame
from edge_agent.vision.camera.simulated import render
from edge_agent.vision.detect import DEFAULT, Detector, open_detector
from edge_agent.vision.net import Net

CARDS = Path(__file__).resolve().parents[2] / "docs/models"
PEOPLE = [name for name in weights.names() if name.startswith("person-vehicle")]
ALL_MB, MODEL_MB = 12, 4


@pytest.fixture(scope="module")
def eyes() -> Detector:
    return open_detector(config.OnnxDetector(name="eyes", threads=1))


def look(eyes: Detector, t_s: float, *, scene: str = "river_bank", seed: int = 1) -> tuple[list[Detection], ...]:
    """What the detector sees in the scene at its default score, and what is there."""
    pixels, truth = render(scene, t_s, (1280, 720), seed)
    return [d for d in eyes.detect(Frame("bank", 0, t_s, t_s, pixels)) if d.score >= eyes.score], list(truth)


def test_the_detector_that_is_used_unasked_came_along() -> None:
    assert DEFAULT in weights.names()


@pytest.mark.parametrize("name", PEOPLE)
def test_a_detector_says_what_it_is_and_has_a_card(name: str) -> None:
    net = Net(weights.path(name), 1)
    told = net.metadata
    assert (told["name"], told["layout"], told["licence"]) == (name, net.head.family, "Apache-2.0")
    assert json.loads(told["labels"]) == list(net.labels) == ["person", "vehicle", "two-wheeler"]
    assert told["version"] and len(bytes.fromhex(told["training_config_sha256"])) == 32
    assert weights.path(name).stat().st_size <= MODEL_MB << 20
    assert name in (CARDS / f"{name}.md").read_text(encoding="utf-8")


def test_all_models_together_are_small_enough_for_git() -> None:
    assert sum(weights.path(name).stat().st_size for name in weights.names()) <= ALL_MB << 20


@pytest.mark.parametrize("t_s", [9.0, 12.0, 17.0, 40.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_rendered_people_and_vehicles_are_seen(eyes: Detector, t_s: float, seed: int) -> None:
    """Those that stand apart and are taller than 120 of 720 pixels: the wader, and the car that parks, among them."""
    seen, there = look(eyes, t_s, seed=seed)
    large = [d for d in there if d.box[3] - d.box[1] > 120 and not hidden(d, there)]
    assert large
    for truth in large:
        best = max((overlap(truth, d) for d in seen if d.label == truth.label), default=0.0)
        assert best > 0.3, (truth, seen)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_nobody_is_nobody_is_seen(eyes: Detector, seed: int) -> None:
    seen, _ = look(eyes, 5.0, scene="empty", seed=seed)
    assert seen == []


def overlap(a: Detection, b: Detection) -> float:
    return float(iou(np.array([a.box]), np.array([b.box]))[0])


def hidden(one: Detection, there: list[Detection]) -> bool:
    """Whether another stands before it, or beside it so closely that the two make one shape."""
    return any(overlap(one, other) > 0.05 for other in there if other is not one)

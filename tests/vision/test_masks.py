"""Masks: what is hidden reaches nobody, and what stands in a mask is not believed."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent import config
from edge_agent.messages import Detection
from edge_agent.vision.camera import Frame
from edge_agent.vision.eye import Eye
from edge_agent.vision.masks import VEIL, Masks

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
HIDDEN, IGNORED = config.Mask(polygon=LEFT, hide=True), config.Mask(polygon=LEFT)


def frame(n: int = 0) -> Frame:
    white = np.full((90, 160, 3), 255, np.uint8)
    return Frame("c", n, n * 0.1, n * 0.1, white, lores=np.full((45, 80, 3), 255, np.uint8))


def test_what_is_hidden_is_painted_over_in_the_picture_and_its_smaller_copy() -> None:
    given = frame()
    veiled = Masks([HIDDEN]).veil(given)
    assert veiled.lores is not None
    for pixels, width in ((veiled.pixels, 160), (veiled.lores, 80)):
        assert (pixels[:, : width // 2 - 1] == VEIL).all() and (pixels[:, width // 2 + 2 :] == 255).all()
    assert (given.pixels == 255).all()  # whoever else holds that picture is not surprised


def test_two_hidden_parts_that_overlap_are_both_hidden() -> None:
    veiled = Masks([HIDDEN, HIDDEN]).veil(frame())
    assert (veiled.pixels[:, :79] == VEIL).all()


def test_a_mask_that_hides_nothing_leaves_the_picture_as_it_is() -> None:
    given = frame()
    assert Masks([IGNORED]).veil(given) is given


class Two:
    """Sees one person on the left and one on the right."""

    name, labels, score = "two", ("person",), 0.5
    share: float | None = None

    def detect(self, frame: Frame) -> list[Detection]:
        return [
            Detection(label="person", score=0.9, box=(20, 20, 40, 80)),
            Detection(label="person", score=0.9, box=(120, 20, 140, 90)),
        ]


@pytest.mark.parametrize("mask", [HIDDEN, IGNORED])
def test_nobody_is_followed_in_a_mask(mask: config.Mask) -> None:
    eye = Eye(Two(), config.Plates(), None, config.SimulatedCamera(name="c", detector="d", motion="off", masks=(mask,)))
    tracks = [eye.process(eye.veil(frame(n))) for n in range(8)][-1]
    assert [round(track.box[0]) for track in tracks.tracks] == [120]

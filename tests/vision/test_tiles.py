"""Tiles: they cover the picture, get their turns, and what two of them saw is told once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import config
from edge_agent.messages import Box, Detection
from edge_agent.vision.camera import Frame
from edge_agent.vision.look import Looker
from edge_agent.vision.tiles import OVERLAP, Region, Tiles, cut, merge


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(64, 1500))
def test_tiles_cover_the_picture_and_overlap(width: int, height: int, side_px: int) -> None:
    tiles = cut(width, height, side_px)
    assert all(0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height for x1, y1, x2, y2 in tiles)
    assert len({(x2 - x1, y2 - y1) for x1, y1, x2, y2 in tiles}) == 1
    for lows, highs, length in (
        (sorted({t[0] for t in tiles}), sorted({t[2] for t in tiles}), width),
        (sorted({t[1] for t in tiles}), sorted({t[3] for t in tiles}), height),
    ):
        assert lows[0] == 0 and highs[-1] == length
        overlaps = [end - begin for end, begin in zip(highs[:-1], lows[1:], strict=True)]
        assert all(overlap >= OVERLAP * side_px - 2 for overlap in overlaps)


def test_the_whole_picture_has_its_turn_and_every_tile_too() -> None:
    tiles = Tiles(640, each=2, full_every=4)
    turns = [tiles.turn(1920, 1080, (), (), 2) for _ in range(40)]
    whole: Region = (0, 0, 1920, 1080)
    assert [n for n, turn in enumerate(turns) if turn == [whole]] == list(range(0, 40, 4))
    seen = {region for turn in turns for region in turn if region != whole}
    assert seen == set(cut(1920, 1080, 640))


def test_tiles_with_tracks_come_first_and_nobody_starves() -> None:
    tiles = Tiles(640, each=1, full_every=1000)
    track: Box = (1700, 900, 1720, 940)
    turns = [tiles.turn(1920, 1080, [track], (), 1)[0] for _ in range(60)]
    with_track = [x1 <= 1710 < x2 and y1 <= 920 < y2 for x1, y1, x2, y2 in turns[1:]]
    assert sum(with_track) >= 12
    assert set(turns[1:]) == set(cut(1920, 1080, 640))


def test_a_picture_no_larger_than_a_tile_is_looked_at_whole() -> None:
    assert Tiles(640, 3, 5).turn(640, 480, (), (), 3) == [(0, 0, 640, 480)]


def person(*box: float, score: float = 0.9) -> Detection:
    x1, y1, x2, y2 = box
    return Detection(label="person", score=score, box=(x1, y1, x2, y2))


def test_an_object_on_a_border_is_told_once_by_who_saw_it_whole() -> None:
    left: Region = (0, 0, 640, 640)
    right: Region = (512, 0, 1152, 640)
    whole, part = person(600, 100, 660, 200, score=0.6), person(600, 100, 640, 200, score=0.9)
    assert merge([(left, [part]), (right, [whole])], 1152, 640) == [whole]


def test_neighbours_seen_by_one_tile_stay_two() -> None:
    near = [person(100, 100, 140, 200), person(105, 100, 145, 200)]
    assert len(merge([((0, 0, 640, 640), near), ((512, 0, 1152, 640), [])], 1152, 640)) == 2
    apart = person(700, 100, 740, 200)
    assert len(merge([((0, 0, 640, 640), near[:1]), ((512, 0, 1152, 640), [apart])], 1152, 640)) == 2


class Spots:
    """Finds bright spots of at most 20 pixels, but only in pictures no wider than 640: a net that shrinks the rest."""

    def __call__(self, frame: Frame) -> list[Detection]:
        if frame.pixels.shape[1] > 640:
            return []
        ys, xs = np.nonzero(frame.pixels[:, :, 0] > 200)
        if not len(xs):
            return []
        return [person(float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))]


def test_a_small_object_is_found_in_a_tile_and_placed_in_the_frame() -> None:
    pixels = np.zeros((1080, 1920, 3), np.uint8)
    pixels[800:812, 1500:1508] = 255
    looker = Looker(Spots(), config.Tiles(side_px=640, each=2, full_every=3, budget_ms=60_000))
    found = [looker.look(Frame("c", n, n / 10, n / 10, pixels), ()) for n in range(20)]
    assert {d.box for one in found for d in one} == {(1500, 800, 1508, 812)}


def test_without_tiles_the_frame_goes_to_the_detector_as_it_is() -> None:
    frame = Frame("c", 0, 0.0, 0.0, np.zeros((1080, 1920, 3), np.uint8))
    asked: list[Frame] = []
    assert Looker(lambda one: asked.append(one) or [], None).look(frame, ()) == []
    assert asked == [frame]

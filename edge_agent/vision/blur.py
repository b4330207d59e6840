"""What of a picture is nobody's business: heads of people, and plates that no rule asked for, made unreadable."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.messages import Box, Tracks, is_a

HEAD = 0.32  # of a standing person's height, from the top: the head with its hair, hat and chin
HEAD_WIDE = 0.8  # of a box's width: who is cut by the picture's edge, sits, lies or is seen from above is mostly head
RIDER = 0.8  # of a two-wheeler's height, above it: the rider's head
ASIDE = 0.15  # of a box's width, more on each side: boxes are a little off
EDGE = 0.01  # of the picture's width: what comes so near to its edge is cut by it
PLATES_FROM = 0.4  # of a vehicle's height: plates are below, in front, behind and on trucks
PART, WITHIN = 0.12, 0.9  # of a vehicle's area, and of its own within it: what is no vehicle, but on one
BLOCKS = 6  # a blurred region has so many blocks along its longer side: no face or character is left

HEADS = -1  # whose regions these are does not matter: they are blurred for every rule
Region = tuple[int, Box]  # the track, and what of it is private

Pixels = npt.NDArray[np.uint8]


def private(tracks: Tracks) -> tuple[Region, ...]:
    """The regions to blur, also of those not yet sure: heads of people and riders, and where plates are on vehicles.

    Also what a detector of faces or plates found; a plate is that of the vehicle that it is on.
    """
    found: list[Region] = []
    everybody = (*tracks.tracks, *tracks.unsure)
    vehicles = [track for track in everybody if is_a(track.label, "vehicle")]
    for track in everybody:
        x1, y1, x2, y2 = track.box
        wide, high, two_wheeler = x2 - x1, y2 - y1, is_a(track.label, "two-wheeler")
        aside = ASIDE * wide
        if track.label == "person":
            head = max(HEAD * high, min(high, HEAD_WIDE * wide))
            found.append((HEADS, (x1 - aside, y1 - head / 6, x2 + aside, y1 + head)))
        match track.label.lower().replace("_", " ").replace("-", " "):
            case "face" | "head" | "human face" | "human head":
                found.append((HEADS, (x1 - aside, y1 - ASIDE * high, x2 + aside, y2 + ASIDE * high)))
            case "plate" | "license plate" | "licence plate" | "number plate" | "vehicle registration plate":
                owners = (car.id for car in vehicles if _within(track.box, car.box) >= WITHIN)
                found.append((next(owners, track.id), (x1 - aside / 3, y1, x2 + aside / 3, y2)))
        if two_wheeler:  # whose rider may not have been seen by itself
            found.append((HEADS, (x1 - aside, y1 - RIDER * high, x2 + aside, y1 + HEAD * high)))
        if two_wheeler or (is_a(track.label, "vehicle") and not any(_is_part(track.box, car.box) for car in vehicles)):
            near = EDGE * tracks.width
            cut = y1 <= near or (x1 <= near and x2 >= tracks.width - near)  # how much is above it nobody knows
            found.append((track.id, (x1 - aside / 3, y1 if cut else y1 + PLATES_FROM * high, x2 + aside / 3, y2)))
    return tuple(found)


def _is_part(box: Box, whole: Box) -> bool:
    """Whether a box shows a part of a vehicle, as its plate or a wheel: a vehicle in front of it would be larger."""
    return _area(box) < PART * _area(whole) and _within(box, whole) >= WITHIN


def _within(box: Box, whole: Box) -> float:
    """The share of a box that lies within another; 1 of a box of no size."""
    (x1, y1, x2, y2), (left, top, right, bottom) = box, whole
    within = max(0.0, min(x2, right) - max(x1, left)) * max(0.0, min(y2, bottom) - max(y1, top))
    return within / _area(box) if _area(box) > 0 else 1.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def others(regions: Iterable[Region], *subjects: int) -> tuple[Box, ...]:
    """The regions but those of the one that a rule fired for, by its tracks: its plate is what was asked for."""
    return tuple(box for track, box in regions if track not in subjects or track == HEADS)


def blurred(pixels: Pixels, boxes: Iterable[Box]) -> Pixels:
    """A copy in which nothing within the boxes can be made out: coarse blocks, which no filter undoes."""
    picture = pixels.copy()
    height, width = picture.shape[:2]
    for x1, y1, x2, y2 in boxes:
        left, top = max(0, int(x1)), max(0, int(y1))
        right, bottom = min(width, int(x2) + 1), min(height, int(y2) + 1)
        if right <= left or bottom <= top:
            continue
        wide, high = right - left, bottom - top
        step = max(wide, high) / BLOCKS
        small = cv2.resize(
            picture[top:bottom, left:right],
            (max(1, round(wide / step)), max(1, round(high / step))),
            interpolation=cv2.INTER_AREA,
        )
        picture[top:bottom, left:right] = cv2.resize(small, (wide, high), interpolation=cv2.INTER_NEAREST)
    return picture

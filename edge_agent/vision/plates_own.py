"""Our own plate models: one finds the corners of Chinese plates, the other says what stands between them.

The reader knows one row of characters: the rows of a plate that has two are laid side by side before it. Each look
says where the corners lie, closer than the finder can, and the next one reads between those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent import plate_types, weights
from edge_agent.messages import Box, Plate
from edge_agent.runtime import DriverError
from edge_agent.vision.camera import Frame
from edge_agent.vision.heads.form import suppress
from edge_agent.vision.net import Net
from edge_agent.vision.plate_cut import Corners, Cut, flatten, is_high, placed, whole
from edge_agent.vision.plates import moved, quality
from edge_agent.vision.session import Trial, on_trial, open_backend
from edge_agent.vision.tiles import Region, cut
from edge_agent.vision.votes import Calibration, Read

Pixels = npt.NDArray[np.uint8]

FIND_SCORE, IOU = 0.12, 0.5
OVERLAP = 0.5  # with a surer plate, above which it is a part of that one
MAX_PLATES = 20  # of one part of a picture
LARGE_PX = 1280  # a picture's side from which it is also looked at in tiles
TILE_PX, MAX_TILE_PX, ACROSS = 640, 960, 4  # their side: a quarter of the picture's within these, which bounds the cost
AT_BORDER = 0.25  # of its width: a plate so near to a tile's border may go on beyond
AT_EDGE = 0.06  # of its width: one that reaches so near to one side of the picture is not all in it
LEAST_PX = 8  # the height of a crop that can say anything
SURE = 0.9  # confidence from which a crop, or a picture, needs no other look
CROP_PX, AROUND = 200, 1.1  # how large the finder sees a crop, and how much grey around: no plate may fill its picture
GREY = (114, 114, 114)  # as beside a letterboxed picture
MAX_SIDE = 1024  # of what a reader takes: more is no crop of a plate
LENGTHS = (7, 8)  # of Chinese plates
ROUGHLY = 0.08  # around corners that the finder told, as in training
STRAY = 0.35  # of the plate's width: a corner that the reader moves further is not believed
LEAST = 0.001  # chances below it are nobody's
NEAR = 0.05  # of a plate's size: how far the looks at one of two rows are apart
LOOKS = 3  # at a plate, each between the corners that the one before saw
NOTHING = 0.9  # the chance of no plate from which one look is enough: most of what is found on a vehicle is none
TWO_ROWS = 1  # the finder's class


class Text(NamedTuple):
    """The chances of the characters at each place, "" among them for no character; and of each colour of the ground.

    The corners (4, 2), in pixels of the picture, are those that the reader sees.
    """

    places: tuple[dict[str, float], ...]
    colors: dict[str, float]
    corners: Corners


class PlateText:
    """The reader's network: crops of any size become chances."""

    def __init__(self, file: Path, threads: int) -> None:
        with on_trial(file) as trial:
            self._file, self._backend = file, open_backend(file, threads, plain=True)
            self._know()
            self._chances(np.zeros((1, 3, self.height, self.width), np.float32), trial)
            self._backend = open_backend(file, threads)

    def _know(self) -> None:
        """What its metadata and tensors say; raises DriverError where they are no reader's."""
        self.metadata = told = self._backend.metadata
        try:
            self.labels = msgspec.json.decode(told.get("labels", ""), type=list[str])
            self.colors = msgspec.json.decode(told.get("colors", ""), type=list[str])
        except msgspec.MsgspecError as error:
            raise DriverError(f"{self._file}: its metadata name no characters and colours: {error}") from None
        match [list(port.shape) for port in (*self._backend.inputs, *self._backend.outputs)]:
            case [[_, 3, int(high), int(wide)], [_, int(places), int(characters)], [_, int(colors)], [_, 4, 2]] if (
                LEAST_PX <= high <= MAX_SIDE
                and LEAST_PX <= wide <= MAX_SIDE
                and max(LENGTHS) <= places <= MAX_SIDE
                and [characters, colors] == [len(self.labels), len(self.colors)]
            ):
                self.height, self.width = high, wide
            case shapes:
                raise DriverError(
                    f"{self._file}: is no plate reader: its tensors are {shapes}; it must take (N, 3, H, W) and give "
                    f"(N, places, {len(self.labels)}) for its labels, (N, {len(self.colors)}) for its colors "
                    "and (N, 4, 2) for corners"
                )

    def _chances(self, crops: npt.NDArray[np.float32], trial: Trial | None = None) -> list[Any]:
        return self._backend.run({self._backend.inputs[0].name: crops}, trial)

    def read(self, pixels: Pixels, cuts: Sequence[Cut]) -> list[Text]:
        """What stands in each cut of a BGR picture."""
        if not cuts:
            return []
        flat = np.stack([flatten(pixels, cut, self.width, self.height) for cut in cuts])
        crops = np.ascontiguousarray(flat.transpose(0, 3, 1, 2).astype(np.float32))
        told = zip(cuts, *self._chances(crops), strict=True)
        return [self._text(places, grounds, placed(cut, corners)) for cut, places, grounds, corners in told]

    def _text(self, places: npt.NDArray[Any], grounds: npt.NDArray[Any], corners: Corners) -> Text:
        return Text(
            tuple({self.labels[i]: float(row[i]) for i in np.flatnonzero(row > LEAST)} for row in places),
            dict(zip(self.colors, grounds.tolist(), strict=True)),
            corners,
        )


class OwnPlates:
    """Finds and reads Chinese plates (GA 36-2018) of one row and two."""

    calibration = Calibration(0.87, 0.62)  # on 508 real plates, each made worse in three ways: bench/plates.py

    def __init__(self, threads: int, types: tuple[plate_types.Type, ...] = plate_types.CHINESE) -> None:
        if strangers := sorted({one.country for one in types} - {"CN"}):
            raise DriverError(
                f"the built-in plate reader knows plates of CN, not of {', '.join(strangers)}; "
                "take the reader rapidocr (--reader, or `reader` in [plates]; pip install 'edge-agent[rapidocr]')"
            )
        self.types = types
        self._finder = Net(weights.path("plate-detector"), threads, ())
        self._text = PlateText(weights.path("plate-reader"), threads)

    def read(self, frame: Frame, box: Box) -> Read | None:
        """The plate within a vehicle's box that reads best, in frame pixels; None where nothing reads as a plate."""
        height, width = frame.pixels.shape[:2]
        x1, y1 = max(0, int(box[0])), max(0, int(box[1]))
        x2, y2 = min(width, int(box[2]) + 1), min(height, int(box[3]) + 1)
        if x2 - x1 < 16 or y2 - y1 < 16:
            return None
        reads = self._find(frame.pixels[y1:y2, x1:x2])
        if not reads:
            return None
        plate = moved(reads[0].plate, x1, y1, 1.0)
        return reads[0]._replace(plate=plate, quality=quality(frame.pixels, plate.corners))

    def find(self, pixels: Pixels) -> list[Plate]:
        """All plates of a whole BGR picture, the surest first; in a large one also those that are far away.

        Where none reads surely, the picture may show one plate and nothing else.
        """
        height, width = pixels.shape[:2]
        longest = max(height, width)
        side = min(max(longest // ACROSS, TILE_PX), MAX_TILE_PX)
        reads = self._find(pixels, cut(width, height, side) if longest > LARGE_PX else [])
        if not reads or reads[0].plate.confidence < SURE:
            alone = self.read_crop(pixels)
            if alone and not is_cut(alone.plate.corners, width):
                reads = _surest_apart([*reads, alone])
        return [read.plate for read in reads]

    def _find(self, pixels: Pixels, parts: Sequence[Region] = ()) -> list[Read]:
        """What the whole picture shows, and its parts looked at one by one."""
        if min(pixels.shape[:2]) < 16:
            return []
        height, width = pixels.shape[:2]
        found = [self._plates(pixels, region) for region in ((0, 0, width, height), *parts)]
        plates = sorted((plate for one in found for plate in one), key=lambda plate: -plate[0])
        looked_at = (plates[i][1] for i in apart([plate.corners for _, plate in plates]))
        told = (agreed(self._looks(pixels, plate)) for plate in looked_at)
        return _surest_apart([read for read in told if read and not is_cut(read.plate.corners, width)])

    def read_crop(self, pixels: Pixels) -> Read | None:
        """The plate that a picture shows and nothing else, of one row or two."""
        height, width = pixels.shape[:2]
        if min(height, width) < LEAST_PX:
            return None
        rim = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
        reads = self._looks(pixels, Cut(whole(width, height), is_high(rim)))
        best = agreed(reads)
        if best is None or best.plate.confidence < SURE or is_high(rim):
            best = agreed([*reads, *(read for plate in self._within(pixels) for read in self._looks(pixels, plate))])
        return best._replace(quality=quality(pixels, best.plate.corners)) if best else None

    def _within(self, pixels: Pixels) -> list[Cut]:
        """Where plates are in a crop that one may fill: the finder is shown it small, and with grey around."""
        scale = min(CROP_PX / max(pixels.shape[:2]), 1.0)
        size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
        grey = round(AROUND * max(size))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        framed = cv2.copyMakeBorder(small, grey, grey, grey, grey, cv2.BORDER_CONSTANT, value=GREY)
        found = self._plates(np.asarray(framed, dtype=np.uint8), (0, 0, framed.shape[1], framed.shape[0]))
        back = np.array(pixels.shape[1::-1]) / size
        return [plate._replace(corners=(plate.corners - grey) * back) for _, plate in found]

    def _looks(self, pixels: Pixels, plate: Cut) -> list[Read]:
        """What each look at a plate says; where it may have two rows both ways are looked at.

        A look that sees no plate is the last.
        """
        texts, corners, cut = list[Text](), list[Corners](), plate._replace(two_rows=False)
        for _ in range(LOOKS):
            [text] = self._text.read(pixels, [cut])
            closer = text.corners if _follows(text.corners, plate.corners) else cut.corners
            texts, corners, cut = [*texts, text], [*corners, closer], Cut(closer)
            if text.colors.get("none", 0.0) > NOTHING:
                break
        if plate.two_rows:
            around = [Cut(quad, two_rows=True) for quad in _near(plate.corners)]
            texts, corners = [*texts, *self._text.read(pixels, around)], [*corners, *[plate.corners] * len(around)]
        reads = [make_plate(t, c, self.types, self.calibration) for t, c in zip(texts, corners, strict=True)]
        return [read for read in reads if read]

    def _plates(self, pixels: Pixels, region: Region) -> list[tuple[float, Cut]]:
        """Where plates are in a part of the picture, how sure that is, and whether each may have two rows.

        What may be cut at the part's border counts less than anything that its neighbours see whole.
        """
        x1, y1, x2, y2 = region
        candidates, letterbox = self._finder.look(pixels[y1:y2, x1:x2], None, FIND_SCORE)
        found = suppress(candidates, IOU)
        if found.corners is None:
            raise DriverError(f"{self._finder.file}: finds no corners")
        order = np.argsort(-found.scores, kind="stable")[:MAX_PLATES]
        quads = letterbox.to_frame(found.corners[order]) + np.array([x1, y1])
        return [
            (
                float(score) - _may_be_cut(quad, region, pixels),
                Cut(quad, bool(kind == TWO_ROWS) or is_high(quad), ROUGHLY),
            )
            for quad, kind, score in zip(quads, found.classes[order], found.scores[order], strict=True)
            if np.isfinite(quad).all() and _is_plate(quad)
        ]


def make_plate(
    text: Text, corners: Corners, types: Sequence[plate_types.Type], calibration: Calibration
) -> Read | None:
    """What the grammar makes of the chances; None where it is no plate."""
    color = max(text.colors, key=lambda name: text.colors[name])
    nothing = text.colors.get("none", 0.0)
    decoded: list[tuple[float, plate_types.Decoded]] = []
    for length in LENGTHS:
        over = min((place.get("", 0.0) for place in text.places[length:]), default=1.0)  # that nothing follows
        if over >= plate_types.MIN_CHANCE:
            found = plate_types.decode(text.places[:length], types, None if color == "none" else color)
            decoded += [(found.fit + math.log(over), found)] if found else []
    if not decoded:
        return None
    best = max(decoded, key=lambda one: one[0])[1]
    confidence = calibration.confidence(best.log_chance) * (1 - nothing)
    if confidence < LEAST:
        return None
    (x1, y1), (x2, y2) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    plate = Plate(
        text=best.text,
        confidence=confidence,
        box=(x1, y1, x2, y2),
        country=best.type.country,
        type=best.type.id,
        color=color if color in best.type.colors else best.type.colors[0],  # text says more than light
        corners=_points(corners),
    )
    return Read(plate, best.places, None if color == "none" else color, 1.0, nothing)


def agreed(reads: Sequence[Read]) -> Read | None:
    """The surest reading of the text for which most is said by all looks at one plate."""
    said: dict[str, float] = {}
    for read in reads:
        said[read.plate.text] = said.get(read.plate.text, 0.0) + read.plate.confidence
    return max(reads, key=lambda read: (said[read.plate.text], read.plate.confidence), default=None)


def _surest_apart(reads: Sequence[Read]) -> list[Read]:
    """The surest first, without those that lie on a surer one."""
    ordered = sorted(reads, key=lambda read: -read.plate.confidence)
    return [ordered[i] for i in apart([read.plate.corners for read in ordered])]


def _points(corners: Corners) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in corners)


def apart(told: Sequence[Corners | Sequence[tuple[float, float]]]) -> list[int]:
    """Which plates, by their four corners, the surest first, do not lie on a surer one by more than half of either."""
    quads = np.array(told, dtype=np.float64).reshape(-1, 4, 2)
    low, high = quads.min(axis=1), quads.max(axis=1)
    area = (high - low).prod(axis=1)
    kept: list[int] = []
    for i in range(len(quads)):
        common = np.maximum(np.minimum(high[i], high[kept]) - np.maximum(low[i], low[kept]), 0).prod(axis=1)
        if (common <= OVERLAP * np.minimum(area[i], area[kept])).all():
            kept.append(i)
    return kept


def _near(corners: Corners) -> list[Corners]:
    """The same corners, and some a little larger, smaller and beside: of two rows no look tells closer ones."""
    middle = corners.mean(axis=0)
    down, right = middle - corners[:2].mean(axis=0), middle - corners[[0, 3]].mean(axis=0)
    return [
        *(middle + (corners - middle) * size for size in (1.0, 1.0 + NEAR, 1.0 - NEAR)),
        *(corners + way * 2 * NEAR for way in (down, -down, right, -right)),
    ]


def _follows(closer: Corners, rough: Corners) -> bool:
    """Whether corners are those of a plate, and none is far from where it was told before."""
    most = STRAY * np.linalg.norm(rough[1] - rough[0])
    return bool(_is_plate(closer) and (np.linalg.norm(closer - rough, axis=1) <= most).all())


def is_cut(corners: Sequence[tuple[float, float]], width: int) -> bool:
    """Whether one side of the picture cuts a plate, so that it reads as another; at both the picture is of a plate."""
    xs = [x for x, _ in corners]
    near = AT_EDGE * (max(xs) - min(xs))
    return (min(xs) < near) != (max(xs) > width - near)


def _may_be_cut(quad: Corners, region: Region, pixels: Pixels) -> bool:
    """Whether a plate is so near to a border of its part that is not the picture's that it may go on beyond."""
    height, width = pixels.shape[:2]
    near = AT_BORDER * np.ptp(quad[:, 0])
    (x1, y1), (x2, y2) = quad.min(axis=0) - near, quad.max(axis=0) + near
    left, top, right, bottom = region
    return bool((0 < left > x1) or (0 < top > y1) or (x2 > right < width) or (y2 > bottom < height))


def _is_plate(quad: Corners) -> bool:
    """Four corners that turn one way and are as large as something that can be read."""
    x, y = (np.roll(quad, -1, axis=0) - quad).T
    turns = x * np.roll(y, -1) - y * np.roll(x, -1)
    return bool((turns > 0).all() and np.ptp(quad[:, 1]) >= LEAST_PX / 2 and np.ptp(quad[:, 0]) >= 2 * LEAST_PX)

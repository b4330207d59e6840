"""The training pictures in memory, and how they are mixed: mosaics, scales, colours; what is unlabelled is masked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.people.net import CLASSES, STRIDES

cv2.setNumThreads(1)
GREY = 114
MASK_PX = STRIDES[0]  # a cell of the mask


@dataclass(frozen=True)
class Picture:
    """Pixels (h, w, 3) BGR; rows class, x1, y1, x2, y2 in pixels; `labelled`: a bit a class."""

    pixels: np.ndarray
    boxes: np.ndarray
    labelled: int
    file: Path


def read_set(folder: Path, part: str, longest_px: int = 640) -> list[Picture]:
    """A set of `<set>/<part>/{images,labels}` with its `set.json`."""
    labelled = sum(1 << number for number in json.loads((folder / "set.json").read_text())["labelled_classes"])
    found = []
    for file in sorted((folder / part / "images").iterdir()):
        pixels = cv2.imread(str(file))
        height, width = pixels.shape[:2]
        if (scale := longest_px / max(height, width)) < 1:
            pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            height, width = pixels.shape[:2]
        text = (folder / part / "labels" / f"{file.stem}.txt").read_text()
        rows = np.array([line.split() for line in text.splitlines() if line.strip()], np.float32).reshape(-1, 5)
        rows = rows[(labelled >> rows[:, 0].astype(int) & 1) == 1]
        x, y, w, h = rows[:, 1] * width, rows[:, 2] * height, rows[:, 3] * width, rows[:, 4] * height
        boxes = np.stack([rows[:, 0], x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
        found.append(Picture(pixels, boxes, labelled, file))
    return found


TEACHER = {"person": 0, "car": 1, "truck": 1, "bus": 1, "motorcycle": 2, "bicycle": 2}


def fill(pictures: list[Picture], lines: Path, score: float = 0.5) -> list[Picture]:
    """What a teacher found (`edge-agent detect --json`) of the classes that a picture's set does not label."""
    told = {Path(line["file"]).name: line for line in map(json.loads, lines.open()) if "detections" in line}
    filled = []
    for picture in pictures:
        line = told.get(picture.file.name, {"detections": [], "width": 1})
        scale = picture.pixels.shape[1] / line["width"]
        more = [
            (TEACHER[d["label"]], *(side * scale for side in d["box"]))
            for d in line["detections"]
            if d["label"] in TEACHER and d["score"] >= score and not picture.labelled >> TEACHER[d["label"]] & 1
        ]
        boxes = np.concatenate([picture.boxes, np.array(more, np.float32).reshape(-1, 5)])
        filled.append(Picture(picture.pixels, boxes, picture.labelled, picture.file))
    return filled


class Mixer:
    """Draws training samples: pixels (S, S, 3) uint8, boxes (n, 5), mask (S/8, S/8) of bits, a bit a labelled class."""

    def __init__(
        self, sets: dict[str, list[Picture]], weights: dict[str, float], side: int, seed: int, look_side: int = 0
    ) -> None:
        """`look_side`: of the input that the net will be used with, where training sees crops of that."""
        self._sets, self._side, self._look_side = sets, side, look_side or side
        self.rng = np.random.default_rng(seed)
        self._names = list(sets)
        shares = np.array([weights[name] for name in self._names])
        self._shares = shares / shares.sum()
        self.mosaics, self.thermal, self.scales = 0.5, False, (0.7, 1.5)
        self.pasted, self._people = 0.0, list[np.ndarray]()
        self.ground, self._cut_out = dict[str, float](), list[np.ndarray]()

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng, side = self.rng, self._side
        canvas = np.full((side, side, 3), GREY, np.uint8)
        mask = np.full((side // MASK_PX, side // MASK_PX), (1 << len(CLASSES)) - 1, np.uint8)
        if rng.random() < self.mosaics:
            cx, cy = rng.integers(side * 3 // 10, side * 7 // 10, 2)
            places = [(0, 0, cx, cy), (cx, 0, side, cy), (0, cy, cx, side), (cx, cy, side, side)]
        else:
            places = [(0, 0, side, side)]
        boxes = [self._place(canvas, mask, place, whole=len(places) == 1) for place in places]
        rows = np.concatenate(boxes)
        if rng.random() < self.pasted:
            rows = self._paste(canvas, rows)
        if rng.random() < 0.5:
            canvas, mask = canvas[:, ::-1], mask[:, ::-1]
            rows[:, [1, 3]] = side - rows[:, [3, 1]]
        return self._colours(np.ascontiguousarray(canvas)), rows, np.ascontiguousarray(mask)

    def _pick(self) -> tuple[str, Picture]:
        name = self._names[self.rng.choice(len(self._names), p=self._shares)]
        pictures = self._sets[name]
        return name, pictures[self.rng.integers(len(pictures))]

    def _place(self, canvas: np.ndarray, mask: np.ndarray, place: tuple[int, ...], *, whole: bool) -> np.ndarray:
        """Put a picture, scaled and shifted, into a rectangle; gives the boxes of which enough is to be seen."""
        rng, (name, picture) = self.rng, self._pick()
        left, top, right, bottom = (int(v) for v in place)
        height, width = picture.pixels.shape[:2]
        fits = self._look_side / max(height, width)
        scale = fits * (rng.uniform(*self.scales) if whole else rng.uniform(0.4, 1.1))
        if whole and rng.random() < 0.35:
            scale = fits  # as it will be looked at
        stretch = rng.uniform(0.9, 1.1)
        sx, sy = scale * stretch, scale / stretch
        # where the picture's middle goes: so that the rectangle stays mostly filled
        room_x, room_y = (right - left) - width * sx, (bottom - top) - height * sy
        at_x = left + rng.uniform(min(room_x, 0), max(room_x, 0))
        at_y = top + rng.uniform(min(room_y, 0), max(room_y, 0))
        if whole and scale == fits and self._look_side == self._side:
            at_x, at_y = 0.0, 0.0
        matrix = np.array([[sx, 0, at_x - left], [0, sy, at_y - top]], np.float64)
        how = cv2.INTER_AREA if scale < 0.6 else cv2.INTER_LINEAR
        if scale < 0.6:  # warpAffine would alias
            small = cv2.resize(picture.pixels, None, fx=sx, fy=sy, interpolation=how)
            matrix[0, 0], matrix[1, 1] = 1.0, 1.0
        else:
            small = picture.pixels
        canvas[top:bottom, left:right] = cv2.warpAffine(
            small, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR, borderValue=(GREY,) * 3
        )
        ml, mt, mr, mb = (round(v / MASK_PX) for v in (left, top, right, bottom))
        mask[mt:mb, ml:mr] = picture.labelled
        rows = picture.boxes.copy()
        rows[:, [1, 3]], rows[:, [2, 4]] = rows[:, [1, 3]] * sx + at_x, rows[:, [2, 4]] * sy + at_y
        area = (rows[:, 3] - rows[:, 1]) * (rows[:, 4] - rows[:, 2])
        rows[:, [1, 3]], rows[:, [2, 4]] = rows[:, [1, 3]].clip(left, right), rows[:, [2, 4]].clip(top, bottom)
        w, h = rows[:, 3] - rows[:, 1], rows[:, 4] - rows[:, 2]
        seen, large = w * h > 0.3 * area, (w > 2) & (h > 3)
        for x1, y1, x2, y2 in (rows[seen & ~large, 1:] / MASK_PX).astype(int):
            mask[y1 : y2 + 1, x1 : x2 + 1] = 0  # too small to be told, and no background either
        rows = rows[seen & large]
        if rng.random() < self.ground.get(name, 0.0):
            mask[mt:mb, ml:mr] |= 1
            rows = self._populate(canvas, rows, (left, top, right, bottom))
        return rows

    def cut_people_out(self, most: int = 400) -> None:
        """Whole people of the street's pictures, each with a mask found by GrabCut (Rother et al., 2004), as BGRA."""
        for picture in (one for pictures in self._sets.values() for one in pictures):
            height, width = picture.pixels.shape[:2]
            for number, (kind, *sides) in enumerate(picture.boxes):
                x1, y1, x2, y2 = (round(float(v)) for v in sides)
                w, h = x2 - x1, y2 - y1
                if kind or h < 64 or not 0.2 * h < w < 0.65 * h or min(x1, y1, width - x2, height - y2) < 4:
                    continue
                if len(self._cut_out) >= most or (covered(picture.boxes, number) > 0.1).any():
                    continue
                part = picture.pixels[y1 - 4 : y2 + 4, x1 - 4 : x2 + 4]
                part = cv2.resize(part, None, fx=80 / h, fy=80 / h, interpolation=cv2.INTER_AREA)
                high, wide = part.shape[:2]
                mask, rectangle = np.zeros((high, wide), np.uint8), (3, 3, wide - 6, high - 6)
                cv2.grabCut(part, mask, rectangle, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_RECT)
                inside = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))
                if 0.2 < inside.mean() < 0.75:
                    self._cut_out.append(np.dstack([part, inside.astype(np.uint8) * 255])[3:-3, 3:-3])

    def _populate(self, canvas: np.ndarray, rows: np.ndarray, place: tuple[int, int, int, int]) -> np.ndarray:
        """Up to six of those cut out, 14 to 28 pixels tall and as if seen from above, on ground without people."""
        rng, (left, top, right, bottom) = self.rng, place
        for _ in range(int(rng.integers(1, 7))):
            person = self._cut_out[rng.integers(len(self._cut_out))]
            height = int(rng.uniform(10, 40) ** 0.5 * 20**0.5)
            width = max(4, round(height * person.shape[1] / person.shape[0] * rng.uniform(0.9, 1.7)))
            if width >= right - left or height >= bottom - top:
                continue
            person = cv2.resize(person, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
            x, y = int(rng.integers(left, right - width)), int(rng.integers(top, bottom - height))
            box = np.array([0, x, y, x + width, y + height], np.float32)
            if covered(more := np.concatenate([rows, box[None]]), -1).any():
                continue
            alpha, spot = person[..., 3:] / 255, canvas[y : y + height, x : x + width]
            colours = person[..., :3] * rng.uniform(0.6, 1.2) + rng.uniform(-15, 15)
            spot[:] = np.clip(colours * alpha + spot * (1 - alpha), 0, 255).astype(np.uint8)
            rows = more
        return rows

    def collect_people(self) -> None:
        """Warm people that stand alone, as what they add to the ground around them: to be pasted, tiny, elsewhere."""
        for picture in (one for pictures in self._sets.values() for one in pictures):
            for number, box in enumerate(picture.boxes):
                x1, y1, x2, y2 = (round(float(v)) for v in box[1:])
                around = picture.pixels[max(y1 - 2, 0) : y2 + 2, max(x1 - 2, 0) : x2 + 2, 0].astype(np.float32)
                if box[0] or y2 - y1 < 12 or x1 < 2 or y1 < 2 or around.shape != (y2 - y1 + 4, x2 - x1 + 4):
                    continue
                if covered(picture.boxes, number).any():
                    continue
                rim = np.concatenate([around[:2].ravel(), around[-2:].ravel(), around[:, :2].ravel()])
                added = around - np.median(rim)
                if rim.std() < 12 and added.max() > 50:
                    y, x = np.ogrid[-1 : 1 : 1j * around.shape[0], -1 : 1 : 1j * around.shape[1]]
                    self._people.append(added * np.clip(2.2 - 2 * (x * x + y * y), 0, 1))

    def _paste(self, canvas: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """A few of the collected people, 6 to 18 pixels tall, where nothing else is."""
        rng, side = self.rng, self._side
        for _ in range(int(rng.integers(1, 7))):
            person = self._people[rng.integers(len(self._people))]
            scale = rng.uniform(6, 18) / (person.shape[0] - 4)
            wide = scale * rng.uniform(0.85, 1.15)
            person = cv2.resize(person, None, fx=wide, fy=scale, interpolation=cv2.INTER_AREA)
            height, width = person.shape
            x, y = int(rng.integers(0, side - width)), int(rng.integers(0, side - height))
            box = np.array([0, x + 2 * scale, y + 2 * scale, x + width - 2 * scale, y + height - 2 * scale], np.float32)
            if covered(more := np.concatenate([rows, box[None]]), -1).any():
                continue
            added = person * (rng.uniform(0.5, 1.2) if rng.random() < 0.88 else rng.uniform(-0.7, -0.3))
            spot = canvas[y : y + height, x : x + width]
            spot[:] = np.clip(spot + added[..., None], 0, 255).astype(np.uint8)
            rows = more
        return rows

    def _colours(self, pixels: np.ndarray) -> np.ndarray:
        rng = self.rng
        if rng.random() < 0.8:
            gain, lift = rng.uniform(0.6, 1.4), rng.uniform(-25, 25)
            if self.thermal and rng.random() < 0.1:
                gain, lift = -gain, 255.0 + lift  # black-hot
            tint = rng.uniform(0.9, 1.1, 3) if not self.thermal else 1.0
            pixels = np.clip(pixels.astype(np.float32) * (gain * tint) + lift, 0, 255).astype(np.uint8)
        if not self.thermal and rng.random() < 0.12:
            pixels = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        if rng.random() < 0.1:
            pixels = cv2.GaussianBlur(pixels, (3, 3), 0)
        if rng.random() < 0.1:
            noise = rng.normal(0, rng.uniform(2, 12), pixels.shape[:2])[..., None]
            pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        if rng.random() < 0.1:
            _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 80))])
            pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return pixels


def covered(boxes: np.ndarray, number: int) -> np.ndarray:
    """The share of one row's box that each other one covers."""
    others = np.delete(boxes, number, 0)[:, 1:]
    _, x1, y1, x2, y2 = boxes[number]
    wide = np.minimum(others[:, 2], x2) - np.maximum(others[:, 0], x1)
    high = np.minimum(others[:, 3], y2) - np.maximum(others[:, 1], y1)
    return np.clip(wide, 0, None) * np.clip(high, 0, None) / max((x2 - x1) * (y2 - y1), 1e-9)


def letterbox(pixels: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """As the agent feeds it: at the top left, grey beside."""
    height, width = pixels.shape[:2]
    scale = min(side / width, side / height)
    small = cv2.resize(pixels, (max(1, int(width * scale)), max(1, int(height * scale))))
    canvas = np.full((side, side, 3), GREY, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas, scale

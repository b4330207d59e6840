"""Does a fixed camera still look where it did? Small patches of its first picture are looked for in later ones.

Patches are compared by normalised correlation, which light and contrast do not change much. Where most are found, but
elsewhere, the camera was moved, and zones drawn in its picture no longer lie where they were drawn; where hardly any is
found, it is covered, dirty or turned away. Cars that park change some patches, never most.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from msgspec import Struct

Grey = npt.NDArray[np.uint8]

WIDTH = 320  # of the grey copies that are compared
CELLS = (6, 4)  # one patch in each, where there is something to hold on to
PATCH, REACH = 24, 40  # pixels of the copy: side of a patch, how far it is looked for
LEAST = 6  # patches; a picture with fewer cannot be told from another
TEXTURE = 12.0  # grey levels of standard deviation
ALIKE = 0.6
FOUND = 0.5  # of the patches, to speak of a shift
LOST = 0.2  # of them, to speak of a picture that is another
MOVED = 0.015  # of the width: zones are no longer true
EVERY_S, AGREE = 10.0, 3  # checks, and how many must say the same


class Shift(NamedTuple):
    """How the picture lies beside the first: to the right and down, as shares of the width; which share was found."""

    right: float
    down: float
    found: float


class Anchors(Struct, frozen=True):
    """The patches of one picture: where each lies in its grey copy of `shape` (rows, columns), and its pixels."""

    shape: tuple[int, int]
    patches: tuple[tuple[int, int, bytes], ...]

    @classmethod
    def of(cls, pixels: npt.NDArray[np.uint8]) -> Anchors:
        """Those of a picture, given as BGR (H, W, 3)."""
        grey = _grey(pixels)
        found = ((x, y, grey[y : y + PATCH, x : x + PATCH].tobytes()) for x, y in _textured(grey))
        return cls((grey.shape[0], grey.shape[1]), tuple(found))

    @property
    def usable(self) -> bool:
        """Whether there is enough to hold on to, and all of it could be of one picture."""
        height, width = self.shape
        return len(self.patches) >= LEAST and all(
            0 <= x <= width - PATCH and 0 <= y <= height - PATCH and len(data) == PATCH * PATCH
            for x, y, data in self.patches
        )

    def shift(self, pixels: npt.NDArray[np.uint8]) -> Shift | None:
        """Where the patches are now; None for a picture of another shape."""
        now = _grey(pixels)
        if now.shape != self.shape:
            return None
        moves = []
        for x, y, data in self.patches:
            left, top = max(0, x - REACH), max(0, y - REACH)
            window = now[top : y + PATCH + REACH, left : x + PATCH + REACH]
            patch = np.frombuffer(data, np.uint8).reshape(PATCH, PATCH)
            match = cv2.matchTemplate(window, patch, cv2.TM_CCOEFF_NORMED)
            _, best, _, (right, down) = cv2.minMaxLoc(match)
            if best >= ALIKE:
                moves.append((left + right - x, top + down - y))
        if not moves:
            return Shift(0.0, 0.0, 0.0)
        middle = np.median(np.array(moves, dtype=np.float64), axis=0)
        agree = sum(bool(np.abs(np.array(move) - middle).max() <= 3) for move in moves)
        return Shift(float(middle[0]) / WIDTH, float(middle[1]) / WIDTH, agree / len(self.patches))


class Shelf(Protocol):
    """Where references outlast a restart; what is `drawn` into the picture belongs to them."""

    drawn: str

    def load(self, light: str) -> Anchors | None: ...
    def save(self, light: str, anchors: Anchors) -> None: ...


class ViewWatch:
    """One fixed camera's view; the first usable picture of each light is what later ones are compared with."""

    def __init__(self) -> None:
        self._shelf: Shelf | None = None
        self._anchors: dict[str, Anchors] = {}
        self._kept = set[str]()  # of these the shelf has
        self._due_s = float("-inf")
        self._said, self._times = "", 0
        self.fault = ""  # what is wrong with the view, in words; empty where nothing is

    def remember(self, shelf: Shelf) -> None:
        """Keep the references there; what was drawn anew since was drawn into the view as it is now."""
        if self._shelf is None or self._shelf.drawn != shelf.drawn:
            self._shelf, self._anchors, self._kept = shelf, {}, set()
            self.fault, self._said, self._times = "", "", 0

    def due(self, at_s: float) -> bool:
        """Whether it is time to compare again."""
        return at_s >= self._due_s or at_s < self._due_s - 2 * EVERY_S

    def update(self, at_s: float, pixels: npt.NDArray[np.uint8], light: str) -> str:
        """Compare a picture; the fault after it, which changes once some checks on end agree."""
        self._due_s, shelf = at_s + EVERY_S, self._shelf
        if light not in self._anchors and shelf is not None and (kept := shelf.load(light)) is not None:
            self._anchors[light] = kept
            self._kept.add(light)
        anchors = self._anchors.get(light)
        shift = anchors.shift(pixels) if anchors is not None else None
        if anchors is None or shift is None:  # none yet, or of a picture of another shape
            anchors = Anchors.of(pixels)
            if anchors.usable:
                self._anchors[light] = anchors
                self._kept.discard(light)
            return self.fault
        says = _judge(shift)
        self._times = self._times + 1 if bool(says) == bool(self._said) else 1
        self._said = says
        if self._times >= AGREE:
            self.fault = says
            if shelf is not None and not says and light not in self._kept:  # it was no passing truck
                self._kept.add(light)
                shelf.save(light, anchors)
        return self.fault


def _judge(shift: Shift) -> str:
    if shift.found < LOST:
        return "shows hardly anything of what it showed at first: is it covered, dirty, or turned away?"
    if shift.found >= FOUND and max(abs(shift.right), abs(shift.down)) >= MOVED:
        ways = f"{-shift.right * 100:+.1f} % to the right, {-shift.down * 100:+.1f} % down"
        return f"looks elsewhere than at first ({ways}, of its width): zones drawn in its picture no longer hold"
    return ""


def _grey(pixels: npt.NDArray[np.uint8]) -> Grey:
    height, width = pixels.shape[:2]
    size = (WIDTH, max(1, round(height * WIDTH / width)))
    small: Any = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    return np.asarray(small, dtype=np.uint8)


def _textured(grey: Grey) -> list[tuple[int, int]]:
    """The patch of each cell with the strongest corner in it, where it has texture enough."""
    height, width = grey.shape
    across, down = CELLS
    places = []
    strength: Any = cv2.cornerMinEigenVal(grey, 5)
    for row in range(down):
        for column in range(across):
            x1, y1 = column * width // across, row * height // down
            x2, y2 = min((column + 1) * width // across, width) - PATCH, min((row + 1) * height // down, height) - PATCH
            if x2 <= x1 or y2 <= y1:
                continue
            half = PATCH // 2
            _, _, _, (x, y) = cv2.minMaxLoc(strength[y1 + half : y2 + half, x1 + half : x2 + half])
            patch = grey[y1 + y : y1 + y + PATCH, x1 + x : x1 + x + PATCH]
            if patch.std() >= TEXTURE:
                places.append((x1 + x, y1 + y))
    return places

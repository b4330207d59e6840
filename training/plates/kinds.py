"""The kinds of plates of GA 36-2018: where characters stand, in which colours, and texts that they may carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from training.plates.glyphs import DIGITS, LETTERS, PROVINCES, SPECIAL

SERIAL_LETTERS = LETTERS.replace("I", "").replace("O", "")
SERIAL = DIGITS + SERIAL_LETTERS
COLORS = ("blue", "yellow", "green", "yellow-green", "white", "black")
ALPHABET = PROVINCES + DIGITS + LETTERS + SPECIAL
LONGEST = 8  # characters of the longest plate

WHITE, BLACK, RED = (245, 245, 245), (25, 22, 22), (45, 35, 205)  # BGR
GROUNDS = {
    "blue": (180, 70, 15),
    "yellow": (20, 175, 240),
    "green": (110, 190, 60),
    "yellow-green": (100, 190, 60),
    "white": (235, 238, 238),
    "black": (30, 28, 26),
}


class Slot(NamedTuple):
    """Where one character stands, in millimetres of the plate."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Kind:
    """One layout: its size in millimetres, its slots, its pattern and how often it is rendered.

    A pattern's lower-case letters are classes, as in edge_agent/plates.toml; `red` marks characters in red.
    """

    name: str
    color: str
    ink: tuple[int, int, int]
    width: float
    height: float
    slots: tuple[Slot, ...]
    patterns: tuple[str, ...]
    weight: float
    rows: int = 1
    red: str = ""  # characters, or places as ^ (first), that are red
    dot: tuple[float, float] | None = None


def _row(
    widths: list[float], gap: float, wide_after: int, wide: float, y: float, height: float, plate: float
) -> list[Slot]:
    """Characters side by side, centred on the plate; the gap after number `wide_after` is `wide`."""
    gaps = [wide if i == wide_after else gap for i in range(1, len(widths))]
    x, slots = (plate - sum(widths) - sum(gaps)) / 2, []
    for width, after in zip(widths, [*gaps, 0.0], strict=True):
        slots.append(Slot(x, y, width, height))
        x += width + after
    return slots


_STANDARD = tuple(_row([45.0] * 7, 12, 2, 34, 25, 90, 440))
_NEV = tuple(_row([45.0, *[43.0] * 7], 9, 2, 49, 25, 90, 480))
_WJ = tuple(_row([42.0, 42.0, 40.0, *[43.0] * 5], 9, 3, 30, 25, 90, 440))
_EMERGENCY = tuple(_row([42.0] * 8, 8, 2, 30, 25, 90, 440))
_EMBASSY = tuple(_row([45.0] * 7, 12, 4, 34, 25, 90, 440))
_AUTHORITY_DOT = (_STANDARD[2].x - 17.0, 70.0)


def _two_rows(width: float, height: float) -> tuple[Slot, ...]:
    """On 440 by 220 mm province and authority above, the serial below; other plates are the same in proportion."""
    slots = [Slot(110, 15, 80, 60), Slot(250, 15, 80, 60), *_row([65.0] * 5, 15, 0, 0, 90, 110, 440)]
    x, y = width / 440, height / 220
    return tuple(Slot(slot.x * x, slot.y * y, slot.width * x, slot.height * y) for slot in slots)


KINDS = (
    Kind("small", "blue", WHITE, 440, 140, _STANDARD, ("paxxxxx",), 60, dot=_AUTHORITY_DOT),
    Kind("nev_small", "green", BLACK, 480, 140, _NEV, ("paexnnnn", "padnnnnn", "pafnnnnn"), 22),
    Kind("nev_large", "yellow-green", BLACK, 480, 140, _NEV, ("pannnnne", "pannnnnd"), 5),
    Kind("large", "yellow", BLACK, 440, 140, _STANDARD, ("paxxxxx",), 9, dot=_AUTHORITY_DOT),
    Kind("large_rear", "yellow", BLACK, 440, 220, _two_rows(440, 220), ("paxxxxx",), 8, rows=2, dot=(220, 45)),
    Kind("trailer", "yellow", BLACK, 440, 220, _two_rows(440, 220), ("paxxxx挂",), 4, rows=2, dot=(220, 45)),
    Kind("low_speed", "yellow", BLACK, 300, 165, _two_rows(300, 165), ("paxxxxx",), 1.5, rows=2),
    Kind("motorcycle", "yellow", BLACK, 220, 140, _two_rows(220, 140), ("paxxxxx",), 1.5, rows=2),
    Kind("moped", "blue", WHITE, 220, 140, _two_rows(220, 140), ("paxxxxx",), 1.5, rows=2),
    Kind("trainer", "yellow", BLACK, 440, 140, _STANDARD, ("paxxxx学",), 3, dot=_AUTHORITY_DOT),
    Kind("police", "white", BLACK, 440, 140, _STANDARD, ("paxxxx警",), 4, red="警", dot=_AUTHORITY_DOT),
    Kind("test", "white", BLACK, 440, 140, _STANDARD, ("paxxxx试",), 1.5, dot=_AUTHORITY_DOT),
    Kind("emergency", "white", BLACK, 440, 140, _EMERGENCY, ("pXnnnn应急", "pSnnnn应急"), 2.5, red="应急"),
    Kind("armed_police", "white", BLACK, 440, 140, _WJ, ("WJpnnnnx",), 3, red="^WJ"),
    Kind("military", "white", BLACK, 440, 140, _STANDARD, ("llnnnnn",), 3, red="^^", dot=_AUTHORITY_DOT),
    Kind("hongkong_macao", "black", WHITE, 440, 140, _STANDARD, ("粤Zxxxx港", "粤Zxxxx澳"), 3, dot=_AUTHORITY_DOT),
    Kind("embassy", "black", WHITE, 440, 140, _EMBASSY, ("使nnnnnn", "nnnnnn使"), 2, red="使"),
    Kind("consulate", "black", WHITE, 440, 140, _STANDARD, ("pannnn领",), 2, red="领", dot=_AUTHORITY_DOT),
    Kind("civil_aviation", "green", WHITE, 440, 140, _STANDARD, ("民航xxxxx",), 1.5, dot=_AUTHORITY_DOT),
)
WEIGHTS = np.array([kind.weight for kind in KINDS]) / sum(kind.weight for kind in KINDS)

_CLASSES = {
    "p": PROVINCES,
    "a": SERIAL_LETTERS,
    "n": DIGITS,
    "l": LETTERS,
    "e": "ABCDEFGHJK",
    "d": "D",
    "f": "F",
    "x": SERIAL,
}
DIGIT_SHARE = 0.6  # of serial characters: most plates carry two letters at most, yet each letter must be learnt


def draw_text(rng: np.random.Generator, kind: Kind) -> str:
    """A text that this kind may carry, all provinces alike."""
    pattern = kind.patterns[rng.integers(len(kind.patterns))]
    return "".join(_draw(rng, sign) for sign in pattern)


def draw_gibberish(rng: np.random.Generator, kind: Kind) -> str:
    """Any characters in a kind's slots, mostly provinces: a true plate shows one, so they are learnt slowest."""
    drawn = (PROVINCES if rng.random() < 0.6 else ALPHABET for _ in kind.slots)
    return "".join(signs[rng.integers(len(signs))] for signs in drawn)


def _draw(rng: np.random.Generator, sign: str) -> str:
    if sign == "x":
        sign = "n" if rng.random() < DIGIT_SHARE else "s"
    allowed = SERIAL_LETTERS if sign == "s" else _CLASSES.get(sign, sign)
    return allowed[rng.integers(len(allowed))]

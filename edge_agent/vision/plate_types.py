"""What a reader's chances of characters say by the grammar of plates, and of which kind a plate is. Pure.

A pattern allows some characters at each place, so decoding is the likeliest allowed character of each: an O where only
a digit may stand is read as 0.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

PROVINCES = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新"
DIGITS, LETTERS = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
WORDS = "学警挂试港澳使领应急民航"
ALPHABET = PROVINCES + WORDS + LETTERS + DIGITS
_CLEAR = LETTERS.replace("I", "").replace("O", "")
CLASSES: Mapping[str, frozenset[str]] = {
    "p": frozenset(PROVINCES),
    "a": frozenset(LETTERS.replace("I", "")),
    "x": frozenset(_CLEAR + DIGITS),
    "n": frozenset(DIGITS),
    "l": frozenset(LETTERS),
    "m": frozenset(_CLEAR),
    "e": frozenset("ABCDEFGHJK"),
}
FILE = Path(__file__).with_name("plates.toml")
WRONG_COLOUR = 1.5  # what another colour costs, in nats
EXTRA = 2.0  # what a character costs that is left out at an end: bolts and frames read as 1
MIN_CHANCE = 0.003  # of a character that the pattern demands: below, the picture says something else
FLOOR = 1e-6

Chances = Mapping[str, float]  # of the characters at one place


class Type(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of plate, as `plates.toml` has it."""

    id: str
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    patterns: Annotated[tuple[str, ...], Meta(min_length=1)]
    colors: Annotated[tuple[str, ...], Meta(min_length=1)]


class Decoded(Struct, frozen=True, kw_only=True):
    """The text, its kind, the places that it was read from, and how well all fits (in nats, 0 at best)."""

    text: str
    type: Type
    places: tuple[Chances, ...]
    log_chance: float  # of all characters together
    fit: float


@cache
def known_types(file: Path = FILE) -> tuple[Type, ...]:
    """The kinds of plates in a file; ValueError where it is none."""
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    return msgspec.convert(table.get("type", ()), tuple[Type, ...])


def of_countries(countries: Iterable[str]) -> tuple[Type, ...]:
    """The known kinds of these countries (ISO 3166, two letters)."""
    wanted = set(countries)
    return tuple(one for one in known_types() if one.country in wanted)


def decode(places: Sequence[Chances], types: Sequence[Type], color: str | None) -> Decoded | None:
    """What fits best; None where no kind fits."""
    best: Decoded | None = None
    for skip, cut in (((0, 0), 0.0), ((1, 0), EXTRA), ((0, 1), EXTRA)):
        part = places[skip[0] : len(places) - skip[1]]
        for kind in types:
            other = WRONG_COLOUR if color is not None and color not in kind.colors else 0.0
            for pattern in kind.patterns:
                found = _masked(part, pattern) if len(pattern) == len(part) else None
                if found is None:
                    continue
                text, chances = found
                log_chance = sum(math.log(max(chance, FLOOR)) for chance in chances)
                fit = log_chance - other - cut
                if best is None or fit > best.fit:
                    best = Decoded(text=text, type=kind, places=tuple(part), log_chance=log_chance, fit=fit)
    return best


def kind_of(text: str, types: Sequence[Type], color: str | None = None) -> Type | None:
    """The kind of a text as it stands."""
    found = decode([{character: 1.0} for character in text], types, color)
    return found.type if found is not None and found.text == text else None


def _masked(places: Sequence[Chances], pattern: str) -> tuple[str, list[float]] | None:
    text, chances = "", list[float]()
    for place, sign in zip(places, pattern, strict=True):
        allowed = CLASSES.get(sign, frozenset(sign))
        character, chance = max(
            ((one, place.get(one, 0.0)) for one in sorted(allowed)), key=lambda pair: pair[1], default=("", 0.0)
        )
        if chance < MIN_CHANCE:
            return None
        text += character
        chances.append(chance)
    return text, chances

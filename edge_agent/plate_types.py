"""What a reader's chances of characters say by the grammar of plates, and of which kind a plate is. Pure.

A pattern allows some characters at each place, so decoding is the likeliest allowed character of each: an O where only
a digit may stand is read as 0. `plates.toml` holds the kinds that are known; files of a user's own add to them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from edge_agent.files import read_text

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
Color = Literal["blue", "green", "yellow-green", "yellow", "white", "black"]
FILE = Path(__file__).with_name("plates.toml")
WRONG_COLOUR = 1.5  # what another colour costs, in nats
EXTRA = 2.0  # what a character costs that is left out at an end: bolts and frames read as 1
MIN_CHANCE = 0.003  # of a character that the pattern demands: below, the picture says something else
FLOOR = 1e-6

Chances = Mapping[str, float]  # of the characters at one place


class Type(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of plate, as `plates.toml` has it; `classes` are further lower-case letters for patterns."""

    id: Annotated[str, Meta(pattern="^[a-z0-9_]{1,40}\\Z")]
    country: Annotated[str, Meta(pattern="^[A-Z]{2}\\Z")]
    patterns: Annotated[tuple[Annotated[str, Meta(min_length=2, max_length=12)], ...], Meta(min_length=1)]
    colors: Annotated[tuple[Color, ...], Meta(min_length=1)]
    classes: dict[Annotated[str, Meta(pattern="^[a-z]\\Z")], Annotated[str, Meta(min_length=1)]] = {}

    def allowed(self, sign: str) -> Iterable[str]:
        """The characters that a sign of a pattern stands for."""
        return self.classes.get(sign) or CLASSES.get(sign) or sign


class _Table(Struct, frozen=True, forbid_unknown_fields=True):
    types: tuple[dict[str, Any], ...] = field(default=(), name="type")


class Decoded(Struct, frozen=True, kw_only=True):
    """The text, its kind, the places that it was read from, and how well all fits (in nats, 0 at best)."""

    text: str
    type: Type
    places: tuple[Chances, ...]
    log_chance: float  # of all characters together
    fit: float


@cache
def known_types(files: tuple[Path, ...] = ()) -> tuple[Type, ...]:
    """Our kinds and those of further files, of which one of the same country and id replaces ours.

    ValueError with every fault, a line each: file, place, value and what may stand there.
    """
    found: dict[tuple[str, str], Type] = {}
    faults: list[str] = []
    for file in (FILE, *files):
        for one in _read(file, faults):
            found[one.country, one.id] = one
    if faults:
        raise ValueError("\n".join(faults))
    return tuple(found.values())


def of_countries(countries: Iterable[str], files: tuple[Path, ...] = ()) -> tuple[Type, ...]:
    """The known kinds of these countries (ISO 3166, two letters); ValueError as `known_types`."""
    wanted = set(countries)
    return tuple(one for one in known_types(files) if one.country in wanted)


def characters(types: Iterable[Type]) -> str:
    """All that may stand on plates of these kinds, and whatever else is on ours."""
    signs = ((one, sign) for one in types for pattern in one.patterns for sign in pattern)
    return "".join(dict.fromkeys([*ALPHABET, *(letter for one, sign in signs for letter in one.allowed(sign))]))


def _read(file: Path, faults: list[str]) -> list[Type]:
    """The kinds of one file, as far as they are good."""
    found: list[Type] = []
    try:
        rows = msgspec.toml.decode(read_text(file), type=_Table).types
    except OSError as error:
        faults.append(f"{file}: cannot be read: {error.strerror}")
        return []
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        faults.append(f"{file}: is no table of plates: {error}; [[type]] with id, country, patterns, colors is wanted")
        return []
    for number, row in enumerate(rows, start=1):
        where = f"{file}: type {number} ({row.get('id')!r})"
        try:
            one = msgspec.convert(row, Type)
        except msgspec.ValidationError as error:
            faults.append(f"{where}: {error}")
            continue
        signs = {sign for pattern in one.patterns for sign in pattern}
        strange = sorted(sign for sign in signs if sign.islower() and one.allowed(sign) == sign)
        if strange:
            known = ", ".join([*CLASSES, *one.classes])
            faults.append(f"{where}: patterns: {strange[0]!r} is no class of characters (there is: {known})")
        found.append(one)
    return found


def decode(places: Sequence[Chances], types: Sequence[Type], color: str | None) -> Decoded | None:
    """What fits best; None where no kind fits."""
    best: Decoded | None = None
    for skip, cut in (((0, 0), 0.0), ((1, 0), EXTRA), ((0, 1), EXTRA)):
        part = places[skip[0] : len(places) - skip[1]]
        for kind in types:
            other = WRONG_COLOUR if color is not None and color not in kind.colors else 0.0
            for pattern in kind.patterns:
                found = _masked(part, pattern, kind) if len(pattern) == len(part) else None
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


def _masked(places: Sequence[Chances], pattern: str, kind: Type) -> tuple[str, list[float]] | None:
    text, chances = "", list[float]()
    for place, sign in zip(places, pattern, strict=True):
        allowed = kind.allowed(sign)
        character, chance = max(
            ((one, chance) for one, chance in place.items() if one and one in allowed),
            key=lambda pair: (pair[1], -ord(pair[0])),
            default=("", 0.0),
        )
        if chance < MIN_CHANCE:
            return None
        text += character
        chances.append(chance)
    return text, chances


CHINESE = of_countries(("CN",))

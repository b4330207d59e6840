"""A plate against lists of which only keyed hashes are known: exact, or with a doubt that has its price. Pure.

The lists hold HMAC-SHA-256 of each plate, so a stolen disk without the key tells nobody who is wanted. (With the key a
plate's small alphabet could be tried out: it keeps casual readers away, not the device's own administrator.) A look-up
tries the plate as read, then every plate that differs in one character, or in two that readers are known to mistake.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from edge_agent.messages import Hit, Listed
from edge_agent.topics import unix_s

PROVINCES = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" + PROVINCES + "学警挂试港澳使领"
# What readers of plates mistake for each other, by how easily: 0 is the same, 1 any other character.
_STRONG, _MEDIUM, _OTHER = 0.25, 0.5, 1.0
_MISTAKEN = (
    *((_STRONG, pair) for pair in ("0O", "0D", "0Q", "OD", "OQ", "DQ", "1I", "1L", "IL", "8B", "5S", "2Z", "6G")),
    *((_MEDIUM, pair) for pair in ("71", "7T", "38", "4A", "UV", "MN", "HN", "HM", "CG", "EF", "PR", "KX", "YV")),
    # Provinces whose shapes in three typefaces, blurred to 9 to 16 pixels of width, correlate by more than 0.57.
    *((_MEDIUM, pair) for pair in ("青贵", "青粤", "青鲁", "青吉", "粤鲁", "粤鄂", "贵鲁", "鲁冀", "鲁豫")),
    *((_MEDIUM, pair) for pair in ("津渝", "津黑", "陕皖", "云晋")),
)
_COSTS = {(pair[i], pair[1 - i]): cost for cost, pair in _MISTAKEN for i in (0, 1)}

Quality = Literal["exact", "probable", "possible"]
LIMITS: Mapping[Quality, float] = {"exact": 0.0, "probable": _MEDIUM, "possible": _OTHER}


class Sealed(Struct, frozen=True, kw_only=True):
    """An entry as it is kept: all but the plate."""

    authority: str
    reason: str
    expires: str  # RFC 3339, as it was given
    expires_s: float


class SealedList(Struct, frozen=True, kw_only=True):
    """A list as it is kept: `entries` by the keyed hash of their plates."""

    version: Annotated[int, Meta(ge=0)] = 0
    by: str = ""
    wall_s: float = 0.0
    key: str = ""  # which one it was sealed by, as `key_id` tells
    entries: dict[str, Sealed] = {}


class Change(Struct, frozen=True, kw_only=True):
    """What a new version makes of a list."""

    to: SealedList
    added: int
    changed: int
    removed: int


def plain(text: str) -> str:
    """A plate as it is compared: upper case, without dots, spaces and hyphens, wide forms as narrow ones."""
    return re.sub(r"[\s·•.．・_-]", "", unicodedata.normalize("NFKC", text)).upper()


def seal(key: bytes, plate: str) -> str:
    """The keyed hash of a plate, 64 hex digits."""
    return hmac.new(key, plain(plate).encode(), hashlib.sha256).hexdigest()


def key_id(key: bytes) -> str:
    """What tells one key from another: of a plate no such hash is made."""
    return hmac.new(key, b"hot list", hashlib.sha256).hexdigest()[:16]


def plate_fault(text: str) -> str | None:
    """Why a text can be no plate, if so."""
    return None if 2 <= len(plain(text)) <= 16 else f"{text!r} is not of 2 to 16 characters"


def fault(entry: Listed) -> str | None:
    """What is wrong with an entry, if anything."""
    if why := plate_fault(entry.plate):
        return f"plate: {why}"
    for name in ("authority", "reason"):
        if not getattr(entry, name).strip():
            return f"{name}: required: no plate is looked out for without it"
    return expires_fault(entry.expires)


def expires_fault(text: str) -> str | None:
    """Why a text is no moment at which an entry ends, if so."""
    try:
        unix_s(text)
    except (ValueError, OverflowError):
        return f"expires: wanted as RFC 3339 with its offset (2026-12-31T23:59:59+08:00), got {text!r}"
    return None


def change(
    old: SealedList,
    *,
    key: bytes,
    version: int,
    replace: bool,
    plates: tuple[Listed, ...],
    remove: tuple[str, ...],
    by: str,
    wall_s: float,
) -> Change | str:
    """The next version of a list, or why it cannot be; the same plate twice: the later entry counts."""
    if version <= old.version:
        return f"version {version} is not newer than {old.version}, which is in effect"
    for number, entry in enumerate(plates):
        if why := fault(entry):
            return f"plates[{number}].{why}"
    new = {
        seal(key, entry.plate): Sealed(
            authority=entry.authority.strip(),
            reason=entry.reason.strip(),
            expires=entry.expires,
            expires_s=unix_s(entry.expires),
        )
        for entry in plates
    }
    entries = new if replace else {**old.entries, **new}
    for plate in remove:
        entries.pop(seal(key, plate), None)
    return Change(
        to=SealedList(version=version, by=by, wall_s=wall_s, key=key_id(key), entries=entries),
        added=len(entries.keys() - old.entries.keys()),
        changed=sum(old.entries[id] != entries[id] for id in entries.keys() & old.entries.keys()),
        removed=len(old.entries.keys() - entries.keys()),
    )


def expire(old: SealedList, wall_s: float) -> SealedList:
    """A list without what has expired; the same one where nothing has."""
    if all(entry.expires_s > wall_s for entry in old.entries.values()):
        return old
    left = {id: entry for id, entry in old.entries.items() if entry.expires_s > wall_s}
    return structs.replace(old, entries=left)


def look(
    plate: str,
    lists: Mapping[str, SealedList],
    *,
    sealed: Callable[[str], str],
    wall_s: float,
    quality: Quality = "probable",
    only: tuple[str, ...] = (),
) -> Hit | None:
    """The nearest entry in effect, among the lists `only` where some are named; None where there is none."""
    names = [name for name in lists if not only or name in only]
    for distance, text, doubt in _near(plain(plate), LIMITS[quality]):
        id = sealed(text)
        for name in names:
            entry = lists[name].entries.get(id)
            if entry is not None and entry.expires_s > wall_s:
                return Hit(
                    list=name,
                    version=lists[name].version,
                    entry=id[:16],
                    authority=entry.authority,
                    reason=entry.reason,
                    expires=entry.expires,
                    quality=_quality(distance),
                    distance=distance,
                    doubt=doubt,
                )
    return None


def _quality(distance: float) -> Quality:
    return next(quality for quality, limit in LIMITS.items() if distance <= limit)


def _near(text: str, limit: float) -> Iterator[tuple[float, str, str | None]]:
    """The plate itself, then those that differ from it by no more than `limit` in sum, the likelier first."""
    yield 0.0, text, None
    ones = [
        (cost, ((at, other),))
        for at, read in enumerate(text)
        for other in ALPHABET
        if other != read and (cost := _COSTS.get((read, other), _OTHER)) <= limit
    ]
    easy = [(cost, change) for cost, (change,) in ones if cost < _OTHER]
    twos = [(a + b, (one, two)) for (a, one), (b, two) in combinations(easy, 2) if a + b <= limit and one[0] != two[0]]
    for cost, changes in sorted([*ones, *twos], key=lambda near: (near[0], len(near[1]))):
        letters, doubts = list(text), list[str]()
        for at, other in changes:
            letters[at] = other
            doubts.append(f"character {at + 1} was read as {text[at]}, may be {other}")
        yield cost, "".join(letters), "; ".join(doubts)

"""What metadata tell of a model: the names of its classes, its task, its key points. Pure; nothing is carried out."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

LONGEST = 100_000  # characters of `names`


def names(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """`names` as ultralytics writes it: the repr of a dict from class number to name, or of a list; None without it.

    Raises ValueError where it is something else.
    """
    text = metadata.get("names", "")
    if not text:
        return None
    try:
        found = ast.literal_eval(text) if len(text) <= LONGEST else None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # TypeError: a list as a key
        found = None
    match found:
        case dict() if {str(number) for number in found} == {str(number) for number in range(len(found))}:
            by_number = {str(number): name for number, name in found.items()}  # JSON knows no other keys than texts
            return tuple(_plain(str(by_number[str(number)])) for number in range(len(found)))
        case list() | tuple():
            return tuple(_plain(str(name)) for name in found)
        case _:
            raise ValueError("its metadata `names` is no list of names")


def task(metadata: Mapping[str, str]) -> str:
    """`task` as ultralytics writes it: detect, segment, pose, obb, classify; nothing where it is not told."""
    return _plain(metadata.get("task", "")[:40])


def key_points(metadata: Mapping[str, str]) -> tuple[int, int]:
    """`kpt_shape`, as of pose models: how many key points a box has, and numbers a point (2 or 3); else 0, 0."""
    match re.findall(r"\d{1,4}", metadata.get("kpt_shape", "")[:40]):
        case [points, "2" | "3" as numbers] if int(points) > 0:
            return int(points), int(numbers)
        case _:
            return 0, 0


def _plain(name: str) -> str:
    """Names are shown on terminals: nothing in them may move a cursor."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in name)

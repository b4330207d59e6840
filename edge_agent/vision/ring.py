"""The last minutes of a camera as encoded pictures, within a time and a size. Pure.

Whole groups of pictures come and go, so whatever is kept can be shown from its first picture on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from edge_agent.messages import Box

BLUR_AROUND_S = 0.5  # what is private in a picture is hidden in those so near to it as well


class Coded(Struct, frozen=True, kw_only=True):
    """One encoded picture; `key` where it needs no other, `private` what of it (in its own pixels) leaves blurred."""

    at_s: float
    wall_s: float
    data: bytes
    key: bool
    width: int
    height: int
    private: tuple[tuple[int, Box], ...] = ()  # by track


class Ring:
    """At most `seconds` (and one group) and `max_bytes` of pictures, in order of `at_s`."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._seconds, self._max_bytes = seconds, max_bytes
        self._groups: deque[list[Coded]] = deque()
        self.bytes = 0

    def add(self, coded: Coded) -> None:
        """Keep a picture; time that goes back, or a change of size, begins the ring anew."""
        newest = self.newest
        if newest is not None and (
            coded.at_s <= newest.at_s or (coded.width, coded.height) != (newest.width, newest.height)
        ):
            self.clear()
        if coded.key:
            self._groups.append([coded])
        elif self._groups:
            self._groups[-1].append(coded)
        else:
            return  # nothing that it could be shown after
        self.bytes += len(coded.data)
        while len(self._groups) > 1 and (
            self.bytes > self._max_bytes or self._groups[1][0].at_s <= coded.at_s - self._seconds
        ):
            self.bytes -= sum(len(one.data) for one in self._groups.popleft())

    def clear(self) -> None:
        """Forget everything."""
        self._groups = deque()
        self.bytes = 0

    @property
    def newest(self) -> Coded | None:
        """The last picture; any thread may ask, as a ring that is cleared gets other groups."""
        groups = self._groups
        return groups[-1][-1] if groups else None

    @property
    def oldest(self) -> Coded | None:
        """The first picture, as `newest`."""
        groups = self._groups
        return groups[0][0] if groups else None

    def cut(self, from_s: float, to_s: float) -> list[Coded]:
        """The pictures of a time, from the key picture at or before its beginning on; empty where there are none."""
        chosen = [group for group in self._groups if group[0].at_s <= to_s]
        while len(chosen) > 1 and chosen[1][0].at_s <= from_s:
            chosen.pop(0)
        found = [one for group in chosen for one in group if one.at_s <= to_s]
        return found if found and found[-1].at_s >= from_s else []


def widened(pictures: Sequence[Coded], within_s: float) -> list[tuple[tuple[int, Box], ...]]:
    """For each picture what is private in it or in one at most `within_s` away.

    A tracker needs some frames to be sure of somebody who comes, and shows nobody where it lost them.
    """
    found: list[tuple[tuple[int, Box], ...]] = []
    first = 0
    for one in pictures:
        while pictures[first].at_s < one.at_s - within_s:
            first += 1
        boxes: dict[tuple[int, Box], None] = {}
        for other in pictures[first:]:
            if other.at_s > one.at_s + within_s:
                break
            boxes |= dict.fromkeys(other.private)
        found.append(tuple(boxes))
    return found

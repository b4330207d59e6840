"""A set of whole numbers, kept as its runs: what a stream holds, and what of it waits: pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

Run = tuple[int, int]


class Ranges:
    """A set of whole numbers from 1 up, kept as its runs, both ends included."""

    def __init__(self) -> None:
        self._runs: list[Run] = []

    @property
    def runs(self) -> list[Run]:
        """The runs, in order; no two touch."""
        return self._runs

    def add(self, first: int, last: int) -> None:
        """Add all numbers from `first` to `last`."""
        low = bisect.bisect_left(self._runs, first - 1, key=_last)
        high = bisect.bisect_right(self._runs, last + 1, key=_first)
        if low < high:
            first, last = min(first, self._runs[low][0]), max(last, self._runs[high - 1][1])
        self._runs[low:high] = [(first, last)]

    def remove(self, first: int, last: int) -> None:
        """Take all numbers from `first` to `last` out."""
        low = bisect.bisect_left(self._runs, first, key=_last)
        high = bisect.bisect_right(self._runs, last, key=_first)
        if low >= high:
            return
        begin, end = self._runs[low][0], self._runs[high - 1][1]
        left = [(begin, first - 1)] if begin < first else []
        right = [(last + 1, end)] if last < end else []
        self._runs[low:high] = left + right

    def within(self, first: int, last: int) -> list[Run]:
        """The runs of what is in the set from `first` to `last`."""
        low = bisect.bisect_left(self._runs, first, key=_last)
        high = bisect.bisect_right(self._runs, last, key=_first)
        return [(max(first, begin), min(last, end)) for begin, end in self._runs[low:high]]

    def __contains__(self, number: int) -> bool:
        at = bisect.bisect_left(self._runs, number, key=_last)
        return at < len(self._runs) and self._runs[at][0] <= number

    def split(self) -> tuple[int, list[Run]]:
        """`(cum, rest)`: everything up to `cum` is in the set, `rest` are the runs beyond."""
        if self._runs and self._runs[0][0] <= 1:
            return self._runs[0][1], self._runs[1:]
        return 0, self._runs


def ranges(runs: Iterable[Run]) -> Ranges:
    """The set that these runs make up, in whatever order they come and however they overlap."""
    found = Ranges()
    for first, last in runs:
        if first <= last:
            found.add(first, last)
    return found


def _first(run: Run) -> int:
    return run[0]


def _last(run: Run) -> int:
    return run[1]

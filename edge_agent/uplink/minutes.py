"""Telemetry that nobody took, as one summary a minute and group: pure. Times are Unix seconds."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from edge_agent.topics import Spread, Summary, rfc3339

MINUTE_S = 60.0


class _Minute:
    """What was measured so far in one minute of one group."""

    def __init__(self, start_s: float) -> None:
        self.start_s, self.count = start_s, 0
        self.numbers: dict[str, list[float]] = {}
        self.last: dict[str, Any] = {}

    def add(self, data: dict[str, Any]) -> None:
        self.count += 1
        for name, value in data.items():
            if value is None:
                continue
            self.last[name] = value
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.numbers.setdefault(name, []).append(float(value))

    def summary(self, group: str) -> Summary:
        spreads = {name: Spread(min=min(all_), mean=_mean(all_), max=max(all_)) for name, all_ in self.numbers.items()}
        return Summary(
            group=group,
            began=rfc3339(self.start_s),
            ended=rfc3339(self.start_s + MINUTE_S),
            count=self.count,
            last=self.last,
            spread=spreads or UNSET,
        )


class Minutes:
    """`add` samples in the order of their times; `closed` gives what is over, once."""

    def __init__(self) -> None:
        self._open: dict[str, _Minute] = {}
        self._closed: list[tuple[float, Summary]] = []

    def add(self, group: str, wall_s: float, data: dict[str, Any]) -> None:
        """One sample; a clock that steps begins another minute."""
        start_s = wall_s // MINUTE_S * MINUTE_S
        minute = self._open.get(group)
        if minute is not None and minute.start_s != start_s:
            self._close(group)
            minute = None
        if minute is None:
            minute = self._open[group] = _Minute(start_s)
        minute.add(data)

    def closed(self, wall_s: float) -> list[tuple[float, Summary]]:
        """`(start, summary)` of every minute that is over by now, or lies in a future that the clock has left."""
        for group, minute in list(self._open.items()):
            if not minute.start_s <= wall_s < minute.start_s + MINUTE_S:
                self._close(group)
        closed, self._closed = self._closed, []
        return closed

    def _close(self, group: str) -> None:
        minute = self._open.pop(group)
        self._closed.append((minute.start_s, minute.summary(group)))


def _mean(values: list[float]) -> float:
    """Within the smallest and the largest, whatever the rounding does."""
    return min(max(sum(values) / len(values), min(values)), max(values))

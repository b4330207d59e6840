"""Warnings that go on until they are heeded: rung by rung while the track is there, up to a limit. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from edge_agent.messages import Announcement

MAX_TRACKS = 1000


@dataclass(frozen=True)
class Rung:
    """`announcement` is due `after_s` from the incident, then every `every_s`, `times` in all."""

    after_s: float
    announcement: Announcement
    every_s: float = 0.0
    times: int = 1


@dataclass
class _Climb:
    began_s: float
    due: list[tuple[float, Announcement]]


class Ladders:
    """One ladder for each track that was warned."""

    def __init__(self) -> None:
        self._climbs: dict[str, _Climb] = {}
        self._gone: dict[str, _Climb] = {}  # by incident: who left may be there again, as another track

    def begin(self, track: str, rungs: tuple[Rung, ...], now: float) -> None:
        """A track was warned: what comes next, in order of time. A new ladder takes the place of the old."""
        steps = [
            (rung.after_s + n * rung.every_s, rung.announcement) for rung in rungs for n in range(max(rung.times, 1))
        ]
        steps.sort(key=lambda step: step[0])
        if steps:
            self._climbs[track] = _Climb(now, steps)
        while len(self._climbs) > MAX_TRACKS:
            del self._climbs[next(iter(self._climbs))]

    def left(self, track: str) -> None:
        """The track is gone: nobody is there to be told."""
        climb = self._climbs.pop(track, None)
        if climb is not None and (incident := climb.due[0][1].incident) is not None:
            self._gone[incident] = climb
        while len(self._gone) > MAX_TRACKS:
            del self._gone[next(iter(self._gone))]

    def back(self, incident: str, track: str, now: float) -> None:
        """Who was warned for an incident goes by this track now; of what was due meanwhile the last is said."""
        for old in [old for old, climb in self._climbs.items() if climb.due[0][1].incident == incident]:
            self.left(old)
        if (climb := self._gone.pop(incident, None)) is None:
            return
        late = [step for step in climb.due if now - climb.began_s >= step[0]]
        climb.due = late[-1:] + climb.due[len(late) :]
        self._climbs[track] = climb

    def hush(self) -> None:
        """No ladder goes on, of nobody."""
        self._climbs.clear()
        self._gone.clear()

    def due(self, now: float) -> list[Announcement]:
        """What is to be said now; each carries how high it stands, so that the cool-down lets it pass."""
        found: list[Announcement] = []
        for track, climb in list(self._climbs.items()):
            while climb.due and now - climb.began_s >= climb.due[0][0]:
                _, announcement = climb.due.pop(0)
                rung = announcement.rung + 1
                stale_s = announcement.not_after_s - announcement.at_s
                id = f"{announcement.id}.{rung}"
                found.append(replace(announcement, id=id, rung=rung, at_s=now, not_after_s=now + stale_s))
                climb.due = [(at_s, replace(one, rung=rung)) for at_s, one in climb.due]
            if not climb.due:
                del self._climbs[track]
        return found

    @property
    def tracks(self) -> tuple[str, ...]:
        """Those that are still to be told something."""
        return tuple(self._climbs)

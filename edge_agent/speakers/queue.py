"""What is said where now: priority, pre-emption, order, expiry and restraint. Pure; `now` is monotonic seconds.

A graver class interrupts at once, on the speakers that it needs; equals wait in order; a group starts together, so it
waits until the last of its speakers is free, and nothing later takes one of them meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from edge_agent.messages import Announcement, AnnouncementClass, Refusal
from edge_agent.phrases import pronounceable

PRIORITY: dict[AnnouncementClass, int] = {
    "stop_all": 0,
    "live": 1,
    "danger": 2,
    "rule": 3,
    "scheduled": 4,
    "test": 5,
}
MAX_WAITING = 32

Refused = tuple[Announcement, Refusal]


@dataclass(frozen=True)
class Turn:
    """What to do now: speakers to stop, announcements to start, and those that will not be said."""

    stop: tuple[str, ...] = ()
    start: tuple[Announcement, ...] = ()
    refused: tuple[Refused, ...] = ()


class Queue:
    """Announcements that wait and play; whoever acts on a `Turn` calls `ended` for each speaker of each start."""

    def __init__(self, speakers: Iterable[str], cool_down_s: float) -> None:
        self._speakers = tuple(speakers)
        self._cool_down_s = cool_down_s
        self._waiting: list[Announcement] = []
        self._evicted: list[Refused] = []
        self._said: dict[str, tuple[float, int, int]] = {}  # track -> when its last warning ended; how grave; its rung
        self.playing: dict[str, Announcement] = {}  # by speaker
        self.stopping: set[str] = set()

    def offer(self, announcement: Announcement, now: float) -> Refusal | None:
        """Take an announcement (empty `speakers` means all of them), or say why not."""
        announcement = replace(announcement, speakers=tuple(dict.fromkeys(announcement.speakers or self._speakers)))
        if refusal := self._refusal(announcement, now):
            return refusal
        self._waiting.append(announcement)
        self._waiting.sort(key=_priority)  # stable: equals keep their order
        if len(self._waiting) <= MAX_WAITING:
            return None
        last, full = self._waiting.pop(), _full()
        if last is announcement:
            return full
        self._evicted.append((last, full))
        return None

    def turn(self, now: float) -> Turn:
        """Decide; call it after every `offer` and `ended`, and now and then for what has become stale."""
        start: list[Announcement] = []
        stop: list[str] = []
        refused, self._evicted = self._evicted, []
        promised: set[str] = set()
        for waiting in list(self._waiting):
            if refusal := self._stale(waiting, now) or self._cooling(waiting, now):
                self._waiting.remove(waiting)
                refused.append((waiting, refusal))
                continue
            if promised.isdisjoint(waiting.speakers):
                busy = [name for name in waiting.speakers if name in self.playing]
                if not busy:
                    self._waiting.remove(waiting)
                    self.playing.update(dict.fromkeys(waiting.speakers, waiting))
                    start.append(waiting)
                elif all(_priority(self.playing[name]) > _priority(waiting) for name in busy):
                    stop += [name for name in busy if name not in self.stopping]
                    self.stopping.update(busy)
            promised.update(waiting.speakers)
        return Turn(tuple(stop), tuple(start), tuple(refused))

    def ended(self, speaker: str, *, heard: bool, now: float) -> None:
        """A speaker is free again; `heard` is whether any sound went out."""
        announcement = self.playing.pop(speaker)
        self.stopping.discard(speaker)
        self._said = {key: said for key, said in self._said.items() if now - said[0] < self._cool_down_s}
        if heard and announcement.track is not None:
            self._said[announcement.track] = (now, _priority(announcement), announcement.rung)

    def hush(self, reason: str) -> Turn:
        """Stop everything and let nothing that waits be said."""
        refusal = Refusal(gate="hush", reason=reason)
        refused = [*self._evicted, *((waiting, refusal) for waiting in self._waiting)]
        stop = [name for name in self.playing if name not in self.stopping]
        self._waiting, self._evicted = [], []
        self.stopping.update(stop)
        return Turn(stop=tuple(stop), refused=tuple(refused))

    def _refusal(self, announcement: Announcement, now: float) -> Refusal | None:
        ahead = [*self._waiting, *self.playing.values()]
        if any(other.id == announcement.id for other in ahead):
            return Refusal(gate="duplicate", reason="this announcement has been offered already", value=announcement.id)
        there = ", ".join(self._speakers)
        if not there:
            return Refusal(gate="speaker", reason="no speaker is configured")
        for name in announcement.speakers:
            if name not in self._speakers:
                return Refusal(gate="speaker", reason="no speaker has this name", value=name, limit=f"one of {there}")
        try:
            for phrase in announcement.phrases:
                pronounceable(phrase.text, phrase.lang)
        except ValueError as error:
            return Refusal(gate="text", reason=str(error))
        if not announcement.phrases and announcement.source is None and announcement.clip is None:
            return Refusal(gate="text", reason="there is no phrase to say")
        if announcement.track is not None and any(
            (other.by, other.track) == (announcement.by, announcement.track) and other.rung >= announcement.rung
            for other in ahead
        ):
            return Refusal(gate="merge", reason="the same warning is being said or waits", value=announcement.track)
        return self._stale(announcement, now) or self._cooling(announcement, now)

    @staticmethod
    def _stale(announcement: Announcement, now: float) -> Refusal | None:
        late_s = now - announcement.not_after_s
        if late_s <= 0:
            return None
        return Refusal(
            gate="expired",
            reason="a stale warning is a wrong warning",
            value=f"{late_s:.1f} s late",
            limit=f"{announcement.not_after_s - announcement.at_s:g} s after it was asked for",
            age_s=now - announcement.at_s,
        )

    def _cooling(self, announcement: Announcement, now: float) -> Refusal | None:
        """One warning a track in `cool_down_s`; a graver one is let through, and the next rung of a ladder."""
        said = self._said.get(announcement.track) if announcement.track is not None else None
        if said is None or now - said[0] >= self._cool_down_s:
            return None
        if _priority(announcement) < said[1] or announcement.rung > said[2]:
            return None
        return Refusal(
            gate="cool-down",
            reason="this track has been warned",
            value=f"{now - said[0]:.1f} s ago",
            limit=f"{self._cool_down_s:g} s",
        )


def _priority(announcement: Announcement) -> int:
    return PRIORITY[announcement.cls]


def _full() -> Refusal:
    return Refusal(gate="queue", reason="too many announcements wait", limit=str(MAX_WAITING))

"""Announcements at fixed times: which are due now. The core is pure; the part asks it and offers what it names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from ulid import ULID

from edge_agent import calendar, config
from edge_agent.messages import Announcement
from edge_agent.runtime import Clock

TURN_S = 1.0

Due = tuple[config.ScheduledAnnouncement, float]  # and when it was planned, Unix time


class Programme:
    """Times are Unix time. What is later than `stale_s` is left out: the agent was not there, or the clock jumped."""

    def __init__(self, section: config.Announcements, site: config.Site, stale_s: float, now_s: float) -> None:
        self._zone, self._stale_s, self._asked_s = ZoneInfo(site.time_zone), stale_s, now_s
        self._place = None if site.lat is None or site.lon is None else (site.lat, site.lon)
        self._next: list[tuple[float | None, config.ScheduledAnnouncement]] = []
        self._sections = section.scheduled
        self._plan(now_s)

    def due(self, now_s: float) -> list[Due]:
        """Those whose time has come since the last call, in order; a clock that was set back plans anew."""
        if now_s < self._asked_s:
            self._plan(now_s)
        self._asked_s = now_s
        found: list[Due] = []
        for at, (planned_s, section) in enumerate(self._next):
            if planned_s is not None and planned_s <= now_s:
                if now_s - planned_s <= self._stale_s:
                    found.append((section, planned_s))
                self._next[at] = (self._after(section, now_s), section)
        return sorted(found, key=lambda one: one[1])

    def _plan(self, now_s: float) -> None:
        self._next = [(self._after(section, now_s), section) for section in self._sections]

    def _after(self, section: config.ScheduledAnnouncement, now_s: float) -> float | None:
        """Its next time; None where there is none any more. A day on which the sun does not set has none."""
        start = datetime.fromtimestamp(now_s, UTC)
        for one in calendar.next_occurrences(section.when, self._zone, start, self._place):
            if one.never is None:
                return one.planned_utc.timestamp()
        return None


async def run(
    settings: config.Agent, offer: Callable[[Announcement], object], clock: Clock, new_id: Callable[[], object] = ULID
) -> None:
    """Offer what is due, for ever; refusals are recorded by whom it is offered to."""
    stale_s = settings.voice.stale_s
    programme = Programme(settings.announcements, settings.site, stale_s, clock.wall())
    while True:
        await clock.sleep(TURN_S)
        for section, _ in programme.due(clock.wall()):
            offer(announcement(section, str(new_id()), clock.monotonic(), stale_s))


def announcement(section: config.ScheduledAnnouncement, id: str, now: float, stale_s: float) -> Announcement:
    """What is to be said now."""
    return Announcement(
        id=id,
        phrases=section.say,
        speakers=section.speakers,
        cls="scheduled",
        at_s=now,
        not_after_s=now + stale_s,
        by=f"schedule:{section.id}",
    )

"""The life of incidents on the device: who is still there, what was said to them, when the patrol is called, what ends.

A step is on disk before the centre is told of it. A disk that fails costs these steps, and never a warning or a flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from edge_agent import config
from edge_agent.cases import Case, Cases, announced, escalated, tells_more, updated
from edge_agent.messages import Escalation, Incident, Plate, Revision, Spoken, Tracks
from edge_agent.runtime import Clock, DriverError, Health

LOOK_S = 1.0
UPDATE_S = 3.0  # a plate that is read this way and that tells of it no more often


@dataclass
class _Here:
    """An incident whose object is seen; times are those of our clock."""

    incident: str
    patrol_s: float | None
    updated_s: float = float("-inf")
    plate: str | None = None
    sure: float = 0.0  # of the plate


class Life:
    """Call what happens; `run` is a part; `report` takes every revision."""

    def __init__(
        self, cases: Cases, report: Callable[[Revision], Awaitable[None]], *, clock: Clock, health: Health
    ) -> None:
        self._cases, self._report, self._clock, self._health = cases, report, clock, health
        self._here: dict[tuple[str, int], list[_Here]] = {}  # by camera and track

    async def opened(self, incident: Incident, rule: config.Rule) -> None:
        """A rule fired: from now on people may acknowledge it."""
        now, plate = self._clock.monotonic(), incident.plate
        patrol_s = None if rule.patrol_after_s is None else now + rule.patrol_after_s
        here = self._here.setdefault((incident.camera, incident.track), [])
        text, sure = (plate.text, plate.confidence) if plate else (None, 0.0)
        here.append(_Here(incident.id, patrol_s, now, text, sure))
        opened = partial(self._cases.opened, incident.id, plate=plate, expires_s=incident.wall_s + rule.expire_after_s)
        try:
            await asyncio.to_thread(opened)
        except DriverError as error:
            self._health.failed("cases", error)
        else:
            self._health.set("cases", "running")

    def resumed(self, camera: str, rule: config.Rule, id: str, track: int) -> None:
        """The object of an incident is there still, as this track: the patrol is called when it would have been."""
        case, now = self._cases.get(id), self._clock.monotonic()
        if case is None or case.state in ("closed", "expired"):
            return
        patrol_s = None
        if rule.patrol_after_s is not None and case.expires_s is not None:
            fired_s = case.expires_s - rule.expire_after_s
            patrol_s = now + max(0.0, fired_s + rule.patrol_after_s - self._clock.wall())
        self._here.setdefault((camera, track), []).append(_Here(id, patrol_s, now, case.plate, case.sure))

    async def seen(self, tracks: Tracks) -> None:
        """Who is there in this frame, who left, and whose plate was read meanwhile."""
        for gone in tracks.ended:
            self._here.pop((tracks.camera, gone.id), None)
        now = self._clock.monotonic()
        for track in tracks.tracks if self._here else ():
            for one in self._here.get((tracks.camera, track.id), ()):
                plate = track.plate
                if plate is None or now - one.updated_s < UPDATE_S:
                    continue
                if tells_more(plate, one.plate, one.sure):
                    one.plate, one.sure, one.updated_s = plate.text, plate.confidence, now
                    await self._go_on(one.incident, partial(self._updated, one.incident, plate))

    async def spoken(self, spoken: Spoken) -> None:
        """A warning ended on one speaker; what was not delivered is none."""
        if spoken.incident is None or spoken.outcome != "delivered":
            return
        level: Escalation = "firm" if spoken.rung else "polite"
        id = spoken.incident
        await self._go_on(id, lambda case: announced(id, case, level, spoken.wall_s))

    async def run(self) -> None:
        """Call the patrol where nobody heeds, close and let expire, until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """One turn of `run`."""
        now = self._clock.monotonic()
        for one in [one for each in self._here.values() for one in each]:
            if one.patrol_s is not None and now >= one.patrol_s:
                one.patrol_s = None
                await self._go_on(one.incident, partial(self._escalated, one.incident))
        here = frozenset(one.incident for each in self._here.values() for one in each)
        for revision in await asyncio.to_thread(self._cases.settle, self._clock.wall(), here):
            await self._report(revision)

    def _updated(self, id: str, plate: Plate, case: Case) -> Revision | None:
        return updated(id, case, plate, self._clock.wall())

    def _escalated(self, id: str, case: Case) -> Revision | None:
        return escalated(id, case, self._clock.wall())

    async def _go_on(self, id: str, step: Callable[[Case], Revision | None]) -> None:
        try:
            revision = await asyncio.to_thread(self._cases.go_on, id, step)
        except DriverError as error:
            self._health.failed("cases", error)
            return
        if revision is not None:
            await self._report(revision)

"""The part that keeps the ledger of what must be visited: told of telemetry and runs, it saves, and reports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from edge_agent import config
from edge_agent.files import write_durably
from edge_agent.flight.logbook import PREEMPTED
from edge_agent.flight.phases import IN_FLIGHT, RUN_ENDS
from edge_agent.flight.visits import Visits, VisitState
from edge_agent.messages import FlightEvent, Telemetry, Visit
from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.topics import rfc3339

TURN_S = 5.0
BEAT_S = 60.0


def load(file: Path) -> VisitState:
    """As last saved; DriverError where the file is there and cannot be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=VisitState)
    except FileNotFoundError:
        return VisitState()
    except (OSError, msgspec.MsgspecError) as error:
        raise DriverError(f"{file}: {error}; move it away to start afresh") from None


class Visitor:
    """`seen` and `flown` are plain calls; what they find is saved and reported by `run`."""

    def __init__(
        self,
        settings: config.Agent,
        folder: Path,
        *,
        clock: Clock,
        health: Health,
        on_visit: Callable[[Visit], Awaitable[None]],
    ) -> None:
        self._file, self._clock, self._health, self._on_visit = folder / "visits.json", clock, health, on_visit
        self._settings = settings
        self._visits = Visits(settings.visits, load(self._file), clock.wall())
        self._owed: list[Visit] = []
        self._saved = b""

    def seen(self, t: Telemetry) -> None:
        """Where the vehicle is now."""
        self._owed += self._visits.take(t, self._clock.wall())

    def flown(self, event: FlightEvent) -> None:
        """A flight entered a phase."""
        if event.phase in IN_FLIGHT:
            self._visits.began(event.run, self._clock.wall())
        elif event.phase in RUN_ENDS or event.phase == PREEMPTED:
            self._owed += self._visits.ended(event.route, event.run, self._clock.wall())

    def carry(self, route: config.Route) -> config.Route:
        """The route with what earlier runs left out."""
        site = self._settings.site
        home = None if site.lat is None or site.lon is None else (site.lat, site.lon)
        return self._visits.with_owed(route, home, self._settings.limits)

    def status(self) -> dict[str, Any]:
        """How each target stands, by its id."""
        rows = self._visits.rows(self._clock.wall())
        return {row.target: {"state": row.state, "due": rfc3339(row.due_s), "share": row.share} for row in rows}

    async def run(self) -> None:
        """Remind, save, report, for ever; DriverError where the disk fails."""
        while True:
            self._health.beat("visits", BEAT_S)
            self._owed += self._visits.tick(self._clock.wall())
            while self._owed:  # before the save: after a crash a visit is rather reported twice than never
                await self._on_visit(self._owed[0])
                del self._owed[0]
            await self._save()
            await self._clock.sleep(TURN_S)

    async def _save(self) -> None:
        data = msgspec.json.encode(self._visits.state)
        if data == self._saved:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(write_durably, self._file, data)
        except OSError as error:
            raise DriverError(f"{self._file}: {error.strerror}; is the disk full or read-only?") from None
        self._saved = data

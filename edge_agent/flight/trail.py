"""How far a patrol has got, and where it was left, so that the next run of its route may go on. Pure."""

from __future__ import annotations

from edge_agent.flight import route as routes
from edge_agent.flight.logbook import Breakpoint, Logbook
from edge_agent.flight.phases import Phase
from edge_agent.flight.run import Run
from edge_agent.messages import Telemetry

LEFT = (Phase.RETURNING, Phase.LANDING, Phase.YIELDED, Phase.LOCKOUT)


class Trail:
    """Follows the run in the logbook; breakpoints are kept there, one for each route."""

    def __init__(self, logbook: Logbook) -> None:
        self._logbook = logbook
        self._seq = routes.FIRST  # the last item of the route that was current

    def look(self, run: Run | None, seq: int) -> None:
        """This item is current."""
        if run is not None and run.order is None and run.leg(seq) == "route":
            self._seq = seq

    def enter(self, previous: Phase, to: Phase, cause: str, t: Telemetry | None, wall: float) -> None:
        """A patrol that is left on its way keeps a breakpoint, one that was flown to its end leaves nothing."""
        run = self._logbook.run
        if run is None or run.order is not None or t is None or previous not in (Phase.ROUTE, Phase.PAUSED):
            return
        if to is Phase.RETURNING and t.mode == "AUTO":
            self._logbook.complete(run.route)
        elif to in LEFT:
            self.leave(run, t, cause, wall)

    def leave(self, run: Run, t: Telemetry | None, why: str, wall: float) -> None:
        """It is left here, on the way to its current waypoint."""
        if t is None or t.lat is None or t.lon is None or t.alt_m is None:
            return
        waypoint = max(run.skipped + self._seq - routes.FIRST, 0)
        self._logbook.leave(
            Breakpoint(
                route=run.route, run=run.id, waypoint=waypoint, lat=t.lat, lon=t.lon, alt_m=t.alt_m, why=why,
                wall_s=wall,
            )
        )  # fmt: skip

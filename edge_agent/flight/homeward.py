"""Why a flight must come home now, and how it is let go of on the ground. Sans-I/O."""

from __future__ import annotations

from edge_agent import config
from edge_agent.flight import helm, phases, safety
from edge_agent.flight.budget import Budget
from edge_agent.flight.mavlink import Link
from edge_agent.flight.phases import Phase
from edge_agent.messages import Refusal, Telemetry

LOW_S = 3.0  # the battery must be low for so long: one wrong sample is no reason
SLACK_S = 15.0  # the hover's own end comes first
DISARM_AFTER_S = 15.0  # the autopilot's own DISARM_DELAY (10 s) did not do it
GROUNDED_S = 3.0  # landed and still armed for so long


class Homeward:
    """Fed with every look at a flight."""

    def __init__(self, link: Link, limits: config.Limits, budget: Budget) -> None:
        self._link, self._limits, self._budget = link, limits, budget
        self._low_s: float | None = None
        self._grounded_s: float | None = None
        self._disarming: helm.Job | None = None

    def forget(self) -> None:
        """Another flight begins."""
        self._low_s = self._grounded_s = self._disarming = None

    def why(self, phase: Phase, lasted_s: float, on_scene_s: float | None, t: Telemetry, now: float) -> str | None:
        """Why it must come home now; `on_scene_s` is how long it has been over one place."""
        limits = self._limits
        if t.battery_pct is None or t.battery_pct > limits.return_battery_pct:
            self._low_s = None
        else:
            self._low_s = now if self._low_s is None else self._low_s
            if now - self._low_s >= LOW_S:
                return f"battery {t.battery_pct:g} %, limit {limits.return_battery_pct:g} %"
        if spent := self._budget.take(t, now):
            return spent
        if phases.overdue(phase, lasted_s):
            return f"{phase} for {lasted_s:.0f} s"
        if on_scene_s is not None and on_scene_s > limits.max_on_scene_s + SLACK_S:
            return f"over one place for {on_scene_s:.0f} s, limit {limits.max_on_scene_s:g} s"
        return None

    def let_go(self, phase: Phase, lasted_s: float, now: float) -> None:
        """Disarm what is on the ground and does not by itself: a launch that was called off, and a mission with items
        behind its return home, of which ArduCopter begins the next one there and idles until its DISARM_DELAY.
        """
        link = self._link
        down = phase in (Phase.RETURNING, Phase.LANDING) and link.armed and link.landed is True
        self._grounded_s = (self._grounded_s or now) if down else None
        aborted = phase is Phase.ABORTING and lasted_s > DISARM_AFTER_S
        if aborted or (self._grounded_s is not None and now - self._grounded_s > GROUNDED_S):
            self._stop_motors(now)
        elif not down and phase is not Phase.ABORTING:
            self._disarming = None

    def _stop_motors(self, now: float) -> None:
        """Where the autopilot still believes in its take-off, have it land first: that disarms it."""
        pressed = self._disarming
        if pressed is None or isinstance(pressed, Refusal) or getattr(pressed, "state", "") in ("refused", "silent"):
            command = safety.Disarm() if self._link.landed else safety.SetMode("LAND")
            self._disarming = helm.order(self._link, command, self._limits, now)

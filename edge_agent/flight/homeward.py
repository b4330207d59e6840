"""Why a flight must come home now, and how it is let go of on the ground. Sans-I/O."""

from __future__ import annotations

from collections.abc import Sequence

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import config, geo
from edge_agent.flight import helm, phases, safety
from edge_agent.flight.budget import Budget
from edge_agent.flight.mavlink import Link
from edge_agent.flight.mission import Item
from edge_agent.flight.phases import Phase
from edge_agent.flight.run import Run
from edge_agent.messages import Refusal, Telemetry

LOW_S = 3.0  # the battery must be low, or home out of reach, for so long: one wrong sample is no reason
STUCK_S, STUCK_M = 45.0, 5.0  # nearer by so much, or it does not get on: a wind that it cannot fly against
WEATHER_S = 20.0  # out of its limits for so long
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
        self._patience_s = DISARM_AFTER_S
        self._bad_s: float | None = None
        self._home: tuple[float, float] | None = None  # as last looked at
        self._beyond_s: float | None = None
        self._got_on: tuple[int, float, float] | None = None  # to which item, how near, and when

    def forget(self) -> None:
        """Another flight begins."""
        self._low_s = self._grounded_s = self._disarming = self._bad_s = self._beyond_s = self._got_on = None
        self._patience_s = DISARM_AFTER_S

    def enter(self) -> None:
        """Another phase begins: who held it, or flew it elsewhere, in the one before has not kept it from its way."""
        self._got_on = self._beyond_s = None

    def call_off(self) -> None:
        """What began to take off shall stay: disarm it at once. One that was found armed is left its time first."""
        self._patience_s = 0.0

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

    def beyond(self, t: Telemetry, now: float) -> str | None:
        """Why it must land where it is, once that has held for a while: nothing takes a landing back."""
        why = self._budget.out_of_reach(t)
        self._beyond_s = None if why is None else now if self._beyond_s is None else self._beyond_s
        return why if self._beyond_s is not None and now - self._beyond_s >= LOW_S else None

    def weathered(self, bad: str | None, now: float) -> str | None:
        """Why the weather calls it home: `bad` is what of it is out of its limit."""
        self._bad_s = None if bad is None else now if self._bad_s is None else self._bad_s
        return f"the weather: {bad}" if self._bad_s is not None and now - self._bad_s >= WEATHER_S else None

    def stuck(self, aboard: Sequence[Item], t: Telemetry, now: float) -> str | None:
        """Why a way outward leads nowhere: its item comes no nearer, and it is not told to wait there either."""
        seq = t.mission_seq or 0
        if t.lat is None or t.lon is None or t.alt_m is None or not 0 < seq < len(aboard) or not aboard[seq].x:
            self._got_on = None
            return None
        item = aboard[seq]
        clock_s = now if t.boot_s is None else t.boot_s  # a simulated vehicle lives faster than we do
        left_m = geo.distance_m(t.lat, t.lon, item.x / 1e7, item.y / 1e7) + abs(t.alt_m - item.z)
        if self._got_on is None or self._got_on[0] != seq or left_m < self._got_on[1] - STUCK_M:
            self._got_on = (seq, left_m, clock_s)
        waits_s = item.p1 if item.command == mavlink.MAV_CMD_NAV_WAYPOINT else 0.0
        stands_s = clock_s - self._got_on[2]
        if stands_s <= STUCK_S + waits_s:
            return None
        return f"no nearer to item {seq} for {stands_s:.0f} s, {left_m:.0f} m away"

    def moved(self, run: Run, home: tuple[float, float] | None) -> str | None:
        """That somebody moved home in the air: told once for each place, for that is where the flight ends now."""
        if home is None or not run.ends or home == self._home:
            return None
        self._home, away_m = home, geo.distance_m(*home, *run.ends[0])
        near = away_m <= self._limits.home_radius_m
        return None if near else f"home was moved by {away_m:.0f} m in flight, by another controller"

    def let_go(self, phase: Phase, lasted_s: float, now: float) -> None:
        """Disarm what is on the ground and does not by itself: a launch that was called off, and a mission with items
        behind its return home, of which ArduCopter begins the next one there and idles until its DISARM_DELAY.
        """
        link = self._link
        down = phase in (Phase.RETURNING, Phase.LANDING) and link.armed and link.landed is True
        self._grounded_s = (self._grounded_s or now) if down else None
        launching = link.mode in safety.ON_THE_GROUND  # in another mode somebody else has it, and may be taking off
        aborted = phase is Phase.ABORTING and launching and lasted_s >= self._patience_s
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

"""How much of the battery is left beyond the way home, second by second, and when that calls the drone back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from edge_agent import geo
from edge_agent.config import Airframe
from edge_agent.flight import energy, scene
from edge_agent.flight.energy import LEARNED, Meter, Place, Return, Wind
from edge_agent.flight.mission import Item
from edge_agent.flight.params import safety_value
from edge_agent.messages import Telemetry

SPENT_S = 3.0  # the margin must be gone for so long: one wrong sample is no reason


class Budget:
    """Fed with each look at the vehicle in the air; what the battery pays is learned on the way."""

    def __init__(self, frame: Airframe, ratio: float = 1.0) -> None:
        self.frame, self.meter = frame, Meter(frame, ratio)
        self.wind, self.way = Wind(0.0), Return()
        self._spent_s: float | None = None

    @property
    def ratio(self) -> float:
        return self.meter.ratio

    @property
    def paid(self) -> tuple[str, float]:
        """What is worth keeping: the airframe, and what its battery was seen to pay for its profile."""
        return repr(self.frame), self.ratio

    def recall(self, paid: tuple[str, float]) -> None:
        """What an earlier agent learned, unless the airframe's profile was changed since."""
        if paid[0] == repr(self.frame):
            self.meter.ratio = min(max(paid[1], LEARNED[0]), LEARNED[1])

    def margin_pct(self, t: Telemetry) -> float | None:
        """What is left beyond home and reserve; None where position or charge are not known."""
        found = self._home(t)
        if found is None or t.battery_pct is None:
            return None
        return max(-999.0, energy.margin_pct(self.frame, t.battery_pct, found, self.ratio))

    def take(self, t: Telemetry, now: float) -> str | None:
        """One look in the air; why it must turn back, once the margin has been gone for long enough."""
        self.meter.take(t, self.wind)
        margin = self.margin_pct(t)
        if margin is None or margin > 0:
            self._spent_s = None
            return None
        self._spent_s = now if self._spent_s is None else self._spent_s
        if now - self._spent_s < SPENT_S:
            return None
        home = self._home(t)
        assert home is not None  # there is a margin
        need_pct = energy.pct(self.frame, home.wh, self.ratio)
        reserve_pct = energy.reserve_pct(self.frame, self.ratio)
        return f"battery {t.battery_pct:g} %: home costs {need_pct:.0f} %, and {reserve_pct:.0f} % are reserve"

    def _home(self, t: Telemetry) -> energy.Cost | None:
        if t.lat is None or t.lon is None or t.home_lat is None or t.home_lon is None:
            return None
        at, home = Place(t.lat, t.lon, max(t.alt_m or 0.0, 0.0)), Place(t.home_lat, t.home_lon, 0.0)
        return energy.home_cost(self.frame, at, home, self.wind, self.way)


def way_home(params: Mapping[str, float]) -> Return:
    """The autopilot's return by its own settings, as far as they were heard; ArduCopter's defaults else."""
    usual = Return()
    alt_m, loiter_ms = safety_value(params, "rtl_alt_m"), safety_value(params, "rtl_loit_time")
    speed_mps = safety_value(params, "rtl_speed_mps") or safety_value(params, "wp_speed_mps")
    return Return(
        alt_m=usual.alt_m if alt_m is None else alt_m,
        speed_mps=speed_mps or usual.speed_mps,
        loiter_s=usual.loiter_s if loiter_ms is None else loiter_ms / 1000,
    )


def to_go_m(items: tuple[Item, ...], t: Telemetry) -> float | None:
    """Metres left of a mission: to the current item, on by the others, and home; on the way home, home alone."""
    if t.lat is None or t.lon is None or t.home_lat is None or t.home_lon is None:
        return None
    seq = t.mission_seq if t.mode == "AUTO" and t.mission_seq else len(items)
    ahead = [items[n] for n in scene.path(items, seq)] or items[seq:]
    left = [(item.x / 1e7, item.y / 1e7) for item in ahead if (item.x, item.y) != (0, 0)]
    places = [(t.lat, t.lon), *left, (t.home_lat, t.home_lon)]
    return sum(geo.distance_m(*a, *b) for a, b in pairwise(places))

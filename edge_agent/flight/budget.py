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

RALLY_LIMIT_M = 300.0  # Copter's RALLY_LIMIT_KM as it comes
LANDING_PCT = 3.0  # what is kept back for a landing where it is, beside its cost
SPENT_S = 3.0  # the margin must be gone for so long: one wrong sample is no reason


class Budget:
    """Fed with each look at the vehicle in the air; what the battery pays is learned on the way."""

    def __init__(self, frame: Airframe, ratio: float = 1.0) -> None:
        self.frame, self.meter = frame, Meter(frame, ratio)
        self.wind, self.way = Wind(0.0), Return()
        self.rally: tuple[tuple[float, float], ...] = ()  # that a return may lead to
        self.goes_to_rally: tuple[float, bool] = (RALLY_LIMIT_M, True)  # how near they must be, and whether home counts
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

    def out_of_reach(self, t: Telemetry) -> str | None:
        """Why it must land where it is: what is left brings it down, and not as far as its return leads."""
        found = self._home(t)
        if found is None or t.battery_pct is None:
            return None
        home_pct, down_pct = (
            energy.pct(self.frame, cost.wh, self.ratio)
            for cost in (found, energy.down_cost(self.frame, t.alt_m or 0.0))
        )
        if t.battery_pct >= home_pct or t.battery_pct > down_pct + LANDING_PCT:
            return None
        return f"battery {t.battery_pct:g} %: home costs {min(home_pct, 999):.0f} %, and is out of reach"

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
        at = Place(t.lat, t.lon, max(t.alt_m or 0.0, 0.0))
        end = self.end((t.lat, t.lon), (t.home_lat, t.home_lon))
        return energy.home_cost(self.frame, at, Place(*end, 0.0), self.wind, self.way)

    def end(self, place: tuple[float, float], home: tuple[float, float]) -> tuple[float, float]:
        """Where the autopilot's return leads from a place: AP_Rally::calc_best_rally_or_home_location of 4.6."""
        if not self.rally:
            return home
        away_m = {end: geo.distance_m(*place, *end) for end in self.rally}
        nearest, (limit_m, or_home) = min(self.rally, key=lambda end: away_m[end]), self.goes_to_rally
        if 0 < limit_m < away_m[nearest] or (or_home and geo.distance_m(*place, *home) <= away_m[nearest]):
            return home
        return nearest


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


def to_rally(params: Mapping[str, float]) -> tuple[float, bool]:
    """How near a rally point must be for a return to lead there (metres; 0: at any distance), and if home counts."""
    limit_km, or_home = (safety_value(params, key) for key in ("rally_limit_km", "rally_incl_home"))
    return RALLY_LIMIT_M if limit_km is None else limit_km * 1000, or_home != 0


def to_go_m(items: tuple[Item, ...], t: Telemetry) -> float | None:
    """Metres left of a mission: to the current item, on by the others, and home; on the way home, home alone."""
    if t.lat is None or t.lon is None or t.home_lat is None or t.home_lon is None:
        return None
    seq = t.mission_seq if t.mode == "AUTO" and t.mission_seq else len(items)
    ahead = [items[n] for n in scene.path(items, seq)] or items[seq:]
    left = [(item.x / 1e7, item.y / 1e7) for item in ahead if (item.x, item.y) != (0, 0)]
    places = [(t.lat, t.lon), *left, (t.home_lat, t.home_lon)]
    return sum(geo.distance_m(*a, *b) for a, b in pairwise(places))

"""Points, lines and areas are credited by what was measured; reminders, misses and carry-over follow from that."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import geo
from edge_agent.config import Limits, MustVisit, Route, Waypoint
from edge_agent.flight.visits import DAY_S, Visits, VisitState
from edge_agent.messages import Telemetry

HOME = (30.25, 120.15)
WALL_S = 1_780_000_000.0


def at(north_m: float, east_m: float) -> tuple[float, float]:
    return geo.from_local(north_m, east_m, *HOME)


GATE = MustVisit(id="gate", kind="point", corners=(at(100, 0),), routes=("r",), within_m=15, dwell_s=5)
BANK = MustVisit(id="bank", kind="line", corners=(at(0, 0), at(0, 300)), routes=("r",), within_m=15)
CORNERS = tuple(at(*corner) for corner in ((0, 0), (0, 60), (60, 60), (60, 0)))
FIELD = MustVisit(id="field", kind="area", corners=CORNERS, routes=("r",), hfov_deg=70)


class Flight:
    """Flies straight lines at 8 m/s and tells the ledger twice a second."""

    def __init__(self, *sections: MustVisit, state: VisitState | None = None) -> None:
        self.state = state or VisitState()
        self.visits = Visits(sections, self.state, WALL_S)
        self.now, self.here = 100.0, (0.0, 0.0)
        self.told: list[tuple[str, str]] = []

    @property
    def wall(self) -> float:
        return WALL_S + self.now - 100.0

    def to(self, north_m: float, east_m: float, *, alt_m: float = 30, hold_s: float = 0, step_s: float = 0.5) -> None:
        length_m = math.dist(self.here, (north_m, east_m))
        count = max(1, math.ceil(length_m / 8 / step_s))
        start, course = self.here, math.degrees(math.atan2(east_m - self.here[1], north_m - self.here[0])) % 360
        for k in range(1, count + 1):
            self.here = (start[0] + (north_m - start[0]) * k / count, start[1] + (east_m - start[1]) * k / count)
            self.look(alt_m, course, step_s)
        for _ in range(round(hold_s / step_s)):
            self.look(alt_m, course, step_s)

    def look(self, alt_m: float, course: float, step_s: float, *, landed: bool = False) -> None:
        self.now += step_s
        lat, lon = at(*self.here)
        t = Telemetry(
            at_s=self.now, armed=True, mode="AUTO", landed=landed, lat=lat, lon=lon, alt_m=alt_m, heading_deg=course
        )
        self.told += [(visit.target, visit.state) for visit in self.visits.take(t, self.wall)]

    def run(self, *places: tuple[float, float], **more: float) -> list[tuple[str, str]]:
        """A whole run of route r over these places; what it missed."""
        self.visits.began(f"run {self.now}", self.wall)
        run = self.state.run
        assert run is not None
        for place in places:
            self.to(*place, **more)
        return [(visit.target, visit.state) for visit in self.visits.ended("r", run, self.wall)]


def test_a_point_counts_when_passed_near_enough_and_stayed_at_for_long_enough():
    flight = Flight(GATE)
    flight.to(100, 200)  # passes nowhere near
    assert flight.told == []
    flight.to(100, 0, hold_s=2)
    assert flight.told == []
    flight.to(100, 0, hold_s=5)
    assert flight.told == [("gate", "visited")]


def test_a_point_between_two_looks_counts_by_closest_approach():
    flight = Flight(msgspec.structs.replace(GATE, dwell_s=0.0))
    flight.to(100, -100)
    flight.to(100, 100, step_s=2.5)  # 20 m between two looks
    assert flight.told == [("gate", "visited")]  # once, however long it stays


def test_a_gap_in_telemetry_is_not_flown_through():
    flight = Flight(msgspec.structs.replace(GATE, dwell_s=0.0))
    flight.to(100, -100)
    flight.here = (100, 100)
    flight.look(30, 90, 10.0)
    assert flight.told == []


def test_on_the_ground_nothing_is_visited():
    flight = Flight(msgspec.structs.replace(GATE, dwell_s=0.0))
    flight.here = (100, 0)
    flight.look(0, 0, 0.5, landed=True)
    assert flight.told == []


def test_a_line_counts_when_enough_of_it_was_passed_also_over_two_runs():
    flight = Flight(BANK)
    flight.run((0, 150))
    assert 0.5 <= flight.visits.rows(flight.wall)[0].share < 0.7
    again = Flight(BANK, state=msgspec.json.decode(msgspec.json.encode(flight.state), type=VisitState))
    again.here = (0, 300)
    again.to(0, 150)
    assert again.told == [("bank", "visited")]


def test_an_area_counts_by_the_cameras_footprint():
    flight = Flight(FIELD)
    flight.here = (15, -30)
    flight.to(15, 90)
    assert flight.told == []  # one strip sees 42 m across, and the field is 60 m wide
    flight.to(50, 90)
    flight.to(50, -30)
    assert flight.told == [("field", "visited")]


@given(st.floats(10, 120), st.floats(-60, 120), st.floats(0, 359))
@settings(max_examples=50)
def test_no_look_counts_what_is_outside_of_the_footprint(alt_m, east_m, course):
    flight = Flight(msgspec.structs.replace(FIELD, share=0.01))
    flight.here = (30, east_m)
    flight.look(alt_m, course, 0.5)
    reach_m = math.hypot(math.tan(math.radians(35)) * alt_m, math.tan(math.radians(35)) * alt_m * 9 / 16)
    if flight.told:
        assert -reach_m <= east_m <= 60 + reach_m
    if 5 < east_m < 55:  # straight above it, something is seen
        assert flight.told


# --- due --------------------------------------------------------------------------------------------------------------


def test_reminders_come_once_before_and_once_after_it_runs_out():
    visits = Visits([GATE], VisitState(), WALL_S)
    told = [(hour, visit.state) for hour in range(30) for visit in visits.tick(WALL_S + hour * 3600)]
    assert told == [(18, "due_soon"), (24, "overdue")]


def test_a_visit_sets_the_due_date_anew():
    flight = Flight(msgspec.structs.replace(GATE, dwell_s=0.0, every_days=3))
    flight.visits.tick(WALL_S + 3.5 * DAY_S)
    flight.to(100, 0)
    assert flight.visits.rows(flight.wall)[0].due_s == pytest.approx(flight.wall + 3 * DAY_S, abs=5)
    assert [v.state for v in flight.visits.tick(WALL_S + 2.9 * DAY_S)] == ["due_soon"]


def test_a_target_that_left_the_config_is_forgotten_and_a_new_one_owes_nothing_yet():
    state = VisitState()
    Visits([GATE], state, WALL_S)
    visits = Visits([BANK], state, WALL_S + 9 * DAY_S)
    assert set(state.targets) == {"bank"}
    assert visits.tick(WALL_S + 9 * DAY_S) == []


# --- missed, and taken on ---------------------------------------------------------------------------------------------


def route(*places: tuple[float, float], **more) -> Route:
    ways = (Waypoint(lat=lat, lon=lon) for lat, lon in (at(*place) for place in places))
    return Route(id="r", waypoints=tuple(ways), **more)


def test_what_a_run_left_out_is_told_and_the_next_run_takes_it_on():
    flight = Flight(GATE)
    assert flight.run((0, 100)) == [("gate", "missed")]
    plain = route((0, 100), (0, 200))
    longer = flight.visits.with_owed(plain, HOME, Limits())
    assert longer.waypoints[:2] == plain.waypoints
    added = longer.waypoints[2]
    assert geo.distance_m(added.lat, added.lon, *at(100, 0)) < 0.1
    assert flight.run((100, 0), hold_s=added.hold_s) == []
    assert flight.visits.with_owed(plain, HOME, Limits()) == plain


def test_a_run_that_never_left_the_ground_misses_nothing():
    visits = Visits([GATE], VisitState(), WALL_S)
    assert visits.ended("r", "run", WALL_S) == []


def test_what_was_visited_of_late_is_not_missed_by_the_next_run():
    flight = Flight(msgspec.structs.replace(GATE, dwell_s=0.0, every_days=7))
    assert flight.run((100, 0)) == []
    assert flight.run((0, 100)) == []


def test_a_route_that_passes_it_anyway_is_not_made_longer():
    flight = Flight(BANK, FIELD, msgspec.structs.replace(GATE, dwell_s=0.0))
    flight.run((-100, 0))
    over = route((0, 0), (0, 300), (100, 0), (50, 0), (50, 90), (15, 90), (15, -30))
    assert flight.visits.with_owed(over, HOME, Limits()) == over


@pytest.mark.parametrize("section", [BANK, FIELD])
def test_flying_what_was_taken_on_visits_it(section):
    flight = Flight(section)
    flight.run((-100, 0))
    longer = flight.visits.with_owed(route((-100, 0)), HOME, Limits())
    assert len(longer.waypoints) > 2
    places = [geo.to_local(point.lat, point.lon, *HOME) for point in longer.waypoints]
    flight.run(*places)
    assert (section.id, "visited") in flight.told


def test_what_lies_beyond_the_limits_is_not_taken_on():
    flight = Flight(GATE)
    flight.run((0, 100))
    plain = route((0, 20))
    assert flight.visits.with_owed(plain, HOME, Limits(max_distance_m=50)) == plain

"""Energy: what a leg costs in the wind, what home costs, and what the battery teaches."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from edge_agent import config, geo
from edge_agent.flight import energy
from edge_agent.flight.energy import Place, Stop, Wind
from edge_agent.messages import Telemetry
from tests.flight.conftest import LAT, LON

FRAME = config.Airframe()
HOME = Place(LAT, LON, 0.0)
CALM = Wind(0.0)

metres = st.floats(-3000, 3000, allow_nan=False)
heights = st.floats(1, 120)
winds = st.builds(Wind, st.floats(0, 14), st.floats(0, 359) | st.none())


def at(north_m: float, east_m: float, alt_m: float = 30.0) -> Place:
    return Place(*geo.from_local(north_m, east_m, LAT, LON), alt_m)


def test_a_leg_in_still_air_is_its_length_over_its_speed():
    cost = energy.leg(FRAME, at(0, 0), at(600, 0), 6.0, CALM)
    assert cost.s == pytest.approx(100, rel=1e-3)
    assert cost.wh == pytest.approx(energy.air_power_w(FRAME, 6.0) * 100 / 3600, rel=1e-3)


def test_wind_across_the_track_is_leaned_against():
    """12 m/s across and 9 m/s ahead are 15 m/s through the air: the 3-4-5 triangle."""
    assert energy.ground_speed_mps(FRAME, 0.0, 9.0, Wind(12.0, 90.0)) == pytest.approx((9.0, 15.0))
    assert energy.ground_speed_mps(FRAME, 0.0, 20.0, Wind(12.0, 90.0))[0] == pytest.approx(9.0)


def test_a_headwind_slows_and_a_tailwind_helps_no_further_than_the_speed_asked_for():
    assert energy.ground_speed_mps(FRAME, 0.0, 10.0, Wind(8.0, 0.0)) == pytest.approx((7.0, 15.0))
    assert energy.ground_speed_mps(FRAME, 0.0, 10.0, Wind(8.0, 180.0)) == pytest.approx((10.0, 2.0))


def test_a_leg_that_the_wind_forbids_costs_more_than_any_battery_holds():
    against = energy.leg(FRAME, at(0, 0), at(500, 0), 8.0, Wind(15.0, 0.0))
    assert against == energy.Cost(math.inf, math.inf)
    assert energy.leg(FRAME, at(0, 0), at(500, 0), 8.0, Wind(16.0, 90.0)).wh == math.inf


def test_a_slow_route_is_slow_in_any_wind_and_not_forbidden_by_it():
    assert energy.ground_speed_mps(FRAME, 0.0, 0.1, Wind(3.0, 0.0)) == pytest.approx((0.1, 3.1))


def test_an_unknown_direction_is_ahead_on_the_way_out_and_on_the_way_home():
    unknown = Wind(8.0)
    out = energy.leg(FRAME, at(0, 0), at(500, 0), 8.0, unknown)
    back = energy.leg(FRAME, at(500, 0), at(0, 0), 8.0, unknown)
    assert out == pytest.approx(back, rel=1e-6)
    assert out.s > energy.leg(FRAME, at(0, 0), at(500, 0), 8.0, CALM).s


@given(metres, metres, heights, winds)
def test_no_wind_makes_the_way_home_cheaper_than_its_direction_unknown(north, east, alt, wind):
    known = energy.home_cost(FRAME, at(north, east, alt), HOME, wind)
    worst = energy.home_cost(FRAME, at(north, east, alt), HOME, Wind(wind.speed_mps))
    assert known.wh <= worst.wh * (1 + 1e-9) or worst.wh == math.inf


@given(metres, metres, heights, winds, st.floats(1, 2000))
def test_home_costs_more_from_further_out_on_the_same_line(north, east, alt, wind, more):
    away = math.hypot(north, east)
    scale = (away + more) / away if away > 1 else 1.0
    near = energy.home_cost(FRAME, at(north, east, alt), HOME, wind)
    far = energy.home_cost(FRAME, at(north * scale, east * scale, alt), HOME, wind)
    assert far.wh >= near.wh * (1 - 1e-6)  # the local plane bends a little over kilometres


@given(metres, metres, st.floats(energy.RTL_ALT_M, 120), heights, winds)
def test_above_the_height_of_the_return_home_costs_more_from_higher_up(north, east, alt, more, wind):
    low = energy.home_cost(FRAME, at(north, east, alt), HOME, wind)
    assert energy.home_cost(FRAME, at(north, east, alt + more), HOME, wind).wh >= low.wh


@given(st.lists(st.tuples(metres, metres, heights, st.floats(0, 100)), min_size=1, max_size=8), winds)
def test_a_route_needs_at_least_what_it_costs_and_what_turning_back_costs_at_each_point(places, wind):
    stops = [Stop(at(n, e, a), 8.0, hold) for n, e, a, hold in places]
    plan = energy.plan(FRAME, HOME, stops, wind)
    assert plan.need_wh >= plan.total.wh * (1 - 1e-9)
    assert len(plan.vertices) == len(stops) + 1
    spent = [vertex.spent.wh for vertex in plan.vertices]
    assert spent == sorted(spent)
    for vertex in plan.vertices:
        assert plan.need_wh >= (vertex.spent.wh + vertex.home.wh) * (1 - 1e-9)


@given(st.lists(st.tuples(metres, metres, heights), min_size=1, max_size=6), winds, st.integers(0, 5))
def test_a_shorter_route_never_needs_more(places, wind, cut):
    stops = [Stop(at(*place), 8.0) for place in places]
    shorter = stops[: max(1, len(stops) - cut)]
    assert energy.plan(FRAME, HOME, shorter, wind).need_wh <= energy.plan(FRAME, HOME, stops, wind).need_wh * (1 + 1e-9)


def test_a_drone_that_stands_at_home_needs_nothing_to_come_home():
    assert energy.home_cost(FRAME, HOME, HOME, CALM) == (0.0, 0.0)


def test_the_way_home_climbs_to_the_height_of_the_return_first():
    low, high = at(500, 0, 5.0), at(500, 0, 15.0)
    climb_wh = FRAME.climb_w * 10 / FRAME.climb_mps / 3600
    difference = energy.home_cost(FRAME, low, HOME, CALM).wh - energy.home_cost(FRAME, high, HOME, CALM).wh
    assert difference == pytest.approx(climb_wh, rel=0.01)


def test_the_margin_is_what_is_left_beyond_home_and_reserve():
    home = energy.Cost(100, 10.0)  # 10 % of 100 Wh
    assert energy.margin_pct(FRAME, 40.0, home) == pytest.approx(15.0)
    assert energy.margin_pct(FRAME, 40.0, home, ratio=2.0) == pytest.approx(40 - 20 - 26.67, abs=0.01)


def test_the_reserve_is_at_least_two_minutes_of_hovering():
    assert energy.reserve_pct(FRAME) == 15.0
    assert energy.reserve_pct(structs.replace(FRAME, reserve_pct=5.0)) == pytest.approx(13.33, abs=0.01)


# --- the meter ------------------------------------------------------------------------------------------------------


def flying(at_s: float, battery_pct: float, **more) -> Telemetry:
    fields = {"armed": True, "mode": "AUTO", "landed": False, "speed_mps": 0.0, "alt_m": 20.0, **more}
    return Telemetry(at_s=at_s, battery_pct=battery_pct, **fields)


def hovered(meter: energy.Meter, pct_per_s: float, seconds: int = 120) -> float:
    for second in range(seconds):
        meter.take(flying(float(second), round(100 - pct_per_s * second, 1)), CALM)
    return meter.ratio


def test_a_battery_that_pays_double_is_learned():
    assert hovered(energy.Meter(FRAME), 2 * 100 / 900) == pytest.approx(2.0, rel=0.05)


def test_a_battery_that_pays_less_is_not_trusted():
    assert hovered(energy.Meter(FRAME), 0.5 * 100 / 900) == 1.0


def test_what_was_learned_before_is_not_forgotten_on_the_next_flight():
    assert hovered(energy.Meter(FRAME, 1.6), 100 / 900) == 1.6


def test_nothing_is_learned_on_the_ground_or_from_a_changed_battery():
    meter = energy.Meter(FRAME)
    for second in range(100):
        meter.take(flying(float(second), 100.0 - second, landed=True), CALM)
    assert meter.ratio == 1.0
    meter.take(flying(100.0, 60.0), CALM)
    meter.take(flying(101.0, 100.0), CALM)
    meter.take(flying(102.0, 99.9), CALM)
    assert meter.ratio == 1.0


@given(st.floats(0.1, 50))
def test_a_broken_sensor_is_bounded(pct_per_s):
    assert 1.0 <= hovered(energy.Meter(FRAME), pct_per_s, seconds=30) <= energy.LEARNED[1]

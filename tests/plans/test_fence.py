"""Legs against fences, and the whole of a route against its site."""

import pytest

from edge_agent import config, geo
from edge_agent.plans import fence
from edge_agent.plans.judge import route_faults
from edge_agent.plans.model import Fence, FenceCircle, FencePolygon, Rally

HOME = (30.25, 120.15)


def at(north_m: float, east_m: float) -> tuple[float, float]:
    return geo.from_local(north_m, east_m, *HOME)


def square(half_m: float, north_m: float = 0, east_m: float = 0, *, inclusion: bool = True) -> FencePolygon:
    ends = ((-1, -1), (-1, 1), (1, 1), (1, -1))
    return FencePolygon(
        corners=tuple(at(north_m + n * half_m, east_m + e * half_m) for n, e in ends), inclusion=inclusion
    )


WIDE = Fence(polygons=(square(300),))
SCHOOL = Fence(polygons=(square(300), square(20, 100, 100, inclusion=False)))
# the letter U: home in one arm, the other arm beyond the gap
ARMS = ((-50, -50), (-50, 250), (300, 250), (300, 150), (50, 150), (50, 50), (300, 50), (300, -50))
U = Fence(polygons=(FencePolygon(corners=tuple(at(*corner) for corner in ARMS)),))
ROUND = Fence(circles=(FenceCircle(lat=HOME[0], lon=HOME[1], radius_m=200),))
POND = Fence(circles=(FenceCircle(lat=at(100, 0)[0], lon=at(100, 0)[1], radius_m=30, inclusion=False),))


def named(where: Fence, *places: tuple[float, float], rally: tuple[Rally, ...] = ()) -> list[str]:
    return [fault.where for fault in fence.faults(where, rally, HOME, [at(*place) for place in places])]


def test_a_route_within_its_fence_has_no_fault():
    assert named(WIDE, (100, 100), (200, -100)) == []
    assert named(ROUND, (150, 100)) == []


@pytest.mark.parametrize(
    ("where", "places", "legs"),
    [
        (
            WIDE,
            [(100, 0), (400, 0), (100, 100)],
            ["leg from waypoint 0 to waypoint 1", "leg from waypoint 1 to waypoint 2", "return from waypoint 1"],
        ),
        (SCHOOL, [(200, 0), (0, 200)], ["leg from waypoint 0 to waypoint 1"]),
        (SCHOOL, [(200, 200)], ["leg from home to waypoint 0", "leg from waypoint 0 to home"]),
        (ROUND, [(0, 199), (150, 150)], ["leg from waypoint 0 to waypoint 1", "leg from waypoint 1 to home"]),
        (POND, [(200, 1)], ["leg from home to waypoint 0", "leg from waypoint 0 to home"]),
        (POND, [(100, 100), (100, -100)], ["leg from waypoint 0 to waypoint 1"]),
    ],
)  # fmt: skip
def test_legs_that_leave_the_fence_are_named(where, places, legs):
    assert named(where, *places) == legs


def test_a_way_back_that_leaves_the_fence_is_named_though_every_leg_keeps_within():
    assert named(U, (0, 0), (0, 200), (250, 200), (0, 200)) == ["return from waypoint 2"]


def test_a_rally_point_that_is_nearer_gives_another_way_back():
    there = at(200, 200)
    assert named(U, (0, 0), (0, 200), (250, 200), (0, 200), rally=(Rally(lat=there[0], lon=there[1]),)) == []


def test_a_fence_that_crosses_itself_or_keeps_home_out_is_a_fault():
    bow = FencePolygon(corners=(at(-9, -9), at(9, 9), at(-9, 9), at(9, -9)))
    assert "cross" in fence.shape_faults(Fence(polygons=(bow,)), None)[0].reason
    assert "outside inclusion" in fence.shape_faults(Fence(polygons=(square(20, 100, 0),)), HOME)[0].reason


def route(*places: tuple[float, float], alt_m: float = 30) -> config.Route:
    return config.Route(id="r", waypoints=tuple(config.Waypoint(lat=lat, lon=lon) for lat, lon in places), alt_m=alt_m)


def test_a_route_for_another_site_is_said_once():
    faults = route_faults(route((47.0, 8.0), (47.1, 8.0)), HOME, config.Limits())
    assert len(faults) == 1
    assert "another site" in faults[0].reason


def test_a_waypoint_too_far_too_high_or_too_low_is_named():
    assert route_faults(route(at(100, 0), at(9000, 0)), HOME, config.Limits())[0].where == "waypoints[1]"
    assert "outside limits 5..120 m" in route_faults(route(at(9, 0), alt_m=130), HOME, config.Limits())[0].reason

"""What is known of a route before it flies: energy in the wind, ways home, the ground below."""

import cv2
import numpy as np
import pytest

from edge_agent import geo
from edge_agent.config import Airframe, Limits, Route, Waypoint
from edge_agent.flight import chart
from edge_agent.flight.energy import Wind
from edge_agent.flight.review import Given, review
from edge_agent.plans.model import Fence, FenceCircle, FencePolygon, Rally

HOME = (30.25, 120.15)


def at(north_m: float, east_m: float) -> tuple[float, float]:
    return geo.from_local(north_m, east_m, *HOME)


def route(*places: tuple[float, float], alt_m: float = 30, **more) -> Route:
    ways = tuple(Waypoint(lat=lat, lon=lon) for lat, lon in (at(*place) for place in places))
    return Route(id="r", waypoints=ways, alt_m=alt_m, **more)


def look(of: Route, **more):
    return review(of, Given(**({"home": HOME, "limits": Limits(), "airframe": Airframe()} | more)))


class Hill:
    """Flat at 100 m above the sea, and a ridge of `top_m` more from 190 to 210 m north of home."""

    def __init__(self, top_m: float) -> None:
        self.top_m = top_m

    def height_m(self, lat: float, lon: float) -> float | None:
        return 100 + (self.top_m if 190 <= geo.to_local(lat, lon, *HOME)[0] <= 210 else 0)


def test_length_time_and_energy_of_a_route_in_still_air():
    found = look(route((400, 0)))
    assert found.ok
    assert found.length_m == pytest.approx(800, abs=1)
    assert 800 / 8 < (found.time_s or 0) < 300
    assert found.energy_pct == pytest.approx(found.energy_wh)  # of a battery of 100 Wh
    assert [way.start for way in found.returns] == ["home", "waypoint 0"]


def test_wind_against_the_way_home_leaves_less_and_may_forbid_it():
    still, against = (look(route((1500, 0)), wind=wind).returns[-1] for wind in (Wind(0), Wind(8, 180)))
    assert still.left_pct is not None
    assert against.left_pct is not None
    assert against.left_pct < still.left_pct - 2
    storm = look(route((400, 0)), wind=Wind(20, 180))
    assert not storm.ok
    assert "too strong" in storm.faults[0].reason


def test_a_point_from_which_home_is_out_of_reach_is_named():
    found = look(route((1900, 0), (0, 1900), (-1900, 0)), airframe=Airframe(battery_wh=60))
    assert not found.ok
    assert found.faults[-1].where.startswith("waypoint ")
    assert "home cannot be reached" in found.faults[-1].reason


def test_a_rally_point_that_is_nearer_is_where_the_drone_returns_to():
    there = at(900, 10)
    found = look(route((1000, 0), rally=(Rally(lat=there[0], lon=there[1]),)))
    assert (found.returns[-1].to, found.returns[-1].length_m < 110) == ("rally point 0", True)
    assert found.returns[-1].time_s < look(route((1000, 0))).returns[-1].time_s - 60


@pytest.mark.parametrize(("top_m", "reason"), [(10, None), (26, "too low over the terrain"), (60, "below the terrain")])
def test_heights_over_the_ground_are_looked_at_between_waypoints_too(top_m, reason):
    found = look(route((400, 0)), ground=Hill(top_m))
    assert found.terrain is not None
    assert found.terrain.lowest_m == pytest.approx(30 - top_m)
    assert found.terrain.highest_m == 30
    assert [fault.reason for fault in found.faults][:1] == ([reason] if reason else [])
    if reason:
        assert found.faults[0].where == "leg from home to waypoint 0"


def test_a_hill_in_the_straight_way_home_is_named_though_the_route_goes_around_it():
    class Knoll:
        def height_m(self, lat: float, lon: float) -> float:
            north_m, east_m = geo.to_local(lat, lon, *HOME)
            return 100 + (50 if abs(north_m - 200) < 40 and abs(east_m - 150) < 40 else 0)

    found = look(route((0, 300), (400, 300), (0, 300)), ground=Knoll())
    assert [fault.where for fault in found.faults] == ["return from waypoint 1"]
    assert look(route((0, 300), (400, 300), (0, 300), rally=(Rally(lat=at(400, 400)[0], lon=at(400, 400)[1]),)),
                ground=Knoll()).ok  # fmt: skip


def test_ground_that_is_not_known_is_said_to_be_unknown():
    class Nowhere:
        def height_m(self, lat: float, lon: float) -> float | None:
            return None

    found = look(route((400, 0)), ground=Nowhere())
    assert found.terrain is None
    assert "does not know this place" in found.notes[-1]


def test_without_a_home_the_first_waypoint_stands_for_it_and_that_is_said():
    found = look(route((400, 0), (500, 0)), home=None)
    assert "home is not known" in found.notes[0]


def test_the_picture_shows_fence_route_and_what_breaks_it():
    corners = tuple(at(*corner) for corner in ((-100, -100), (-100, 200), (200, 200), (200, -100)))
    fence = Fence(
        polygons=(FencePolygon(corners=corners),),
        circles=(FenceCircle(lat=at(50, 50)[0], lon=at(50, 50)[1], radius_m=20, inclusion=False),),
    )
    data = chart.draw(route((100, 0), (100, 150), (300, 150), fence=fence), HOME, Hill(10))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (960, 1000, 3)
    for colour in (chart.LEG, chart.BAD, chart.INSIDE, chart.OUTSIDE):
        assert (picture == np.array(colour, np.uint8)).all(axis=2).sum() > 50

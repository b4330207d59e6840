"""What may be put aboard beside a mission: fences, rally points, parameters."""

from __future__ import annotations

import pytest
from msgspec import structs

from edge_agent import config
from edge_agent.flight import safety
from edge_agent.flight.mission import Item
from edge_agent.flight.safety import permit
from edge_agent.messages import Telemetry
from tests.flight.conftest import LAT, LON

LIMITS = config.Limits()
NOW = 100.0
READY = Telemetry(
    at_s=NOW, armed=False, mode="GUIDED", landed=True, lat=LAT, lon=LON, alt_m=0.0, home_lat=LAT, home_lon=LON
)


def corner(seq, count=3, command=5001):
    return Item(seq=seq, frame=0, command=command, p1=count, x=seq, y=seq)


def circle(seq, radius=50.0, command=5003):
    return Item(seq=seq, frame=0, command=command, p1=radius)


TRIANGLE = (corner(0), corner(1), corner(2))


@pytest.mark.parametrize(
    "items",
    [(), TRIANGLE, (*TRIANGLE, circle(3), circle(4, command=5004)), (circle(0), corner(1), corner(2), corner(3))],
)
def test_a_whole_fence_is_permitted(items):
    assert permit(safety.UploadFence(items), READY, LIMITS, NOW) is None


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        (TRIANGLE[:2], "lacks corners"),
        ((corner(1),), "not in order"),
        ((Item(seq=0, frame=3, command=16),), "no part of a fence"),
        ((circle(0, 0.0),), "radius"),
        ((circle(0, float("nan")),), "radius"),
        ((corner(0, 2), corner(1, 2)), "fewer than three"),
        ((corner(0), circle(1), corner(2)), "broken"),
        ((corner(0), corner(1, 4), corner(2)), "broken"),
        ((corner(0), corner(1, command=5002), corner(2)), "broken"),
    ],
)
def test_a_broken_fence_is_refused(items, reason):
    assert reason in permit(safety.UploadFence(items), READY, LIMITS, NOW).reason


def rally(seq=0, **more):
    given = {"seq": seq, "frame": 6, "command": 5100, "x": round(LAT * 1e7), "y": round(LON * 1e7), "z": 30.0}
    return Item(**{**given, **more})


def test_rally_points_near_and_at_a_fair_height_are_permitted():
    assert permit(safety.UploadRally((rally(), rally(1))), READY, LIMITS, NOW) is None
    assert permit(safety.UploadRally(()), structs.replace(READY, home_lat=None), LIMITS, NOW) is None


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (rally(command=16), "no rally point"), (rally(frame=0), "no rally point"), (rally(1), "not in order"),
        (rally(z=121.0), "height"), (rally(z=4.0), "height"), (rally(z=float("nan")), "height"),
        (rally(x=round((LAT + 1) * 1e7)), "too far"),
    ],
)  # fmt: skip
def test_other_rally_points_are_refused(item, reason):
    assert reason in permit(safety.UploadRally((item,)), READY, LIMITS, NOW).reason


@pytest.mark.parametrize("missing", ["home_lat", "home_lon"])
def test_rally_points_without_a_home_are_refused(missing):
    refusal = permit(safety.UploadRally((rally(),)), structs.replace(READY, **{missing: None}), LIMITS, NOW)
    assert "home is unknown" in refusal.reason


@pytest.mark.parametrize(
    "command",
    [
        safety.UploadFence(TRIANGLE),
        safety.UploadRally((rally(),)),
        safety.EnableFence(),
        safety.SetParam("RTL_ALT", 1.0),
        safety.Reboot(),
    ],
)
def test_what_is_aboard_is_changed_only_on_the_ground_and_disarmed(command):
    assert permit(command, READY, LIMITS, NOW) is None
    for state in ({"armed": True}, {"landed": False}, {"landed": None}):
        assert "disarmed" in permit(command, structs.replace(READY, **state), LIMITS, NOW).reason


@pytest.mark.parametrize(
    ("name", "value"),
    [("", 1.0), ("A_NAME_TOO_LONG_X", 1.0), ("Ä", 1.0), ("A", float("nan")), ("A", float("inf")), ("A", -3.5e38)],
)
def test_a_parameter_has_a_name_and_a_finite_value(name, value):
    assert permit(safety.SetParam(name, value), READY, LIMITS, NOW) is not None
    assert permit(safety.SetParam("ABCDEFGHIJKLMNOP", -3.4e38), READY, LIMITS, NOW) is None

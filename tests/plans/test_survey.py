"""Every point of an area, and of a corridor, is inside some footprint."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_agent import geo
from edge_agent.plans import survey
from edge_agent.plans.model import PlanError, Shape

CAMERA = survey.camera(sensor_mm=(6.3, 4.7), focal_mm=4.5)
hows = st.builds(
    survey.Survey, camera=st.just(CAMERA), alt_m=st.floats(20, 100), front_overlap=st.floats(0, 0.8),
    side_overlap=st.floats(0, 0.6), corridor_m=st.floats(0, 150),
    angle_deg=st.none() | st.floats(0, 180),
)  # fmt: skip


def seen(point, lines, how) -> bool:
    across, along = how.camera.footprint_m(how.alt_m)
    for (north, east), course in survey.pictures(lines, how):
        n, e = point[0] - north, point[1] - east
        ahead, right = n * math.cos(course) + e * math.sin(course), e * math.cos(course) - n * math.sin(course)
        if abs(ahead) <= along / 2 + 1e-6 and abs(right) <= across / 2 + 1e-6:
            return True
    return False


@st.composite
def areas(draw):
    """A star around the origin: simple by construction, seldom convex."""
    corners = draw(st.integers(3, 9))
    return [
        (r * math.cos(2 * math.pi * k / corners), r * math.sin(2 * math.pi * k / corners))
        for k in range(corners)
        for r in [draw(st.floats(10, 150))]
    ]


@given(areas(), hows, st.data())
def test_every_point_of_an_area_is_inside_some_footprint(area, how, data):
    lines = survey.strips(area, how)
    for _ in range(5):
        point = (data.draw(st.floats(-150, 150)), data.draw(st.floats(-150, 150)))
        if geo.in_polygon(*point, area):
            assert seen(point, lines, how)
    assert all(seen(corner, lines, how) for corner in area)


@given(st.lists(st.tuples(st.floats(-200, 200), st.floats(-200, 200)), min_size=2, max_size=5), hows, st.data())
def test_every_point_of_a_corridor_is_inside_some_footprint(line, how, data):
    assume(all(math.dist(a, b) > 1 for a, b in pairwise(line)))
    path = survey.corridor(line, how)
    lines = list(pairwise(path))
    leg = data.draw(st.integers(0, len(line) - 2))
    share, turn, out = (data.draw(st.floats(0, 1)) for _ in range(3))
    (n1, e1), (n2, e2) = line[leg], line[leg + 1]
    reach, angle = out * how.corridor_m / 2, turn * 2 * math.pi
    point = (n1 + (n2 - n1) * share + reach * math.cos(angle), e1 + (e2 - e1) * share + reach * math.sin(angle))
    assert seen(point, lines, how)


def test_the_strips_follow_the_side_over_which_the_area_is_narrowest():
    lines = survey.strips([(0, 0), (0, 400), (60, 400), (60, 0)], survey.Survey(CAMERA, 20))
    assert all(abs(a[0] - b[0]) < 1 and abs(a[1] - b[1]) > 390 for a, b in lines)


def test_the_angle_of_view_follows_from_sensor_and_lens():
    """DJI Phantom 3 as QGroundControl lists it: 6.3 x 4.7 mm, f 3.61 mm; 82.2 degrees across."""
    assert survey.camera(sensor_mm=(6.3, 4.7), focal_mm=3.61).across_deg == pytest.approx(82.2, abs=0.1)
    assert survey.camera(hfov_deg=90, pixels=(4, 3)).along_deg == pytest.approx(73.74, abs=0.01)


@pytest.mark.parametrize("wrong", [{"hfov_deg": 0}, {"hfov_deg": 170}, {}, {"sensor_mm": (6, 4), "focal_mm": -1}])
def test_a_camera_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"angle|focal"):
        survey.camera(**wrong)


@pytest.mark.parametrize(
    ("corners", "kind", "wanted"),
    [
        (((47, 8), (47.5, 8), (47.5, 8.5), (47, 8.5)), "area", "places"),
        (((47, 8), (47.001, 8.001), (47, 8.001), (47.001, 8)), "area", "cross each other"),
        (((47, 8), (47.001, 8)) * 200, "line", "places"),
    ],
)
def test_an_area_that_makes_no_route_is_refused(corners, kind, wanted):
    shape = Shape(kind=kind, corners=corners, item="features[3]")
    with pytest.raises(PlanError, match=rf"features\[3\].*{wanted}"):
        survey.places([shape], survey.Survey(CAMERA, 30, corridor_m=90), str(Path("x")))

"""Geodesy against known distances, and inverses against each other."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_agent import geo

SQUARE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
lats = st.floats(-85, 85)
lons = st.floats(-180, 180)
offsets_m = st.floats(-5000, 5000)


def test_a_degree_of_latitude_is_as_long_as_the_ellipsoid_says():
    # WGS-84 table values: 110 574 m at the equator, 111 132 m at 45 degrees, 111 694 m at the pole.
    for lat, length_m in ((0, 110_574), (45, 111_132), (90, 111_694)):
        assert geo.metres_per_degree(lat)[0] == pytest.approx(length_m, abs=1)


def test_a_degree_of_longitude_shrinks_to_nothing_at_the_pole():
    assert geo.metres_per_degree(0)[1] == pytest.approx(111_320, abs=1)
    assert geo.metres_per_degree(60)[1] == pytest.approx(55_800, abs=1)
    assert geo.metres_per_degree(90)[1] == pytest.approx(0, abs=1e-6)


@given(lats, lons, offsets_m, offsets_m)
def test_from_local_undoes_to_local(lat0, lon0, north_m, east_m):
    lat, lon = geo.from_local(north_m, east_m, lat0, lon0)
    north, east = geo.to_local(lat, lon, lat0, lon0)
    assert (north, east) == pytest.approx((north_m, east_m), abs=0.01)


@given(lats, lons, offsets_m, offsets_m)
def test_distance_is_the_same_both_ways_and_bearing_turns_round(lat, lon, north_m, east_m):
    assume(math.hypot(north_m, east_m) > 10)
    lat2, lon2 = geo.from_local(north_m, east_m, lat, lon)
    assert geo.distance_m(lat, lon, lat2, lon2) == pytest.approx(geo.distance_m(lat2, lon2, lat, lon))
    there, back = geo.bearing_deg(lat, lon, lat2, lon2), geo.bearing_deg(lat2, lon2, lat, lon)
    assert abs((there - back) % 360 - 180) < 1e-6


def test_bearings_are_clockwise_from_north():
    assert [round(geo.bearing_deg(0, 0, n, e)) % 360 for n, e in ((1, 0), (0, 1), (-1, 0), (0, -1))] == [
        0,
        90,
        180,
        270,
    ]


def test_distance_across_the_date_line_is_short():
    assert geo.distance_m(0, 179.9995, 0, -179.9995) == pytest.approx(111.3, abs=0.1)


def test_a_point_is_inside_only_where_it_is():
    assert geo.in_polygon(0.5, 0.5, SQUARE)
    assert not any(geo.in_polygon(x, y, SQUARE) for x, y in ((1.5, 0.5), (-0.5, 0.5), (0.5, 1.5), (0.5, -0.5)))


def test_a_notch_is_outside():
    notched = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.2), (0.0, 1.0)]
    assert not geo.in_polygon(0.5, 0.6, notched)
    assert geo.in_polygon(0.1, 0.6, notched)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(0, 3), st.booleans())
def test_inside_does_not_depend_on_where_the_polygon_starts_or_how_it_turns(x, y, start, turned):
    polygon = SQUARE[start:] + SQUARE[:start]
    assert geo.in_polygon(x, y, polygon[::-1] if turned else polygon)


def test_a_bow_tie_crosses_itself_and_a_square_does_not():
    assert geo.crosses_itself([(0, 0), (1, 1), (1, 0), (0, 1)])
    assert not geo.crosses_itself(SQUARE)


def test_a_corner_laid_on_another_edge_counts_as_crossing():
    assert geo.crosses_itself([(0, 0), (2, 0), (2, 2), (1, 0), (0, 2)])


def test_a_ring_that_repeats_its_first_corner_does_not_cross_itself() -> None:
    ring = [(0.0, 0.88), (0.49, 0.154), (0.013, 0.154), (0.0, 0.88)]
    assert not geo.crosses_itself(ring)
    assert geo.crosses_itself([(0, 0), (1, 1), (1, 0), (0, 1), (0, 0)])

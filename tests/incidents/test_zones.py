"""Zones: fractions of a picture become pixels, and feet stand in them."""

from typing import Literal

import pytest

from edge_agent import config, geo
from edge_agent.incidents.zones import Area, Spot, apart
from edge_agent.messages import Fix

LOWER_HALF = config.Zone(name="z", camera="c", polygon=((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)))


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (640, 640), (320, 1080)])
def test_a_box_stands_where_its_bottom_centre_is(width: int, height: int) -> None:
    area = Area(LOWER_HALF, width, height)
    middle = width / 2
    assert area.holds((middle - 20, height * 0.1, middle + 20, height * 0.51))
    assert not area.holds((middle - 20, height * 0.1, middle + 20, height * 0.49))


def test_a_box_cut_off_by_the_picture_stands_at_its_edge() -> None:
    area = Area(LOWER_HALF, 1280, 720)
    assert area.holds((0, 300, 40, 720))
    assert area.holds((600, 300, 700, 731))
    assert area.holds((-30, 300, 10, 719))
    assert area.holds((1260, 300, 1300, 720))


def test_a_box_that_is_not_a_number_stands_nowhere() -> None:
    assert not Area(LOWER_HALF, 1280, 720).holds((float("nan"),) * 4)


def test_distance_is_in_sizes_of_the_larger_box() -> None:
    assert apart(Spot((0, 0, 100, 100)), Spot((50, 0, 150, 100))) == pytest.approx(0.5)
    assert apart(Spot((0, 0, 100, 100)), Spot((40, 40, 60, 60))) == 0
    assert apart(Spot((5, 5, 5, 5)), Spot((7, 5, 7, 5))) == 2  # no size: in pixels


def test_seen_from_a_drone_distance_is_on_the_ground_and_only_what_is_sure() -> None:
    def seen(north_m: float, method: Literal["drone", "pole"], unsure_m: float = 1.0) -> Spot:
        lat, lon = geo.from_local(north_m, 0.0, 30.0, 120.0)
        place = Fix(
            lat=lat,
            lon=lon,
            major_m=unsure_m,
            minor_m=0.5,
            azimuth_deg=0.0,
            method=method,
            height_ref="home",
            wide_m=4.0,
        )
        return Spot((north_m * 9, 0, north_m * 9 + 50, 50), place)

    assert apart(seen(0, "drone"), seen(9, "drone")) == pytest.approx((9 - 1) / 4, abs=1e-3)
    assert apart(seen(0, "drone"), seen(9, "drone", unsure_m=10.0)) == 0
    assert apart(seen(0, "pole"), seen(9, "pole")) == pytest.approx(81 / 50)  # a camera that stands: the picture

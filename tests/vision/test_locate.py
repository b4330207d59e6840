"""Picture to ground and back: golden numbers by hand and by OpenCV, round trips, and ellipses that cover."""

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import geo
from edge_agent.messages import Fix
from edge_agent.vision.ground import Mark, Misfit, PointsSight
from edge_agent.vision.lens import Lens, by_angle, lens_of
from edge_agent.vision.locate import Errors, Find, PosedSight, covers, mounted, rotation

LAT, LON = 30.2461, 120.1552
WIDE = Lens(fx=0.7, fy=0.7 * 16 / 9, cx=0.505, cy=0.49, k=(-0.28, 0.09, 0.0008, -0.0005, -0.012))
SURE = Errors(place_m=0.0, height_m=0.0, tilt_deg=0.0, heading_deg=0.0, time_s=0.0, focal=0.0, picture=0.0)


def sight(
    *,
    heading_deg: float = 0.0,
    depression_deg: float = 45.0,
    alt_m: float = 50.0,
    lens: Lens | None = None,
    errors: Errors = SURE,
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> PosedSight:
    turn = rotation(0.0, 0.0, math.radians(heading_deg)) @ mounted(0.0, -depression_deg, 0.0)
    return PosedSight(
        lens or by_angle(60.0, 16 / 9), turn, lat=LAT, lon=LON, alt_m=alt_m, errors=errors, velocity=velocity
    )


def local(fix: Fix | None) -> tuple[float, float]:
    assert fix is not None
    return geo.to_local(fix.lat, fix.lon, LAT, LON)


# --- golden -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading_deg", "place", "north_m", "east_m"),
    [
        # 45° down from 50 m: the middle of the picture is 50 m ahead, whatever the lens.
        (0.0, (0.5, 0.5), 50.0, 0.0),
        (90.0, (0.5, 0.5), 0.0, 50.0),
        (180.0, (0.5, 0.5), -50.0, 0.0),
        # Its right edge, 30° aside of a slant of 70.711 m: 70.711 · tan 30° = 40.825 m to the right.
        (0.0, (1.0, 0.5), 50.0, 40.825),
        (90.0, (1.0, 0.5), -40.825, 50.0),
        # Its lower edge: atan(tan 30° · 9/16) = 17.991° steeper: 50 / tan 62.991° = 25.486 m ahead.
        (0.0, (0.5, 1.0), 25.486, 0.0),
    ],
)
def test_the_ground_by_trigonometry(
    heading_deg: float, place: tuple[float, float], north_m: float, east_m: float
) -> None:
    north, east = local(sight(heading_deg=heading_deg).fixes([place])[0])
    assert (north, east) == pytest.approx((north_m, east_m), abs=2e-3)


def test_straight_down_the_top_of_the_picture_is_ahead() -> None:
    """30 m up, 60° wide: half the width is 30 · tan 30° = 17.32 m, half the height 9/16 of it."""
    down = sight(heading_deg=90.0, depression_deg=90.0, alt_m=30.0)
    assert local(down.fixes([(0.5, 0.0)])[0]) == pytest.approx((0.0, 9.743), abs=2e-3)
    assert local(down.fixes([(1.0, 0.5)])[0]) == pytest.approx((-17.321, 0.0), abs=2e-3)


@pytest.mark.parametrize(
    ("alt_m", "depression_deg", "along_m"),
    [(30.0, 45.0, 3.8), (50.0, 45.0, 3.8), (50.0, 30.0, 5.9), (50.0, 15.0, 13.1), (100.0, 30.0, 6.6)],
)
def test_the_error_along_the_view_by_the_root_of_a_sum_of_squares(
    alt_m: float, depression_deg: float, along_m: float
) -> None:
    """σ² = 2² + (3 cot θ)² + (0.5° · h / sin² θ)² + (0.1 s · 10 m/s)², in metres."""
    errors = Errors(place_m=2.0, height_m=3.0, tilt_deg=0.5, heading_deg=2.0, time_s=0.1, focal=0.0, picture=0.0)
    found = sight(alt_m=alt_m, depression_deg=depression_deg, errors=errors, velocity=(10.0, 0.0, 0.0))
    fix = found.fixes([(0.5, 0.5)])[0]
    assert fix is not None
    assert fix.major_m / math.sqrt(5.9915) == pytest.approx(along_m, abs=0.06)
    if alt_m < 100:
        assert math.cos(2 * math.radians(fix.azimuth_deg)) > 0.99  # along the view: north


def test_a_bent_lens_as_opencv_has_it() -> None:
    matrix = np.array([[0.7 * 1920, 0, 0.505 * 1920], [0, 0.7 * 16 / 9 * 1080, 0.49 * 1080], [0, 0, 1.0]])
    points = np.random.default_rng(1).uniform((0, 0), (1920, 1080), (200, 2))
    theirs = cv2.undistortPoints(
        points.reshape(-1, 1, 2), matrix, np.array(WIDE.k), criteria=(cv2.TERM_CRITERIA_COUNT, 100, 0.0)
    ).reshape(-1, 2)
    assert WIDE.rays(points / (1920, 1080)) == pytest.approx(theirs, abs=1e-6)
    back, _ = cv2.projectPoints(
        np.column_stack([theirs, np.ones(200)]), np.zeros(3), np.zeros(3), matrix, np.array(WIDE.k)
    )
    assert WIDE.places(theirs) * (1920, 1080) == pytest.approx(back.reshape(-1, 2), abs=1e-6)


@pytest.mark.parametrize("k", [(-0.28, 0.06, 0.0, 0.0, 0.0), (0.3, 0.3, 0.001, -0.002, 0.1)])
def test_a_strongly_bent_lens_has_a_ray_for_every_place_and_no_place_for_what_is_beyond(k: tuple[float, ...]) -> None:
    lens = Lens(fx=0.5, fy=0.5 * 16 / 9, k=k)  # type: ignore[arg-type]
    grid = np.array([(x, y) for x in np.linspace(0, 1, 9) for y in np.linspace(0, 1, 5)])
    assert np.abs(lens.places(lens.rays(grid)) - grid).max() < 1e-9
    assert lens.place(np.array([0.3, 0.2])) == pytest.approx(lens.places(np.array([[0.3, 0.2]]))[0])


def test_where_the_lens_turns_back_there_is_no_ray_and_nothing_is_seen_twice() -> None:
    lens = Lens(fx=0.5, fy=0.5 * 16 / 9, k=(-0.4, 0.0, 0.0, 0.0, 0.0))  # turns back at a slope of 0.91: none reaches 1
    assert np.isnan(lens.rays(np.array([[0.0, 0.5], [0.5, 0.5]]))).tolist() == [[True, True], [False, False]]
    assert lens.place(np.array([1.4, 0.0])) is None  # would lie at 0.65, where 0.33 lies as well
    eye = sight(depression_deg=45.0, alt_m=30.0, lens=lens)
    assert [fix is None for fix in eye.fixes([(0.0, 0.5), (0.5, 0.5)])] == [True, False]
    square = [geo.from_local(north, east, LAT, LON) for north, east in ((25, -5), (25, 5), (35, 5), (35, -5))]
    assert len(eye.outline(square)) > 3


def test_the_picture_of_a_place_as_opencv_projects_it() -> None:
    """Rolled, pitched, turned: the same place through cv2.projectPoints with the rotation as a Rodrigues vector."""
    turn = rotation(0.08, -0.11, 2.1) @ mounted(3.0, -50.0, -20.0)
    eye = PosedSight(WIDE, turn, lat=LAT, lon=LON, alt_m=40.0, errors=SURE)
    north, east = local(eye.fixes([(0.3, 0.7)])[0])
    vector, _ = cv2.Rodrigues(turn.T)
    matrix = np.array([[0.7, 0, 0.505], [0, 0.7 * 16 / 9, 0.49], [0, 0, 1.0]])
    seen, _ = cv2.projectPoints(np.array([[north, east, 40.0]]), vector, np.zeros(3), matrix, np.array(WIDE.k))
    assert seen.ravel() == pytest.approx((0.3, 0.7), abs=1e-6)


def test_a_calibration_of_pixels_is_a_lens_of_fractions() -> None:
    found = lens_of(
        {"width": 1000, "height": 500, "matrix": [[800, 0, 510], [0, 790, 240], [0, 0, 1]], "distortion": [0.1] * 5}
    )
    assert (found.fx, found.fy, found.cx, found.cy) == (0.8, 1.58, 0.51, 0.48)


# --- properties ---------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.floats(-0.4, 0.4),
    st.floats(-0.4, 0.4),
    st.floats(-math.pi, math.pi),
    st.floats(20.0, 90.0),
    st.floats(5.0, 120.0),
    st.tuples(st.floats(0.02, 0.98), st.floats(0.02, 0.98)),
)
def test_from_the_picture_to_the_ground_and_back(
    roll: float, pitch: float, yaw: float, depression_deg: float, alt_m: float, place: tuple[float, float]
) -> None:
    turn = rotation(roll, pitch, yaw) @ mounted(0.0, -depression_deg, 0.0)
    eye = PosedSight(WIDE, turn, lat=LAT, lon=LON, alt_m=alt_m, errors=Errors())
    fix = eye.fixes([place])[0]
    if fix is not None:
        assert eye.pixel(fix.lat, fix.lon) == pytest.approx(place, abs=1e-4)


def test_the_sky_and_the_horizon_are_no_place() -> None:
    level = sight(depression_deg=5.0)
    above, near_horizon, ground = level.fixes([(0.5, 0.1), (0.5, 0.55), (0.5, 0.99)])
    assert above is None
    assert near_horizon is None
    assert ground is not None


class Step:
    """Flat ground at home's height, 30 m higher from 40 m north on."""

    def height_m(self, lat: float, lon: float) -> float:
        return 130.0 if geo.to_local(lat, lon, LAT, LON)[0] > 40.0 else 100.0


def test_the_ray_ends_at_the_first_ground_that_it_meets() -> None:
    turn = mounted(0.0, -45.0, 0.0)
    eye = PosedSight(
        by_angle(60.0, 16 / 9), turn, lat=LAT, lon=LON, alt_m=50.0, errors=SURE, ground=Step(), home_msl_m=100.0
    )
    fix = eye.fixes([(0.5, 0.5)])[0]
    assert fix is not None
    assert fix.height_ref == "terrain"
    assert local(fix)[0] == pytest.approx(40.0, abs=0.1)  # the wall, not 50 m
    assert local(eye.fixes([(0.5, 0.9)])[0])[0] < 40.0


class Slope:
    """Ground that rises by 0.4 m for each metre north and falls by 0.2 m for each metre east."""

    def height_m(self, lat: float, lon: float) -> float:
        north, east = geo.to_local(lat, lon, LAT, LON)
        return 100.0 + 0.4 * north - 0.2 * east


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.2, 0.8), (0.9, 0.3)])
def test_on_a_slope_each_error_moves_the_place_as_far_as_it_says(place: tuple[float, float]) -> None:
    """Height and place of the camera, by trying it: a metre each."""

    def there(*, alt_m: float = 60.0, lat: float = LAT, lon: float = LON) -> Find:
        errors = Errors(place_m=1.0, height_m=1.0, tilt_deg=0.0, heading_deg=0.0, time_s=0.0, focal=0.0, picture=0.0)
        turn = rotation(0.0, 0.0, 0.3) @ mounted(0.0, -50.0, 0.0)
        eye = PosedSight(
            by_angle(60.0, 16 / 9),
            turn,
            lat=lat,
            lon=lon,
            alt_m=alt_m,
            errors=errors,
            ground=Slope(),
            home_msl_m=100.0,
        )
        found = eye.finds([place])[0]
        assert found is not None
        return found

    first = there()
    moved = [
        there(lat=geo.from_local(1, 0, LAT, LON)[0]),
        there(lon=geo.from_local(0, 1, LAT, LON)[1]),
        there(alt_m=61),
    ]
    for column, one in enumerate(moved):
        told = first.shared[:, column]
        assert geo.to_local(one.lat, one.lon, first.lat, first.lon) == pytest.approx(tuple(told), abs=0.02)


def test_at_the_edge_of_the_map_of_heights_the_ground_is_level() -> None:
    class Edge(Slope):
        def height_m(self, lat: float, lon: float) -> float | None:  # type: ignore[override]
            return super().height_m(lat, lon) if geo.to_local(lat, lon, LAT, LON)[0] < 50.0 else None

    looks = {"turn": mounted(0.0, -50.0, 0.0), "lat": LAT, "lon": LON, "alt_m": 60.0, "errors": Errors()}
    at, inside = (
        PosedSight(by_angle(20.0, 16 / 9), **looks, ground=ground, home_msl_m=100.0).fixes([(0.5, 0.5)])[0]  # type: ignore[arg-type]
        for ground in (Edge(), Slope())
    )
    assert at is not None and inside is not None
    assert at.major_m == pytest.approx(inside.major_m, rel=0.5)


def test_a_zone_on_the_map_holds_in_the_picture_while_the_camera_moves() -> None:
    zone = [geo.from_local(n, e, LAT, LON) for n, e in ((40, -10), (60, -10), (60, 10), (40, 10))]
    for heading_deg, alt_m in ((0.0, 50.0), (10.0, 50.0), (-15.0, 40.0)):
        eye = sight(heading_deg=heading_deg, alt_m=alt_m)
        outline = eye.outline(zone)
        inside, outside = eye.pixel(*geo.from_local(50, 0, LAT, LON)), eye.pixel(*geo.from_local(50, 14, LAT, LON))
        assert inside is not None
        assert outside is not None
        assert geo.in_polygon(*inside, outline)
        assert not geo.in_polygon(*outside, outline)


def test_a_zone_behind_the_camera_is_not_seen_and_one_half_behind_is_cut() -> None:
    eye = sight()
    assert eye.outline([geo.from_local(n, e, LAT, LON) for n, e in ((-90, -10), (-50, -10), (-50, 10))]) == []
    cut = eye.outline([geo.from_local(n, e, LAT, LON) for n, e in ((-90, -20), (60, -20), (60, 20), (-90, 20))])
    assert max(y for _, y in cut) == pytest.approx(1.0)  # down to the lower edge
    assert geo.in_polygon(0.5, 0.95, cut)


# --- the ellipse covers -------------------------------------------------------------------------------------------


def coverage(one: Callable[[np.random.Generator], bool | None], runs: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    found = [held for _ in range(runs) if (held := one(rng)) is not None]
    assert len(found) > 0.8 * runs
    return float(np.mean(found))


@pytest.mark.parametrize("depression_deg", [90.0, 45.0, 20.0])
def test_nineteen_of_twenty_ellipses_of_a_drone_hold_the_truth(depression_deg: float) -> None:
    errors = Errors()

    def one(rng: np.random.Generator) -> bool | None:
        yaw, alt_m = rng.uniform(-math.pi, math.pi), rng.uniform(30, 100)
        speed = rng.normal(0, 6, 2)
        turn = rotation(*rng.normal(0, 0.1, 2), yaw) @ mounted(0.0, -depression_deg, 0.0)
        true = PosedSight(WIDE, turn, lat=LAT, lon=LON, alt_m=alt_m, errors=SURE)
        place = (rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.8))
        truth = true.fixes([place])[0]
        if truth is None:
            return None
        tilt, heading = math.radians(errors.tilt_deg), math.radians(errors.heading_deg)
        wrong, _ = cv2.Rodrigues(rng.normal(0, 1, 3) * (tilt, tilt, heading))
        shift = rng.normal(0, errors.place_m, 2) + rng.normal(0, errors.time_s) * speed
        lat, lon = geo.from_local(*shift, LAT, LON)
        focal = 1 + rng.normal(0, errors.focal)
        believed = PosedSight(
            Lens(fx=WIDE.fx * focal, fy=WIDE.fy * focal, cx=WIDE.cx, cy=WIDE.cy, k=WIDE.k),
            wrong @ turn,
            lat=lat,
            lon=lon,
            alt_m=alt_m + rng.normal(0, errors.height_m),
            errors=errors,
            velocity=(*speed, 0.0),
        )
        off = rng.normal(0, errors.picture, 2) * (1, 16 / 9)
        fix = believed.fixes([(place[0] + off[0], place[1] + off[1])])[0]
        return None if fix is None else covers(fix, truth.lat, truth.lon)

    assert 0.93 <= coverage(one, 1200, seed=int(depression_deg)) <= 0.97


STREET = [(8.0, -6.0), (9.0, 7.0), (30.0, -9.0), (34.0, 12.0), (18.0, 2.0), (22.0, -5.0)]  # north, east of the pole


def pole() -> PosedSight:
    return sight(depression_deg=25.0, alt_m=8.0, heading_deg=3.0)


def marks(eye: PosedSight, places: list[tuple[float, float]]) -> list[Mark]:
    found = []
    for place in places:
        lat, lon = geo.from_local(*place, LAT, LON)
        seen = eye.pixel(lat, lon)
        assert seen is not None
        found.append(Mark(x=seen[0], y=seen[1], lat=lat, lon=lon))
    return found


@pytest.mark.parametrize("count", [4, 6])
def test_nineteen_of_twenty_ellipses_of_marked_points_hold_the_truth(count: int) -> None:
    eye, survey_m, mark, common_m, picture = pole(), 0.2, 0.001, 0.5, 0.002
    true = marks(eye, STREET)[:count]

    def one(rng: np.random.Generator) -> bool | None:
        common = rng.normal(0, common_m, 2)
        believed = []
        for point in true:
            north, east = rng.normal(0, survey_m, 2) + common + geo.to_local(point.lat, point.lon, LAT, LON)
            lat, lon = geo.from_local(north, east, LAT, LON)
            x, y = np.array((point.x, point.y)) + rng.normal(0, mark, 2) * (1, 16 / 9)
            believed.append(Mark(x=x, y=y, lat=lat, lon=lon))
        plane = PointsSight(
            believed, by_angle(60.0, 16 / 9), mark=mark, survey_m=survey_m, common_m=common_m, picture=picture
        )
        north, east = rng.uniform(10, 28), rng.uniform(-5, 6)
        lat, lon = geo.from_local(north, east, LAT, LON)
        seen = eye.pixel(lat, lon)
        assert seen is not None
        off = rng.normal(0, picture, 2) * (1, 16 / 9)
        fix = plane.fixes([(seen[0] + off[0], seen[1] + off[1])])[0]
        return None if fix is None else covers(fix, lat, lon)

    assert 0.93 <= coverage(one, 400, seed=count) <= 0.97


# --- marked points ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 6])
def test_marked_points_give_the_ground_of_a_pole_and_the_way_back(count: int) -> None:
    eye = pole()
    plane = PointsSight(marks(eye, STREET)[:count])
    assert plane.rms_m < 1e-5
    lat, lon = geo.from_local(20.0, -3.0, LAT, LON)
    seen = eye.pixel(lat, lon)
    assert seen is not None
    fix = plane.fixes([seen])[0]
    assert fix is not None
    assert geo.distance_m(fix.lat, fix.lon, lat, lon) < 1e-4
    assert plane.pixel(lat, lon) == pytest.approx(seen, abs=1e-7)


def test_beyond_the_horizon_of_marked_points_there_is_no_ground() -> None:
    eye = pole()
    plane = PointsSight(marks(eye, STREET))
    assert plane.fixes([(0.5, -0.5)]) == [None]
    behind = geo.from_local(-30.0, 0.0, LAT, LON)
    assert plane.pixel(*behind) is None
    assert plane.outline([geo.from_local(n, e, LAT, LON) for n, e in ((-40, -5), (-20, -5), (-20, 5))]) == []


def test_far_from_the_marked_points_the_ellipse_grows() -> None:
    eye = pole()
    plane = PointsSight(marks(eye, STREET), common_m=0.0)
    near, far = (eye.pixel(*geo.from_local(n, 0.0, LAT, LON)) for n in (20.0, 45.0))
    assert near is not None
    assert far is not None
    a, b = plane.fixes([near, far])
    assert a is not None
    assert b is not None
    assert b.major_m > 2 * a.major_m


def test_points_that_are_too_few_or_in_a_line_say_so() -> None:
    eye = pole()
    with pytest.raises(Misfit, match="4 points are needed, there are 3"):
        PointsSight(marks(eye, STREET[:3]))
    with pytest.raises(Misfit, match="in a line"):
        PointsSight(marks(eye, [(10.0, 0.0), (15.0, 0.0), (20.0, 0.0), (30.0, 0.0)]))
    with pytest.raises(Misfit, match="one place"):
        PointsSight(marks(eye, [(10.0, 0.0)] * 4))


def test_points_that_are_exchanged_say_so() -> None:
    true = marks(pole(), STREET[:4])
    there = [(one.lat, one.lon) for one in true]
    mirrored = [Mark(x=1 - one.x, y=one.y, lat=one.lat, lon=one.lon) for one in true]
    across = [Mark(x=true[i].x, y=true[i].y, lat=there[j][0], lon=there[j][1]) for i, j in enumerate((1, 0, 2, 3))]
    turned = [Mark(x=one.x, y=one.y, lat=one.lon - 90, lon=one.lat) for one in true]
    for wrong in (mirrored, turned):
        with pytest.raises(Misfit, match="mirror image"):
            PointsSight(wrong)
    with pytest.raises(Misfit, match="both sides of the horizon"):
        PointsSight(across)


def test_a_point_that_is_marked_wrongly_shows_in_its_miss() -> None:
    found = marks(pole(), STREET)
    lat, lon = geo.from_local(5.0, 5.0, found[4].lat, found[4].lon)
    wrong = [*found[:4], Mark(x=found[4].x, y=found[4].y, lat=lat, lon=lon), found[5]]
    assert PointsSight(wrong).rms_m > 1.0

"""Rules in zones on the map: they hold while the camera moves, and an unknown place is nobody's leaving."""

from edge_agent import config, geo
from edge_agent.incidents.rules import Rules
from edge_agent.messages import Fix, Incident, Track, Tracks

LAT, LON = 30.2461, 120.1552
BAY = config.Zone(
    name="bay",
    camera="c",
    map=tuple(geo.from_local(n, e, LAT, LON) for n, e in ((0, -10), (20, -10), (20, 10), (0, 10))),
)
RULE = config.Dwell(id="parking", zone="bay", after_s=20.0)


def seen(t: float, x: float, north_m: float | None) -> Tracks:
    place = None
    if north_m is not None:
        lat, lon = geo.from_local(north_m, 0.0, LAT, LON)
        place = Fix(
            lat=lat, lon=lon, major_m=2.0, minor_m=1.0, azimuth_deg=0, method="drone", height_ref="home", wide_m=4.5
        )
    car = Track(
        id=1, label="car", score=0.9, box=(x, 300, x + 90, 360), first_s=0.0, last_s=t, hits=9, place=place
    )  # fmt: skip
    return Tracks(camera="c", seq=round(t * 5), at_s=t, wall_s=t, width=1280, height=720, tracks=(car,))


def watched(frames: list[Tracks]) -> list[Incident]:
    rules = Rules([BAY], [RULE])
    return [incident for frame in frames for incident in rules.update(frame)]


def test_a_parked_car_that_wanders_through_the_picture_of_a_drone_is_told_once_with_its_place() -> None:
    found = watched([seen(n / 5, 40 + 8 * n, 10.0 + 0.5 * (n % 3)) for n in range(130)])
    assert len(found) == 1
    assert found[0].lasted_s == 20.0
    assert found[0].place is not None
    assert found[0].place.major_m == 2.0


def test_a_car_that_the_drone_keeps_in_the_middle_of_its_picture_and_that_drives_is_not_parked() -> None:
    assert watched([seen(n / 5, 600, 1.0 + 0.14 * n) for n in range(130)]) == []


def test_a_place_that_is_unknown_for_a_while_ends_no_stay() -> None:
    found = watched([seen(n / 5, 600, None if 50 <= n < 70 else 10.0) for n in range(130)])
    assert [incident.lasted_s for incident in found] == [20.0]


def test_whose_place_is_never_known_stands_in_no_zone_on_the_map() -> None:
    assert watched([seen(n / 5, 600, None) for n in range(130)]) == []

"""Poses set against our clock, views of the config, and zones of the map in the picture and for the tiles."""

import json
import math
from pathlib import Path

import pytest

from edge_agent import config, geo
from edge_agent.cli import main
from edge_agent.config import ConfigError
from edge_agent.messages import Attitude, Dispatch, Fix, GimbalAttitude, Position, Refusal, Track, Tracks
from edge_agent.response import order
from edge_agent.vision.attitude import Poses
from edge_agent.vision.places import Places, box_around, outline

LAT, LON = 30.2461, 120.1552
SITE = config.Site(device="d", lat=LAT, lon=LON)


def attitude(boot_s: float, yaw: float, *, late_s: float = 0.0, **more: float) -> Attitude:
    return Attitude(heard_s=1000.0 + boot_s + late_s, boot_s=boot_s, roll=more.get("roll", 0.0), pitch=0.0, yaw=yaw)


def position(boot_s: float, north_m: float = 0.0, *, late_s: float = 0.0, north_mps: float = 0.0) -> Position:
    lat, lon = geo.from_local(north_m, 0.0, LAT, LON)
    return Position(heard_s=1000.0 + boot_s + late_s, boot_s=boot_s, lat=lat, lon=lon, alt_m=40.0, north_mps=north_mps)


def flown(late: tuple[float, ...] = (0.0,)) -> Poses:
    """Two seconds north at 10 m/s, turning by 1 rad/s; what is said comes late by turns."""
    poses = Poses()
    for n in range(41):
        late_s, at_s = late[n % len(late)], n * 0.05
        poses.hear(attitude(at_s, 3.0 + at_s, late_s=late_s))
        poses.hear(position(at_s, 10.0 * at_s, late_s=late_s, north_mps=10.0))
    return poses


def test_the_pose_of_a_moment_is_between_what_was_said_before_and_after() -> None:
    pose = flown().at(1001.125)
    assert pose is not None
    assert math.remainder(pose.attitude.yaw - 4.125, math.tau) == pytest.approx(0.0, abs=1e-9)
    north, _ = geo.to_local(pose.position.lat, pose.position.lon, LAT, LON)
    assert north == pytest.approx(11.25, abs=1e-3)


def test_packets_that_come_late_in_bursts_shift_no_pose() -> None:
    pose = flown(late=(0.09, 0.05, 0.004, 0.12)).at(1001.125)
    assert pose is not None
    assert pose.attitude.yaw == pytest.approx(4.125, abs=0.006)  # as much as the best packet was late


def test_what_was_said_too_long_ago_or_never_is_no_pose() -> None:
    poses = flown()
    assert Poses().at(1001.0) is None
    assert poses.at(1000.0 - 5) is None
    assert poses.at(1002.0 + 0.3) is not None
    assert poses.at(1002.0 + 0.5) is None
    assert poses.at(1001.0, gimbal=True) is None


def test_a_vehicle_that_restarted_is_begun_anew() -> None:
    poses = flown()
    poses.hear(position(50.0))
    poses.hear(Attitude(heard_s=1060.0, boot_s=1.0, roll=0.0, pitch=0.0, yaw=0.5))
    assert poses.at(1001.0) is None
    poses.hear(Position(heard_s=1060.0, boot_s=1.0, lat=LAT, lon=LON, alt_m=0.0))
    assert poses.at(1060.0) is not None


def camera(view: config.View) -> config.Camera:
    return config.SimulatedCamera(name="c", detector="d", view=view)


def tracks(at_s: float, *boxes: tuple[float, float, float, float]) -> Tracks:
    found = tuple(
        Track(id=n, label="car", score=0.9, box=box, first_s=at_s, last_s=at_s, hits=3) for n, box in enumerate(boxes)
    )
    return Tracks(camera="c", seq=1, at_s=at_s, wall_s=0.0, width=1600, height=900, tracks=found)


def over(view: config.View, *, yaw: float = 0.0, roll: float = 0.0, gimbal: GimbalAttitude | None = None) -> Places:
    places = Places([camera(view)], SITE)
    assert not places.faults
    places.hear(position(5.0))
    places.hear(attitude(5.0, yaw, roll=roll))
    if gimbal:
        places.hear(gimbal)
    return places


def test_a_car_below_a_drone_has_a_place_and_a_width() -> None:
    """40 m up, 60° wide: 46.19 m across 1600 pixels, so 160 pixels are 4.62 m; the lower edge is 12.99 m behind."""
    car = over(config.DroneView(hfov_deg=60.0), yaw=math.pi / 2).locate(tracks(1005.0, (720, 800, 880, 900))).tracks[0]
    assert car.place is not None
    assert geo.to_local(car.place.lat, car.place.lon, LAT, LON) == pytest.approx((0.0, -12.99), abs=0.03)
    assert car.place.wide_m == pytest.approx(4.62, abs=0.01)
    assert 5 < car.place.minor_m <= car.place.major_m < 8


def test_a_gimbal_holds_the_camera_whatever_the_body_does() -> None:
    down = math.sqrt(0.5)
    view = config.DroneView(hfov_deg=60.0, gimbal=True, pitch_deg=0.0)
    for earth, yaw in ((False, 0.7), (True, 0.0)):
        held = GimbalAttitude(heard_s=1005.0, boot_s=5.0, q=(down, 0.0, -down, 0.0), earth=earth)
        car = over(view, yaw=0.7, roll=0.3, gimbal=held).locate(tracks(1005.0, (700, 300, 900, 450))).tracks[0]
        assert car.place is not None
        assert geo.distance_m(car.place.lat, car.place.lon, LAT, LON) < 0.05
        above = over(view, yaw=0.7, gimbal=held).locate(tracks(1005.0, (700, 0, 900, 225))).tracks[0].place
        assert above is not None
        bearing = math.radians(geo.bearing_deg(LAT, LON, above.lat, above.lon))
        assert math.remainder(bearing - yaw, math.tau) == pytest.approx(0.0, abs=0.01)


def test_a_servo_gimbal_is_told_from_the_body() -> None:
    """The body rolled 0.3 rad to the right, the gimbal as far back, and then straight down."""
    roll, half = 0.3, math.sqrt(0.5)
    back, aside = math.cos(roll / 2), math.sin(-roll / 2)
    q = (back * half, aside * half, -back * half, -aside * half)  # the quaternion of the roll back times that of down
    held = GimbalAttitude(heard_s=1005.0, boot_s=5.0, q=q, earth=False)
    view = config.DroneView(hfov_deg=60.0, gimbal=True, servo=True, pitch_deg=0.0)
    car = over(view, yaw=0.7, roll=roll, gimbal=held).locate(tracks(1005.0, (700, 300, 900, 450))).tracks[0]
    assert car.place is not None
    assert geo.distance_m(car.place.lat, car.place.lon, LAT, LON) < 0.05


def test_tiles_follow_a_zone_on_the_map_while_the_drone_moves() -> None:
    corners = tuple(geo.from_local(n, e, LAT, LON) for n, e in ((4, -2), (8, -2), (8, 2), (4, 2)))
    zone = config.Zone(name="z", camera="c", map=corners)
    view = config.DroneView(hfov_deg=60.0)
    ahead = over(view).boxes([zone], tracks(1005.0))
    behind = over(view, yaw=math.pi).boxes([zone], tracks(1005.0))
    assert (ahead[0][1] + ahead[0][3]) / 2 < 0.5 < (behind[0][1] + behind[0][3]) / 2
    far = config.Zone(name="z", camera="c", map=tuple((lat + 0.01, lon) for lat, lon in corners))
    assert over(view).boxes([far], tracks(1005.0)) == []


def test_a_surveyed_pole_needs_no_vehicle() -> None:
    view = config.PoleView(hfov_deg=60.0, lat=LAT, lon=LON, height_m=6.0, heading_deg=180.0, pitch_deg=-45.0)
    car = Places([camera(view)], SITE).locate(tracks(3.0, (700, 300, 900, 450))).tracks[0]
    assert car.place is not None
    assert geo.to_local(car.place.lat, car.place.lon, LAT, LON) == pytest.approx((-6.0, 0.0), abs=1e-3)


def test_a_view_whose_files_say_nothing_costs_the_places_alone(tmp_path: Path) -> None:
    bad = tmp_path / "lens.json"
    bad.write_text("{}")
    places = Places([camera(config.DroneView(lens=bad))], SITE)
    assert "is no lens" in places.faults["c"]
    assert places.locate(tracks(1.0, (0, 0, 9, 9))).tracks[0].place is None


# --- on the command line ------------------------------------------------------------------------------------------

POINTS = "x,y,lat,lon\n" + "\n".join(
    f"{x},{y},{LAT + n / 111_000:.8f},{LON + e / 96_000:.8f}"
    for x, y, n, e in (
        (160, 800, 5, -6), (1440, 800, 5, 6), (560, 200, 30, -9), (1040, 200, 30, 9),
        (800, 800, 5, 0), (800, 200, 30, 0),
    )
)  # fmt: skip
TOML = """
data_dir = "state"
[site]
device = "d"
[[detector]]
name = "eyes"
type = "simulated"
[[camera]]
name = "gate"
type = "simulated"
detector = "eyes"
view = {type = "points", file = "gate.json"}
[[zone]]
name = "bay"
camera = "gate"
map = [[30.246190, 120.155150], [30.246190, 120.155250], [30.246260, 120.155250], [30.246260, 120.155150]]
[[zone]]
name = "elsewhere"
camera = "gate"
map = [[29.0, 120.0], [29.0, 120.1], [29.1, 120.1]]
[[rule]]
id = "r"
type = "dwell"
zone = "bay"
"""


def test_marked_points_become_a_view_and_zones_on_the_map_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points, gate = tmp_path / "points.csv", tmp_path / "gate.json"
    points.write_text(POINTS)
    assert main(["camera", "calibrate", "--points", str(points), "-o", str(gate)]) == 1
    assert "are they pixels? give --size WxH" in capsys.readouterr().err
    asked = ["camera", "calibrate", "--points", str(points), "--size", "1600x900", "-o", str(gate), "--json"]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rms_m"] < 0.1
    assert len(found["misses_m"]) == 6

    file, out = tmp_path / "agent.toml", tmp_path / "zones.png"
    file.write_text(TOML)
    assert main(["check", "-c", str(file)]) == 0
    capsys.readouterr()
    assert main(["zones", "draw", "-c", str(file), "-o", str(out), "--json"]) == 0
    drawn = json.loads(capsys.readouterr().out)
    assert (drawn["zones"], drawn["not_seen"]) == (["bay"], ["elsewhere"])
    settings = config.load(file)
    sight = Places(settings.cameras, settings.site).sight("gate", 0.0, 1600, 900)
    assert sight is not None
    [parked] = sight.fixes([(0.5, 0.8)], [0.1])
    assert parked is not None
    ends = sight.fixes([(0.45, 0.8), (0.55, 0.8)])
    assert ends[0] and ends[1]
    assert parked.wide_m == pytest.approx(geo.distance_m(ends[0].lat, ends[0].lon, ends[1].lat, ends[1].lon), rel=0.05)
    around = box_around(outline(settings.zones[0], sight))
    assert around is not None
    assert 0.25 < around[0] < 0.5 < around[2] < 0.75


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('view = {type = "points", file = "gate.json"}', "", "zone[bay].map: camera[gate].view is required"),
        (', file = "gate.json"', "", "view.points: give either `points` or the `file`"),
        ('"points", file = "gate.json"', '"drone"', "view.lens: required, or `hfov_deg`"),
        ('"points", file = "gate.json"', '"drone", hfov_deg = 60', '"drone" wants the [vehicle]'),
        ("map = [[29.0", "polygon = [[0.1, 0.1]]\nmap = [[29.0", "give either `polygon`"),
    ],
)
def test_a_view_or_a_zone_that_cannot_be_says_why(tmp_path: Path, old: str, new: str, fault: str) -> None:
    (tmp_path / "gate.json").write_text("{}")
    file = tmp_path / "agent.toml"
    file.write_text(TOML.replace(old, new, 1))
    with pytest.raises(ConfigError) as raised:
        config.load(file)
    assert fault in str(raised.value)


def test_a_patrol_is_called_to_where_the_picture_shows_it_if_that_is_sure_enough() -> None:
    seen = Fix(lat=1.0, lon=2.0, major_m=9.0, minor_m=3.0, azimuth_deg=0.0, method="drone", height_ref="home")
    there = order(config.Respond(lat=3.0, lon=4.0, worst_m=10.0), "i", seen)
    assert isinstance(there, Dispatch)
    assert (there.lat, there.lon) == (1.0, 2.0)
    vague = order(config.Respond(lat=3.0, lon=4.0, worst_m=5.0), "i", seen)
    assert isinstance(vague, Dispatch)
    assert (vague.lat, vague.lon) == (3.0, 4.0)
    nowhere = order(config.Respond(worst_m=5.0), "i", seen)
    assert isinstance(nowhere, Refusal)
    assert (nowhere.value, nowhere.limit) == ("±9 m", "±5 m")

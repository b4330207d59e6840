"""`edge-agent route`: import, check, show, export, list."""

import json
from pathlib import Path

import pytest

from edge_agent import cli
from edge_agent.config import EX_CONFIG
from edge_agent.plans import qgc, wpl
from edge_agent.plans.model import Fence, FenceCircle, Place, Plan

LAT, LON = 30.25, 120.17
RIVER = Plan(
    places=(Place(lat=LAT + 1e-3, lon=LON, alt_m=40, hold_s=3), Place(lat=LAT, lon=LON + 1e-3, alt_m=30)),
    home=(LAT, LON), speed_mps=6, fence=Fence(circles=(FenceCircle(lat=LAT, lon=LON, radius_m=300),)),
)  # fmt: skip
CONFIG = """
data_dir = "state"
[site]
device = "D-1"
lat = 30.25
lon = 120.17
[vehicle]
type = "simulated"
[[route]]
id = "bank"
waypoints = [{lat = 30.251, lon = 120.17}]
[[schedule]]
id = "hourly"
route = "bank"
cron = "0 * * * *"
"""
SQUARE = [[LON, LAT], [LON + 1e-3, LAT], [LON + 1e-3, LAT + 1e-3], [LON, LAT + 1e-3], [LON, LAT]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "river.plan").write_bytes(qgc.write(RIVER))
    (tmp_path / "agent.toml").write_text(CONFIG)
    area = {"type": "Polygon", "coordinates": [SQUARE]}
    (tmp_path / "field.geojson").write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": area}))
    return tmp_path


def test_a_route_that_may_be_flown(here, capsys):
    assert cli.main(["route", "check", "river.plan", "--wind", "5,270"]) == 0
    said = capsys.readouterr().out
    for word in (
        "may be flown",
        "length   354 m",
        "time",
        "energy",
        "30 to 40 m above home",
        "terrain  unknown",
        "1 area ",
    ):
        assert word in said


def test_the_same_in_json(here, capsys):
    assert cli.main(["route", "check", "river.plan", "--json", "-c", "agent.toml"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["waypoints"], found["file"]) == (True, 2, "river.plan")
    assert [way["to"] for way in found["returns"]] == ["home"] * 3


def test_a_route_that_is_refused_names_why_and_exits_1(here, capsys):
    far = Plan(places=(*RIVER.places, Place(lat=LAT + 1e-2, lon=LON, alt_m=30)), home=RIVER.home, fence=RIVER.fence)
    (here / "far.plan").write_bytes(qgc.write(far))
    assert cli.main(["route", "check", "far.plan"]) == 1
    said = capsys.readouterr().out
    assert "refused  leg from waypoint 1 to waypoint 2: the leg is outside inclusion circle 0" in said
    (here / "loop.waypoints").write_bytes(wpl.write(RIVER).replace(b"\t20\t", b"\t177\t"))
    assert cli.main(["route", "check", "loop.waypoints", "--json"]) == 1
    assert "DO_JUMP" in json.loads(capsys.readouterr().out)["faults"][0]["reason"]


def test_a_route_for_another_site_is_refused(here, capsys):
    (here / "alps.plan").write_bytes(qgc.write(Plan(places=(Place(lat=47.0, lon=8.0, alt_m=30),), home=(47.0, 8.0))))
    assert cli.main(["route", "check", "alps.plan"]) == 0  # it is its own home
    assert cli.main(["route", "check", "alps.plan", "-c", "agent.toml"]) == 1
    assert "another site" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "wanted"),
    [
        (("check", "none.plan"), 2, "none.plan: the file: cannot be read"),
        (("check", "river.plan", "--terrain", "none.hgt"), 2, "none.hgt"),
        (("check", "river.plan", "--terrain", "agent.toml"), 2, "no intact block"),
        (("check", "river.plan", "--battery", "0"), 2, "--battery"),
        (("check", "field.geojson", "--overlap", "99"), 2, "--overlap"),
        (("check", "field.geojson", "--focal", "4"), 2, "sensor"),
        (("check", "field.geojson", "--pixels", "0x9"), 2, "pixels[0]"),
        (("check", "field.geojson", "--corridor", "nan"), 2, "corridor_m"),
        (("check", "field.geojson", "--angle", "nan"), 2, "angle_deg"),
        (("check", "field.geojson", "--alt", "nan"), 1, "height: out of limits"),
        (("check", "bank", "-c", "river.plan"), EX_CONFIG, "is not TOML"),
        (("check", "shore", "-c", "agent.toml"), 2, "there is: bank"),
        (("export", "river.plan", "-o", "river.kml"), 1, ".plan, .waypoints"),
        (("export", "river.plan", "-o", "river.plan"), 2, "exists"),
        (("import", "field.geojson", "--alt", "300"), 1, "outside limits 5..120 m"),
    ],
)
def test_what_cannot_be_done_is_said(here, capsys, arguments, code, wanted):
    assert cli.main(["route", *arguments]) == code
    assert wanted in capsys.readouterr().err


@pytest.mark.parametrize("wind", ["x", "-3,0", "99,0", "5,1000"])
def test_a_wind_that_cannot_be_is_refused(here, wind):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["route", "check", "river.plan", f"--wind={wind}"])


def test_an_area_is_imported_as_a_plan_that_reads_back(here, capsys):
    assert cli.main(["route", "import", "field.geojson", "-o", "field.plan", "--alt", "40", "--hfov", "60"]) == 0
    found = qgc.read((here / "field.plan").read_bytes(), "field.plan")
    assert len(found.places) >= 4
    assert {place.alt_m for place in found.places} == {40}
    assert cli.main(["route", "export", "field.plan", "-o", "field.waypoints"]) == 0
    assert wpl.read((here / "field.waypoints").read_bytes(), "x").places[0].lat == found.places[0].lat


def test_without_a_file_to_write_the_stanza_of_the_config_is_printed(here, capsys):
    assert cli.main(["route", "import", "river.plan"]) == 0
    stanza = capsys.readouterr().out
    (here / "agent.toml").write_text(CONFIG + stanza)
    assert cli.main(["route", "list", "-c", "agent.toml", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["id"], row["waypoints"], row["schedules"]) for row in rows] == [
        ("bank", 1, ["hourly"]),
        ("river", 2, []),
    ]


def test_a_picture_is_drawn(here):
    assert cli.main(["route", "show", "river.plan", "-o", "river.png"]) == 0
    assert (here / "river.png").read_bytes().startswith(b"\x89PNG")

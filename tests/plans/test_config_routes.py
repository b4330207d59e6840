"""A route of the config may be a file."""

from pathlib import Path

import pytest

from edge_agent import config
from edge_agent.plans import qgc
from edge_agent.plans.model import Fence, FenceCircle, Place, Plan

LAT, LON = 30.25, 120.17
BASE = """
data_dir = "state"
[site]
device = "D-1"
lat = 30.25
lon = 120.17
[vehicle]
type = "simulated"
[[route]]
id = "river"
"""
RIVER = Plan(
    places=(Place(lat=LAT + 1e-3, lon=LON, alt_m=40, hold_s=3), Place(lat=LAT, lon=LON + 1e-3, alt_m=30)),
    home=(LAT, LON), speed_mps=6, fence=Fence(circles=(FenceCircle(lat=LAT, lon=LON, radius_m=300),)),
)  # fmt: skip


def load(tmp_path: Path, more: str, plan: Plan = RIVER) -> config.Agent:
    (tmp_path / "river.plan").write_bytes(qgc.write(plan))
    return config.parse(BASE + more, tmp_path / "agent.toml")


def test_a_route_may_be_a_file_with_its_speed_and_fence(tmp_path):
    route = load(tmp_path, 'file = "river.plan"').routes[0]
    assert [(p.alt_m, p.hold_s) for p in route.waypoints] == [(40, 3), (30, 0)]
    assert (route.speed_mps, route.fence) == (6, RIVER.fence)


def test_what_the_config_says_goes_before_the_file(tmp_path):
    more = 'file = "river.plan"\nspeed_mps = 4\n[[route.fence.circles]]\nlat = 30.25\nlon = 120.17\nradius_m = 200\n'
    route = load(tmp_path, more).routes[0]
    assert (route.speed_mps, route.fence.circles[0].radius_m) == (4, 200)


def test_a_dumped_config_reads_the_same_file(tmp_path):
    once = load(tmp_path, 'file = "river.plan"')
    assert config.parse(config.dump(once), tmp_path / "agent.toml") == once


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ("", "give either `waypoints` or a `file`"),
        ('file = "river.plan"\nwaypoints = [{lat = 30.2501, lon = 120.17}]', "give either `waypoints` or a `file`"),
        ('file = "lost.plan"', "lost.plan: the file: cannot be read"),
        ('file = "agent.gpx"', "agent.gpx: the file"),
        ('file = "river.plan"\n[limits]\nmax_alt_m = 35', "waypoints[0].alt_m: 40 m is outside limits 5..35 m"),
        ('file = "river.plan"\n[[route.fence.circles]]\nlat = 30.25\nlon = 120.17\nradius_m = 50', "leg from home to"),
        ('file = "river.plan"\n[route.survey]\nfocal_mm = 4', "sensor's size"),
    ],
)
def test_a_file_that_is_no_route_here_is_refused(tmp_path, more, wanted):
    with pytest.raises(config.ConfigError) as refusal:
        load(tmp_path, more)
    assert wanted in str(refusal.value), refusal.value


def test_a_plan_for_another_site_is_refused(tmp_path):
    there = Plan(places=(Place(lat=47.0, lon=8.0, alt_m=30),), home=(47.0, 8.0))
    with pytest.raises(config.ConfigError, match="another site"):
        load(tmp_path, 'file = "river.plan"', there)


def test_every_snippet_of_the_documentation_is_a_configuration(tmp_path):
    text = (Path(__file__).resolve().parents[2] / "docs/ROUTES.md").read_text()
    snippets = "\n".join(part.split("```")[0] for part in text.split("```toml\n")[1:])
    head = BASE.partition("[[route]]")[0].replace("30.25\n", "30.2461\n").replace("120.17\n", "120.1552\n")
    near = Plan(places=(Place(lat=30.247, lon=120.1552, alt_m=40),), home=(30.2461, 120.1552))
    (tmp_path / "river.plan").write_bytes(qgc.write(near))
    (tmp_path / "field.geojson").write_text(
        '{"type": "LineString", "coordinates": [[120.155, 30.246], [120.156, 30.246]]}'
    )
    found = config.parse(head + snippets, tmp_path / "agent.toml")
    assert [len(part) for part in (found.routes, found.schedules, found.blackouts, found.levels, found.visits)] == [
        2,
        3,
        1,
        1,
        1,
    ]

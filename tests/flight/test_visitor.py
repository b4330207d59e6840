"""The part around the ledger of visits: reports, then saves, and is there again after a restart."""

import asyncio
from pathlib import Path

import pytest

from edge_agent import config
from edge_agent.flight.visitor import Visitor, load
from edge_agent.messages import FlightEvent, Telemetry, Visit
from edge_agent.runtime import DriverError, Health, SystemClock

TEXT = """
data_dir = "state"
[site]
device = "D-1"
lat = 30.25
lon = 120.17
[vehicle]
type = "simulated"
[[route]]
id = "r"
waypoints = [{lat = 30.251, lon = 120.17}]
[[visit]]
id = "gate"
kind = "point"
corners = [[30.251, 120.17]]
routes = ["r"]
[[visit]]
id = "far"
kind = "point"
corners = [[30.255, 120.17]]
routes = ["r"]
"""


def event(phase: str) -> FlightEvent:
    return FlightEvent(run="R1", route="r", seq=1, phase=phase, previous="", cause="", by="test", wall_s=0.0)


async def test_a_flight_is_credited_reported_and_remembered(tmp_path: Path) -> None:
    settings = config.parse(TEXT, tmp_path / "agent.toml")
    told: list[Visit] = []
    clock = SystemClock()

    async def on_visit(visit: Visit) -> None:
        told.append(visit)

    visitor = Visitor(settings, tmp_path / "flight", clock=clock, health=Health(clock), on_visit=on_visit)
    visitor.flown(event("climb"))
    at = {"armed": True, "mode": "AUTO", "landed": False, "alt_m": 20.0}
    visitor.seen(Telemetry(at_s=1.0, lat=30.2509, lon=120.17, **at))
    visitor.flown(event("landed"))
    task = asyncio.create_task(visitor.run())
    while not (tmp_path / "flight" / "visits.json").exists():
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert [(visit.target, visit.state, visit.run) for visit in told] == [
        ("gate", "visited", "R1"),
        ("far", "missed", "R1"),
    ]
    again = Visitor(settings, tmp_path / "flight", clock=clock, health=Health(clock), on_visit=on_visit)
    assert again.status()["far"]["state"] == "owed"
    assert len(again.carry(settings.routes[0]).waypoints) == 2


def test_a_ledger_that_cannot_be_read_is_a_fault_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "visits.json").write_text("{")
    with pytest.raises(DriverError, match="move it away"):
        load(tmp_path / "visits.json")


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('kind = "point"', 'kind = "line"', "visit[gate].corners: a line has 2 to 200"),
        ('routes = ["r"]', 'routes = ["x"]', "no route is called `x`"),
        ("[[30.255, 120.17]]", "[[31.0, 120.17]]", "visit[far]: 83"),
        ('id = "far"', 'id = "gate"', "visit: the name `gate` stands 2 times"),
    ],
)
def test_a_target_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, wanted: str) -> None:
    with pytest.raises(config.ConfigError) as refusal:
        config.parse(TEXT.replace(old, new, 1), tmp_path / "agent.toml")
    assert wanted in str(refusal.value)

"""What is put aboard before a flight: the route's fence and rally points with its mission, read back, switched on."""

from __future__ import annotations

import pytest
from msgspec import structs
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import config, geo
from edge_agent.flight import mission
from edge_agent.flight import route as routes
from edge_agent.flight.fence import fence_items, rally_items
from edge_agent.flight.launch import Launch
from edge_agent.flight.mission import FENCE, RALLY, compare
from edge_agent.flight.phases import Phase
from edge_agent.messages import Refusal
from edge_agent.plans.model import Fence, FenceCircle, FencePolygon, Rally
from tests.flight.conftest import LAT, LON, PATROL, World


def place(north_m: float, east_m: float) -> tuple[float, float]:
    return geo.from_local(north_m, east_m, LAT, LON)


FENCED = structs.replace(
    PATROL,
    id="fenced",
    fence=Fence(
        polygons=(FencePolygon(corners=(place(200, 200), place(200, -200), place(-200, -200), place(-200, 200))),),
        circles=(FenceCircle(lat=place(150, 0)[0], lon=LON, radius_m=20.0, inclusion=False),),
    ),
    rally=(Rally(lat=place(10, 0)[0], lon=LON, alt_m=25.0),),
)


class Ground:
    """A launch on a world's link, phase by phase, without the commander."""

    def __init__(self, world: World, route: config.Route = FENCED) -> None:
        self.world, self.blocked = world, []
        world.until("ground")
        world.until(lambda: not world.commander.blocked(PATROL, world.now))
        self.launch = Launch(world.commander.link, world.limits, route, routes.mission(route), lambda _: self.blocked)

    def do(self, phase: Phase, within_s: float = 120.0) -> str:
        self.launch.begin(phase, self.world.now)
        end = self.world.now + within_s
        while (work := self.launch.work(phase, self.world.now)) == "running":
            assert self.world.now < end
            self.world.turn()
        return work


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_fence_and_rally_points_go_aboard_before_the_mission_and_are_read_back(world, loss):
    ground = Ground(world)
    world.loss = loss
    for _ in range(3):
        assert ground.do(Phase.UPLOADING) == "done", ground.launch.detail
        if ground.do(Phase.VERIFYING) == "done":
            break
    state = world.autopilot.state
    assert compare(fence_items(FENCED), state.fence, FENCE) is None
    assert compare(rally_items(FENCED), state.rally, RALLY) is None
    assert len(state.items) == len(ground.launch.items)
    assert ground.launch.aboard != mission.digest(ground.launch.items)


def test_a_route_without_a_fence_leaves_the_one_aboard_alone(world):
    ground = Ground(world)
    ground.do(Phase.UPLOADING)
    ground.launch = Launch(world.commander.link, world.limits, PATROL, routes.mission(PATROL), lambda _: [])
    assert ground.do(Phase.UPLOADING) == "done"
    assert ground.do(Phase.VERIFYING) == "done"
    assert len(world.autopilot.state.fence) == 5


def test_the_fence_is_switched_on_before_arming(world):
    ground = Ground(world)
    ground.do(Phase.UPLOADING)
    ground.do(Phase.VERIFYING)
    assert not world.autopilot.state.fence_on
    ground.do(Phase.READYING)
    world.wait(3)
    assert world.autopilot.state.fence_on
    status = world.commander.link.fact(mavlink.MAVLINK_MSG_ID_SYS_STATUS)
    bit = mavlink.MAV_SYS_STATUS_GEOFENCE
    fields = ("present", "enabled", "health")
    assert all(getattr(status, f"onboard_control_sensors_{field}") & bit for field in fields)


def test_a_fence_that_another_changed_is_found_when_it_is_read_back(world):
    ground = Ground(world)
    assert ground.do(Phase.UPLOADING) == "done"
    world.autopilot.state.fence[0] = structs.replace(world.autopilot.state.fence[0], x=1)
    assert ground.do(Phase.VERIFYING) == "mismatch"
    assert "fence item 0" in ground.launch.detail


def test_who_uploads_between_reading_back_and_arming_stops_the_launch(world):
    ground = Ground(world)
    ground.do(Phase.UPLOADING)
    ground.do(Phase.VERIFYING)
    world.wait(1)
    rival = mavlink.MAVLink(None, srcSystem=255, srcComponent=190)
    world.autopilot.receive(mavlink.MAVLink_mission_count_message(1, 1, 3, 0).pack(rival), world.now, source=1)
    world.wait(1)
    assert ground.do(Phase.ARMING) == "failed"
    assert isinstance(ground.launch.refusal, Refusal)
    assert ground.launch.refusal.gate == "pilot.rival"


def test_a_fenced_route_is_flown(make_world):
    world = make_world()
    world.commander._routes["fenced"] = FENCED
    world.until("ground")
    world.until(lambda: not world.commander.blocked(FENCED, world.now))
    assert isinstance(world.commander.fly("fenced", "test", world.now, world.wall), str)
    world.until(lambda: "landed" in world.phases())
    assert world.is_home()
    assert len(world.autopilot.state.fence) == 5

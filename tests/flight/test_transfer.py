"""Fence and rally points over the same transfer, two ground stations on one autopilot, and what comes between."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.frames import Frame
from edge_agent.flight.mavlink import Link
from edge_agent.flight.mission import FENCE, MISSION, RALLY, Item, compare, digest
from edge_agent.flight.mission_server import MissionServer
from edge_agent.flight.transfer import Download, Ends, Upload
from tests.flight.conftest import World

LAT, LON = 302500000, 1201500000
INSIDE, OUTSIDE, CIRCLE, HOLE = 5001, 5002, 5003, 5004  # MAV_CMD_NAV_FENCE_…
ENDS = Ends(1, 1, 1, 191)


def polygon(first: int, command: int, *corners: tuple[int, int]) -> list[Item]:
    return [
        Item(seq=first + n, frame=0, command=command, p1=len(corners), x=LAT + x, y=LON + y)
        for n, (x, y) in enumerate(corners)
    ]


FENCE_ITEMS = [
    *polygon(0, INSIDE, (9000, 9000), (9000, -9000), (-9000, -9000), (-9000, 9000)),
    *polygon(4, OUTSIDE, (5000, 5000), (5000, 4000), (4000, 4500)),
    Item(seq=7, frame=0, command=CIRCLE, p1=150.5, x=LAT, y=LON),
    Item(seq=8, frame=6, command=HOLE, p1=12.25, x=LAT + 3000, y=LON - 3000, z=7.0),
]
RALLY_ITEMS = [Item(seq=n, frame=6, command=5100, x=LAT + n * 1000, y=LON, z=30.7) for n in range(3)]


def wait(world: World, job, limit_s: float = 60.0) -> str:
    world.until(lambda: job.state != "running", limit_s)
    return job.state


@pytest.fixture
def grounded(world: World) -> World:
    world.until("ground")
    return world


@pytest.mark.parametrize(("kind", "items"), [(FENCE, FENCE_ITEMS), (RALLY, RALLY_ITEMS)])
@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_fence_and_rally_points_go_up_and_come_back(grounded, kind, items, loss):
    link = grounded.commander.link
    grounded.loss = loss
    for _ in range(3):
        up = link.upload(items, grounded.now, kind)
        if wait(grounded, up) == "failed":
            continue
        down = link.download(grounded.now, kind)
        if wait(grounded, down) == "done" and compare(items, down.items, kind) is None:
            break
    else:
        pytest.fail(f"{up.state} {up.detail}, {down.state} {down.detail}")
    assert grounded.autopilot.state.items == []  # the mission is another matter


def test_a_fence_that_the_autopilot_does_not_take_leaves_the_old_one(grounded):
    link = grounded.commander.link
    assert wait(grounded, link.upload(FENCE_ITEMS, grounded.now, FENCE)) == "done"
    broken = polygon(0, INSIDE, (9000, 9000), (9000, -9000))
    up = link.upload(broken, grounded.now, FENCE)
    assert wait(grounded, up) == "unsettled"  # its ERROR is what a repeat after the end gets, too
    down = link.download(grounded.now, FENCE)
    assert wait(grounded, down) == "done"
    assert compare(FENCE_ITEMS, down.items, FENCE) is None
    assert "9 items aboard, 2 were sent" in str(compare(broken, down.items, FENCE))


def test_an_empty_fence_clears_it(grounded):
    link = grounded.commander.link
    wait(grounded, link.upload(FENCE_ITEMS, grounded.now, FENCE))
    assert wait(grounded, link.upload([], grounded.now, FENCE)) == "done"
    down = link.download(grounded.now, FENCE)
    assert wait(grounded, down) == "done"
    assert down.items == []


def test_what_arducopter_drops_of_fence_and_rally_makes_no_difference():
    held = [Item(seq=i.seq, frame=0, command=i.command, p1=i.p1, x=i.x, y=i.y) for i in FENCE_ITEMS]
    assert compare(FENCE_ITEMS, held, FENCE) is None
    held = [structs.replace(i, frame=3, z=30.0) for i in RALLY_ITEMS]
    assert compare(RALLY_ITEMS, held, RALLY) is None


@given(
    st.integers(0, len(FENCE_ITEMS) - 1),
    st.sampled_from([("x", 1), ("y", -1), ("p1", 1.0), ("command", -1)]),
)
def test_every_difference_of_a_fence_is_found_its_first_item_too(number, change):
    name, by = change
    other = list(FENCE_ITEMS)
    other[number] = structs.replace(other[number], **{name: getattr(other[number], name) + by})
    assert "fence item" in str(compare(FENCE_ITEMS, other, FENCE))
    assert digest([], FENCE_ITEMS) != digest([], other)


def test_the_digest_names_mission_fence_and_rally_points_together():
    mission = [Item(seq=n, frame=3, command=16, x=n, y=n, z=20.0) for n in range(4)]
    names = {
        digest(mission),
        digest(mission, FENCE_ITEMS),
        digest(mission, FENCE_ITEMS, RALLY_ITEMS),
        digest(mission, (), RALLY_ITEMS),
        digest([], FENCE_ITEMS, RALLY_ITEMS),
    }
    assert len(names) == 5


@pytest.mark.parametrize(
    ("sent", "held"),
    [  # as ArduCopter 4.6 read them back
        (Item(seq=1, frame=6, command=19, p1=30.9, z=33.333), Item(seq=1, frame=3, command=19, p1=30, p3=1, z=33.33)),
        (Item(seq=1, frame=6, command=18, p1=2.5, p3=-304, z=1), Item(seq=1, frame=3, command=18, p1=2, p3=-300, z=1)),
        (Item(seq=1, frame=6, command=17, p3=-5.5, z=1), Item(seq=1, frame=3, command=17, p3=-5, z=1)),
        (Item(seq=1, frame=6, command=201, p1=0, z=1.5), Item(seq=1, frame=3, command=201, z=1.5)),
        (Item(seq=1, frame=2, command=205, p1=-45.5, z=9), Item(seq=1, frame=0, command=205, p1=-45.5, z=2)),
        (Item(seq=1, frame=2, command=206, p1=12.5, p2=7, p3=1), Item(seq=1, frame=0, command=206, p1=12.5, p3=1)),
        (Item(seq=1, frame=6, command=22, p1=float("nan"), z=20), Item(seq=1, frame=3, command=22, z=20)),
    ],
)
def test_what_arducopter_drops_of_each_command_makes_no_difference(sent, held):
    home = Item(seq=0, frame=0, command=16)
    assert compare([home, sent], [home, held]) is None
    assert compare([home, sent], [home, structs.replace(held, command=held.command + 1)]) is not None


def test_of_a_command_that_is_not_known_nothing_is_taken_to_be_dropped():
    home, sent = Item(seq=0, frame=0, command=16), Item(seq=1, frame=6, command=31000, p2=1.0)
    assert compare([home, sent], [home, structs.replace(sent, p2=0.0)]) is not None


class Sided:
    """An autopilot, and what it says to each of its clients."""

    def __init__(self, items: list[Item]) -> None:
        self.said: list = []
        self.server = MissionServer(items, lambda: Item(seq=0, frame=0, command=16), self.said.append)
        self.now = 0.0

    def hear(self, message, system: int = 1, component: int = 191) -> None:
        self.server.receive(Frame(system, component, message), self.now, locked=False)

    def settle(self, *transfers, limit_s: float = 60.0) -> None:
        while any(t.state == "running" for t in transfers) and self.now < limit_s:
            self.now += 0.05
            self.server.tick(self.now)
            heard, self.said[:] = list(self.said), []
            for transfer in transfers:
                for message in heard:
                    transfer.receive(message, self.now)
                transfer.tick(self.now)
                ends = transfer._ends
                for message in transfer.messages():
                    self.hear(message, ends.our_system, ends.our_component)


OURS = [Item(seq=n, frame=3, command=16, x=n, y=n, z=20.0) for n in range(30)]
THEIRS = [Item(seq=n, frame=3, command=16, x=-n, y=-n, z=40.0) for n in range(25)]


def test_a_rival_uploader_is_named_and_nothing_is_mixed():
    air = Sided([])
    rival = Upload(Ends(1, 1, 255, 190), THEIRS, 0.0)
    for message in rival.messages():
        air.hear(message, 255, 190)
    ours = Upload(ENDS, OURS, 0.0)
    air.settle(rival, ours)
    assert (ours.state, ours.detail) == ("failed", "MAV_MISSION_DENIED: another ground station is uploading")
    assert rival.state == "done"
    down = Download(ENDS, air.now)
    air.settle(down)
    assert compare(THEIRS, down.items) is None
    assert compare(OURS, down.items) is not None


def test_a_rival_who_comes_after_us_is_found_by_reading_back():
    air = Sided([])
    ours = Upload(ENDS, OURS, 0.0)
    air.settle(ours)
    rival = Upload(Ends(1, 1, 255, 190), [*OURS[:29], structs.replace(OURS[29], z=90.0)], air.now)
    air.settle(rival)
    down = Download(ENDS, air.now)
    air.settle(down)
    assert "mission item 29" in str(compare(OURS, down.items))


def test_a_download_waits_until_a_rival_is_done():
    air = Sided(list(OURS))
    rival = Upload(Ends(1, 1, 255, 190), THEIRS, 0.0)
    for message in rival.messages():
        air.hear(message, 255, 190)
    down = Download(ENDS, 0.0)
    air.settle(down)  # the rival says nothing more, and the autopilot keeps it open for 8 s
    assert down.state == "done"
    assert air.now > 8


def test_an_item_that_was_lost_is_not_waited_for_until_the_autopilot_asks_again():
    """ArduPilot asks again after a second: so a lossy upload of n items would last n seconds and more."""
    rng = random.Random(3)
    air = Sided([])
    up = Upload(ENDS, OURS, 0.0)
    while up.state == "running":
        air.now += 0.02
        air.server.tick(air.now)
        heard, air.said[:] = list(air.said), []
        for message in heard:
            if rng.random() > 0.3:
                up.receive(message, air.now)
        up.tick(air.now)
        for message in up.messages():
            if rng.random() > 0.3:
                air.hear(message)
    assert up.state in ("done", "unsettled")
    assert air.now < len(OURS) / 2


def test_a_new_transfer_abandons_the_old_one():
    link = Link(1)
    old = link.upload(OURS, 0.0)
    link.download(0.1)
    assert (old.state, old.detail) == ("failed", "another transfer took its place")


def test_messages_of_another_kind_are_not_ours():
    up = Upload(ENDS, FENCE_ITEMS, 0.0, FENCE)
    up.messages()
    up.receive(mavlink.MAVLink_mission_request_message(1, 191, 0, MISSION), 0.1)
    assert up.messages() == []
    up.receive(mavlink.MAVLink_mission_request_message(1, 191, 0, FENCE), 0.1)
    assert len(up.messages()) == 1

"""The life of an incident on the device: announced, escalated, updated, closed or expired, each step told once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge_agent import config
from edge_agent.cases import LEVELS, TABLE, Case, Cases, after, announced, escalated, revise, settled, updated
from edge_agent.life import Life
from edge_agent.messages import Acknowledge, Handled, Incident, Plate, Revision, Spoken, Track, Tracks
from edge_agent.runtime import Health

RULE = config.Dwell(id="p", zone="z", patrol_after_s=60.0, expire_after_s=3600.0)
PLATE = Plate(text="京A12345", confidence=0.9, box=(0, 0, 1, 1))
INCIDENT = Incident(
    id="01J", kind="dwell", rule="p", camera="c", zone="z", track=7, label="car", score=0.9, box=(0, 0, 9, 9),
    began_s=0.0, wall_s=1000.0, at_s=0.0, lasted_s=20.0, frame=1,
)  # fmt: skip
HEARD = Spoken(
    announcement="a", speaker="s", outcome="delivered", proof="delivered", text="t", by="rule:p", wall_s=1001.0,
    incident="01J",
)  # fmt: skip


class Time:
    """A clock that is turned by hand."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1000.0 + self.now


class World:
    def __init__(self, directory: Path) -> None:
        self.time, self.told = Time(), list[Revision]()
        self.cases = Cases(directory / "cases.json")
        clock: Any = self.time
        self.life = Life(self.cases, self.report, clock=clock, health=Health(clock))

    async def report(self, revision: Revision) -> None:
        self.told.append(revision)

    async def see(self, *, plate: Plate | None = None, there: bool = True) -> None:
        track = Track(id=7, label="car", score=0.9, box=(0, 0, 9, 9), first_s=0, last_s=0, hits=3, plate=plate)
        here, gone = ((track,), ()) if there else ((), (track,))
        frame = Tracks(
            camera="c", seq=1, at_s=self.time.now, wall_s=0, width=9, height=9, tracks=here, ended=gone
        )  # fmt: skip
        await self.life.seen(frame)

    async def pass_to(self, *times: float) -> None:
        """Let the part look at these times."""
        for now in times:
            self.time.now = now
            await self.life.look()

    def steps(self) -> list[tuple[int, str, str | None]]:
        return [(one.rev, one.state, one.level) for one in self.told]


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """A car that parked, and its rule fired."""
    found = World(tmp_path)
    await found.see()
    await found.life.opened(INCIDENT, RULE)
    return found


async def test_politely_firmly_then_the_patrol_and_each_is_told_once(world: World) -> None:
    await world.life.spoken(HEARD)
    await world.life.spoken(replace(HEARD, speaker="other"))
    await world.life.spoken(replace(HEARD, rung=1))
    await world.life.spoken(replace(HEARD, rung=2))
    await world.pass_to(30.0, 60.0, 61.0, 90.0)
    assert world.steps() == [
        (1, "announced", "polite"),
        (2, "escalated", "firm"),
        (3, "escalated", "patrol"),
    ]


async def test_what_was_not_heard_or_belongs_to_no_incident_is_no_announcement(world: World) -> None:
    await world.life.spoken(replace(HEARD, outcome="failed"))
    await world.life.spoken(replace(HEARD, incident=None))
    await world.life.spoken(replace(HEARD, incident="another"))
    assert world.told == []


async def test_nobody_calls_the_patrol_to_who_has_left(world: World) -> None:
    await world.see(there=False)
    await world.pass_to(60.0, 120.0)
    assert world.told == []


async def test_a_person_who_has_it_ends_the_escalation_and_what_is_handled_is_closed_when_nobody_is_there(
    world: World,
) -> None:
    assert isinstance(world.cases.revise(Acknowledge(incident="01J"), "li", 1002.0), Revision)
    await world.life.spoken(replace(HEARD, rung=1))
    await world.pass_to(60.0)
    assert world.told == []
    assert isinstance(world.cases.revise(Handled(incident="01J"), "li", 1062.0), Revision)
    await world.pass_to(70.0)
    assert world.told == []  # still there
    await world.see(there=False)
    await world.pass_to(80.0, 81.0)
    assert world.steps() == [(3, "closed", None)]


async def test_what_nobody_handles_expires_also_after_a_restart(world: World, tmp_path: Path) -> None:
    again = World(tmp_path)
    await again.pass_to(3599.0)
    assert again.told == []
    await again.pass_to(3601.0, 3602.0)
    assert again.steps() == [(1, "expired", None)]
    answer = again.cases.revise(Acknowledge(incident="01J"), "li", 9999.0)
    assert "is expired already" in str(answer)


async def test_a_plate_that_is_read_later_updates_the_incident_and_not_at_every_frame(world: World) -> None:
    for now in (5.0, 5.2, 6.0, 9.0):
        world.time.now = now
        await world.see(plate=PLATE)
    world.time.now = 9.5
    await world.see(plate=replace(PLATE, text="京A12346"))
    world.time.now = 14.0
    await world.see(plate=replace(PLATE, text="京A12346"))
    assert [(one.rev, one.state, one.plate.text) for one in world.told if one.plate] == [
        (1, "updated", "京A12345"),
        (2, "updated", "京A12346"),
    ]


async def test_a_plate_that_is_read_much_more_surely_updates_the_incident_also_after_a_restart(world: World) -> None:
    world.time.now = 5.0
    await world.see(plate=replace(PLATE, confidence=0.62))
    for now, confidence in ((10.0, 0.7), (15.0, 0.8), (20.0, 0.9), (25.0, 0.96)):
        world.time.now = now
        await world.see(plate=replace(PLATE, confidence=confidence))
    assert [one.plate.confidence for one in world.told if one.plate] == [0.62, 0.8, 0.96]
    case = Cases(world.cases._file).get(INCIDENT.id)
    assert case is not None and (case.plate, case.sure) == (PLATE.text, 0.96)


async def test_a_disk_that_fails_costs_the_step_and_nothing_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_agent.cases.write_durably", full)
    await world.life.spoken(HEARD)
    assert world.told == []
    monkeypatch.undo()
    await world.life.spoken(HEARD)
    assert world.steps() == [(1, "announced", "polite")]


STEPS: dict[str, Callable[[Case], Any]] = {
    "polite": lambda case: announced("i", case, "polite", 1.0),
    "firm": lambda case: announced("i", case, "firm", 1.0),
    "patrol": lambda case: escalated("i", case, 1.0),
    "plate": lambda case: updated("i", case, PLATE, 1.0),
    "gone": lambda case: settled("i", case, 1.0, here=False),
    "late": lambda case: settled("i", case, 99.0, here=True),
    "acknowledge": lambda case: revise(case, Acknowledge(incident="i"), "a", 1.0),
    "handle": lambda case: revise(case, Handled(incident="i"), "a", 1.0),
}


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=20))
def test_whatever_happens_states_follow_the_table_and_levels_only_rise(steps: list[str]) -> None:
    case = Case(expires_s=50.0)
    for step in steps:
        found = STEPS[step](case)
        if not isinstance(found, Revision):
            continue
        following = after(case, found)
        assert following.rev == case.rev + 1 == found.rev
        assert following.state == case.state or following.state in TABLE[case.state]
        assert LEVELS.index(following.level) >= LEVELS.index(case.level)
        if case.state in ("closed", "expired"):
            pytest.fail(f"{step} changed what was {case.state}")
        case = following
    assert case.rev <= 8


async def test_after_a_restart_the_patrol_is_called_for_who_is_there_still_and_once(
    world: World, tmp_path: Path
) -> None:
    again = World(tmp_path)
    again.life.resumed("c", RULE, "01J", 7)
    await again.pass_to(59.0)
    assert again.steps() == []
    await again.pass_to(61.0, 62.0)
    assert again.steps() == [(1, "escalated", "patrol")]
    third = World(tmp_path)
    third.time.now = 100.0
    third.life.resumed("c", RULE, "01J", 7)
    third.life.resumed("c", RULE, "nobody's", 7)
    await third.pass_to(101.0)
    assert third.steps() == []

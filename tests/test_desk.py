"""Each command is carried out, or refused with the reason; none is pretended."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

from edge_agent import config
from edge_agent.audit import Audit
from edge_agent.cases import Cases
from edge_agent.desired import Wishes
from edge_agent.desk import Desk
from edge_agent.incidents.hotlist_store import HotLists
from edge_agent.messages import (
    Acknowledge,
    CheckConfig,
    ClearLockout,
    Clip,
    Dispatch,
    Extend,
    FlightEvent,
    Fly,
    Handled,
    Hush,
    Land,
    Pause,
    Recall,
    Refusal,
    Reply,
    Request,
    Resume,
    Say,
    Skip,
    Snapshot,
    Spoken,
    Tracks,
)
from edge_agent.runtime import Health, SystemClock
from edge_agent.vision.camera import Frame
from edge_agent.witness import Witness

TEXT = """
data_dir = "state"
[site]
device = "D-1"
lat = 30.25
lon = 120.17
[vehicle]
type = "simulated"
[[speaker]]
name = "horn"
type = "simulated"
[[speaker]]
name = "bell"
type = "simulated"
"""
NAMES = ("horn", "bell")
NO = Refusal(gate="pilot.phase", reason="not now")
LEAST: Mapping[str, Mapping[str, Any]] = {
    "fly": {"route": "r"},
    "dispatch": {"lat": 1, "lon": 2, "alt_m": 3},
    "extend": {"hover_s": 1},
    "skip": {"schedule": "s"},
    "say": {"text": "x"},
    "talk": {"source": "rtp://192.0.2.1:5004"},
    "level": {"level": "raised"},
    "hot_list": {"version": 1},
    "zones": {"zones": [{"name": "z", "camera": "c", "polygon": [[0, 0], [1, 0], [1, 1]]}]},
    "clip": {"camera": "c"},
    "acknowledge": {"incident": "i"},
    "handled": {"incident": "i"},
    "config": {"desired": {}},
}


class Pilot:
    """A pilot that says what it is told to say, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answer: Refusal | None = None
        self.run_id: str | None = "run-1"

    def fly(self, route_id: str, by: str, *, from_breakpoint: bool = False, rehearse: bool = False) -> str | Refusal:
        more = (["from breakpoint"] if from_breakpoint else []) + (["rehearsed"] if rehearse else [])
        self.asked.append(("fly", route_id, by, *more))
        return self.answer or "run-1"

    def level(self, level: str, until_s: float | None, by: str) -> Refusal | None:
        self.asked.append(("level", level, until_s, by))
        return self.answer

    def dispatch(self, order: Dispatch, by: str, *, rehearse: bool = False) -> str | Refusal:
        self.asked.append(("dispatch", order.lat, order.lon, by))
        return self.answer or "run-2"

    def refuse(self, name: str, by: str, cause: str) -> None:
        self.asked.append(("refuse", name, by, cause))

    def extend(self, hover_s: float) -> Refusal | None:
        self.asked.append(("extend", hover_s))
        return self.answer

    def skip(self, schedule: str, when_s: float | None, by: str) -> Refusal | None:
        self.asked.append(("skip", schedule, when_s, by))
        return self.answer

    def clear(self) -> Refusal | None:
        self.asked.append(("clear",))
        return self.answer

    def recall(self, by: str) -> Refusal | None:
        self.asked.append(("recall", by))
        return self.answer

    land = pause = resume = recall


class World:
    """A desk, and all that it reports, says and tells."""

    def __init__(self, directory: Path, text: str = TEXT, pilot: Pilot | None = None) -> None:
        settings = config.parse(text, directory / "agent.toml")
        settings.data_dir.mkdir(exist_ok=True)
        self.pilot, self.cases = pilot, Cases(directory / "cases.json")
        self.offered: list[Any] = []
        self.hushed: list[str] = []
        self.playing: tuple[str, ...] = ()
        self.reported: list[tuple[str, Any, dict[str, Any]]] = []
        self.told: list[tuple[str, Reply]] = []
        self.newest: dict[str, Any] = {}
        self.refusal: Refusal | None = None
        self.full: str | None = None
        clock, audit = SystemClock(), Audit(directory)
        self.desk = Desk(
            settings,
            pilot=pilot,
            grounded="this device has no [vehicle]",
            announcer=SimpleNamespace(offer=self.offer, hush=self.hush, targets=lambda a: a.speakers or NAMES),
            cases=self.cases,
            wishes=Wishes(directory / "desired.json", settings),
            newest=self.newest,
            lists=HotLists(directory, audit=audit),
            clips=None,
            witness=Witness(settings.data_dir, settings.privacy, audit=audit, clock=clock, health=Health(clock)),
            full=lambda: self.full,
            now=lambda: (10.0, 1000.0),
            report=self.report,
            tell=self.tell,
        )

    def hush(self, reason: str = "") -> tuple[str, ...]:
        self.hushed.append(reason)
        return self.playing

    def offer(self, announcement: Any) -> Refusal | None:
        self.offered.append(announcement)
        return self.refusal

    async def report(self, kind: str, data: Any, **facts: Any) -> None:
        self.reported.append((kind, data, facts))

    async def tell(self, run: str, reply: Reply) -> None:
        self.told.append((run, reply))

    async def ask(self, request: Request) -> Reply:
        return await self.desk.execute(request, "operator:li")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, pilot=Pilot())


@pytest.mark.parametrize("kind", get_args(Request), ids=lambda kind: kind.__struct_config__.tag)
async def test_every_command_is_answered(kind: Any, world: World) -> None:
    name = kind.__struct_config__.tag
    reply = await world.ask(msgspec.convert({"name": name, **LEAST.get(name, {})}, Request))
    assert "not available" not in (reply.reason or "")


# --- flight ---------------------------------------------------------------------------------------------------------


async def test_flight_commands_reach_the_pilot_in_their_askers_name(world: World) -> None:
    assert world.pilot
    assert await world.ask(Fly(route="r")) == Reply(state="accepted", run="run-1")
    for request in (Recall(), Land()):
        assert await world.ask(request) == Reply(state="accepted", run="run-1")
    for request in (Pause(), Resume()):
        assert await world.ask(request) == Reply(state="accepted")
    assert await world.ask(ClearLockout()) == Reply(state="done")
    assert world.pilot.asked == [("fly", "r", "operator:li"), *[("recall", "operator:li")] * 4, ("clear",)]


async def test_a_dispatch_begins_a_run_and_an_extension_lengthens_the_one_under_way(world: World) -> None:
    assert world.pilot
    assert await world.ask(Dispatch(lat=1.0, lon=2.0, alt_m=20.0)) == Reply(state="accepted", run="run-2")
    assert await world.ask(Extend(hover_s=60)) == Reply(state="accepted", run="run-1")
    assert await world.ask(Fly(route="r", from_breakpoint=True)) == Reply(state="accepted", run="run-1")
    await world.ask(Fly(route="r", dry_run=True))
    assert world.pilot.asked == [
        ("dispatch", 1.0, 2.0, "operator:li"), ("extend", 60), ("fly", "r", "operator:li", "from breakpoint"),
        ("fly", "r", "operator:li", "rehearsed"),
    ]  # fmt: skip


async def test_the_pilots_refusal_is_the_answer(world: World) -> None:
    assert world.pilot
    world.pilot.answer = NO
    place = Dispatch(lat=1.0, lon=2.0, alt_m=20.0)
    commands = (Recall(), Land(), Pause(), Resume(), ClearLockout(), Skip(schedule="s"), place, Extend(hover_s=1))
    for request in (Fly(route="r"), *commands):
        assert await world.ask(request) == Reply(state="rejected", reason="pilot.phase: not now", refusal=NO)
    written = [asked for asked in world.pilot.asked if asked[0] == "refuse"]
    assert written == [("refuse", name, "operator:li", "pilot.phase: not now") for name in ("r", "dispatch")]


async def test_a_skip_names_the_next_occurrence_or_the_one_at_a_time(world: World) -> None:
    assert world.pilot
    await world.ask(Skip(schedule="s"))
    await world.ask(Skip(schedule="s", when="2026-11-22T21:30:00+08:00"))
    assert world.pilot.asked == [("skip", "s", None, "operator:li"), ("skip", "s", 1795354200.0, "operator:li")]
    for when in ("tomorrow", "2026-11-22T21:30:00", ""):
        assert "RFC 3339" in str((await world.ask(Skip(schedule="s", when=when))).reason)


async def test_a_device_without_a_vehicle_or_speaker_says_so(tmp_path: Path) -> None:
    camera = '[[detector]]\nname="d"\ntype="simulated"\n[[camera]]\nname="c"\ntype="simulated"\ndetector="d"\n'
    world = World(tmp_path, TEXT[: TEXT.index("[vehicle]")] + camera)
    for request in (Fly(route="r"), Recall(), ClearLockout(), Skip(schedule="s")):
        assert (await world.ask(request)).reason == "this device has no [vehicle]"
    for request in (Say(text="x"), Hush()):
        assert (await world.ask(request)).reason == "this device has no [[speaker]]"


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        ("gating", "progress"),
        ("climb", "progress"),
        ("yielded", "progress"),
        ("landed", "done"),
        ("failed", "failed"),
        ("lockout", "failed"),
    ],
)
async def test_a_flights_phases_are_progress_until_it_has_landed_or_failed(
    phase: str, state: str, world: World
) -> None:
    event = FlightEvent(run="r1", route="r", seq=1, phase=phase, previous="x", cause="why", by="b", wall_s=1.0)
    await world.desk.flown(event)
    [(run, reply)] = world.told
    assert (run, reply.state, reply.reason, reply.phase) == ("r1", state, "why", phase)


# --- voice ----------------------------------------------------------------------------------------------------------


def spoken(announcement: str, speaker: str, outcome: Any = "delivered", detail: str | None = None) -> Spoken:
    return Spoken(
        announcement=announcement,
        speaker=speaker,
        outcome=outcome,
        proof="none",
        text="x",
        by="b",
        wall_s=1.0,
        detail=detail,
    )


async def test_a_text_is_done_when_the_last_speaker_has_said_it(world: World) -> None:
    reply = await world.ask(Say(text="x"))
    assert reply.state == "accepted"
    assert reply.run
    await world.desk.spoken(spoken(reply.run, "horn"))
    assert world.told == []
    await world.desk.spoken(spoken(reply.run, "bell"))
    assert world.told == [(reply.run, Reply(state="done", run=reply.run))]
    await world.desk.spoken(spoken(reply.run, "bell"))
    assert len(world.told) == 1


async def test_a_text_that_one_speaker_did_not_say_has_failed_and_names_it(world: World) -> None:
    reply = await world.ask(Say(text="x", speakers=("horn", "bell")))
    assert reply.run
    await world.desk.spoken(spoken(reply.run, "bell", "failed", "no route to host"))
    await world.desk.spoken(spoken(reply.run, "horn"))
    [(_, told)] = world.told
    assert (told.state, told.reason) == ("failed", "bell: failed, no route to host")


async def test_a_text_that_the_queue_refuses_is_not_followed(world: World) -> None:
    world.refusal = NO
    assert (await world.ask(Say(text="x"))).state == "rejected"
    await world.desk.spoken(spoken(world.offered[0].id, "horn", "refused"))
    assert world.told == []


async def test_the_rules_own_warnings_are_nobodys_command(world: World) -> None:
    await world.desk.spoken(spoken("01J", "horn"))
    assert world.told == []


async def test_hush_names_who_wanted_silence_and_who_fell_silent(world: World) -> None:
    answer = await world.ask(Hush())
    assert (answer.state, answer.reason) == ("done", "nothing was being said")
    world.playing = ("horn", "bell")
    assert (await world.ask(Hush())).reason == "interrupted: horn, bell"
    assert world.hushed == ["hushed by operator:li"] * 2


# --- incidents, pictures, settings ----------------------------------------------------------------------------------


async def test_an_incident_is_taken_on_and_closed_and_each_step_is_reported_back(world: World) -> None:
    world.cases.opened("01J")
    assert await world.ask(Acknowledge(incident="01J", note="going")) == Reply(state="done", phase="rev 1")
    assert await world.ask(Handled(incident="01J", outcome="resolved", note="moved")) == Reply(
        state="done", phase="rev 2"
    )
    assert (await world.ask(Acknowledge(incident="01J"))).state == "rejected"
    assert (await world.ask(Acknowledge(incident="01X"))).state == "rejected"
    assert [(kind, facts["id"], data.rev, data.state, data.note) for kind, data, facts in world.reported] == [
        ("det", "01J.1", 1, "acknowledged", "going"),
        ("det", "01J.2", 2, "handled", "moved"),
    ]


async def test_two_who_take_on_the_same_incident_at_once_are_one_and_a_refusal(world: World) -> None:
    world.cases.opened("01J")
    replies = await asyncio.gather(*(world.ask(Acknowledge(incident="01J")) for _ in range(8)))
    assert sorted(reply.state for reply in replies) == ["done", *["rejected"] * 7]


async def test_a_full_disk_keeps_its_room_for_events_whoever_asks(world: World) -> None:
    nobody = Tracks(camera="bank", seq=1, at_s=1.0, wall_s=1.0, width=64, height=48, tracks=())
    world.newest["bank"] = (Frame("bank", 1, 1.0, 1.0, np.zeros((48, 64, 3), np.uint8)), nobody)
    world.desk._clips = object()  # type: ignore[assignment]  # it is not asked
    world.full = "9 MiB of the disk are free, evidence.min_free_mib is 256"
    for request, gate in ((Snapshot(), "snapshot"), (Clip(camera="bank", last_s=5.0), "clip")):
        reply = await world.ask(request)
        assert reply.state == "rejected" and reply.refusal is not None
        assert (reply.refusal.gate, reply.refusal.reason) == (gate, world.full)
        assert "evidence purge" in str(reply.reason)
    assert world.reported == []
    world.full = None
    assert (await world.ask(Snapshot())).state == "done"


async def test_a_snapshot_is_a_picture_on_disk_and_an_event_with_a_thumb(world: World) -> None:
    assert "none has shown a picture yet" in str((await world.ask(Snapshot())).reason)
    frame = Frame("bank", 1, 9.0, 999.0, np.zeros((120, 160, 3), np.uint8))
    nobody = Tracks(camera="bank", seq=1, at_s=9.0, wall_s=999.0, width=160, height=120, tracks=())
    world.newest["bank"] = (frame, nobody)
    reply = await world.ask(Snapshot())
    [(kind, data, facts)] = world.reported
    assert (reply.state, reply.run, kind, data.camera, data.by) == ("done", data.id, "snapshot", "bank", "operator:li")
    assert Path(data.picture.path).stat().st_size == data.picture.bytes
    assert facts["thumb"].startswith(b"\xff\xd8")
    assert "there is: bank" in str((await world.ask(Snapshot(camera="sea"))).reason)
    world.newest["sea"] = world.newest["bank"]
    assert "`camera` is needed (there is: bank, sea)" in str((await world.ask(Snapshot())).reason)


async def test_settings_are_checked_and_not_applied(world: World) -> None:
    assert (await world.ask(CheckConfig(desired={}))).state == "done"
    reply = await world.ask(CheckConfig(desired={"limits": {"max_alt_m": 500}}))
    assert (reply.state, "limits: cannot be set from afar" in str(reply.reason)) == ("rejected", True)


def test_what_a_device_says_that_it_can_do_is_what_it_does(tmp_path: Path, world: World) -> None:
    assert set(world.desk.caps()) == {
        *("fly", "dispatch", "recall", "land", "pause", "resume", "extend", "clear_lockout", "skip", "level"),
        *("say", "talk", "hush"),
        *("acknowledge", "handled", "config"),
    }

"""agent: what no part catches ends the agent, and only that."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from edge_agent import agent, config, control, wiring
from edge_agent.cases import announced
from edge_agent.messages import Dispatch, Incident, Recall, Refusal, Reply, Request, Track, Tracks
from edge_agent.runtime import DriverError, Health, SystemClock
from edge_agent.vision.camera import Frame

TEXT = 'data_dir = "s"\n[site]\ndevice = "EA-1"\nlat = 30.25\nlon = 120.17\n[vehicle]\ntype = "simulated"\n'


async def asked(directory: Path) -> Reply | str:
    """What the agent answers to a recall, once it listens."""
    while not (directory / "s" / control.SOCKET).exists():
        await asyncio.sleep(0.02)
    try:
        return str(await asyncio.to_thread(control.ask, directory / "s", Recall()))
    except DriverError as error:
        return str(error)


async def test_a_bug_in_a_handler_ends_the_agent_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: object, request: Request, by: str) -> Reply:
        raise KeyError("a bug")

    monkeypatch.setattr(agent.Agent, "execute", broken)
    settings = config.parse(TEXT, tmp_path / "agent.toml")
    with pytest.raises(KeyError, match="a bug"):
        await asyncio.gather(agent.run(settings), asked(tmp_path))
    assert "Traceback" in caplog.text


async def test_a_stop_is_no_bug(tmp_path: Path) -> None:
    settings = config.parse(TEXT, tmp_path / "agent.toml")
    running = asyncio.get_running_loop().create_task(agent.run(settings))
    await asked(tmp_path)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 20)


RESPOND = """
[[detector]]
name = "eye"
type = "simulated"
[[camera]]
name = "bank"
type = "simulated"
detector = "eye"
[[zone]]
name = "water"
camera = "bank"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
[[rule]]
id = "by-the-water"
type = "forbidden_zone"
zone = "water"
respond = { fly = "orbit", lat = 30.2502, lon = 120.17, alt_m = 25, for_s = 40, radius_m = 12 }
"""
FOUND = Incident(
    id="01J", kind="forbidden_zone", rule="by-the-water", camera="bank", zone="water", track=1, label="person",
    score=0.9, box=(0.1, 0.1, 0.2, 0.2), began_s=1.0, wall_s=1.0, at_s=1.0, lasted_s=1.0, frame=1,
)  # fmt: skip


def test_a_rule_that_wants_a_look_asks_the_flight_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.parse(TEXT + RESPOND, tmp_path / "agent.toml")
    clock = SystemClock()
    made = agent.Agent(settings, clock=clock, health=Health(clock))
    asked: list[tuple[Dispatch | Refusal, str, bool]] = []
    monkeypatch.setattr(made.pilot, "respond", lambda order, by, *, take_off: asked.append((order, by, take_off)))
    made.wiring.respond(FOUND)
    order = Dispatch(lat=30.2502, lon=120.17, alt_m=25, hover_s=40, orbit_m=12, incident="01J")
    assert asked == [(order, "rule:by-the-water", False)]


@pytest.mark.parametrize(("wrong", "fault"), [
    ("lat = 30.0", "`lat` and `lon` go together"), ("alt_m = 200", "max_alt_m"), ("for_s = 2000", "max_on_scene_s"),
])  # fmt: skip
def test_a_look_that_could_never_be_flown_is_a_fault_of_the_config(wrong: str, fault: str, tmp_path: Path) -> None:
    text = TEXT + RESPOND[: RESPOND.index("respond")] + f"respond = {{ {wrong} }}\n"
    with pytest.raises(config.ConfigError, match=fault):
        config.parse(text, tmp_path / "agent.toml")


WATCHED = """data_dir = "s"
[site]
device = "EA-1"
[[detector]]
name = "d"
type = "simulated"
[[camera]]
name = "c"
type = "simulated"
detector = "d"
[[speaker]]
name = "bank"
type = "simulated"
[[zone]]
name = "z"
camera = "c"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
[[rule]]
type = "forbidden_zone"
id = "r"
zone = "z"
after_s = 0
speakers = ["bank"]
say = [{text = "Step back", lang = "en"}]
"""


@asynccontextmanager
async def made(settings: config.Agent) -> AsyncGenerator[agent.Agent, None]:
    """An agent's parts, of which none runs."""
    found = agent.Agent(settings, clock=SystemClock(), health=Health(SystemClock()))
    try:
        yield found
    finally:
        await found.evidence.close()
        await found.outbox.close()


@pytest.mark.parametrize("warned", [True, False])
async def test_after_a_restart_nobody_is_told_of_twice_unless_the_warning_was_cut_off(
    tmp_path: Path, warned: bool
) -> None:
    settings = config.parse(WATCHED, tmp_path / "agent.toml")
    somebody = Track(id=1, label="person", score=0.9, box=(300, 10, 340, 90), first_s=5.0, last_s=5.0, hits=9)
    frame = Tracks(camera="c", seq=1, at_s=5.0, wall_s=1000.0, width=400, height=100, tracks=(somebody,))
    again = structs.replace(somebody, first_s=8.0, last_s=9.0)
    async with made(settings) as before:
        [incident] = before.rules.update(frame)
        before.recent.add(incident, settings.rules[0].cool_down_s)
        before.cases.opened(incident.id)
        if warned:
            before.cases.go_on(incident.id, lambda case: announced(incident.id, case, "polite", 1001.0))
    async with made(settings) as after:
        found = after.rules.update(structs.replace(frame, at_s=9.0, wall_s=1004.0, tracks=(again,)))
    assert bool(found) is not warned


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_disk_that_hangs_silences_no_warning_and_none_is_given_twice(
    tmp_path: Path, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, go_on = list[str](), asyncio.Event()
    monkeypatch.setattr(wiring, "DISK_S", 0.05 if hangs else 60.0)
    async with made(config.parse(WATCHED, tmp_path / "agent.toml")) as watched:

        async def event(*_: object, **__: object) -> int:
            if hangs:
                await go_on.wait()
            order.append("disk")
            return 1

        monkeypatch.setattr(watched.outbox, "event", event)
        monkeypatch.setattr(watched.announcer, "offer", lambda _: order.append("sound") or go_on.set())
        somebody = Track(id=1, label="person", score=0.9, box=(300, 10, 340, 90), first_s=5.0, last_s=5.0, hits=9)
        frame = Frame("c", 1, 5.0, 1000.0, np.zeros((100, 400, 3), np.uint8))
        tracks = Tracks(camera="c", seq=1, at_s=5.0, wall_s=1000.0, width=400, height=100, tracks=(somebody,))
        await asyncio.wait_for(watched.wiring.on_tracks(frame, tracks), 30)
    assert order == (["sound", "disk"] if hangs else ["disk", "sound"])

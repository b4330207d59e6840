"""The announcer: one record for each announcement and speaker, whatever happens."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from edge_agent import config
from edge_agent.desk import shortfall
from edge_agent.messages import Announcement, Phrase, Refusal, Spoken
from edge_agent.runtime import DriverError, Health, SystemClock
from edge_agent.speakers import Delivery, Ready, announcer
from edge_agent.speakers.announcer import Announcer
from edge_agent.speakers.ladder import Rung
from edge_agent.speakers.simulated import SimulatedSpeaker
from edge_agent.speakers.sound import Clip, attention_tone
from edge_agent.speakers.voice import Voice

CLOCK = SystemClock()


@pytest.fixture(autouse=True)
def quick_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcer, "TURN_S", 0.1)


class Tone:
    """A voice that is ready at once: half a second for each phrase; `broken` fails."""

    def __init__(self) -> None:
        self.broken: Exception | None = None
        self.slow_s = 0.0

    async def check(self) -> None:
        if isinstance(self.broken, DriverError):
            raise self.broken

    async def render(self, phrases: tuple[Phrase, ...], rate_hz: int = 8000) -> Clip:
        if self.broken:
            raise self.broken
        await asyncio.sleep(self.slow_s)
        return Clip(samples=np.full(4000 * len(phrases), 500, np.int16), rate_hz=8000, text="x")


class Faulty:
    """A speaker that fails, hangs, or hangs even when it is asked to stop."""

    rate_hz, best = 8000, "heard"

    def __init__(self, name: str, fault: str) -> None:
        self.name, self.fault, self.plays = name, fault, 0

    async def play(self, clip: Clip, announcement: str, /, ready: Ready | None = None) -> Delivery:
        self.plays += 1
        if self.fault == "fails":
            raise DriverError(f"speaker {self.name}: no route")
        if self.fault == "hangs":
            await asyncio.sleep(60)
        return Delivery(finished=True, played_s=clip.duration_s, proof="heard")

    async def stop(self) -> None:
        if self.fault == "hangs":
            raise DriverError(f"speaker {self.name}: no answer to stop")


class Desk:
    """An announcer at work, and what it reported."""

    def __init__(self, tmp_path: Path, *extra: Faulty) -> None:
        self.spoken: list[Spoken] = []
        self.voice = Tone()
        self.health = Health(CLOCK)
        self.refuse: DriverError | None = None
        self.speakers = {n: SimulatedSpeaker(n, tmp_path / n, CLOCK) for n in ("a", "b")} | {s.name: s for s in extra}
        self.announcer = Announcer(self.speakers, self.voice, clock=CLOCK, health=self.health, on_spoken=self.on_spoken)

    async def on_spoken(self, spoken: Spoken) -> None:
        if self.refuse:
            raise self.refuse
        self.spoken.append(spoken)

    def offer(self, id: str, cls: str = "rule", *speakers: str, **facts: object) -> object:
        now = CLOCK.monotonic()
        given_facts = {"phrases": (Phrase(text="危险"),), "at_s": now, "not_after_s": now + 10, "by": "rule:r"}
        return self.announcer.offer(
            Announcement(**({"id": id, "cls": cls, "speakers": speakers} | given_facts | facts))
        )

    async def records(self, count: int) -> list[tuple[str, str, str]]:
        await until(lambda: len(self.spoken) >= count)
        return sorted((s.announcement, s.speaker, s.outcome) for s in self.spoken)


async def until(true: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def running(part: Callable[[], Awaitable[None]]) -> AsyncIterator[asyncio.Task[None]]:
    task: asyncio.Task[None] = asyncio.ensure_future(part())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_is_said_is_recorded_with_its_proof(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with running(desk.announcer.run):
        began = time.time()
        assert desk.offer("1", "danger", "a", incident="I") is None
        await desk.records(1)
    (spoken,) = desk.spoken
    assert (spoken.announcement, spoken.speaker, spoken.outcome, spoken.proof) == ("1", "a", "delivered", "delivered")
    assert (spoken.text, spoken.by, spoken.incident, spoken.refusal) == ("危险", "rule:r", "I", None)
    assert spoken.duration_s == pytest.approx(0.5)
    assert began <= spoken.wall_s < began + 3
    assert spoken.sha256 == (await desk.voice.render((Phrase(text="x"),))).sha256
    assert (tmp_path / "a" / "1.wav").stat().st_size == 8044


async def test_a_group_starts_together(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with running(desk.announcer.run):
        desk.offer("1")
        assert await desk.records(2) == [("1", "a", "delivered"), ("1", "b", "delivered")]
    first, second = desk.spoken
    assert abs(first.wall_s - second.wall_s) < 0.4  # half a second apart, had they waited for each other


async def test_danger_interrupts_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with running(desk.announcer.run):
        desk.offer("1", "rule", "a", phrases=(Phrase(text="危险"),) * 10)
        await asyncio.sleep(0.2)
        began = time.time()
        desk.offer("2", "danger", "a")
        assert await desk.records(2) == [("1", "a", "interrupted"), ("2", "a", "delivered")]
    interrupted, danger = desk.spoken
    assert 0.1 < interrupted.duration_s < 3  # of five
    assert interrupted.sha256 is not None  # of what was begun
    assert interrupted.sha256 != danger.sha256
    assert danger.wall_s - began < 3


async def test_what_is_interrupted_before_its_first_sound_makes_none(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.voice.slow_s = 0.2
    async with running(desk.announcer.run):
        desk.offer("1", "rule", "a")
        await asyncio.sleep(0.05)
        desk.offer("2", "danger", "a")
        assert await desk.records(2) == [("1", "a", "interrupted"), ("2", "a", "delivered")]
    assert desk.spoken[0].duration_s == 0
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["2.wav"]


async def test_the_same_announcement_offered_twice_has_one_record(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with running(desk.announcer.run):
        assert desk.offer("1", "rule", "a") is None
        assert "offered already" in str(desk.offer("1", "rule", "a"))
        await desk.records(1)
        desk.offer("2", "rule", "a")
        assert await desk.records(2) == [("1", "a", "delivered"), ("2", "a", "delivered")]


async def test_a_refused_offer_is_recorded_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with running(desk.announcer.run):
        assert "no speaker has this name" in str(desk.offer("1", "rule", "nowhere"))
        assert "nothing is left to say" in str(desk.offer("2", "rule", phrases=(Phrase(text="😀" * 500),)))
        assert "stale" in str(desk.offer("3", "rule", "a", not_after_s=0.0))
        assert await desk.records(4) == [
            ("1", "nowhere", "refused"),
            ("2", "a", "refused"),
            ("2", "b", "refused"),
            ("3", "a", "refused"),
        ]
    assert all(spoken.refusal for spoken in desk.spoken)


async def test_what_waits_too_long_is_recorded_as_expired(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with running(desk.announcer.run):
        desk.offer("1", "live", "a", phrases=(Phrase(text="危险"),) * 5)
        desk.offer("2", "rule", "a", not_after_s=CLOCK.monotonic() + 0.2)
        await desk.records(1)
    assert desk.spoken[0].announcement == "2"
    assert desk.spoken[0].refusal is not None
    assert desk.spoken[0].refusal.gate == "expired"


async def test_a_failing_speaker_stops_no_other_and_is_tried_again(tmp_path: Path) -> None:
    broken = Faulty("z", "fails")
    desk = Desk(tmp_path, broken)
    async with running(desk.announcer.run):
        desk.offer("1", "rule", "a", "z")
        assert await desk.records(2) == [("1", "a", "delivered"), ("1", "z", "failed")]
        assert next(s.detail for s in desk.spoken if s.speaker == "z") == "speaker z: no route"
        assert desk.health.state["speaker z"] == "failed: speaker z: no route"
        broken.fault = "works"
        desk.offer("2", "rule", "z")
        assert ("2", "z", "delivered") in await desk.records(3)
    assert desk.spoken[-1].proof == "heard"
    assert desk.health.state["speaker z"] == "running"


async def test_a_speaker_that_does_not_stop_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcer, "STOP_S", 0.1)
    hanging = Faulty("z", "hangs")
    desk = Desk(tmp_path, hanging)
    async with running(desk.announcer.run):
        desk.offer("1", "rule", "z")
        await until(lambda: hanging.plays == 1)
        hanging.fault = "works"
        desk.offer("2", "danger", "z")
        assert await desk.records(2) == [("1", "z", "failed"), ("2", "z", "delivered")]
    assert desk.spoken[0].detail == "speaker z: did not end in time"


async def test_without_a_voice_everything_fails_with_the_reason_until_it_is_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.voice.broken = DriverError("voice: gibberish")
    async with running(desk.announcer.run):
        await until(lambda: desk.health.state.get("voice") == "failed: voice: gibberish")
        desk.offer("1", "rule", "a")
        assert await desk.records(1) == [("1", "a", "failed")]
        desk.voice.broken = ValueError("too long")
        desk.offer("2", "rule", "a")
        assert ("2", "a", "refused") in await desk.records(2)
        desk.voice.broken = None
        desk.offer("3", "rule", "a")
        assert ("3", "a", "delivered") in await desk.records(3)
    assert desk.health.state["voice"] == "running"


async def test_hush_is_silence_now(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with running(desk.announcer.run):
        desk.offer("1", "danger", phrases=(Phrase(text="危险"),) * 10)
        desk.offer("2", "danger", "a")
        await asyncio.sleep(0.1)
        desk.announcer.hush()
        assert await desk.records(3) == [("1", "a", "interrupted"), ("1", "b", "interrupted"), ("2", "a", "refused")]
    assert all(spoken.duration_s < 4 for spoken in desk.spoken)  # of five


async def test_an_agent_that_stops_leaves_a_record_of_everything(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with running(desk.announcer.run):
        desk.offer("1", "danger", "a")
        desk.offer("2", "danger", "a")
        await asyncio.sleep(0.1)
    assert await desk.records(2) == [("1", "a", "interrupted"), ("2", "a", "refused")]


async def test_a_record_that_the_disk_refused_is_given_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.refuse = DriverError("disk full")
    async with running(desk.announcer.run):
        desk.offer("1", "rule", "a")
        await until(lambda: desk.health.state.get("announcer records") == "failed: disk full")
        desk.refuse = None
        assert await desk.records(1) == [("1", "a", "delivered")]


async def test_a_bug_is_not_swallowed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.voice.broken = ZeroDivisionError()
    async with running(desk.announcer.run) as task:
        desk.offer("1", "rule", "a")
        with pytest.raises(ExceptionGroup):
            await asyncio.wait_for(task, 2)


async def test_it_speaks_with_the_real_voice(tmp_path: Path) -> None:
    speaker = SimulatedSpeaker("a", tmp_path, CLOCK, realtime=False)
    spoken: list[Spoken] = []

    async def on_spoken(record: Spoken) -> None:
        spoken.append(record)

    part = Announcer({"a": speaker}, Voice(config.Voice()), clock=CLOCK, health=Health(CLOCK), on_spoken=on_spoken)
    now = CLOCK.monotonic()
    part.offer(
        Announcement(
            id="1",
            phrases=(Phrase(text="请立即离开"), Phrase(text="Leave now", lang="en")),
            speakers=(),
            cls="danger",
            at_s=now,
            not_after_s=now + 10,
            by="test",
        )
    )
    async with running(part.run):
        await until(lambda: bool(spoken))
    assert spoken[0].outcome == "delivered"
    assert spoken[0].text == "请立即离开 Leave now"
    assert (tmp_path / "1.wav").stat().st_size == 44 + 2 * 8000 * spoken[0].duration_s


# --- restraint, ladders, other ways, proof ------------------------------------------------------------------------


def restrained(tmp_path: Path, *extra: Faulty, **facts: object) -> Desk:
    desk = Desk(tmp_path, *extra)
    desk.announcer = Announcer(
        desk.speakers,
        desk.voice,
        clock=CLOCK,
        health=desk.health,
        on_spoken=desk.on_spoken,
        **facts,  # type: ignore[arg-type]
    )
    return desk


async def test_a_speaker_that_has_said_enough_is_left_out_and_the_group_goes_on(tmp_path: Path) -> None:
    desk = restrained(tmp_path, rules=config.Announcements(per_hour=1))
    async with running(desk.announcer.run):
        assert desk.offer("1", "rule", "a") is None
        await desk.records(1)
        assert desk.offer("2", "rule", "a", "b") is None
        assert await desk.records(3) == [("1", "a", "delivered"), ("2", "a", "refused"), ("2", "b", "delivered")]
        assert "hourly limit" in str(desk.offer("3", "rule", "a"))
        assert desk.offer("4", "danger", "a") is None
        assert ("4", "a", "delivered") in await desk.records(5)


async def test_in_quiet_hours_only_the_grave_is_said(tmp_path: Path) -> None:
    desk = restrained(tmp_path, rules=config.Announcements(quiet=("00:00-12:00", "12:00-00:00")))
    async with running(desk.announcer.run):
        assert "quiet hours" in str(desk.offer("1", "rule", "a"))
        assert desk.offer("2", "danger", "a") is None
        assert await desk.records(2) == [("1", "a", "refused"), ("2", "a", "delivered")]


async def test_what_stays_unproven_goes_to_the_next_speaker(tmp_path: Path) -> None:
    sections = {
        "z": config.AnySpeaker(name="z", fallback="a"),
        "a": config.AnySpeaker(name="a", proof="heard", fallback="b"),
        "b": config.AnySpeaker(name="b", proof="heard"),
    }
    desk = restrained(tmp_path, Faulty("z", "fails"), sections=sections)
    async with running(desk.announcer.run):
        desk.offer("1", "danger", "z")
        assert await desk.records(3) == [("1", "a", "delivered"), ("1", "b", "delivered"), ("1", "z", "failed")]
    by_speaker = {spoken.speaker: spoken for spoken in desk.spoken}
    assert [by_speaker[name].next for name in "zab"] == ["a", "b", None]
    assert [by_speaker[name].asked for name in "zab"] == ["none", "heard", "heard"]
    assert [shortfall(by_speaker[name]) is None for name in "zab"] == [True, True, False]


@pytest.mark.parametrize("fault", ["hangs", "fails"])
async def test_what_was_hushed_is_said_by_no_other_speaker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(announcer, "STOP_S", 0.1)
    speaker = Faulty("z", fault)
    desk = restrained(tmp_path, speaker, sections={"z": config.AnySpeaker(name="z", fallback="a")})
    play = speaker.play

    async def hushed_meanwhile(clip: Clip, announcement: str, /, ready: Ready | None = None) -> Delivery:
        desk.announcer.hush()
        return await play(clip, announcement, ready)

    monkeypatch.setattr(speaker, "play", hushed_meanwhile)
    async with running(desk.announcer.run):
        desk.offer("1", "danger", "z")
        assert await desk.records(1) == [("1", "z", "failed")]
        assert desk.spoken[0].next is None
        desk.offer("2", "danger", "b")
        assert await desk.records(2) == [("1", "z", "failed"), ("2", "b", "delivered")]


async def test_the_drone_speaks_only_where_the_flight_allows(tmp_path: Path) -> None:
    verdicts: list[Refusal | str] = ["alt 20 m", Refusal(gate="drone voice", reason="too fast")]
    sections = {"a": config.AnySpeaker(name="a", airborne=True)}
    desk = restrained(tmp_path, sections=sections, interlock=lambda _: verdicts.pop(0))
    async with running(desk.announcer.run):
        desk.offer("1", "danger", "drone")
        await desk.records(1)
        desk.offer("2", "danger")
        assert await desk.records(3) == [("1", "a", "delivered"), ("2", "a", "refused"), ("2", "b", "delivered")]
    assert desk.spoken[0].interlock == "alt 20 m"
    refused = next(spoken for spoken in desk.spoken if spoken.outcome == "refused")
    assert refused.refusal is not None
    assert refused.refusal.reason == "too fast"


async def test_a_warning_goes_on_until_the_track_leaves(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    async with running(desk.announcer.run):
        now = CLOCK.monotonic()
        said = {"phrases": (Phrase(text="x"),), "at_s": now, "not_after_s": now + 10, "by": "r"}
        one = Announcement(id="1", speakers=("a",), cls="rule", track="c/1", **said)
        desk.announcer.offer(one)
        desk.announcer.climb("c/1", (Rung(0.8, one), Rung(1.6, one, every_s=0.8, times=100)))
        assert await desk.records(3) == [("1", "a", "delivered"), ("1.1", "a", "delivered"), ("1.2", "a", "delivered")]
        desk.announcer.left("c/1")
        await asyncio.sleep(1.0)
        assert len(desk.spoken) <= 4


class Microphone:
    """An ear that heard what the speaker played, 120 ms later."""

    def __init__(self, heard: bool) -> None:
        self.heard = heard

    def since(self, at_s: float) -> tuple[float, np.ndarray]:
        noise = np.random.default_rng(1).standard_normal(16000) * 0.01
        tone = attention_tone(8000, -30)
        noise[960 : 960 + len(tone)] += tone if self.heard else 0
        return at_s, noise


@pytest.mark.parametrize("heard", [True, False])
async def test_a_chirp_in_a_microphone_makes_it_heard(tmp_path: Path, heard: bool) -> None:
    desk = restrained(tmp_path, ears={"a": Microphone(heard)})
    desk.voice = Voice(config.Voice())  # type: ignore[assignment]
    desk.announcer._voice = desk.voice
    async with running(desk.announcer.run):
        desk.offer("1", "danger", "a")
        await until(lambda: desk.spoken, 10)
    (spoken,) = desk.spoken
    assert spoken.proof == ("heard" if heard else "delivered")
    if heard:
        assert spoken.heard_delay_ms == pytest.approx(120, abs=5)
        assert spoken.heard_level_dbfs == pytest.approx(-30, abs=3)


async def test_of_a_live_voice_no_chirp_is_asked(tmp_path: Path) -> None:
    desk = restrained(tmp_path, sections={"a": config.AnySpeaker(name="a", proof="heard", fallback="b")})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind(("127.0.0.1", 0))
        free = out.getsockname()[1]
    async with running(desk.announcer.run):
        desk.offer("1", "live", "a", phrases=(), source=f"rtp://127.0.0.1:{free}", for_s=0.1)
        assert await desk.records(1) == [("1", "a", "failed")]  # nobody spoke
    assert (desk.spoken[0].asked, desk.spoken[0].next, shortfall(desk.spoken[0])) == (None, None, None)


async def test_what_is_known_to_be_said_is_rendered_before_it_is_needed(tmp_path: Path) -> None:
    desk, rendered = Desk(tmp_path), []
    plain = desk.voice.render

    async def render(phrases: tuple[Phrase, ...], rate_hz: int = 8000) -> Clip:
        rendered.append((phrases, rate_hz))
        if phrases[0].text == "🙂":
            raise ValueError("cannot be said")
        return await plain(phrases, rate_hz)

    desk.voice.render = render
    known = ((Phrase(text="🙂"),), (Phrase(text="公园将于十八点关闭。"),))
    part = Announcer(desk.speakers, desk.voice, clock=CLOCK, health=desk.health, on_spoken=desk.on_spoken, ahead=known)
    async with running(part.run):
        await until(lambda: len(rendered) == 2)
    assert rendered == [(known[0], 8000), (known[1], 8000)]
    assert desk.spoken == []


async def test_the_noise_around_a_speaker_sets_how_loud_it_is_and_stands_in_the_record(tmp_path: Path) -> None:
    class Quiet:
        def noise_dbfs(self) -> float:
            return -52.5

        def since(self, at_s: float) -> tuple[float, np.ndarray]:
            return at_s, np.zeros(0)

    desk = Desk(tmp_path)
    ambient = config.Ambient(quiet_dbfs=-60, loud_dbfs=-30, least_pct=20)
    part = Announcer(
        desk.speakers,
        desk.voice,
        clock=CLOCK,
        health=desk.health,
        on_spoken=desk.on_spoken,
        sections={"a": config.SimulatedSpeaker(name="a", microphone="alsa:x", ambient=ambient)},
        rules=config.Announcements(max_volume_pct=80),
        ears={"a": Quiet()},
    )
    desk.announcer = part
    async with running(part.run):
        desk.offer("1", "rule", "a")
        await desk.records(1)
    [record] = desk.spoken
    assert (record.outcome, record.volume_pct, record.noise_dbfs) == ("delivered", 35.0, -52.5)
    assert desk.speakers["a"].loudness == pytest.approx(0.35)


async def test_a_speaker_that_takes_no_volume_is_a_fault_of_its_own_and_the_others_speak(tmp_path: Path) -> None:
    class Stiff(Faulty):
        async def volume(self, percent: float) -> None:
            raise DriverError(f"speaker {self.name}: no knob")

    class Quiet:
        def noise_dbfs(self) -> float:
            return -52.5

        def since(self, at_s: float) -> tuple[float, np.ndarray]:
            return at_s, np.zeros(0)

    desk = Desk(tmp_path, Stiff("stiff", ""))
    ambient = config.Ambient(quiet_dbfs=-60, loud_dbfs=-30, least_pct=20)
    desk.announcer = Announcer(
        desk.speakers,
        desk.voice,
        clock=CLOCK,
        health=desk.health,
        on_spoken=desk.on_spoken,
        sections={"stiff": config.SimulatedSpeaker(name="stiff", microphone="alsa:x", ambient=ambient)},
        rules=config.Announcements(max_volume_pct=80),
        ears={"stiff": Quiet()},
    )
    async with running(desk.announcer.run):
        desk.offer("1", "rule", "stiff", "b")
        assert await desk.records(2) == [("1", "b", "delivered"), ("1", "stiff", "failed")]
    assert desk.health.state["speaker stiff"] == "failed: speaker stiff: no knob"

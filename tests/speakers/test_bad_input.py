"""What goes wrong with a loudspeaker, or with what it is to say: what is told, and who speaks instead.

Each driver by itself meets these devices in test_contract.py; here the announcer does, with a neighbour beside it.
"""

from __future__ import annotations

import asyncio
import logging
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from speakers import fake_devices as fakes

from edge_agent import config
from edge_agent.cli import main
from edge_agent.messages import Announcement, Phrase, Spoken
from edge_agent.runtime import DriverError, Health, SystemClock
from edge_agent.speakers import axis, http, open_speaker, paced, recordings, rtpstream
from edge_agent.speakers.announcer import Announcer
from edge_agent.speakers.voice import Voice

CLOCK = SystemClock()
LEAVE = (Phrase(text="请离开"),)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((http, "TIMEOUT_S"), (axis, "ANSWER_S"), (rtpstream, "ANSWER_S"), (paced, "SEND_S")):
        monkeypatch.setattr(module, name, 0.5)


class Site:
    """A horn of some make and a bell beside it, and what became of what was offered."""

    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path
        (tmp_path / "password").write_text(fakes.PASSWORD)
        self.login = {"username": fakes.USER, "password": str(tmp_path / "password")}
        self.records: asyncio.Queue[Spoken] = asyncio.Queue()

    @asynccontextmanager
    async def speaking(self, horn: config.Speaker) -> AsyncIterator[Announcer]:
        bell = config.SimulatedSpeaker(name="bell", realtime=False)
        sections = {"horn": horn, "bell": bell}
        announcer = Announcer(
            {name: open_speaker(section, self.directory, CLOCK) for name, section in sections.items()},
            Voice(config.Voice(speed_wpm=400, tone=False), clips=self.directory / recordings.FOLDER),
            clock=CLOCK,
            health=Health(CLOCK),
            on_spoken=self.records.put,
            sections=sections,
        )
        running = asyncio.create_task(announcer.run())
        yield announcer
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def ask(self, announcer: Announcer, **facts: object) -> object:
        now = CLOCK.monotonic()
        given = {"phrases": LEAVE, "speakers": ("horn",), "at_s": now, "not_after_s": now + 30, "by": "rule:r"}
        return announcer.offer(Announcement(**({"id": "1", "cls": "rule"} | given | facts)))  # type: ignore[arg-type]

    async def record(self) -> Spoken:
        return await asyncio.wait_for(self.records.get(), 30)


@pytest.fixture
def site(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Site] | Site:
    caplog.set_level(logging.DEBUG)
    yield Site(tmp_path)
    assert fakes.PASSWORD not in caplog.text


# --- the device ---------------------------------------------------------------------------------------------------


def wrong_password(device: fakes.Fake) -> None:
    device.password = "another"


def fault(name: str) -> Callable[[fakes.Fake], None]:
    def set_in(device: fakes.Fake) -> None:
        device.fault = name

    return set_in


@pytest.mark.parametrize(
    ("goes_wrong", "told"),
    [
        pytest.param(wrong_password, "wrong user name or password (HTTP 401)", id="wrong-password"),
        pytest.param(fault("busy"), "busy: another client talks (HTTP 503)", id="busy"),
        pytest.param(fault("deaf"), "no answer in 0.5 s", id="accepts-the-connection-and-stays-silent"),
        pytest.param(fault("stalls"), "takes no sound, or does not answer", id="half-open-TCP"),
    ],
)
async def test_a_device_that_fails_is_named_with_the_reason_and_the_next_one_speaks(
    site: Site, goes_wrong: Callable[[fakes.Fake], None], told: str
) -> None:
    async with fakes.Axis() as device:
        goes_wrong(device)
        horn = config.AxisSpeaker(name="horn", url=device.url, fallback="bell", **site.login)
        async with site.speaking(horn) as announcer:
            site.ask(announcer, phrases=LEAVE * 6)  # more than the buffers between us take
            first, second = await site.record(), await site.record()
    assert (first.speaker, first.outcome, first.proof, first.next) == ("horn", "failed", "none", "bell")
    assert first.detail == f"speaker horn: {device.url}: {told}"
    assert (second.speaker, second.outcome, second.sha256) == ("bell", "delivered", first.sha256)


async def test_a_device_that_hangs_up_when_it_has_all_of_the_sound_has_not_played_it(site: Site) -> None:
    """VAPIX: "if the playback fails, the connection will be closed without any response"."""
    async with fakes.Axis() as device:
        device.fault = "closes"
        horn = config.AxisSpeaker(name="horn", url=device.url, fallback="bell", **site.login)
        async with site.speaking(horn) as announcer:
            site.ask(announcer)
            first, second = await site.record(), await site.record()
    assert (first.outcome, first.next, second.outcome) == ("failed", "bell", "delivered")
    assert first.detail == f"speaker horn: {device.url}: it had all of the sound, and does not say that it played it"


async def test_a_device_that_takes_the_sound_and_plays_nothing_is_told_by_its_own_words(site: Site) -> None:
    async with fakes.Algo() as device:
        device.fault = "silent"
        at = {"host": "127.0.0.1", "port": device.rtp_port}
        horn = config.AlgoSpeaker(name="horn", url=device.url, proof="playing", fallback="bell", **at, **site.login)
        async with site.speaking(horn) as announcer:
            site.ask(announcer)
            first, second = await site.record(), await site.record()
    assert (first.outcome, first.proof, first.asked, first.next) == ("delivered", "accepted", "playing", "bell")
    assert first.detail == "it says 'Idle' while it should play"
    assert (second.speaker, second.outcome) == ("bell", "delivered")


@pytest.mark.parametrize(
    ("reports", "told"), [(True, "its RTCP lies: it reports packet 1"), (False, "no RTCP report came")]
)
async def test_reports_that_lie_or_never_come_prove_nothing_and_the_next_one_speaks(
    site: Site, reports: bool, told: str
) -> None:
    async with fakes.Rtp() as device:
        device.sink.reports, device.sink.lies = reports, True
        at = {"host": "127.0.0.1", "port": device.port}
        horn = config.RtpSpeaker(name="horn", rtcp=True, proof="delivered", fallback="bell", **at)
        async with site.speaking(horn) as announcer:
            site.ask(announcer)
            first, second = await site.record(), await site.record()
    assert (first.outcome, first.proof, first.next) == ("delivered", "none", "bell")
    assert first.detail is not None
    assert first.detail.startswith(told)
    assert (second.speaker, second.outcome) == ("bell", "delivered")


# --- what is to be said: it is no other speaker's to say either -----------------------------------------------------


def two_hours(file: Path) -> Path:
    """8 kHz, 8 bits: 57.6 MB that take no room on the disk."""
    with wave.open(str(file), "wb") as wav:
        wav.setparams((1, 1, 8000, 0, "NONE", ""))
        wav.writeframes(b"\x80")
    with file.open("r+b") as raw:
        raw.truncate(44 + 7200 * 8000)
        for at, size in ((4, 36), (40, 0)):  # RIFF and data chunk: how much follows
            raw.seek(at)
            raw.write((size + 7200 * 8000).to_bytes(4, "little"))
    return file


async def test_a_clip_of_two_hours_is_refused_by_its_length_before_it_is_decoded(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "two.wav: lasts 7200 s; 120 s are the most"
    file = two_hours(site.directory / "two.wav")
    assert main(["say", "--clip", str(file), "--data-dir", str(site.directory)]) == 66
    assert capsys.readouterr().err == f"{told}\n"
    store = site.directory / recordings.FOLDER
    assert not store.exists()
    store.mkdir()
    file.rename(store / "two.wav")  # one that came there by another way
    horn = config.SimulatedSpeaker(name="horn", realtime=False, fallback="bell")
    async with site.speaking(horn) as announcer:
        site.ask(announcer, phrases=(), clip="two.wav")
        refused = await site.record()
        site.ask(announcer, id="2")
        after = await site.record()
    assert (refused.outcome, refused.next, refused.refusal and refused.refusal.reason) == ("refused", None, told)
    assert (after.announcement, after.outcome) == ("2", "delivered")  # and the queue goes on


def test_a_longer_clip_whose_header_says_nothing_is_stopped_while_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "MAX_S", 1.0)
    monkeypatch.setattr(recordings, "_lasts_s", lambda _: None)
    with wave.open(str(tmp_path / "x.wav"), "wb") as wav:
        wav.setparams((1, 2, 8000, 0, "NONE", ""))
        wav.writeframes(bytes(48_000))
    with pytest.raises(ValueError, match=r"x\.wav: is longer than 1 s"):
        recordings.decode(tmp_path / "x.wav", 8000)


def test_a_text_of_10000_characters_is_refused_with_its_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["say", "危" * 10_000, "--data-dir", str(tmp_path)]) == 1
    told = "rejected: text: has 10000 characters, and 500 are the most; make it a --clip\n"
    assert capsys.readouterr().out == told


@pytest.mark.parametrize(
    "section",
    [
        config.OnvifSpeaker(name="horn", url="rtsp://10.0.0..5/live"),
        config.SipSpeaker(name="horn", uri="sip:horn@10.0.0..5"),
        config.AxisSpeaker(name="horn", url="http://10.0.0..5"),
    ],
)
async def test_an_address_with_a_dot_too_many_is_the_fault_of_that_speaker_alone(section: config.Speaker) -> None:
    with pytest.raises(DriverError, match=r"speaker horn: .*10\.0\.0\.\.5.*label empty"):
        await open_speaker(section, Path(), CLOCK).health()


async def test_emoji_are_left_out_and_alone_are_refused(site: Site) -> None:
    horn = config.SimulatedSpeaker(name="horn", realtime=False)
    async with site.speaking(horn) as announcer:
        refusal = site.ask(announcer, phrases=(Phrase(text="😀🚨"),))
        assert "nothing is left to say: the text holds no letter, digit or character" in str(refusal)
        assert (await site.record()).outcome == "refused"
        for id, text in (("2", "请离开"), ("3", "🚨请离开😀")):
            site.ask(announcer, id=id, phrases=(Phrase(text=text),))
        plain, decorated = await site.record(), await site.record()
    assert plain.duration_s == pytest.approx(decorated.duration_s, abs=0.05)


async def test_volume_500_is_refused_in_the_config_and_is_100_at_a_driver(site: Site) -> None:
    text = 'data_dir = "s"\n[site]\ndevice = "E"\n[[speaker]]\nname = "horn"\ntype = "simulated"\nvolume_pct = 500\n'
    with pytest.raises(config.ConfigError, match=r"speaker\[horn\]\.volume_pct: .* <= 100\.0, got 500"):
        config.parse(text, site.directory / "agent.toml")
    async with fakes.Rtp() as device:
        section = config.RtpSpeaker(name="horn", host="127.0.0.1", port=device.port)
        speaker = open_speaker(section, site.directory, CLOCK)
        clip = await Voice(config.Voice(speed_wpm=400, tone=False)).render(LEAVE)
        await speaker.volume(500)
        await speaker.play(clip, "A")
        loud = abs(device.samples()).max()
    assert loud <= abs(clip.samples.astype(int)).max() * 1.05

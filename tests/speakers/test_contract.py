"""What every speaker owes, whatever it is made of: each driver meets a device that checks every byte."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from msgspec import structs
from speakers import fake_devices as fakes
from speakers import fake_dji, fake_gb28181

from edge_agent import config
from edge_agent.runtime import DriverError, SystemClock
from edge_agent.speakers import (
    PROOFS,
    Speaker,
    Standing,
    algo,
    axis,
    gb28181,
    gbplatform,
    http,
    onvif,
    open_speaker,
    paced,
    rtpstream,
    sip,
)
from edge_agent.speakers.live import Live
from edge_agent.speakers.sound import Clip
from edge_agent.speakers.tune import TuneSpeaker

CLOCK = SystemClock()
WITH_PASSWORD = ("axis", "hikvision", "dahua", "algo", "onvif", "sip", "gb28181")
KINDS = ("simulated", "local", "rtp", "dji", "tune", "axis-clips", "hikvision-clips", *WITH_PASSWORD)
WITHOUT_LIVE = ("dji", "tune")
PROVES = dict.fromkeys(("dahua", "hikvision", "gb28181"), "accepted")  # the others: delivered
PROVES |= {"tune": "none", "hikvision-clips": "accepted", "axis-clips": "tested"} | dict.fromkeys(
    ("algo", "dji"), "playing"
)
ASOUND = 'pcm.tape {{ type file  slave {{ pcm {{ type null }} }}  file "{file}"  format "raw" }}\n'


@dataclass
class Met:
    """A driver and the device that it meets."""

    kind: str
    speaker: Speaker
    device: Any
    directory: Path

    def samples(self) -> np.ndarray:
        """What the device heard of the last sound."""
        if self.kind == "simulated":
            newest = max((self.directory / "speakers/horn").glob("*.wav"))
            return np.frombuffer(newest.read_bytes()[44:], "<i2")
        if self.kind == "tune":
            return np.zeros(0, np.int16)
        if self.kind == "local":
            return np.frombuffer((self.directory / "tape.raw").read_bytes(), "<i2")
        return self.device.samples()

    async def quiet(self) -> None:
        """Until the device has everything that was sent."""
        before = -1
        while self.device and before != len(self.device.heard):
            before = len(self.device.heard)
            await asyncio.sleep(0.02)


@pytest.fixture
async def meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Callable[..., Any]]:
    caplog.set_level(logging.DEBUG)
    password = tmp_path / "password"
    password.write_text(fakes.PASSWORD + "\n")
    async with AsyncExitStack() as stack:
        devices = []
        tunes: list[str] = []

        async def make(kind: str, **facts: Any) -> Met:
            makes = {"rtp": fakes.Rtp, "axis": fakes.Axis, "hikvision": fakes.Hikvision, "dahua": fakes.Dahua}
            makes |= {"algo": fakes.Algo, "onvif": fakes.Onvif, "sip": fakes.Sip, "gb28181": fake_gb28181.Gb28181}
            makes |= {"axis-clips": fakes.Axis, "hikvision-clips": fakes.Hikvision}
            makes |= {"dji": fake_dji.Dji}
            device = await stack.enter_async_context(makes[kind]()) if kind in makes else None
            login = {"username": fakes.USER, "password": str(password)}
            section: config.Speaker
            match kind:
                case "rtp":
                    section = config.RtpSpeaker(name="horn", host="127.0.0.1", port=device.port, rtcp=True, **facts)
                case "axis-clips":
                    device.tested = {"SpeakerTestStatus": "OK", "TestTimestamp": device.date()}
                    section = config.AxisSpeaker(name="horn", url=device.url, clips=True, **login, **facts)
                case "hikvision-clips":
                    section = config.HikvisionSpeaker(name="horn", url=device.url, clips=True, **login, **facts)
                case "axis":
                    section = config.AxisSpeaker(name="horn", url=device.url, **login, **facts)
                case "hikvision":
                    section = config.HikvisionSpeaker(name="horn", url=device.url, **login, **facts)
                case "dahua":
                    section = config.DahuaSpeaker(name="horn", url=device.url, **login, **facts)
                case "onvif":
                    section = config.OnvifSpeaker(name="horn", url=device.url, **login, **facts)
                case "sip":
                    section = config.SipSpeaker(name="horn", uri=device.uri, **login, **facts)
                case "gb28181":
                    ids = {"device": fake_gb28181.DEVICE, "channel": fake_gb28181.CHANNEL}
                    listen = "{}:{}".format(*device.platform)
                    section = config.Gb28181Speaker(
                        name="horn", platform=fake_gb28181.PLATFORM, listen=listen, password=str(password), **ids
                    )
                case "dji":
                    ids = {"gateway": fake_dji.GATEWAY, "aircraft": fake_dji.AIRCRAFT}
                    broker = {"host": "127.0.0.1", "port": device.port, "plain": True}
                    serve = f"127.0.0.1:{free_port()}"
                    section = config.DjiSpeaker(name="horn", serve=serve, **broker, **ids, **login)
                case "tune":
                    section = config.TuneSpeaker(name="horn", tune="T240L8CCCC")
                case "algo":
                    address = {"host": "127.0.0.1", "port": device.rtp_port}
                    section = config.AlgoSpeaker(name="horn", url=device.url, **address, **login, **facts)
                case "local":
                    (tmp_path / "asound.conf").write_text(ASOUND.format(file=tmp_path / "tape.raw"))
                    monkeypatch.setitem(os.environ, "ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
                    section = config.LocalSpeaker(name="horn", device="tape")
                case _:
                    section = config.SimulatedSpeaker(name="horn")
            devices.append(device)
            speaker = open_speaker(section, tmp_path, CLOCK)
            if isinstance(speaker, TuneSpeaker):
                speaker.sound = tunes.append
            return Met(kind, speaker, device, tmp_path)

        yield make
        for device in devices:
            assert not device or not device.wrong, device.wrong
    assert fakes.PASSWORD not in caplog.text


@pytest.fixture(params=KINDS)
async def met(request: pytest.FixtureRequest, meet: Callable[..., Any]) -> Met:
    return await meet(request.param)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts of a tenth of a second, so that a silent device costs a test no more."""
    for module, name in ((http, "TIMEOUT_S"), (onvif, "TIMEOUT_S"), (sip, "ANSWER_S"), (sip, "BYE_S")):
        monkeypatch.setattr(module, name, 0.3)
    for module, name in ((gbplatform, "ANSWER_S"), (gb28181, "INVITE_S")):
        monkeypatch.setattr(module, name, 0.3)
    for module, name in ((axis, "ANSWER_S"), (rtpstream, "ANSWER_S"), (paced, "SEND_S")):
        monkeypatch.setattr(module, name, 0.3)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def until(true: Callable[[], object], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


def clip(seconds: float, rate_hz: int = 8000) -> Clip:
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    return Clip(samples=(8000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16), rate_hz=rate_hz, text="x")


def lengthened(met: Met, tune: str = "T32C1") -> None:
    """A tune has a length of its own, whatever the clip's."""
    if isinstance(met.speaker, TuneSpeaker):
        met.speaker._tune = tune


async def test_what_is_heard_is_what_was_played_as_far_as_the_device_can_tell(met: Met) -> None:
    sound = clip(0.5, met.speaker.rate_hz)
    began = time.monotonic()
    delivery = await met.speaker.play(sound, "A")
    assert delivery.finished
    assert delivery.played_s == pytest.approx(0.5, abs=0.02)
    assert time.monotonic() - began > 0.45
    assert delivery.first_s is not None
    assert delivery.first_s >= began
    await met.quiet()
    if met.kind != "tune":
        heard = met.samples()
        assert len(heard) == len(sound.samples)
        assert np.abs(heard - sound.samples.astype(int)).max() < 300  # the codec's own error
    assert delivery.proof == PROVES.get(met.kind, "delivered") == met.speaker.best


async def test_stop_fades_it_out_and_it_plays_again(met: Met) -> None:
    lengthened(met)
    playing = asyncio.create_task(met.speaker.play(clip(5, met.speaker.rate_hz), "A"))
    await asyncio.sleep(0.25)
    began = time.monotonic()
    await met.speaker.stop()
    delivery = await playing
    assert time.monotonic() - began < 4  # of five
    assert not delivery.finished
    assert delivery.played_s < 4
    await met.quiet()
    if len(heard := met.samples()):
        assert np.abs(heard[-60:]).max() < 100  # it ends in silence, not in a click
    await met.speaker.stop()  # without a sound it does nothing
    lengthened(met, "T240L8C")
    assert (await met.speaker.play(clip(0.04, met.speaker.rate_hz), "B")).finished


async def test_a_live_voice_is_put_through_until_it_ends(met: Met) -> None:
    voice = Live()
    if met.kind in WITHOUT_LIVE:
        with pytest.raises(DriverError, match="takes no live voice"):
            await met.speaker.live(voice, "A")
        return
    playing = asyncio.create_task(met.speaker.live(voice, "A"))
    await asyncio.sleep(0.1)
    tone = clip(0.2).samples
    for n in range(10):
        voice.put(160 * n, tone[160 * n : 160 * n + 160])
    voice.end("over")
    delivery = await playing
    assert delivery.finished
    await met.quiet()
    heard = met.samples().astype(float)
    loud = heard[np.abs(heard) > 1000]
    assert len(loud) > 0.1 * met.speaker.rate_hz


async def test_a_cancelled_play_leaves_it_usable(met: Met) -> None:
    lengthened(met)
    playing = asyncio.create_task(met.speaker.play(clip(5, met.speaker.rate_hz), "A"))
    await asyncio.sleep(0.1)
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    lengthened(met, "T240L8C")
    assert (await met.speaker.play(clip(0.04, met.speaker.rate_hz), "B")).finished


async def test_a_group_waits_for_its_slowest_before_the_first_sound(met: Met) -> None:
    together = asyncio.Event()

    async def ready() -> None:
        await together.wait()

    playing = asyncio.create_task(met.speaker.play(clip(0.04, met.speaker.rate_hz), "A", ready))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    together.set()
    delivery = await playing
    assert delivery.first_s is not None
    assert delivery.first_s >= began


async def test_its_volume_is_capped_and_its_health_can_be_asked(met: Met) -> None:
    await met.speaker.health()
    for percent, most in ((500.0, 8100), (50.0, 4100), (-3.0, 10)):
        await met.speaker.volume(percent)
        assert (await met.speaker.play(clip(0.04, met.speaker.rate_hz), "A")).finished
        await met.quiet()
        assert np.abs(met.samples()).max(initial=0) <= most


async def test_an_empty_clip_is_played_at_once(met: Met) -> None:
    delivery = await met.speaker.play(clip(0, met.speaker.rate_hz), "A")
    assert delivery.finished
    assert delivery.played_s == 0


async def test_a_clip_of_another_rate_is_a_mistake(met: Met) -> None:
    with pytest.raises(ValueError, match="samples a second"):
        await met.speaker.play(clip(0.1, 11025), "A")


# --- devices that go wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WITH_PASSWORD)
async def test_a_wrong_password_is_told_and_is_not_tried_for_ever(kind: str, meet: Callable[..., Any]) -> None:
    met = await meet(kind)
    met.device.password = "another"
    for attempt in (met.speaker.health(), met.speaker.play(clip(0.1, met.speaker.rate_hz), "A")):
        with pytest.raises(DriverError, match="wrong user name or password") as told:
            await attempt
        assert fakes.PASSWORD not in str(told.value)
        assert str(told.value).startswith("speaker horn: ")
    met.device.password = fakes.PASSWORD
    assert (await met.speaker.play(clip(0.04, met.speaker.rate_hz), "A")).finished


@pytest.mark.parametrize("kind", WITH_PASSWORD)
async def test_a_busy_device_says_so_and_is_free_later(kind: str, meet: Callable[..., Any]) -> None:
    met = await meet(kind)
    met.device.fault = "busy"
    with pytest.raises(DriverError, match="busy"):
        await met.speaker.play(clip(0.5, met.speaker.rate_hz), "A")
    met.device.fault = ""
    assert (await met.speaker.play(clip(0.04, met.speaker.rate_hz), "A")).finished


@pytest.mark.parametrize("fault", ["mute", "deaf"])
@pytest.mark.parametrize("kind", WITH_PASSWORD)
async def test_a_device_that_does_not_answer_is_given_up(
    kind: str, fault: str, meet: Callable[..., Any], impatient: None
) -> None:
    met = await meet(kind)
    met.device.fault = fault
    began = time.monotonic()
    with pytest.raises(DriverError, match="no answer"):
        await met.speaker.play(clip(0.1, met.speaker.rate_hz), "A")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("kind", ["axis"])  # the others send through the same connection
async def test_a_connection_that_takes_no_more_sound_is_given_up_in_the_middle(
    kind: str, meet: Callable[..., Any], impatient: None
) -> None:
    met = await meet(kind)
    met.device.fault = "stalls"
    began = time.monotonic()
    with pytest.raises(DriverError, match="takes no sound"):
        await met.speaker.play(clip(30, met.speaker.rate_hz), "A")
    assert time.monotonic() - began < 15
    met.device.fault = ""
    assert (await met.speaker.play(clip(0.04, met.speaker.rate_hz), "B")).finished


async def test_what_nobody_confirms_is_not_claimed(meet: Callable[..., Any], impatient: None) -> None:
    for kind, fault, proof in (("algo", "silent", "accepted"), ("onvif", "silent", "accepted")):
        met = await meet(kind)
        met.device.fault = fault
        assert (await met.speaker.play(clip(0.4, met.speaker.rate_hz), "A")).proof == proof
    met = await meet("rtp")
    met.device.sink.reports = False
    assert (await met.speaker.play(clip(0.04), "A")).proof == "none"
    met.device.sink.reports = met.device.sink.lies = True
    assert (await met.speaker.play(clip(0.04), "A")).proof == "none"
    await until(lambda: met.device.sink.farewells == 2)
    met = await meet("sip")
    met.device.sink.lies = True
    assert (await met.speaker.play(clip(0.04), "A")).proof == "accepted"


async def test_a_telephone_that_only_rings_is_told_from_a_speaker(meet: Callable[..., Any], impatient: None) -> None:
    met = await meet("sip")
    met.device.fault = "rings"
    with pytest.raises(DriverError, match=r"rang for .* automatic answer"):
        await met.speaker.play(clip(0.1), "A")
    await until(lambda: met.device.asked[-1].startswith("CANCEL"))


async def test_a_pbx_that_wants_its_callers_registered_is_obliged(meet: Callable[..., Any]) -> None:
    met = await meet("sip")
    pbx, device = f"127.0.0.1:{met.device.port}", met.device
    section = structs.replace(met.speaker._section, proxy=pbx, register=True)
    speaker = open_speaker(section, met.directory, CLOCK)
    assert isinstance(speaker, Standing)
    device.least_s = 1800
    assert (await speaker.play(clip(0.04), "A")).finished  # as `speakers test` does, without an agent
    assert device.registrations == [1800]
    standing = asyncio.create_task(speaker.run())
    await until(lambda: len(device.registrations) == 2)
    assert (await speaker.play(clip(0.04), "B")).finished
    standing.cancel()
    await asyncio.gather(standing, return_exceptions=True)
    assert device.registrations == [1800, 1800, 0]
    device.password = "another"
    with pytest.raises(DriverError, match=r"does not register us: .*wrong user name or password"):
        await speaker.health()


async def test_a_pbx_that_is_gone_is_a_fault_of_this_speaker_and_no_more(meet: Callable[..., Any]) -> None:
    section = structs.replace((await meet("sip")).speaker._section, proxy=f"127.0.0.1:{free_port()}", register=True)
    speaker = open_speaker(section, Path(), CLOCK)
    assert isinstance(speaker, Standing)
    for attempt in (speaker.run(), speaker.health(), speaker.play(clip(0.04), "A")):
        with pytest.raises(DriverError, match=r"speaker horn: sip:.*refused"):
            await attempt


async def test_a_cancelled_call_is_hung_up_and_one_that_the_far_end_ends_is_told(meet: Callable[..., Any]) -> None:
    met = await meet("sip")
    playing = asyncio.create_task(met.speaker.play(clip(5), "A"))
    await until(lambda: met.device.plays == 1)
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    await until(lambda: not met.device.in_call)

    playing = asyncio.create_task(met.speaker.play(clip(5), "A"))
    await until(lambda: met.device.plays == 2)
    met.device.hang_up()
    with pytest.raises(DriverError, match="hung up in the middle"):
        await playing


async def test_where_a_call_wants_its_sound_may_be_a_name_and_where_there_is_none_it_is_hung_up(
    meet: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo

    async def known(host: str, *args: Any, **more: Any) -> Any:
        return await look_up("127.0.0.1" if host == "horn.example" else host, *args, **more)

    monkeypatch.setattr(loop, "getaddrinfo", known)  # nothing that blocks the loop would ask it
    met = await meet("sip")
    met.device.media_host = "horn.example"
    assert (await met.speaker.play(clip(0.04), "A")).finished
    met.device.media_host = "10.0.0..5"
    with pytest.raises(DriverError, match=r"speaker horn: sip:.*label empty"):
        await met.speaker.play(clip(0.04), "B")
    await until(lambda: not met.device.in_call)


async def test_a_stream_without_a_backchannel_is_told(meet: Callable[..., Any]) -> None:
    met = await meet("onvif")
    met.device.fault = "none"
    with pytest.raises(DriverError, match="no audio backchannel"):
        await met.speaker.health()


async def test_a_clock_that_differs_is_met_with_the_devices_own(meet: Callable[..., Any]) -> None:
    met = await meet("algo")
    met.device.offset_s = 3600.0
    await met.speaker.health()


async def test_the_wide_band_of_an_axis_speaker_has_twice_the_rate(meet: Callable[..., Any]) -> None:
    met = await meet("axis", wide=True)
    assert met.speaker.rate_hz == 16000
    assert (await met.speaker.play(clip(0.1, 16000), "A")).proof == "delivered"
    assert len(met.device.heard) == 1600


async def test_a_dahua_that_wants_aac_gets_a_frame_in_each_part(meet: Callable[..., Any]) -> None:
    met = await meet("dahua", codec="aac")
    delivery = await met.speaker.play(clip(1.0), "A")
    assert (delivery.finished, delivery.proof) == (True, "accepted")
    await met.quiet()
    parts = met.device.parts()
    assert len(parts) == 9  # 7.8 frames of 128 ms, and one that the encoder holds back
    for part in parts:  # ISO/IEC 13818-7, 6.2: syncword, MPEG-4, no CRC; LC, 8 kHz, mono; the length with its header
        assert part[:3].hex() == "fff16c"
        assert ((part[3] & 3) << 11 | part[4] << 3 | part[5] >> 5, part[3] & 0xC0) == (len(part), 0x40)
    with av.open(io.BytesIO(b"".join(parts)), format="aac") as stream:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in stream.decode(audio=0)])
    spectrum = np.abs(np.fft.rfft(heard[1024 : 1024 + 6400]))
    assert spectrum.argmax() * 8000 / 6400 == pytest.approx(440, rel=0.01)


def test_proof_is_a_ladder() -> None:
    assert PROOFS == ("none", "accepted", "delivered", "playing", "tested", "heard")
    assert algo.LOOK_AT_STEP * paced.STEP_S < 0.5

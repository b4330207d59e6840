"""Warnings to real peers: the tone and the speech that arrive are those that were rendered."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import numpy as np
import pytest
from agents import CAMERA, SITE
from inline import call
from sound_peers import BARESIP, baresip, has_onvif, heard_by, listening_camera, onvif_server
from speakers.fake_devices import TABLES

from edge_agent import config
from edge_agent.messages import Announcement, Phrase, Spoken
from edge_agent.runtime import DriverError, Health, SystemClock
from edge_agent.speakers import open_speaker
from edge_agent.speakers.announcer import Announcer
from edge_agent.speakers.ear import Ear
from edge_agent.speakers.onvif import OnvifSpeaker
from edge_agent.speakers.sip import SipSpeaker
from edge_agent.speakers.sound import TONE_HZ, TONE_S, Clip
from edge_agent.speakers.voice import Voice

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
CLOCK = SystemClock()


async def warning(rate_hz: int = 8000) -> Clip:
    return await Voice(config.Voice(speed_wpm=250)).render((Phrase(text="危险，请离开。"),), rate_hz)


def assert_alike(heard: np.ndarray, clip: Clip) -> None:
    """The tone within 1 %, and the loudness over time as it was rendered (correlation 0.95 or more)."""
    sent = clip.samples.astype(float)
    shift = int(np.argmax(np.correlate(heard, sent[: round(TONE_S * clip.rate_hz)], "valid")))
    heard = heard[shift : shift + len(sent)]
    spectrum = np.abs(np.fft.rfft(heard[: round(TONE_S * clip.rate_hz)], 10 * clip.rate_hz))
    assert spectrum.argmax() / 10 == pytest.approx(TONE_HZ, rel=0.01)
    step = clip.rate_hz // 50
    both = [x[: len(heard) // step * step].reshape(-1, step).std(axis=1) for x in (heard, sent)]
    assert np.corrcoef(both)[0, 1] >= 0.95


@pytest.mark.skipif(BARESIP is None, reason="baresip is not installed")
@pytest.mark.parametrize("codec", ["pcmu", "g722"])
async def test_baresip_answers_by_itself_plays_it_and_reports_it(codec: str, tmp_path: Path) -> None:
    with baresip(tmp_path) as uri:
        speaker = SipSpeaker(config.SipSpeaker(name="horn", uri=uri, codec=codec), CLOCK)
        await speaker.health()
        clip = await warning(speaker.rate_hz)
        if codec == "pcmu":  # baresip's first report comes after 5 s: a shorter call is only `accepted`
            rest = np.zeros(round(5.6 * clip.rate_hz) - len(clip.samples), np.int16)
            clip = Clip(samples=np.concatenate([clip.samples, rest]), rate_hz=clip.rate_hz, text=clip.text)
        began = time.monotonic()
        delivery = await speaker.play(clip, "A")
        assert delivery.finished
        assert delivery.first_s is not None
        assert delivery.first_s - began < 2
        assert delivery.proof == ("delivered" if codec == "pcmu" else "accepted")
        await speaker.play(Clip(samples=clip.samples[:1600], rate_hz=clip.rate_hz, text=""), "B")  # it is free again
    heard, rate = heard_by(tmp_path)
    assert rate == clip.rate_hz
    assert_alike(heard, clip)


@pytest.mark.skipif(not has_onvif(), reason="gir1.2-gst-rtsp-server-1.0 is not installed")
async def test_gstreamers_onvif_server_takes_every_byte(tmp_path: Path) -> None:
    with onvif_server(tmp_path) as (url, file):
        speaker = OnvifSpeaker(config.OnvifSpeaker(name="horn", url=url), CLOCK)
        await speaker.health()
        clip = await warning()
        delivery = await speaker.play(clip, "A")
        assert delivery.finished
        assert delivery.proof in ("accepted", "delivered")
        deadline = time.monotonic() + 5
        while file.stat().st_size < len(clip.samples) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        with pytest.raises(DriverError, match="no stream of this name"):
            await OnvifSpeaker(config.OnvifSpeaker(name="horn", url=url + "x"), CLOCK).health()
    heard = TABLES["pcmu"][np.frombuffer(file.read_bytes(), np.uint8)].astype(float)
    assert len(heard) >= len(clip.samples)
    assert_alike(heard, clip)


@pytest.mark.skipif(not has_onvif(), reason="gir1.2-gst-rtsp-server-1.0 is not installed")
async def test_a_cameras_own_microphone_hears_the_warning(tmp_path: Path) -> None:
    secret = tmp_path / "login"
    secret.write_text("li:p@ss:word\n")
    records: asyncio.Queue[Spoken] = asyncio.Queue()
    with listening_camera("li:p@ss:word") as (url, port):
        section = config.RtpSpeaker(name="horn", host="127.0.0.1", port=port, proof="heard")
        with pytest.raises(DriverError, match=r"microphone rtsp://127\.0\.0\.1.*401") as refused:
            await Ear(url, CLOCK).run()
        assert "p@ss" not in str(refused.value)
        ear = Ear(url, CLOCK, str(secret))
        announcer = Announcer(
            {"horn": open_speaker(section, tmp_path, CLOCK)},
            Voice(config.Voice()),
            clock=CLOCK,
            health=Health(CLOCK),
            on_spoken=records.put,
            sections={"horn": section},
            ears={"horn": ear},
        )
        parts = [asyncio.create_task(part()) for part in (ear.run, announcer.run)]
        async with asyncio.timeout(60):
            while ear.noise_dbfs() is None:
                await asyncio.sleep(0.1)
            now = CLOCK.monotonic()
            said = (Phrase(text="请离开"),)
            announcer.offer(
                Announcement(id="1", phrases=said, speakers=(), cls="rule", at_s=now, not_after_s=now + 10, by="r")
            )
            spoken = await records.get()
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        secret.chmod(0o600)
        microphone = f'microphone = "{url}"\nmicrophone_credentials = "login"\n'
        (tmp_path / "agent.toml").write_text(
            SITE
            + CAMERA
            + f'[[speaker]]\nname = "horn"\ntype = "rtp"\nhost = "127.0.0.1"\nport = {port}\n'
            + microphone
        )
        code, told, why = await asyncio.to_thread(
            call, "speakers", "test", "horn", "-c", str(tmp_path / "agent.toml"), "--json"
        )
    assert (code, json.loads(told)[0]["proof"]) == (0, "heard"), told + why
    assert (spoken.outcome, spoken.proof, spoken.asked) == ("delivered", "heard", "heard")
    assert spoken.heard_delay_ms is not None
    assert -100 < spoken.heard_delay_ms < 3000

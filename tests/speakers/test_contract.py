"""What every speaker owes, whatever it is made of."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent import config
from edge_agent.runtime import SystemClock
from edge_agent.speakers import Speaker, open_speaker
from edge_agent.speakers.live import Live
from edge_agent.speakers.sound import Clip


def clip(seconds: float) -> Clip:
    return Clip(samples=np.full(int(8000 * seconds), 1000, np.int16), rate_hz=8000, text="x")


@pytest.fixture(params=["rtp", "simulated"])
def speaker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Speaker]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        section: config.Speaker
        if request.param == "rtp":
            section = config.RtpSpeaker(name="horn", host="127.0.0.1", port=listener.getsockname()[1])
        else:
            section = config.SimulatedSpeaker(name="horn")
        yield open_speaker(section, tmp_path, SystemClock())


async def test_it_has_the_name_of_its_section(speaker: Speaker) -> None:
    assert speaker.name == "horn"


async def test_play_lasts_as_long_as_the_sound(speaker: Speaker) -> None:
    began = time.monotonic()
    delivery = await speaker.play(clip(0.3), "A")
    assert 0.29 <= time.monotonic() - began < 0.6
    assert delivery.finished
    assert delivery.played_s == pytest.approx(0.3, abs=0.02)
    assert delivery.proof in ("none", "delivered")


async def test_stop_cuts_it_short_and_it_plays_again(speaker: Speaker) -> None:
    playing = asyncio.create_task(speaker.play(clip(5), "A"))
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await speaker.stop()
    delivery = await playing
    assert time.monotonic() - began < 0.3
    assert not delivery.finished
    assert 0.1 < delivery.played_s < 0.5
    assert (await speaker.play(clip(0.1), "B")).finished


async def test_stop_without_sound_does_nothing(speaker: Speaker) -> None:
    await speaker.stop()
    assert (await speaker.play(clip(0.1), "A")).finished


async def test_a_cancelled_play_leaves_it_usable(speaker: Speaker) -> None:
    playing = asyncio.create_task(speaker.play(clip(5), "A"))
    await asyncio.sleep(0.1)
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert (await speaker.play(clip(0.1), "B")).finished


async def test_a_live_voice_is_put_through_until_it_ends(speaker: Speaker) -> None:
    voice = Live()
    playing = asyncio.create_task(speaker.live(voice, "A"))
    await asyncio.sleep(0.05)
    for n in range(10):
        voice.put(160 * n, np.full(160, 1000, np.int16))
    voice.end("over")
    delivery = await playing
    assert delivery.finished
    assert delivery.played_s >= 0.2


async def test_a_group_waits_for_its_slowest_before_the_first_sound(speaker: Speaker) -> None:
    together = asyncio.Event()

    async def ready() -> None:
        await together.wait()

    playing = asyncio.create_task(speaker.play(clip(0.1), "A", ready))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    together.set()
    delivery = await playing
    assert delivery.first_s is not None
    assert delivery.first_s >= began


async def test_the_volume_is_never_above_full_scale(speaker: Speaker) -> None:
    for percent in (500, 50, -3):
        await speaker.volume(percent)
        assert (await speaker.play(clip(0.04), "A")).finished


async def test_an_empty_clip_is_played_at_once(speaker: Speaker) -> None:
    delivery = await speaker.play(clip(0), "A")
    assert delivery.finished
    assert delivery.played_s == 0

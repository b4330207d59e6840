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
    assert time.monotonic() - began < 0.1
    assert not delivery.finished
    assert 0.1 < delivery.played_s < 0.4
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


async def test_an_empty_clip_is_played_at_once(speaker: Speaker) -> None:
    delivery = await speaker.play(clip(0), "A")
    assert delivery.finished
    assert delivery.played_s == 0

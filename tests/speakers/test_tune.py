"""The vehicle's buzzer: what lies on the wire, how long a tune lasts, and a gate that refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from edge_agent import config
from edge_agent.flight import helm
from edge_agent.flight.mavlink import Link
from edge_agent.flight.safety import PlayTune
from edge_agent.messages import Refusal
from edge_agent.runtime import DriverError, SystemClock
from edge_agent.speakers.sound import Clip
from edge_agent.speakers.tune import TuneSpeaker, tune_s

SOUND = Clip(samples=np.zeros(800, np.int16), rate_hz=8000, text="x")


@pytest.mark.parametrize(
    ("tune", "lasts_s"),
    [
        ("C", 0.5),  # a quarter at 120 beats a minute, as MMLPlayer::prepare_to_play_string sets
        ("T240L8CCCC", 0.5),
        ("MFT60O5C4.P2<N20", 1.5 + 2 + 1),
        ("C#8D-8", 0.5),
        ("", 0.0),
    ],
)
def test_a_tune_lasts_as_long_as_the_autopilot_plays_it(tune: str, lasts_s: float) -> None:
    assert tune_s(tune) == pytest.approx(lasts_s)


def test_what_is_no_note_is_named() -> None:
    with pytest.raises(ValueError, match="'X4' at character 3 is no note"):
        tune_s("C4X4")


def test_the_shipped_tune_fits_and_is_a_tune() -> None:
    tune = config.TuneSpeaker(name="buzzer").tune
    assert 1 < tune_s(tune) < 10


async def test_what_the_gate_refuses_is_told_and_nothing_sounds() -> None:
    speaker = TuneSpeaker(config.TuneSpeaker(name="buzzer", tune="C64"), SystemClock())
    with pytest.raises(DriverError, match="a running agent alone"):
        await speaker.health()
    refusal = Refusal(gate="safety.link", reason="telemetry is too old to command by")
    speaker.sound = lambda _: refusal
    with pytest.raises(DriverError, match=r"gate refuses: .*too old"):
        await speaker.play(SOUND, "A")


async def test_a_stopped_tune_gives_way_to_a_rest() -> None:
    tunes: list[str] = []
    speaker = TuneSpeaker(config.TuneSpeaker(name="buzzer", tune="T32C1"), SystemClock())
    speaker.sound = tunes.append
    await speaker.volume(50)
    playing = asyncio.create_task(speaker.play(SOUND, "A"))
    while not tunes:
        await asyncio.sleep(0)
    await speaker.stop()
    assert not (await playing).finished
    assert tunes == ["V128T32C1", "P64"]


def test_without_a_heard_autopilot_the_one_gate_refuses_and_sends_nothing(tmp_path: Path) -> None:
    link = Link(1)
    refusal = helm.sound(link, PlayTune("C"), config.Limits(), 0.0)
    assert refusal is not None
    assert refusal.gate == "safety.link"
    assert link.data_to_send() == b""
    link.play_tune("V255MFT200L8O5CGCGCGP4CGCGCGCDE")
    frame = link.data_to_send()
    # MAVLink 2, common.xml message 258: target_system, target_component, tune[30], tune2[200]; trailing zeros cut off.
    assert frame[:1] == b"\xfd"
    assert frame[7:10] == (258).to_bytes(3, "little")
    assert frame[10:-2] == b"\x01\x01" + b"V255MFT200L8O5CGCGCGP4CGCGCGCD" + b"E"

"""A drone's loudspeaker by the cloud API: whose progress counts, what is told when it fails, text instead of sound."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from speakers import fake_dji as fake
from speakers.fake_devices import PASSWORD, USER

from edge_agent import config
from edge_agent.runtime import DriverError, SystemClock
from edge_agent.speakers import Speaker, dji, djiwire, open_speaker
from edge_agent.speakers.live import Live
from edge_agent.speakers.sound import Clip

SOUND = Clip(samples=np.full(1600, 4000, np.int16), rate_hz=16000, text="请离开水边")
MD5 = "bacee8ed225fa346f6da87f67c914728"
# The example of the documentation, whose status is not one of its own table.
PROGRESS = json.loads(
    """{"bid": "x", "data": {"output": {"md5": "bacee8ed225fa346f6da87f67c914728",
    "progress": {"percent": 100, "step_key": "play"}, "psdk_index": 2, "status": "success"}, "result": 0},
    "gateway": "4TADKAQ000002J", "method": "speaker_tts_play_start_progress", "need_reply": 1, "tid": "t",
    "timestamp": 1692599531583}"""
)


@pytest.fixture
async def dock() -> AsyncIterator[fake.Dji]:
    async with fake.Dji() as dock:
        yield dock
        assert not dock.wrong, dock.wrong


def made(dock: fake.Dji, tmp_path: Path, **facts: object) -> Speaker:
    (tmp_path / "password").write_text(PASSWORD)
    section = config.DjiSpeaker(
        name="under",
        host="127.0.0.1",
        port=dock.port,
        plain=True,
        username=USER,
        password=str(tmp_path / "password"),
        gateway=fake.GATEWAY,
        **facts,
    )
    return open_speaker(section, tmp_path, SystemClock())


def test_progress_counts_for_its_own_sound_alone() -> None:
    playback = djiwire.Playback(2, MD5)
    playback.progress(PROGRESS, 5.0)
    assert playback.played == 5.0
    for other in (djiwire.Playback(1, MD5), djiwire.Playback(2, "0" * 32)):
        other.progress(PROGRESS, 5.0)
        assert other.played is None
    failing = djiwire.Playback(2, MD5)
    failing.progress(PROGRESS | {"data": PROGRESS["data"] | {"result": 325005}}, 5.0)
    assert "325005" in failing.failed


def test_what_is_no_report_changes_nothing() -> None:
    playback = djiwire.Playback(2, MD5)
    for body in (b"", b"[]", b"{}", b'{"data": 1}', b'{"data": {"psdk_widget_values": [1, {"speaker": 3}]}}', b"\xff"):
        playback.progress(djiwire.read(body), 1.0)
        playback.state(djiwire.read(body), 1.0)
    assert playback == djiwire.Playback(2, MD5)
    assert djiwire.confirmation({}, 1) is None


async def test_without_an_address_to_fetch_from_it_speaks_the_text_itself(dock: fake.Dji, tmp_path: Path) -> None:
    speaker = made(dock, tmp_path)
    delivery = await speaker.play(SOUND, "A")
    assert (delivery.finished, delivery.proof) == (True, "playing")
    assert dock.text == "请离开水边"
    assert dock.asked == ["speaker_play_volume_set", "speaker_play_mode_set", "speaker_tts_play_start"]
    assert set(dock.confirmed) == {"speaker_tts_play_start_progress"}
    recording = Clip(samples=SOUND.samples, rate_hz=16000, text="a1b2.mp3", recorded=True)
    with pytest.raises(DriverError, match="with `serve` it fetches recordings"):
        await speaker.play(recording, "B")
    with pytest.raises(DriverError, match="takes a text of 3000 bytes"):
        await speaker.play(Clip(samples=SOUND.samples, rate_hz=16000, text="水" * 1001), "C")


async def test_each_way_it_fails_is_told(dock: fake.Dji, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dji, "REPLY_S", 0.3)
    speaker = made(dock, tmp_path)
    for fault, told in (
        ("mute", "no answer to speaker_play_volume_set"),
        ("refuses", r"refused speaker_play_volume_set \(result 1\)"),
        ("breaks", "error 325005 at step upload"),
    ):
        dock.fault = fault
        with pytest.raises(DriverError, match=told):
            await speaker.play(SOUND, "A")
    with pytest.raises(DriverError, match="takes no live voice"):
        await speaker.live(Live(), "A")


async def test_a_dock_that_tells_no_progress_is_believed_only_as_far_as_it_answered(
    dock: fake.Dji, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dji, "START_S", 0.1)
    dock.fault = "quiet"
    assert (await made(dock, tmp_path).play(SOUND, "A")).proof == "accepted"


async def test_a_wrong_password_is_told_without_it(dock: fake.Dji, tmp_path: Path) -> None:
    dock.password = "another"
    with pytest.raises(DriverError, match="refuses us") as told:
        await made(dock, tmp_path).health()
    assert PASSWORD not in str(told.value)


async def test_a_cancelled_sound_is_stopped_at_the_drone(dock: fake.Dji, tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        serve = "{}:{}".format(*sock.getsockname())
    long = Clip(samples=np.full(160_000, 4000, np.int16), rate_hz=16000, text="x")
    playing = asyncio.create_task(made(dock, tmp_path, serve=serve).play(long, "A"))
    async with asyncio.timeout(20):
        while not dock.plays:
            await asyncio.sleep(0.01)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        while dock.asked[-1] != "speaker_play_stop":
            await asyncio.sleep(0.01)

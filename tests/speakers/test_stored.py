"""Clips that a device keeps: put there once, played by its number, and what its events and its self-test prove."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakers import fake_devices as fakes

from edge_agent import config
from edge_agent.runtime import DriverError, SystemClock
from edge_agent.speakers import SelfTesting, Speaker, axis, open_speaker, stored, websocket
from edge_agent.speakers.sound import Clip

SOUND = Clip(samples=np.full(800, 4000, np.int16), rate_hz=8000, text="x")


@pytest.fixture
async def horn() -> AsyncIterator[fakes.Axis]:
    async with fakes.Axis() as device:
        yield device
        assert not device.wrong, device.wrong


def made(device: fakes.Axis, tmp_path: Path) -> Speaker:
    (tmp_path / "password").write_text(fakes.PASSWORD)
    login = {"username": fakes.USER, "password": str(tmp_path / "password")}
    return open_speaker(config.AxisSpeaker(name="horn", url=device.url, clips=True, **login), tmp_path, SystemClock())


async def test_a_clip_is_put_there_once_and_again_after_a_reset(horn: fakes.Axis, tmp_path: Path) -> None:
    speaker = made(horn, tmp_path)
    for _ in range(2):
        assert (await speaker.play(SOUND, "A")).proof == "playing"
    assert sum("action=upload" in asked for asked in horn.asked) == 1
    horn.store.clear()
    assert (await speaker.play(SOUND, "A")).finished
    assert sum("action=upload" in asked for asked in horn.asked) == 2


async def test_a_full_device_is_sent_the_sound_as_it_is_played(horn: fakes.Axis, tmp_path: Path) -> None:
    horn.full = True
    delivery = await made(horn, tmp_path).play(SOUND, "A")
    assert (delivery.finished, delivery.proof) == (True, "delivered")
    assert len(horn.samples()) == 800


async def test_no_more_than_so_many_clips_of_ours_stay_and_others_are_left_alone(
    horn: fakes.Axis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "KEEP", 2)
    horn.store[1] = ("doorbell", b"")
    speaker = made(horn, tmp_path)
    for level in (1, 2, 3):
        await speaker.play(Clip(samples=np.full(80, level, np.int16), rate_hz=8000, text="x"), "A")
    assert next(iter(horn.store.values()))[0] == "doorbell"
    assert len(horn.store) == 3


@pytest.mark.parametrize(
    ("fault", "status", "proof"),
    [
        ("silent", "OK", "accepted"),  # no event: a good speaker that does not play proves nothing
        ("old", "OK", "accepted"),
        ("", "Failed", "playing"),
        ("", "Uncalibrated", "playing"),
        ("", "OK", "tested"),
    ],
)
async def test_tested_wants_both_the_event_and_a_fresh_self_test(
    horn: fakes.Axis, tmp_path: Path, fault: str, status: str, proof: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "silent":
        monkeypatch.setattr(stored, "TAIL_S", 0.1)
    horn.fault, horn.tested = fault, {"SpeakerTestStatus": status, "TestTimestamp": horn.date()}
    assert (await made(horn, tmp_path).play(SOUND, "A")).proof == proof


async def test_a_test_of_last_week_proves_nothing_until_it_is_done_again(
    horn: fakes.Axis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(axis, "LOOK_AT_TEST_S", 0.01)
    horn.tested = {"SpeakerTestStatus": "OK", "TestTimestamp": "2015-06-10T16:38:45Z"}
    speaker = made(horn, tmp_path)
    assert (await speaker.play(SOUND, "A")).proof == "playing"
    assert isinstance(speaker, SelfTesting)
    assert await speaker.self_test() == "OK"
    assert (await speaker.play(SOUND, "A")).proof == "tested"


async def test_a_clip_that_the_device_does_not_play_is_told(horn: fakes.Axis, tmp_path: Path) -> None:
    speaker = made(horn, tmp_path)
    await speaker.play(SOUND, "A")
    horn.password = "another"
    with pytest.raises(DriverError, match="wrong user name or password"):
        await speaker.play(SOUND, "A")


# --- RFC 6455 -----------------------------------------------------------------------------------------------------


def test_the_handshake_and_the_frames_are_those_of_the_standard() -> None:
    assert websocket.accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # 1.3
    hello = bytes.fromhex("81 05 48 65 6c 6c 6f")  # 5.7: a single-frame unmasked text message
    assert websocket.frame(websocket.TEXT, b"Hello") == hello
    masked = bytes.fromhex("81 85 37 fa 21 3d 7f 9f 4d 51 58")  # 5.7: the same, masked
    assert websocket.frame(websocket.TEXT, b"Hello", bytes.fromhex("37fa213d")) == masked
    assert websocket.Reader(wants_mask=True).feed(masked) == [(websocket.TEXT, b"Hello")]
    fragments = bytes.fromhex("01 03 48 65 6c 89 00 80 02 6c 6f")  # 5.7, with a ping between them
    assert websocket.Reader(wants_mask=False).feed(fragments) == [(websocket.PING, b""), (websocket.TEXT, b"Hello")]


@settings(max_examples=30)
@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4), st.integers(1, 4000))
def test_a_frame_survives_any_cut(data: bytes, mask: bytes, step: int) -> None:
    wire, reader = websocket.frame(websocket.BINARY, data, mask), websocket.Reader(wants_mask=True)
    found = [one for at in range(0, len(wire), step) for one in reader.feed(wire[at : at + step])]
    assert found == [(websocket.BINARY, data)]


@pytest.mark.parametrize(
    "wire", ["8105 48656c6c6f", "c185 37fa213d 7f9f4d5158", "80 80 00000000", "81 ff 7fffffffffffffff"]
)
def test_what_breaks_the_standard_ends_the_connection(wire: str) -> None:
    with pytest.raises(websocket.ProtocolError):
        websocket.Reader(wants_mask=True).feed(bytes.fromhex(wire.replace(" ", "")))

"""Was it heard: the chirp in noise and echo, a microphone, and recordings that are played as clips."""

from __future__ import annotations

import asyncio
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from edge_agent import config
from edge_agent.runtime import DriverError, SystemClock
from edge_agent.speakers import alsa, recordings
from edge_agent.speakers.chirp import find_chirp
from edge_agent.speakers.ear import Ear
from edge_agent.speakers.local import LocalSpeaker
from edge_agent.speakers.sound import TONE_S, attention_tone, rms_dbfs
from edge_agent.speakers.voice import Voice

RATE = 8000


def recording(file: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    with wave.open(str(file), "wb") as wav:
        wav.setparams((1, 2, rate, 0, "NONE", ""))
        wav.writeframes((samples * 32767).astype("<i2").tobytes())
    return file


def street(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Noise as of traffic: the deeper the louder."""
    noise = rng.standard_normal(round(RATE * seconds))
    rumble = np.convolve(noise, np.ones(8) / 8, "same")
    return rumble / rumble.std() * 0.05


def at_snr(noise: np.ndarray, snr_db: float, at_s: float, echo: bool) -> np.ndarray:
    tone = attention_tone(RATE, -16)
    if echo:
        room = np.zeros(1600)
        room[[0, 300, 700, 1400]] = [1, 0.6, 0.4, 0.2]
        tone = np.convolve(tone, room)[: len(tone) + 800]
    tone *= noise.std() * 10 ** (snr_db / 20) / tone.std()
    mixed = noise.copy()
    begin = round(at_s * RATE)
    mixed[begin : begin + len(tone)] += tone
    return mixed


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("snr_db", [10, 0, -5])
def test_the_chirp_is_found_in_noise_where_it_is(snr_db: float, echo: bool) -> None:
    rng = np.random.default_rng(7)
    for n in range(8):
        found = find_chirp(at_snr(street(rng, 6), snr_db, 1 + n / 3, echo), RATE)
        assert found is not None
        assert found.at_s == pytest.approx(1 + n / 3 + TONE_S, abs=0.01)


def test_noise_and_other_sounds_are_not_taken_for_it() -> None:
    rng = np.random.default_rng(8)
    t = np.arange(6 * RATE) / RATE
    siren = np.sin(2 * np.pi * (900 * t + 80 * np.sin(2 * np.pi * t)))
    for n in range(12):
        assert find_chirp(street(rng, 6), RATE) is None
        assert find_chirp(street(rng, 6) + 0.2 * siren * (n % 3), RATE) is None
    assert find_chirp(np.zeros(RATE), RATE) is None
    assert find_chirp(np.zeros(10), RATE) is None


async def test_speech_is_not_taken_for_it() -> None:
    from edge_agent.messages import Phrase

    clip = await Voice(config.Voice(tone=False)).render((Phrase(text="危险，请马上离开水边，注意安全。"),))
    assert find_chirp(clip.samples / 32768, RATE) is None


async def test_a_microphone_hears_the_last_seconds_and_says_when_it_ends(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    file = recording(tmp_path / "mic.wav", np.clip(at_snr(street(rng, 3), 10, 1, False), -1, 1))
    ear = Ear(str(file), SystemClock())
    began = time.monotonic()
    heard: list[np.ndarray] = []

    async def watch() -> None:
        while True:
            heard.append(ear.since(began - 1)[1])
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    with pytest.raises(DriverError, match="its sound ended"):
        await ear.run()
    watching.cancel()
    assert find_chirp(max(heard, key=len), RATE) is not None
    assert len(ear.since(began - 1)[1]) == 0  # nothing is kept
    with pytest.raises(DriverError, match=r"microphone .*nothing"):
        await Ear(str(tmp_path / "nothing"), SystemClock()).run()


@pytest.mark.skipif(not alsa.SYSTEM.is_dir(), reason="libasound2-data is not installed")
async def test_a_sound_card_is_found_by_the_name_that_the_system_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ALSA library in PyAV's wheels knows no name at all by itself."""
    for name in ("ALSA_CONFIG_PATH", "ALSA_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    await LocalSpeaker(config.LocalSpeaker(name="horn", device="null"), SystemClock()).health()
    monkeypatch.delenv("ALSA_CONFIG_DIR")
    frames = Ear("alsa:null", SystemClock())._open()
    assert len(next(frames)) > 0
    frames.close()
    monkeypatch.delenv("ALSA_CONFIG_DIR")


# --- recordings ---------------------------------------------------------------------------------------------------


async def test_a_recording_of_any_rate_is_played_as_loud_as_speech(tmp_path: Path) -> None:
    t = np.arange(44100) / 44100
    name = recordings.keep(
        recording(tmp_path / "Horn.WAV", 0.01 * np.sin(2 * np.pi * 700 * t), 44100), tmp_path / "clips"
    )
    assert name.endswith(".wav")
    assert recordings.keep(tmp_path / "Horn.WAV", tmp_path / "clips") == name
    clip = await Voice(config.Voice(tone=False), clips=tmp_path / "clips").clip(name, 16000)
    assert clip.duration_s == pytest.approx(1, abs=0.02)
    assert rms_dbfs(clip.samples / 32768, 16000) == pytest.approx(-16, abs=1)
    assert (await Voice(config.Voice(), clips=tmp_path / "clips").clip(name)).tone_hz == 1000


async def test_what_is_no_clip_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voice = Voice(config.Voice(), clips=tmp_path)
    with pytest.raises(ValueError, match="no such clip"):
        await voice.clip("nothing.wav")
    with pytest.raises(ValueError, match="no store"):
        await Voice(config.Voice()).clip("x.wav")
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.wav: "):
        await voice.clip("text.wav")
    monkeypatch.setattr(recordings, "MAX_S", 1.0)
    recording(tmp_path / "long.wav", np.zeros(RATE * 3))
    began = time.monotonic()
    with pytest.raises(ValueError, match="lasts 3 s; 1 s are the most"):
        recordings.decode(tmp_path / "long.wav", RATE)
    assert time.monotonic() - began < 2
    monkeypatch.setattr(recordings, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match="bytes"):
        recordings.keep(tmp_path / "long.wav", tmp_path / "clips")


def test_noise_is_the_level_of_the_quieter_half_so_that_one_bang_changes_nothing() -> None:
    class Clock(SystemClock):
        def monotonic(self) -> float:
            return 100.0

    ear = Ear("alsa:x", Clock())
    assert ear.noise_dbfs() is None
    rng = np.random.default_rng(3)
    for second in range(5):
        for part in range(10):
            loud = 12_000 if (second, part) == (2, 3) else 328  # -40 dBFS
            frame = (rng.standard_normal(800) * loud).astype(np.int16)
            ear._heard.append((94.0 + second + part / 10, frame))
    assert ear.noise_dbfs() == pytest.approx(-40.0, abs=0.7)

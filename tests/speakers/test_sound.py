"""Resampling, loudness and the attention tone."""

import hashlib

import numpy as np
import pytest

from edge_agent.speakers import sound


def sine(hz: float, rate_hz: int = 22050, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(int(rate_hz * seconds)) / rate_hz)


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10((samples**2).mean() + 1e-20))


@pytest.mark.parametrize("hz", [50, 440, 1000, 3000, 3400])
def test_resampling_keeps_what_fits(hz: float) -> None:
    out = sound.resampled(sine(hz), 22050, 8000)
    assert len(out) == 8000
    middle = slice(500, -500)
    assert np.abs(out - sine(hz, 8000))[middle].max() < 0.002  # same phase, same size


@pytest.mark.parametrize("hz", [4001, 4500, 5000, 7000, 11000])
def test_resampling_lets_nothing_fold_back(hz: float) -> None:
    out = sound.resampled(sine(hz), 22050, 8000)
    assert level_db(out[500:-500]) < level_db(sine(hz)) - 65


@pytest.mark.parametrize(("from_hz", "to_hz"), [(8000, 8000), (22050, 16000), (16000, 48000)])
def test_other_rates_keep_duration_and_pitch(from_hz: int, to_hz: int) -> None:
    out = sound.resampled(sine(1000, from_hz), from_hz, to_hz)
    assert len(out) == to_hz
    assert np.abs(np.fft.rfft(out)).argmax() == 1000


def test_resampling_nothing_gives_nothing() -> None:
    assert len(sound.resampled(np.zeros(0), 22050, 8000)) == 0
    assert len(sound.resampled(np.zeros(1), 22050, 8000)) == 0


@pytest.mark.parametrize("level", [-40.0, -16.0, -9.0])
def test_speech_is_brought_to_its_level_and_never_clips(level: float) -> None:
    rng = np.random.default_rng(1)
    bursts = np.repeat(rng.uniform(0.05, 1, 40), 400) * rng.laplace(0, 0.1, 16000)  # a crest like that of speech
    out = sound.at_level(bursts, 8000, level)
    assert abs(sound.rms_dbfs(out, 8000) - level) < 0.2
    assert np.abs(out).max() <= 10 ** (sound.CEILING_DBFS / 20)


def test_a_level_that_the_ceiling_forbids_does_not_break() -> None:
    out = sound.at_level(sine(440, 8000), 8000, 0.0)
    assert -3.0 < sound.rms_dbfs(out, 8000) < 0.0
    assert np.abs(out).max() <= 10 ** (sound.CEILING_DBFS / 20)
    silent = np.zeros(800)
    assert sound.at_level(silent, 8000, -16.0) is silent


def test_level_is_measured_on_speech_and_not_on_pauses() -> None:
    speech = sine(440, 8000)
    assert sound.rms_dbfs(np.concatenate([speech, np.zeros(16000)]), 8000) == pytest.approx(level_db(speech), abs=0.1)
    assert sound.rms_dbfs(np.zeros(0), 8000) == -np.inf


def test_the_attention_tone_is_a_steady_tone_then_a_rising_chirp() -> None:
    tone = sound.attention_tone(8000, -16.0)
    assert len(tone) == 0.5 * 8000
    assert level_db(tone) == pytest.approx(-16.0, abs=0.5)
    steady, chirp = np.split(tone, [round(sound.TONE_S * 8000)])
    spectrum = np.abs(np.fft.rfft(steady, 8000))
    assert spectrum.argmax() == pytest.approx(sound.TONE_HZ, abs=5)
    thirds = [np.abs(np.fft.rfft(part, 8000)).argmax() for part in np.array_split(chirp, 8)]
    assert thirds == sorted(thirds)
    assert sound.CHIRP_FROM_HZ <= thirds[0] < 900
    assert 2500 < thirds[-1] <= sound.CHIRP_TO_HZ + 50


def test_a_clip_is_named_by_the_hash_of_its_samples() -> None:
    clip = sound.Clip(samples=np.array([1, -2], np.int16), rate_hz=8000, text="x")
    assert clip.sha256 == hashlib.sha256(b"\x01\x00\xfe\xff").hexdigest()
    assert clip.duration_s == 2 / 8000


def test_pcm_is_cut_at_full_scale() -> None:
    assert sound.to_pcm(np.array([0.0, 0.5, 1.5, -1.5])).tolist() == [0, 16384, 32767, -32768]


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_the_loudness_of_ebu_r128(rate_hz: int) -> None:
    """EBU Tech 3341, case 1 by way of BS.1770: a full-scale 997 Hz sine on one channel is -3.01 LUFS."""
    t = np.arange(5 * rate_hz) / rate_hz
    sine = np.sin(2 * np.pi * 997 * t)
    assert sound.loudness_lufs(sine, rate_hz) == pytest.approx(-3.01, abs=0.1)
    assert sound.loudness_lufs(sine / 100, rate_hz) == pytest.approx(-43.01, abs=0.1)
    pauses = np.concatenate([sine / 10, np.zeros(20 * rate_hz), sine / 10])
    assert sound.loudness_lufs(pauses, rate_hz) == pytest.approx(-23.01, abs=0.3)  # the gate leaves pauses out
    assert sound.loudness_lufs(np.zeros(rate_hz), rate_hz) == -np.inf
    assert sound.loudness_lufs(np.zeros(0), rate_hz) == -np.inf
    assert sound.loudness_lufs(sine[: rate_hz // 5], rate_hz) == pytest.approx(-3.01, abs=1)


def test_the_loudness_is_that_of_ffmpegs_own_meter() -> None:
    import av
    import av.filter

    rate = 48000
    rng = np.random.default_rng(3)
    speech = (rng.standard_normal(6 * rate) * np.abs(np.sin(np.arange(6 * rate) / 9000)) * 3000).astype(np.int16)
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="s16", sample_rate=rate, layout="mono")
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter), meter.link_to(sink)
    graph.configure()
    read = ""
    for start in range(0, len(speech), 4800):
        frame = av.AudioFrame.from_ndarray(speech[None, start : start + 4800], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, start
        graph.push(frame)
        while True:
            try:
                read = dict(graph.pull().metadata).get("lavfi.r128.I", read)
            except (BlockingIOError, EOFError):
                break
    if not read:
        pytest.skip("this PyAV gives no metadata of frames")
    assert sound.loudness_lufs(speech / 32768, rate) == pytest.approx(float(read), abs=0.3)

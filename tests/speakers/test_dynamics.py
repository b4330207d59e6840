"""High-pass and compressor: what is loud is tamed, what is quiet is not lost, and nothing is made of silence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.speakers import dynamics, sound

RATE = 8000


def tone(hz: float, level_dbfs: float, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(round(RATE * seconds)) / RATE
    return np.sqrt(2) * 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * hz * t)


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10((samples**2).mean() + 1e-20))


def speech_like() -> np.ndarray:
    """Syllables of very different loudness: 20 dB apart, 200 ms each."""
    return np.concatenate([tone(700, level, 0.2) for level in (-12, -32, -14, -30, -12, -34, -16, -28)])


@pytest.mark.parametrize(("hz", "change_db"), [(60, -55.9), (150, -24.1), (300, -3.0), (600, 0.0), (3000, 0.0)])
def test_the_high_pass_is_butterworths_of_fourth_order(hz: float, change_db: float) -> None:
    before = tone(hz, -20, 4)
    assert level_db(dynamics.high_passed(before, RATE)[RATE:-RATE]) - level_db(before) == pytest.approx(
        change_db, abs=0.3
    )


def test_quiet_syllables_come_nearer_to_the_loud_ones() -> None:
    before = speech_like()
    after = dynamics.compressed(before, RATE)
    spreads = []
    for sound_ in (before, after):
        levels = [level_db(part[600:-200]) for part in np.split(sound_, 8)]
        spreads.append(np.mean(levels[::2]) - np.mean(levels[1::2]))
    assert spreads[0] == pytest.approx(17.5, abs=1)
    assert spreads[1] < spreads[0] - 5


def test_at_the_same_loudness_less_is_left_to_the_limiter() -> None:
    rng = np.random.default_rng(1)
    bursts = dynamics.high_passed(np.repeat(rng.uniform(0.02, 1, 80) ** 2, 400) * rng.normal(0, 0.1, 32000), RATE)
    peaks = []
    for one in (bursts, dynamics.compressed(bursts, RATE)):
        loud = one * 10 ** ((-16 - sound.loudness_lufs(one, RATE)) / 20)
        peaks.append(20 * np.log10(np.abs(loud).max()))
    assert peaks[1] < peaks[0] - 0.8


def test_a_steady_tone_stays_a_pure_tone() -> None:
    after = dynamics.compressed(tone(1000, -10), RATE)[800:-800]
    spectrum = np.abs(np.fft.rfft(after * np.hanning(len(after)))) ** 2
    at = spectrum.argmax()
    assert at * RATE / len(after) == pytest.approx(1000, abs=2)
    rest = spectrum.sum() - spectrum[at - 4 : at + 5].sum()
    assert 10 * np.log10(rest / spectrum.sum()) < -50


@settings(max_examples=20)
@given(st.floats(0.001, 1.0))
def test_how_loud_it_was_recorded_changes_nothing_but_the_scale(scale: float) -> None:
    before = speech_like()
    assert np.allclose(dynamics.compressed(before * scale, RATE), dynamics.compressed(before, RATE) * scale, atol=1e-4)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(800), np.full(3, 0.5)])
def test_silence_and_next_to_nothing_stay_what_they_are(samples: np.ndarray) -> None:
    after = dynamics.compressed(samples, RATE)
    assert len(after) == len(samples)
    assert np.isfinite(after).all()

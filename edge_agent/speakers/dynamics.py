"""What a horn in the open needs of speech: no low end that it cannot give, and quiet syllables that are not lost. Pure.

A high-pass at 300 Hz (below it a horn has only distortion), then a feed-forward compressor: above the threshold, which
lies below the speech's own level, six decibels more come out as one. Its gain follows the loudness of 5 ms frames,
quickly down and slowly up, and is interpolated between them, so that it neither clicks nor pumps.
"""

from __future__ import annotations

import numpy as np

from edge_agent.speakers.sound import Floats, rms_dbfs

HIGH_PASS_HZ = 300.0
THRESHOLD_DB = -6.0  # from the speech's own level
RATIO = 6.0
KNEE_DB = 6.0
ATTACK_S = 0.005
RELEASE_S = 0.080
_FRAME_S = 0.005
_QUIETEST_DB = -120.0


def compressed(samples: Floats, rate_hz: int) -> Floats:
    """Speech with less between its loud and its quiet parts; its level is for `sound.at_level` to set."""
    level_db = rms_dbfs(samples, rate_hz)
    if level_db == -np.inf:
        return samples
    passed = high_passed(samples, rate_hz)
    size = max(1, round(_FRAME_S * rate_hz))
    padded = np.pad(passed, (0, -len(passed) % size))
    frames = (padded.reshape(-1, size) ** 2).mean(axis=1)
    over_db = np.maximum(10 * np.log10(frames + 1e-12), _QUIETEST_DB) - (level_db + THRESHOLD_DB)
    gain_db = _followed(_reduction(over_db))
    middles = (np.arange(len(frames)) + 0.5) * size
    gains = 10 ** (np.interp(np.arange(len(passed)), middles, gain_db) / 20)
    out: Floats = passed * gains
    return out


def high_passed(samples: Floats, rate_hz: int) -> Floats:
    """Fourth-order Butterworth's magnitude at `HIGH_PASS_HZ`, without its delay (the sound is whole, so it may)."""
    size = 1 << (len(samples) + rate_hz // 4).bit_length()
    ratio = np.fft.rfftfreq(size, 1 / rate_hz) / HIGH_PASS_HZ
    response = ratio**4 / np.sqrt(1 + ratio**8)
    passed: Floats = np.fft.irfft(np.fft.rfft(samples, size) * response, size)[: len(samples)]
    return passed


def _reduction(over_db: Floats) -> Floats:
    """The static curve with a soft knee (Giannoulis, Massberg, Reiss 2012, equation 4): decibels to take away, <= 0."""
    knee = (over_db + KNEE_DB / 2) ** 2 / (2 * KNEE_DB)
    bent: Floats = np.where(over_db < -KNEE_DB / 2, 0.0, np.where(over_db > KNEE_DB / 2, over_db, knee))
    return bent * (1 / RATIO - 1)


def _followed(wanted_db: Floats) -> Floats:
    """The gain that is applied: towards more reduction with the attack, towards less with the release."""
    attack, release = (1 - np.exp(-_FRAME_S / time_s) for time_s in (ATTACK_S, RELEASE_S))
    followed, now_db = np.empty(len(wanted_db)), 0.0
    for at, want_db in enumerate(wanted_db):
        now_db += (want_db - now_db) * (attack if want_db < now_db else release)
        followed[at] = now_db
    return followed

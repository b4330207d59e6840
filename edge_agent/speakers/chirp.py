"""Was it heard? The chirp of the attention tone, found in what a microphone took down. Pure; samples are -1..1.

A whitened matched filter: within the chirp's band every frequency counts alike, so that neither hum nor the room's
resonances decide. The chirp is 0.2 s over 2.5 kHz, a time-bandwidth product of 500: 27 dB out of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_agent.speakers.sound import CHIRP_FROM_HZ, CHIRP_S, CHIRP_TO_HZ, Floats, chirp, rms_dbfs

THRESHOLD = 8.0  # times the scatter of all other places; noise alone reaches 5 in ten seconds
_SMOOTH_HZ = 60.0


@dataclass(frozen=True)
class Found:
    """Where the chirp begins, how far it stands out (times the scatter), and how loud it was."""

    at_s: float
    score: float
    level_dbfs: float


def find_chirp(samples: Floats, rate_hz: int) -> Found | None:
    """The chirp in a recording, or `None` where nothing stands out enough."""
    wanted = chirp(rate_hz)
    if len(samples) < len(wanted) or not np.any(samples):
        return None
    size = 1 << (len(samples) + len(wanted)).bit_length()
    heard, pattern = np.fft.rfft(samples, size), np.fft.rfft(wanted, size)
    frequency = np.fft.rfftfreq(size, 1 / rate_hz)
    band = (frequency > CHIRP_FROM_HZ) & (frequency < CHIRP_TO_HZ)
    width = max(1, round(_SMOOTH_HZ * size / rate_hz))
    around = np.convolve(np.abs(heard), np.ones(width) / width, "same")
    product = np.zeros(len(heard), complex)
    product[band] = heard[band] / (around[band] + 1e-12) * np.exp(-1j * np.angle(pattern[band]))
    match = np.abs(np.fft.irfft(product, size))[: len(samples) - len(wanted) + 1]
    at = int(match.argmax())
    near = round(0.02 * rate_hz)
    elsewhere = np.concatenate([match[: max(0, at - near)], match[at + near :]])
    if len(elsewhere) < rate_hz // 10:
        return None
    score = float(match[at] / (np.sqrt((elsewhere**2).mean()) + 1e-12))
    if score < THRESHOLD:
        return None
    return Found(at / rate_hz, score, rms_dbfs(samples[at : at + round(CHIRP_S * rate_hz)], rate_hz))

"""Sound as numbers: clips, the attention tone, loudness, resampling. Pure; samples are mono, -1..1 where float."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gcd, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pcm = NDArray[np.int16]
Measure = Callable[[Floats, int], float]

# The attention tone: a steady tone that any ear and any FFT finds, then a chirp whose matched filter marks the clip.
TONE_HZ = 1000.0
TONE_S = 0.3
CHIRP_FROM_HZ = 500.0
CHIRP_TO_HZ = 3000.0
CHIRP_S = 0.2
GAP_S = 0.25  # after the tone and between phrases
CEILING_DBFS = -1.0

_FADE_S = 0.005
_KNEE = 0.6  # of the ceiling: below it the limiter changes nothing


@dataclass(frozen=True, eq=False)
class Clip:
    """What is sent to a speaker: 16-bit mono PCM and the text that it says."""

    samples: Pcm
    rate_hz: int
    text: str
    tone_hz: float | None = None  # of the attention tone it begins with
    recorded: bool = False  # its text is only the name of a recording

    @cached_property
    def sha256(self) -> str:
        """Of the PCM, little endian."""
        return hashlib.sha256(self.samples.astype("<i2").tobytes()).hexdigest()

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz


def attention_tone(rate_hz: int, level_dbfs: float) -> Floats:
    """`TONE_S` of `TONE_HZ`, then the chirp, at an RMS of `level_dbfs`."""
    steady = np.sin(2 * np.pi * TONE_HZ * np.arange(round(TONE_S * rate_hz)) / rate_hz)
    amplitude = min(sqrt(2) * _linear(level_dbfs), _linear(CEILING_DBFS))
    tone: Floats = amplitude * np.concatenate([_faded(steady, rate_hz), chirp(rate_hz)])
    return tone


def chirp(rate_hz: int) -> Floats:
    """`CHIRP_S` at full scale, rising from `CHIRP_FROM_HZ` to `CHIRP_TO_HZ`."""
    t = np.arange(round(CHIRP_S * rate_hz)) / rate_hz
    rising = np.sin(2 * np.pi * (CHIRP_FROM_HZ * t + (CHIRP_TO_HZ - CHIRP_FROM_HZ) / (2 * CHIRP_S) * t * t))
    return _faded(rising, rate_hz)


def at_level(samples: Floats, rate_hz: int, level: float, measure: Measure | None = None) -> Floats:
    """Bring speech to a level by some measure (`rms_dbfs`, or `loudness_lufs`), peaks limited to `CEILING_DBFS`.

    A level that the ceiling forbids is met as nearly as it can be without turning speech into a square wave.
    """
    quiet, loud = -60.0, 60.0
    measure = measure or rms_dbfs
    if measure(samples, rate_hz) == -np.inf:
        return samples
    for _ in range(16):  # the limiter takes level away: search for the gain that makes up for it
        gain_db = (quiet + loud) / 2
        if measure(_limited(samples * _linear(gain_db)), rate_hz) < level:
            quiet = gain_db
        else:
            loud = gain_db
    peak = float(np.abs(samples).max())
    return _limited(samples * min(_linear(quiet), 10 / peak))


def rms_dbfs(samples: Floats, rate_hz: int) -> float:
    """RMS of the spoken parts: 20 ms frames within 30 dB of the loudest one; -inf for silence."""
    frame = max(1, rate_hz // 50)
    padded = np.pad(samples, (0, -len(samples) % frame))
    powers = (padded.reshape(-1, frame) ** 2).mean(axis=1)
    if len(powers) == 0 or powers.max() == 0:
        return -np.inf
    return float(10 * np.log10(powers[powers >= powers.max() / 1000].mean()))


def loudness_lufs(samples: Floats, rate_hz: int) -> float:
    """Integrated loudness of a mono sound by EBU R128 (ITU-R BS.1770-4); -inf for silence.

    K-weighted blocks of 400 ms every 100 ms, without those below -70 LUFS, then without those 10 LU below the mean.
    """
    size = 1 << (len(samples) + rate_hz // 2).bit_length()  # with room for the filter to ring out
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    weighted = np.fft.irfft(np.fft.rfft(samples, size) * _k_weighting(turn, rate_hz), size)[: len(samples)]
    step = rate_hz // 10
    energy = np.add.reduceat(weighted**2, np.arange(0, max(len(samples), 1), step)) if len(samples) else np.zeros(1)
    blocks = (
        np.convolve(energy, np.ones(4), "valid") / (4 * step)
        if len(energy) >= 4
        else energy.sum(keepdims=True) / max(len(samples), 1)
    )
    loud = blocks[blocks > 10 ** ((-70 + 0.691) / 10)]
    if len(loud) == 0:
        return -np.inf
    kept = loud[loud > loud.mean() / 10]
    return float(-0.691 + 10 * np.log10(kept.mean()))


def _k_weighting(turn: NDArray[np.complex128], rate_hz: int) -> NDArray[np.complex128]:
    """The response of BS.1770's two filters (its annex 1): a shelf for the head, then a high-pass."""
    k, q = np.tan(np.pi * 1681.974450955533 / rate_hz), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    shelf = (high + band * k / q + k * k) + 2 * (k * k - high) * turn + (high - band * k / q + k * k) * turn**2
    shelf /= (1 + k / q + k * k) + 2 * (k * k - 1) * turn + (1 - k / q + k * k) * turn**2
    k, q = np.tan(np.pi * 38.13547087602444 / rate_hz), 0.5003270373238773
    passed = 1 - 2 * turn + turn**2
    passed /= 1 + (2 * (k * k - 1) * turn + (1 - k / q + k * k) * turn**2) / (1 + k / q + k * k)
    response: NDArray[np.complex128] = shelf * passed
    return response


def resampled(samples: Floats, from_hz: int, to_hz: int) -> Floats:
    """Change the rate by a windowed-sinc low-pass (Kaiser, -70 dB), flat to 0.85 and shut from 1.0 of the Nyquist rate.

    Each output sample is the dot product of its neighbourhood and the filter at its phase (polyphase form).
    """
    if from_hz == to_hz or len(samples) == 0:
        return samples
    half, phases = _filters(from_hz, to_hz)
    up, down = to_hz // gcd(from_hz, to_hz), from_hz // gcd(from_hz, to_hz)
    positions = np.arange(len(samples) * up // down) * down
    padded = np.pad(samples, half)
    around = np.arange(2 * half)
    out = np.empty(len(positions))
    for start in range(0, len(positions), 8192):  # a whole clip at once would take a hundred megabytes
        block = positions[start : start + 8192]
        out[start : start + 8192] = np.einsum(
            "ij,ij->i", padded[(block // up)[:, None] + around + 1], phases[block % up]
        )
    return out


def to_pcm(samples: Floats) -> Pcm:
    """16-bit samples; what lies beyond full scale is cut."""
    return np.clip(np.round(samples * 32767), -32768, 32767).astype(np.int16)


@lru_cache(maxsize=4)
def _filters(from_hz: int, to_hz: int) -> tuple[int, Floats]:
    """Half the length in input samples, and one filter per phase: `[up, 2 * half]`."""
    nyquist = min(from_hz, to_hz) / 2
    cutoff = 0.925 * nyquist / from_hz  # in cycles per input sample
    width = 0.15 * nyquist / from_hz
    half = int(np.ceil((70 - 7.95) / (14.36 * width) / 2)) + 1  # Kaiser's estimate of the length
    up = to_hz // gcd(from_hz, to_hz)
    offset = np.arange(-half + 1, half + 1)[None, :] - (np.arange(up) / up)[:, None]
    window = np.i0(6.76 * np.sqrt(np.clip(1 - (offset / half) ** 2, 0, 1))) / np.i0(6.76)
    filters = 2 * cutoff * np.sinc(2 * cutoff * offset) * window
    return half, filters / filters.sum(axis=1, keepdims=True)


def _limited(samples: Floats) -> Floats:
    """Straight up to a knee, from there bent so that it never passes the ceiling."""
    ceiling = _linear(CEILING_DBFS)
    knee = _KNEE * ceiling
    size = np.abs(samples)
    bent = knee + (ceiling - knee) * np.tanh((size - knee) / (ceiling - knee))
    return np.sign(samples) * np.where(size <= knee, size, bent)


def _faded(samples: Floats, rate_hz: int) -> Floats:
    ramp = np.linspace(0, 1, round(_FADE_S * rate_hz))
    samples = samples.copy()
    samples[: len(ramp)] *= ramp
    samples[-len(ramp) :] *= ramp[::-1]
    return samples


def _linear(db: float) -> float:
    return float(10 ** (db / 20))

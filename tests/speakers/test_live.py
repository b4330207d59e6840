"""A live voice: packets in any order come out as they were spoken, one step every 20 ms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.speakers.live import MOST, PREFILL, STEP, Live, Tap
from edge_agent.speakers.sound import Pcm


def spoken(steps: int) -> Pcm:
    return np.arange(1, steps * STEP + 1, dtype=np.int16)


def drained(tap: Tap, most: int = 200) -> list[Pcm]:
    heard = []
    while (step := tap.take()) is not None:
        heard.append(step)
        assert len(heard) < most, "it never ends"
    return heard


def heard(tap: Tap) -> Pcm:
    """All of it, without the silence before."""
    samples = np.concatenate([*drained(tap), np.zeros(0, np.int16)])
    first = np.flatnonzero(samples)
    return samples[first[0] :] if len(first) else samples[:0]


def test_a_tap_holds_back_60_ms_and_is_silent_until_then() -> None:
    voice = Live()
    tap = voice.tap(8000)
    for n in range(3):
        assert not tap.take().any()
        voice.put(1000 + n * STEP, spoken(4)[n * STEP : (n + 1) * STEP])
    assert tap.take().tolist() == spoken(1).tolist()
    assert PREFILL == 3 * STEP


@given(
    st.integers(1, 14).flatmap(lambda steps: st.permutations(range(steps))),
    st.integers(0, 2**32 - 1),
    st.sampled_from([80, 160, 240]),
)
def test_packets_of_any_size_in_any_order_become_what_was_said(order: list[int], start: int, size: int) -> None:
    said = np.arange(1, len(order) * size + 1, dtype=np.int16)
    voice = Live()
    tap = voice.tap(8000)
    for n in [0, *(n for n in order if n)]:  # the first packet begins the voice's time
        voice.put((start + n * size) % 2**32, said[n * size : (n + 1) * size])
    voice.end("over")
    if len(said) <= MOST:
        assert heard(tap)[: len(said)].tolist() == said.tolist()
    assert voice.heard_s == pytest.approx(len(said) / 8000)


def test_a_lost_packet_is_20_ms_of_silence_and_shifts_nothing() -> None:
    voice, said = Live(), spoken(6)
    tap = voice.tap(8000)
    for n in (0, 1, 2, 4, 5):
        voice.put(n * STEP, said[n * STEP : (n + 1) * STEP])
    voice.end("over")
    whole = said.copy()
    whole[3 * STEP : 4 * STEP] = 0
    assert heard(tap).tolist() == whole.tolist()


def test_a_packet_that_comes_too_late_is_left_out() -> None:
    voice, said = Live(), spoken(6)
    tap = voice.tap(8000)
    for n in (0, 2, 3, 4):
        voice.put(n * STEP, said[n * STEP : (n + 1) * STEP])
    assert tap.take()[0] == 1
    assert not tap.take().any()
    voice.put(STEP, said[STEP : 2 * STEP])  # its time is over
    assert tap.take()[0] == 2 * STEP + 1


def test_a_burst_is_cut_to_the_newest_so_that_nobody_is_heard_late() -> None:
    voice, said = Live(), spoken(100)
    tap = voice.tap(8000)
    for n in range(100):
        voice.put(n * STEP, said[n * STEP : (n + 1) * STEP])
    voice.end("over")
    assert heard(tap).tolist() == said[-MOST:].tolist()


def test_a_voice_that_runs_dry_is_silent_and_begins_again() -> None:
    voice, said = Live(), spoken(8)
    tap = voice.tap(8000)
    for n in range(3):
        voice.put(n * STEP, said[n * STEP : (n + 1) * STEP])
    for _ in range(3):
        assert tap.take().any()
    assert not tap.take().any()
    for n in range(4, 7):
        voice.put(n * STEP, said[n * STEP : (n + 1) * STEP])
    assert tap.take()[0] == 4 * STEP + 1


def test_each_speaker_has_all_of_it_at_its_own_rate() -> None:
    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(14 * STEP) / 8000)).astype(np.int16)
    voice = Live()
    taps = {rate: voice.tap(rate) for rate in (8000, 16000)}
    voice.put(0, tone)
    voice.end("over")
    assert np.concatenate(drained(taps[8000])).tolist() == tone.tolist()
    high = np.concatenate(drained(taps[16000])).astype(float)
    assert len(high) == 2 * len(tone)
    spectrum = np.abs(np.fft.rfft(high * np.hanning(len(high))))
    assert spectrum.argmax() * 16000 / len(high) == pytest.approx(1000, abs=10)
    near = np.abs(np.arange(len(spectrum)) - spectrum.argmax()) < 20
    assert (spectrum[near] ** 2).sum() > 1000 * (spectrum[~near] ** 2).sum()  # no edges between the steps


def test_after_its_end_a_new_tap_is_over_at_once() -> None:
    voice = Live()
    voice.end("stopped")
    voice.end("again")
    assert voice.why == "stopped"
    assert voice.tap(8000).take() is None


def test_a_rate_that_is_no_multiple_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="multiple"):
        Live().tap(11025)

"""The voice: real eSpeak NG, both languages, tone, level and refusals."""

import asyncio
import subprocess
import sys
import time

import numpy as np
import pytest

from edge_agent import config
from edge_agent.messages import Phrase
from edge_agent.runtime import DriverError
from edge_agent.speakers import sound
from edge_agent.speakers.voice import Espeak, Voice, espeak, mandarin

DANGER = Phrase(text="前方危险水域，请立即离开。")
WARNING = Phrase(text="Danger. Leave the water now.", lang="en")


class Recorded:
    """An engine that tells what it is asked, with the phonemes that real builds give."""

    rate_hz = 22050

    def __init__(self, phonemes: dict[str, str]) -> None:
        self._phonemes, self.asked = phonemes, []

    def phonemes(self, text: str, voice: str) -> str:
        if voice not in self._phonemes:
            raise DriverError(f"no voice {voice}")
        return self._phonemes[voice]

    def speak(self, text: str, voice: str, speed_wpm: int) -> np.ndarray:
        self.asked.append((text, voice, speed_wpm))
        return (8000 * np.sin(np.arange(22050) / 10)).astype(np.int16)


# `espeak-ng --ipa 警告`: 1.52 as it should be, and 1.51 of Debian 12
GOOD, GIBBERISH = "tɕˈi2ŋ kˈɑu5", "(en)dʒɪŋθɹˈiː ɡˌeɪəfˈɔː(cmn)"


def test_a_build_that_speaks_tones_as_numbers_is_found_out() -> None:
    assert mandarin(Recorded({"cmn": GOOD, "cmn-latn-pinyin": GOOD})) == "cmn"
    assert mandarin(Recorded({"cmn": GIBBERISH, "cmn-latn-pinyin": GOOD})) == "cmn-latn-pinyin"
    with pytest.raises(DriverError, match=r"gibberish.*cmn says 警告 as.*no voice cmn-latn-pinyin.*espeakng-loader"):
        mandarin(Recorded({"cmn": GIBBERISH}))


async def test_gibberish_is_refused_before_it_is_spoken() -> None:
    engine = Recorded({"cmn": GIBBERISH, "cmn-latn-pinyin": GIBBERISH})
    with pytest.raises(DriverError, match="gibberish"):
        await Voice(config.Voice(), lambda: engine).render((DANGER,))
    assert engine.asked == []


async def test_plates_and_times_reach_the_engine_as_words() -> None:
    engine = Recorded({"cmn": GOOD})
    voice = Voice(config.Voice(speed_wpm=200), lambda: engine)
    clip = await voice.render((Phrase(text="粤B12389，21:05"), Phrase(text="粤B12389", lang="en")))
    assert engine.asked == [("粤 B 幺 二 三 八 九，二十一点零五分", "cmn", 200), ("Yue B 1 2 3 8 9", "en", 200)]
    assert clip.text == "粤B12389，21:05 粤B12389"


async def test_a_clip_is_rendered_once() -> None:
    engine = Recorded({"cmn": GOOD})
    voice = Voice(config.Voice(), lambda: engine)
    first = await voice.render((DANGER,))
    assert await voice.render((DANGER,)) is first
    assert (await voice.render((DANGER,), 16000)).rate_hz == 16000
    assert len(engine.asked) == 2


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.speakers.voice.CACHE_BYTES", 100_000)
    engine = Recorded({"cmn": GOOD})
    voice = Voice(config.Voice(), lambda: engine)
    for n in range(10):
        await voice.render((Phrase(text=f"第{n}号"),))
    await voice.render((Phrase(text="第9号"),))
    assert len(engine.asked) == 10
    await voice.render((Phrase(text="第0号"),))
    assert len(engine.asked) == 11


# --- the engine itself --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def voice() -> Voice:
    return Voice(config.Voice())


def test_the_engine_that_comes_with_the_agent_speaks_tones() -> None:
    assert mandarin(espeak()) == "cmn"
    assert espeak().phonemes("警告", "cmn") == GOOD


async def test_mandarin_and_english_differ_and_begin_with_the_tone(voice: Voice) -> None:
    await voice.check()
    cmn, en = await voice.render((DANGER,)), await voice.render((WARNING,))
    tone = slice(0, round(sound.TONE_S * 8000))
    speech = slice(round((sound.TONE_S + sound.CHIRP_S + sound.GAP_S) * 8000), None)
    assert np.array_equal(cmn.samples[tone], en.samples[tone])
    assert np.abs(np.fft.rfft(cmn.samples[tone], 8000)).argmax() == pytest.approx(cmn.tone_hz, rel=0.01)
    assert not np.array_equal(cmn.samples[speech][:8000], en.samples[speech][:8000])
    assert 2.0 < cmn.duration_s < 6.0
    both = await voice.render((DANGER, WARNING))
    assert both.duration_s == pytest.approx(
        cmn.duration_s + en.duration_s - sound.TONE_S - sound.CHIRP_S - sound.GAP_S, abs=0.05
    )


@pytest.mark.parametrize("level", [-30.0, -16.0, -12.0])
@pytest.mark.parametrize("phrase", [DANGER, WARNING], ids=["cmn", "en"])
async def test_speech_is_at_its_level_within_1_db_and_never_clips(level: float, phrase: Phrase) -> None:
    clip = await Voice(config.Voice(loudness_lufs=level, tone=False)).render((phrase,))
    assert clip.tone_hz is None
    assert abs(sound.loudness_lufs(clip.samples / 32768, 8000) - level) < 1.0
    assert np.abs(clip.samples.astype(int)).max() < 32767 * 0.9


async def test_speed_changes_duration() -> None:
    slow, fast = (Voice(config.Voice(speed_wpm=wpm, tone=False)) for wpm in (100, 300))
    assert (await slow.render((DANGER,))).duration_s > 1.8 * (await fast.render((DANGER,))).duration_s


async def test_threads_take_turns_inside_the_engine(voice: Voice) -> None:
    """Two unlocked threads inside eSpeak NG abort the process."""
    phrases = [(Phrase(text=f"第{n}号", lang="cmn"),) for n in range(20)]
    clips = await asyncio.gather(*(voice.render(p) for p in phrases), *(voice.check() for _ in range(5)))
    assert all(clip.duration_s > 0.9 for clip in clips[:20] if clip is not None)


@pytest.mark.parametrize(
    ("text", "lang", "reason"),
    [
        ("😀" * 500, "cmn", "nothing is left to say"),
        ("😀" * 500, "en", "nothing is left to say"),
        ("\x00\x01\x1b\x7f", "cmn", "nothing is left to say"),
        ("，。！", "cmn", "nothing is left to say"),
        ("\ud800\udfff", "en", "nothing is left to say"),
        ("危险", "en", "give the text lang 'cmn'"),
        ("999,999,999,999 " * 300, "en", "too long"),
    ],
)
async def test_what_cannot_be_said_is_refused_with_its_reason(voice: Voice, text: str, lang: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        await voice.render((Phrase(text=text, lang=lang),))


async def test_no_phrase_at_all_is_refused(voice: Voice) -> None:
    with pytest.raises(ValueError, match="no phrase"):
        await voice.render(())


async def test_control_characters_and_markup_are_no_commands(voice: Voice) -> None:
    assert (await voice.render((Phrase(text="a\x00b\x1b <speak> & %s {} [[x]]", lang="en"),))).duration_s > 1.0


def test_a_missing_library_is_named() -> None:
    with pytest.raises(DriverError, match=r"/nonexistent\.so"):
        Espeak("/nonexistent.so", None)


def test_missing_data_is_named_and_ends_no_process() -> None:
    """In a process of its own: a failed start leaves eSpeak NG's globals unusable."""
    code = (
        "import espeakng_loader; from edge_agent.speakers.voice import *\n"
        "try: Espeak(espeakng_loader.get_library_path(), '/nonexistent')\n"
        "except DriverError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no data in /nonexistent" in done.stdout


async def test_a_warning_costs_less_than_a_second_of_the_processor() -> None:
    voice = Voice(config.Voice())
    await voice.check()
    began = time.process_time()
    await voice.render((DANGER, WARNING))
    assert time.process_time() - began < 1.0

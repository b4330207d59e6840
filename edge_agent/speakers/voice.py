"""Text to speech: eSpeak NG inside this process, tested at the start for its Mandarin tones; clips are cached."""

from __future__ import annotations

import asyncio
import ctypes
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from edge_agent import config
from edge_agent.messages import Phrase
from edge_agent.phrases import pronounceable
from edge_agent.runtime import DriverError
from edge_agent.speakers import dynamics, recordings, sound
from edge_agent.speakers.sound import Clip, Floats, Pcm

MAX_SPEECH_S = 300.0
CACHE_BYTES = 16 * 2**20

# A build whose `cmn` reads the internal pinyin as English says its tones as numbers ("jing three"): its phonemes hold
# "(en)". `cmn-latn-pinyin` is right in those builds (espeak-ng issues 1028, 1044, 1370).
_MANDARIN = ("cmn", "cmn-latn-pinyin")
_TEST_WORD = "警告"


class Engine(Protocol):
    """A synthesiser; its methods are called by one thread at a time."""

    rate_hz: int

    def phonemes(self, text: str, voice: str) -> str:
        """How it would pronounce a text (IPA); `DriverError` where it has no such voice."""
        ...

    def speak(self, text: str, voice: str, speed_wpm: int) -> Pcm:
        """The text as sound, no longer than `MAX_SPEECH_S` and a little."""
        ...


class Voice:
    """Renders phrases: attention tone, phrases with gaps between them, all equally loud."""

    def __init__(
        self, section: config.Voice, engine: Callable[[], Engine] | None = None, clips: Path | None = None
    ) -> None:
        self._section, self._clips = section, clips
        self._open = engine or espeak
        self._engine: Engine | None = None
        self._names: dict[str, str] = {}
        self._natural: Engine | None = None  # for `model_langs`, where a model is configured
        self._fault: str | None = None  # why there is none although one is
        self._cache: OrderedDict[tuple[tuple[Phrase, ...], int], Clip] = OrderedDict()

    async def check(self) -> None:
        """Open the engines and test them; `DriverError` where one would speak gibberish, or the model cannot be used.

        Without the model eSpeak NG speaks in its place.
        """
        await asyncio.to_thread(self._ready)
        if self._fault is not None:
            raise DriverError(f"{self._fault}; eSpeak NG speaks instead")

    async def render(self, phrases: tuple[Phrase, ...], rate_hz: int = 8000) -> Clip:
        """The phrases as a clip; `ValueError` where a text cannot be said, `DriverError` where the engine fails."""
        key = (phrases, rate_hz)
        if (clip := self._cache.get(key)) is None:
            clip = await asyncio.to_thread(self._render, phrases, rate_hz)
        self._cache[key] = clip
        self._cache.move_to_end(key)
        while sum(kept.samples.nbytes for kept in self._cache.values()) > CACHE_BYTES and len(self._cache) > 1:
            self._cache.popitem(last=False)
        return clip

    async def clip(self, name: str, rate_hz: int = 8000) -> Clip:
        """A recording of the store, after the attention tone and as loud as speech; errors as those of `render`."""
        if self._clips is None:
            raise ValueError("this device has no store of clips")
        path, level = self._clips / name, self._section.loudness_lufs
        samples = await asyncio.to_thread(recordings.decode, path, rate_hz)
        gap = np.zeros(round(sound.GAP_S * rate_hz))
        tone = [sound.attention_tone(rate_hz, level), gap] if self._section.tone else []
        return Clip(
            samples=sound.to_pcm(np.concatenate([*tone, self._levelled(samples, rate_hz)])),
            rate_hz=rate_hz,
            text=name,
            tone_hz=sound.TONE_HZ if self._section.tone else None,
            recorded=True,
        )

    def _render(self, phrases: tuple[Phrase, ...], rate_hz: int) -> Clip:
        if not phrases:
            raise ValueError("nothing to say: there is no phrase")
        texts = [pronounceable(phrase.text, phrase.lang) for phrase in phrases]
        engine = self._ready()
        level = self._section.loudness_lufs
        gap = np.zeros(round(sound.GAP_S * rate_hz))
        parts: list[Floats] = [sound.attention_tone(rate_hz, level), gap] if self._section.tone else []
        for phrase, text in zip(phrases, texts, strict=True):
            voice = self._natural if self._natural and phrase.lang in self._section.model_langs else engine
            speech = self._speak(voice, text, phrase.lang)
            speech = sound.resampled(speech, voice.rate_hz, rate_hz)
            parts += [self._levelled(speech, rate_hz), gap]
        return Clip(
            samples=sound.to_pcm(np.concatenate(parts)),
            rate_hz=rate_hz,
            text=" ".join(phrase.text for phrase in phrases),
            tone_hz=sound.TONE_HZ if self._section.tone else None,
        )

    def _levelled(self, samples: Floats, rate_hz: int) -> Floats:
        if self._section.compress:
            samples = dynamics.compressed(samples, rate_hz)
        return sound.at_level(samples, rate_hz, self._section.loudness_lufs, sound.loudness_lufs)

    def _speak(self, engine: Engine, text: str, lang: str) -> Floats:
        with _LOCK:
            pcm = engine.speak(text, self._names[lang], self._section.speed_wpm)
        if len(pcm) > MAX_SPEECH_S * engine.rate_hz:
            raise ValueError(f"too long: a text may last {MAX_SPEECH_S:.0f} s when spoken")
        loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > 64)  # -54 dBFS: trims the engine's pauses at both ends
        if len(loud) == 0:
            raise ValueError(f"the voice of lang {lang!r} has no sound for this text")
        return pcm[loud[0] : loud[-1] + 1] / 32768.0

    def _ready(self) -> Engine:
        with _LOCK:
            if self._engine is None:
                engine = self._open()
                self._names = {"cmn": mandarin(engine), "en": "en"}
                self._open_model()
                self._engine = engine
            return self._engine

    def _open_model(self) -> None:
        section = self._section
        if section.model is None:
            return
        from edge_agent.speakers import sherpa

        ledger = (self._clips.parent if self._clips is not None else section.model.parent) / "voice-models.json"
        try:
            self._natural = sherpa.opened(
                section.model, section.model_threads, section.model_speaker, section.model_langs[0], ledger
            )
        except DriverError as error:
            self._fault = str(error)


def mandarin(engine: Engine) -> str:
    """The name of a Mandarin voice that speaks tones as tones; raises `DriverError` where there is none."""
    heard: list[str] = []
    for name in _MANDARIN:
        try:
            phonemes = engine.phonemes(_TEST_WORD, name)
        except DriverError as error:
            heard.append(str(error))
            continue
        if phonemes and "(en)" not in phonemes:
            return name
        heard.append(f"{name} says {_TEST_WORD} as {phonemes!r}")
    raise DriverError(
        "voice: this eSpeak NG speaks Mandarin as gibberish (it reads tones as English numbers): "
        f"{'; '.join(heard)}; install espeakng-loader >= 0.2.4"
    )


# --- eSpeak NG ----------------------------------------------------------------------------------------------------

_LOCK = Lock()  # eSpeak NG keeps its state in globals: two threads inside it abort the process

# speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000  # without it missing data ends the process
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_RATE = 1
_PHONEMES_IPA = 0x02
_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """eSpeak NG by its C interface; one per process."""

    def __init__(self, library: str, data: str | None) -> None:
        try:
            self._lib: Any = ctypes.CDLL(library)
        except OSError as error:
            raise DriverError(f"voice: {library}: {error}") from None
        self._lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._lib.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
        path = data.encode() if data is not None else None
        self.rate_hz = self._lib.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, path, _INITIALIZE_DONT_EXIT)
        if self.rate_hz <= 0:
            raise DriverError(f"voice: eSpeak NG finds no data in {data or 'its own directory'}")
        self._chunks: list[bytes] = []
        self._callback = _SynthCallback(self._take)  # kept here: the library holds only its address
        self._lib.espeak_SetSynthCallback(self._callback)

    def phonemes(self, text: str, voice: str) -> str:
        self._use(voice)
        rest, words = ctypes.c_char_p(text.encode()), []
        while rest.value:
            words.append(self._lib.espeak_TextToPhonemes(ctypes.byref(rest), _CHARS_UTF8, _PHONEMES_IPA).decode())
        return " ".join(words)

    def speak(self, text: str, voice: str, speed_wpm: int) -> Pcm:
        self._use(voice)
        self._lib.espeak_SetParameter(_RATE, speed_wpm, 0)
        self._chunks.clear()
        data = text.encode()
        failed = self._lib.espeak_Synth(
            data, ctypes.c_size_t(len(data) + 1), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        if failed:
            raise DriverError(f"voice: eSpeak NG failed with {failed} on {text!r}")
        return np.frombuffer(b"".join(self._chunks), np.int16)

    def _use(self, voice: str) -> None:
        if self._lib.espeak_SetVoiceByName(voice.encode()):
            raise DriverError(f"voice: eSpeak NG has no voice {voice!r}")

    def _take(self, samples: Any, count: int, _events: Any) -> int:
        """Called by the library for each piece of sound; 1 stops it."""
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, count * 2))
        return int(sum(map(len, self._chunks)) > (MAX_SPEECH_S + 1) * self.rate_hz * 2)


@cache
def espeak() -> Espeak:
    """The eSpeak NG that comes with espeakng-loader."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise DriverError(f"voice: {error}; install espeakng-loader") from None
    return Espeak(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())

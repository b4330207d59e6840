"""A natural voice: sherpa-onnx with a model of the site's own (VITS, or Matcha with its vocoder), as k2-fsa packs them.

The library ends the process on a model that it cannot read, and nobody publishes hashes of these models. So a model is
tried once in a process of its own, and the hash of its files is recorded then; other files under the same name are
refused until a person removes the record.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent import files
from edge_agent.runtime import DriverError
from edge_agent.speakers.sound import Pcm

WPM_AT_SPEED_1 = 160.0  # the speed at which a model speaks by itself, taken as `voice.speed_wpm`'s usual one
TRY_S = 60.0
SHORTEST_S, LONGEST_S = 0.2, 5.0  # of the test word
_TEST_WORDS = {"cmn": "警告", "en": "Warning"}
_VOCODERS = ("vocos", "hifigan")


@dataclass(frozen=True)
class Model:
    """The files of a model's directory; `vocoder` is Matcha's."""

    acoustic: Path
    tokens: Path
    lexicon: Path | None
    vocoder: Path | None
    data_dir: Path | None
    dict_dir: Path | None
    rules: tuple[Path, ...]

    @property
    def sha256(self) -> str:
        """Over the names and hashes of the files that decide what is spoken."""
        kept = (self.acoustic, self.tokens, self.lexicon, self.vocoder, *self.rules)
        lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in kept if file is not None]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def find(directory: Path) -> Model:
    """What an unpacked release holds; `DriverError` names what is missing."""
    if not directory.is_dir():
        raise DriverError(f"voice.model: {directory}: no such directory; unpack a sherpa-onnx TTS model there")
    onnx = sorted(directory.glob("*.onnx"))
    vocoders = [file for file in onnx if file.name.startswith(_VOCODERS)]
    acoustic = [file for file in onnx if file not in vocoders and not file.name.endswith(".int8.onnx")]
    if len(acoustic) != 1:
        raise DriverError(f"voice.model: {directory}: one acoustic model (*.onnx) is wanted, there are {len(acoustic)}")
    if acoustic[0].name.startswith("model-steps") and not vocoders:
        raise DriverError(f"voice.model: {directory}: Matcha wants a vocoder beside it: vocos*.onnx or hifigan*.onnx")
    tokens = directory / "tokens.txt"
    if not tokens.is_file():
        raise DriverError(f"voice.model: {directory}: tokens.txt is missing; unpack the whole release")
    lexicon, data, words = directory / "lexicon.txt", directory / "espeak-ng-data", directory / "dict"
    return Model(
        acoustic=acoustic[0],
        tokens=tokens,
        lexicon=lexicon if lexicon.is_file() else None,
        vocoder=vocoders[0] if vocoders else None,
        data_dir=data if data.is_dir() else None,
        dict_dir=words if words.is_dir() else None,
        rules=tuple(sorted(directory.glob("*.fst"))),
    )


class Sherpa:
    """The engine, opened; each call belongs to one thread at a time."""

    def __init__(self, model: Model, threads: int, speaker: int) -> None:
        self._speaker = speaker
        try:
            import sherpa_onnx
        except ImportError:
            raise DriverError("voice.model: sherpa-onnx is not installed; install edge-agent[voice]") from None
        common = {"tokens": str(model.tokens), "lexicon": str(model.lexicon or "")}
        common |= {"data_dir": str(model.data_dir or ""), "dict_dir": str(model.dict_dir or "")}
        kind: dict[str, Any]
        if model.vocoder is not None:
            matcha = sherpa_onnx.OfflineTtsMatchaModelConfig
            kind = {"matcha": matcha(acoustic_model=str(model.acoustic), vocoder=str(model.vocoder), **common)}
        else:
            kind = {"vits": sherpa_onnx.OfflineTtsVitsModelConfig(model=str(model.acoustic), **common)}
        settings = sherpa_onnx.OfflineTtsConfig(
            model=sherpa_onnx.OfflineTtsModelConfig(**kind, num_threads=threads),
            rule_fsts=",".join(map(str, model.rules)),
            max_num_sentences=1,
        )
        try:
            self._tts: Any = sherpa_onnx.OfflineTts(settings)
        except RuntimeError as error:
            raise DriverError(f"voice.model: {model.acoustic}: {str(error)[:200]}") from None
        self.rate_hz = int(self._tts.sample_rate)

    def phonemes(self, text: str, _voice: str) -> str:
        """It tells none: what it says was tried by its length (`tried`)."""
        return text

    def speak(self, text: str, _voice: str, speed_wpm: int) -> Pcm:
        """One model is one voice, whatever its name."""
        said = self._tts.generate(text, sid=self._speaker, speed=speed_wpm / WPM_AT_SPEED_1)
        samples = np.asarray(said.samples, np.float32)
        if not len(samples):
            raise DriverError(f"voice.model: the model says nothing to {text!r}")
        return np.clip(np.round(samples * 32767), -32768, 32767).astype(np.int16)


def opened(directory: Path, threads: int, speaker: int, lang: str, ledger: Path) -> Sherpa:
    """The engine for a model that was tried, and is still the same; raises `DriverError`."""
    model = find(directory)
    try:
        known = json.loads(ledger.read_text()) if ledger.is_file() else {}
        now = model.sha256
    except (OSError, ValueError) as error:
        raise DriverError(f"voice.model: {error}") from None
    before = known.get(str(directory)) if isinstance(known, dict) else None
    if before is not None and before != now:
        raise DriverError(
            f"voice.model: {directory}: is not the model that was tried first (sha256 {now[:12]}…, recorded"
            f" {before[:12]}…); if you changed it, remove {ledger}"
        )
    if before is None:
        tried(directory, threads, speaker, lang)
        try:
            files.write_durably(ledger, json.dumps({**known, str(directory): now}, indent=1).encode())
        except OSError as error:
            raise DriverError(f"voice.model: {ledger}: {error.strerror or error}") from None
    return Sherpa(model, threads, speaker)


def tried(directory: Path, threads: int, speaker: int, lang: str) -> None:
    """Let a process of its own say a word with it; `DriverError` where it dies, or says nothing like a word."""
    find(directory)
    command = [sys.executable, "-m", "edge_agent.speakers.sherpa", str(directory), str(threads), str(speaker), lang]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRY_S, check=False)
    except subprocess.TimeoutExpired:
        raise DriverError(f"voice.model: {directory}: no word in {TRY_S:g} s; take a smaller model") from None
    if done.returncode:
        lines = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()
        raise DriverError(f"voice.model: {directory}: cannot be used: {lines[-1][:200]}")


def _main(directory: str, threads: str, speaker: str, lang: str) -> int:
    try:
        engine = Sherpa(find(Path(directory)), int(threads), int(speaker))
        pcm = engine.speak(_TEST_WORDS[lang], "", round(WPM_AT_SPEED_1))
    except DriverError as error:
        sys.stderr.write(f"{str(error).removeprefix('voice.model: ')}\n")
        return 1
    seconds, loudest = len(pcm) / engine.rate_hz, int(np.abs(pcm.astype(np.int32)).max())
    if not SHORTEST_S <= seconds <= LONGEST_S or loudest < 327:  # -40 dBFS
        sys.stderr.write(f"{_TEST_WORDS[lang]} takes {seconds:.1f} s, at most {loudest}: that is no speech\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))

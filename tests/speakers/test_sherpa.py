"""The natural voice without a model: what is missing is named, eSpeak NG speaks meanwhile, a changed model is refused.

No model is at hand where these tests run, so the library stands in as far as the driver calls it; what it would say is
for a person with a model to hear.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_agent import config
from edge_agent.messages import Phrase
from edge_agent.runtime import DriverError
from edge_agent.speakers import sherpa
from edge_agent.speakers.voice import Voice

DANGER = Phrase(text="前方危险。")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The files of vits-icefall-zh-aishell3 as k2-fsa packs them."""
    directory = tmp_path / "vits-icefall-zh-aishell3"
    directory.mkdir()
    for name in ("model.onnx", "model.int8.onnx", "tokens.txt", "lexicon.txt", "number.fst", "date.fst"):
        (directory / name).write_text(name)
    return directory


class Stand:
    """`sherpa_onnx` as far as it is called."""

    def __init__(self, seconds: float = 0.5) -> None:
        self.seconds, self.asked, self.built = seconds, [], []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def kept(name: str):
            return lambda **facts: self.built.append((name, facts)) or SimpleNamespace(**facts)

        names = (
            "OfflineTtsVitsModelConfig",
            "OfflineTtsMatchaModelConfig",
            "OfflineTtsModelConfig",
            "OfflineTtsConfig",
        )
        library = SimpleNamespace(**{name: kept(name) for name in names}, OfflineTts=self.open)
        monkeypatch.setitem(sys.modules, "sherpa_onnx", library)
        monkeypatch.setattr(sherpa, "tried", lambda *_: self.asked.append("tried"))

    def open(self, _settings: object) -> SimpleNamespace:
        def generate(text: str, sid: int, speed: float) -> SimpleNamespace:
            self.asked.append((text, sid, speed))
            return SimpleNamespace(samples=0.5 * np.sin(np.arange(round(8000 * self.seconds)) / 3))

        return SimpleNamespace(sample_rate=8000, generate=generate)


def test_a_release_is_read_by_its_files(release: Path) -> None:
    model = sherpa.find(release)
    assert model.acoustic.name == "model.onnx"
    assert [rule.name for rule in model.rules] == ["date.fst", "number.fst"]
    assert model.vocoder is None
    (release / "model.onnx").rename(release / "model-steps-3.onnx")
    with pytest.raises(DriverError, match="wants a vocoder beside it"):
        sherpa.find(release)
    (release / "vocos-22khz-univ.onnx").write_text("v")
    assert sherpa.find(release).vocoder is not None


@pytest.mark.parametrize(
    ("missing", "told"), [("model.onnx", "there are 0"), ("tokens.txt", r"tokens\.txt is missing"), ("", "no such dir")]
)
def test_what_is_missing_is_named(release: Path, missing: str, told: str) -> None:
    if missing:
        (release / missing).unlink()
    with pytest.raises(DriverError, match=told):
        sherpa.find(release if missing else release / "x")


async def test_without_the_library_espeak_speaks_and_the_health_says_why(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sherpa_onnx", None)
    monkeypatch.setattr(sherpa, "tried", lambda *_: None)
    voice = Voice(config.Voice(model=release), clips=tmp_path / "clips")
    with pytest.raises(DriverError, match=r"install edge-agent\[voice\]; eSpeak NG speaks instead"):
        await voice.check()
    assert (await voice.render((DANGER,))).duration_s > 0.5


async def test_a_language_of_the_model_is_spoken_by_it_and_the_other_by_espeak(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Stand()
    library.install(monkeypatch)
    voice = Voice(config.Voice(model=release, model_speaker=66, speed_wpm=200), clips=tmp_path / "clips")
    await voice.check()
    await voice.render((DANGER, Phrase(text="Danger.", lang="en")))
    assert library.asked == ["tried", ("前方危险。", 66, 1.25)]
    vits = dict(library.built)["OfflineTtsVitsModelConfig"]
    assert vits["model"] == str(release / "model.onnx")
    assert vits["lexicon"] == str(release / "lexicon.txt")


async def test_a_model_is_tried_once_and_another_under_its_name_is_refused(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Stand()
    library.install(monkeypatch)
    for _ in range(2):
        await Voice(config.Voice(model=release), clips=tmp_path / "clips").check()
    assert library.asked == ["tried"]
    ledger = tmp_path / "voice-models.json"
    assert list(json.loads(ledger.read_text())) == [str(release)]
    (release / "model.onnx").write_text("another")
    with pytest.raises(DriverError, match="is not the model that was tried first") as told:
        await Voice(config.Voice(model=release), clips=tmp_path / "clips").check()
    assert str(ledger) in str(told.value)


def test_a_model_that_ends_the_process_ends_only_the_one_that_tries_it(release: Path) -> None:
    with pytest.raises(DriverError, match="cannot be used"):  # no library, or no model: either ends it
        sherpa.tried(release, 1, 0, "cmn")


def test_a_voice_that_makes_no_word_of_a_word_is_refused(
    release: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = Stand(seconds=30.0)
    library.install(monkeypatch)
    assert sherpa._main(str(release), "1", "0", "cmn") == 1
    assert "警告 takes 30.0 s" in capsys.readouterr().err
    library.seconds = 0.6
    assert sherpa._main(str(release), "1", "0", "cmn") == 0

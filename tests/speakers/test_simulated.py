"""The simulated speaker's files."""

import wave
from pathlib import Path

import numpy as np
import pytest

from edge_agent.runtime import DriverError, SystemClock
from edge_agent.speakers import simulated
from edge_agent.speakers.simulated import SimulatedSpeaker
from edge_agent.speakers.sound import Clip

CLIP = Clip(samples=(np.arange(4000) * 7 % 3000).astype(np.int16), rate_hz=8000, text="x")


async def test_the_wav_holds_what_was_played(tmp_path: Path) -> None:
    delivery = await SimulatedSpeaker("s", tmp_path / "deep" / "s", SystemClock(), realtime=False).play(CLIP, "01ABC")
    assert (delivery.finished, delivery.proof, delivery.played_s) == (True, "delivered", 0.5)
    with wave.open(str(tmp_path / "deep/s/01ABC.wav")) as wav:
        assert wav.getparams()[:4] == (1, 2, 8000, 4000)
        assert np.frombuffer(wav.readframes(9999), "<i2").tolist() == CLIP.samples.tolist()
    assert [file.name for file in (tmp_path / "deep/s").iterdir()] == ["01ABC.wav"]


async def test_an_id_is_never_a_path(tmp_path: Path) -> None:
    await SimulatedSpeaker("s", tmp_path / "s", SystemClock(), realtime=False).play(CLIP, "../../x")
    assert [file.name for file in tmp_path.rglob("*.wav")] == ["..%2F..%2Fx.wav"]
    assert [file.parent for file in tmp_path.rglob("*.wav")] == [tmp_path / "s"]


async def test_old_files_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "KEEP", 3)
    speaker = SimulatedSpeaker("s", tmp_path, SystemClock(), realtime=False)
    for n in range(5):
        await speaker.play(CLIP, f"{n}")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["2.wav", "3.wav", "4.wav"]


async def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DriverError, match=r"speaker s: .*file/s: Not a directory"):
        await SimulatedSpeaker("s", tmp_path / "file" / "s", SystemClock(), realtime=False).play(CLIP, "x")

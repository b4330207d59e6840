"""A voice put through by the whole agent: from a recording by the command line, and from the network by command."""

import json
import socket
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from agents import CAMERA, SITE, agent
from sound_peers import operator_speaking

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SPEAKERS = "".join(f'[[speaker]]\nname = "{name}"\ntype = "simulated"\n' for name in ("horn", "bell"))
GONE = '[[speaker]]\nname = "gone"\ntype = "axis"\nurl = "http://127.0.0.1:9"\nfallback = "bell"\n'


def recording(file: Path, seconds: float) -> None:
    with wave.open(str(file), "wb") as wav:
        wav.setparams((1, 2, 16000, 0, "NONE", ""))
        t = np.arange(round(16000 * seconds)) / 16000
        wav.writeframes((8000 * np.sin(2 * np.pi * 1000 * t)).astype("<i2").tobytes())


def peak_hz(file: Path) -> float:
    with wave.open(str(file)) as wav:
        rate = wav.getframerate()
        samples = np.frombuffer(wav.readframes(10**6), "<i2").astype(float)
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


def test_a_recording_is_talked_and_the_answer_says_how_far_it_was_proven(tmp_path: Path) -> None:
    recording(tmp_path / "voice.wav", 1.5)
    with agent(tmp_path, SITE + CAMERA + SPEAKERS + GONE) as running:
        code, answer = running.ask("talk", "horn", "--file", str(tmp_path / "voice.wav"))
        assert (code, answer["state"], answer["proof"]) == (0, "accepted", "delivered")
        (spoken,) = answer["spoken"]
        assert (spoken["speaker"], spoken["outcome"], spoken["cls"]) == ("horn", "delivered", "live")
        assert spoken["detail"] == "the speaker hung up"
        assert 1.4 < spoken["duration_s"] < 3
        assert peak_hz(tmp_path / f"state/speakers/horn/{answer['run']}.wav") == pytest.approx(1000, rel=0.01)

        code, answer = running.ask("talk", "nobody", "--file", str(tmp_path / "voice.wav"))
        assert (code, answer["state"], answer["refusal"]["gate"]) == (1, "rejected", "speaker")
        code, answer = running.ask("talk", "horn", "--file", str(tmp_path / "agent.toml"))
        assert (code, "agent.toml" in answer["error"]) == (66, True)
        code, answer = running.ask("talk", "horn", "--device", "no-such-microphone")
        assert (code, "--file" in answer["error"]) == (66, True)

        code, answer = running.ask("say", "--clip", str(tmp_path / "voice.wav"), "--speaker", "horn")
        assert (code, answer["spoken"][0]["outcome"], answer["proof"]) == (0, "delivered", "delivered")
        code, answer = running.ask("say", "x", "--clip", str(tmp_path / "voice.wav"))
        assert (code, "either" in answer["reason"]) == (1, True)
        code, answer = running.ask("say", "你好", "--speaker", "horn", "--speaker", "bell")  # and the end of both
        assert (code, answer["state"], answer["proof"]) == (0, "accepted", "delivered")
        assert {one["speaker"] for one in answer["spoken"]} == {"horn", "bell"}
        code, answer = running.ask("say", "你好", "--speaker", "gone")  # the next one's proof counts
        assert (code, answer["state"], answer["proof"]) == (0, "accepted", "delivered")
        assert [(one["speaker"], one["outcome"]) for one in answer["spoken"]] == [
            ("gone", "failed"),
            ("bell", "delivered"),
        ]
        assert answer["spoken"][0]["sha256"] == answer["spoken"][1]["sha256"]
        code, answer = running.ask("say", "危" * 10_000)
        assert (code, answer["reason"]) == (1, "text: has 10000 characters, and 500 are the most; make it a --clip")
        assert running.stop() == 0


def test_a_talk_is_ended_by_hush_and_by_its_limit(tmp_path: Path) -> None:
    with agent(tmp_path, SITE + CAMERA + SPEAKERS) as running, operator_speaking() as port:
        for for_s, outcome, detail in ((30.0, "interrupted", None), (1.0, "delivered", "its time of 1 s is over")):
            question = {"name": "talk", "source": f"rtp://127.0.0.1:{port}", "for_s": for_s}
            run = ask(running.directory, question)["run"]
            if outcome == "interrupted":
                time.sleep(2)
                assert running.ask("hush")[1]["state"] == "done"
            spoken = ask(running.directory, {"name": "became", "run": run, "wait_s": 20})["spoken"]
            assert [one["outcome"] for one in spoken] == [outcome] * 2
            assert {one["detail"] for one in spoken} <= {detail, None}
            assert all(one["duration_s"] < 15 and one["sha256"] for one in spoken), spoken
        assert running.stop() == 0


def ask(directory: Path, question: dict[str, object]) -> dict[str, object]:
    """What an integrator writes: one JSON line each way."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(directory / "state/control.sock"))
        sock.sendall(json.dumps(question).encode() + b"\n")
        with sock.makefile() as stream:
            return json.loads(stream.readline())

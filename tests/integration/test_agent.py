"""The daemon as systemd and its users meet it: starts, says READY, beats, survives a broken world, stops cleanly."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from agents import CAMERA, ROUTE, SILENT, SITE, SPEAKER, VEHICLE, agent

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def test_a_camera_alone_and_a_vehicle_alone_run_and_stop_cleanly(tmp_path: Path) -> None:
    for name, text in (("camera", SITE + CAMERA), ("vehicle", SITE + VEHICLE)):
        directory = tmp_path / name
        directory.mkdir()
        with agent(directory, text) as running:
            assert running.stop() == 0
        log = running.log.read_text()
        assert log.rstrip().endswith("stopped")
        assert "Traceback" not in log


def test_several_cameras_share_one_detector(tmp_path: Path) -> None:
    more = "".join(f'[[camera]]\nname = "c{n}"\ntype = "simulated"\ndetector = "d"\nfps = 4\n' for n in range(2))
    with agent(tmp_path, SITE + CAMERA + more) as running:
        running.wait(lambda: running.status()["counts"].get("detector.d.frames", 0) > 20)
        parts = running.status()["parts"]
        assert [part for part in parts if part.startswith("detector.")] == ["detector.d"]
        assert {"camera.bank", "camera.c0", "camera.c1"} <= set(parts)
        assert running.stop() == 0


def test_systemd_hears_ready_then_beats_then_stopping(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        watch = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        with agent(tmp_path, SITE + CAMERA, **watch) as running:
            heard = [systemd.recv(100) for _ in range(4)]
            assert heard[0] == b"READY=1"
            assert heard[1:] == [b"WATCHDOG=1"] * 3
            assert running.stop() == 0
        while heard[-1] != b"STOPPING=1":
            heard.append(systemd.recv(100))


def test_a_hung_loop_starves_the_watchdog(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        watch = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with agent(tmp_path, SITE + CAMERA, **watch) as running:
            while systemd.recv(100) != b"WATCHDOG=1":
                pass
            running.process.send_signal(signal.SIGSTOP)
            systemd.settimeout(1.5)
            with contextlib.suppress(TimeoutError):
                for _ in range(20):  # what was on its way already: more, where this test was kept waiting
                    systemd.recv(100)
            with pytest.raises(TimeoutError):
                systemd.recv(100)


def test_under_systemd_the_log_is_json_with_a_level_for_the_journal(tmp_path: Path) -> None:
    with agent(tmp_path, SITE + CAMERA, JOURNAL_STREAM="8:1") as running:
        assert running.stop() == 0
    lines = running.log.read_text().splitlines()
    assert all(line[:3] in ("<6>", "<4>") for line in lines)
    entries = [json.loads(line[3:]) for line in lines]
    assert all({"time", "level", "logger", "message"} <= set(entry) for entry in entries)
    assert entries[-1]["message"] == "stopped"


def test_a_second_agent_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    with agent(tmp_path, SITE + CAMERA) as running:
        second = subprocess.run(
            [sys.executable, "-m", "edge_agent", "run", "-c", str(running.config)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 75
        assert "another agent runs here" in second.stderr
        assert "parts" in running.status()  # the first is none the worse


def test_a_broker_that_is_absent_costs_nothing_but_its_own_part(tmp_path: Path) -> None:
    mqtt = "[mqtt]\nport = 9\nplain = true\n"
    with agent(tmp_path, SITE + CAMERA + SPEAKER + mqtt) as running:
        running.wait(lambda: "failed" in running.status()["parts"]["uplink"])
        shown = running.status()["parts"]["uplink"]
        assert "127.0.0.1:9" in shown
        assert "refused" in shown.lower()
        assert running.ask("say", "你好")[1]["state"] == "accepted"
        running.wait(lambda: list((tmp_path / "state/speakers/horn").glob("*.wav")))
        running.wait(lambda: running.status()["outbox"]["depth"] >= 1)  # what was spoken waits for the centre
        assert running.status()["parts"]["detector.d"] == "running"
        assert running.stop() == 0
    assert running.log.read_text().count("refused") <= 3  # told on the edge, not at each try


def test_a_vehicle_that_never_speaks_is_named_and_hinders_nobody(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with agent(tmp_path, SITE + CAMERA + ROUTE.join((SILENT.format(port=port), ""))) as running:
        running.wait(lambda: "no heartbeat" in str(running.status()["flight"]["link"]))
        link = running.status()["flight"]["link"]
        assert f"udpin:127.0.0.1:{port}" in link
        assert "powered" in link
        code, answer = running.ask("fly", "r")
        assert (code, answer["state"]) == (1, "rejected")
        assert answer["refusal"]["remedy"]
        running.wait(lambda: running.status()["counts"].get("detector.d.frames", 0) > 10)
        assert running.stop() == 0


def test_a_model_that_is_no_model_is_named_and_the_flight_goes_on(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"this is no model")
    video = '[[camera]]\nname = "gate"\ntype = "video"\npath = "none.mp4"\ndetector = "d"\n'
    detector = '[[detector]]\nname = "d"\ntype = "onnx"\nmodel = "bad.onnx"\n'
    with agent(tmp_path, SITE + detector + video + VEHICLE + ROUTE) as running:
        running.wait(lambda: "failed" in running.status()["parts"]["detector.d"])
        parts = running.status()["parts"]
        assert "bad.onnx" in parts["detector.d"]
        assert "none.mp4" in parts["camera.gate"]
        running.wait(lambda: running.status()["flight"]["phase"] == "ground")
        words = ["fly", "r", "--wait", "--json", "-c", str(running.config)]
        flown = subprocess.CompletedProcess[str](words, 1, "", "")

        def flies() -> bool:
            nonlocal flown
            flown = subprocess.run(
                [sys.executable, "-m", "edge_agent", *words], capture_output=True, text=True, check=False, timeout=150
            )
            return json.loads(flown.stdout.splitlines()[0]).get("state") != "rejected"

        running.wait(flies)  # refused until every gate passes; then it is followed to its end
        told = [json.loads(line) for line in flown.stdout.splitlines()]
        assert flown.returncode == 0, (told, flown.stderr)
        phases = [one["phase"] for one in told]
        assert (phases[0], phases[-1], told[-1]["exit"]) == ("gating", "landed", 0)
        assert {"climb", "returning"} < set(phases)
        assert Path(told[-1]["plot"]).is_file()
        assert running.stop() == 0


def test_a_flight_record_that_cannot_be_read_grounds_the_drone_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "state/flight").mkdir(parents=True)
    (tmp_path / "state/flight/state.json").write_text('{"run": ')
    with agent(tmp_path, SITE + CAMERA + VEHICLE + ROUTE) as running:
        running.wait(lambda: running.status()["counts"].get("detector.d.frames", 0) > 5)
        assert "state.json" in running.status()["parts"]["pilot"]
        code, answer = running.ask("fly", "r")
        assert (code, answer["state"]) == (1, "rejected")
        assert "state.json" in answer["reason"]
        assert running.stop() == 0


@pytest.mark.parametrize("obstacle", ["a file", "a directory for events.db"])
def test_a_data_directory_that_cannot_be_used_is_one_line_and_no_bug(obstacle: str, tmp_path: Path) -> None:
    if obstacle == "a file":
        (tmp_path / "state").write_text("")
    else:
        (tmp_path / "state/events.db").mkdir(parents=True)
    (tmp_path / "agent.toml").write_text(SITE + CAMERA)
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "run", "-c", str(tmp_path / "agent.toml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 69
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "state") in done.stderr


def test_a_disk_that_takes_no_picture_silences_nobody(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/incidents").write_text("in the way")
    zone = '[[zone]]\nname = "all"\ncamera = "bank"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n'
    rule = (
        '[[rule]]\nid = "any"\ntype = "forbidden_zone"\nzone = "all"\nafter_s = 0.5\n'
        'speakers = ["horn"]\nsay = [{text = "请离开", lang = "cmn"}]\n'
    )
    with agent(tmp_path, SITE + CAMERA + SPEAKER + zone + rule) as running:
        running.wait(lambda: list((tmp_path / "state/speakers/horn").glob("*.wav")))
        status = running.status()
        assert "incidents" in status["parts"]["pictures"]
        assert status["parts"]["detector.d"] == "running"
        running.wait(lambda: running.status()["outbox"]["depth"] >= 2)  # what was seen and what was said
        assert running.stop() == 0


def test_what_cannot_be_asked_of_this_device_is_refused_with_the_reason(tmp_path: Path) -> None:
    with agent(tmp_path, SITE + CAMERA) as running:
        for words in (("fly", "r"), ("recall",), ("pause",), ("resume",), ("land",)):
            code, answer = running.ask(*words)
            assert (code, answer["state"]) == (1, "rejected")
            assert "[vehicle]" in answer["reason"]
        code, answer = running.ask("say", "x")
        assert (code, answer["state"]) == (1, "rejected")
        assert "[[speaker]]" in answer["reason"]
        assert running.stop() == 0

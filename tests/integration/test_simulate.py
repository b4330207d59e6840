"""`edge-agent simulate` as a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time

import msgspec
import pytest

from edge_agent.flight.sim_messages import State

LAT, LON = 30.25, 120.15


def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def connect(number: int) -> socket.socket:
    end = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", number), timeout=5)
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.integration
def test_the_process_serves_one_client_after_another_and_resumes_after_a_kill(tmp_path):
    number, log, state = port(), tmp_path / "log", tmp_path / "state"
    line = [
        sys.executable, "-m", "edge_agent", "simulate", "--lat", str(LAT), "--lon", str(LON), "--tcp-listen",
        f"127.0.0.1:{number}", "--speedup", "20", "--log", str(log), "--state", str(state),
    ]  # fmt: skip
    process = subprocess.Popen(line)
    try:
        for _ in range(2):
            with connect(number) as client:
                assert client.recv(1) == b"\xfd"
        end = time.monotonic() + 20
        while not state.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        process.kill()
        process.wait(10)
        saved = msgspec.json.decode(state.read_bytes(), type=State)
        process = subprocess.Popen(line)
        with connect(number) as client:
            assert client.recv(1) == b"\xfd"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
    told = [json.loads(text) for text in log.read_text().splitlines()]
    assert [t["event"] for t in told if t["event"] != "position"] == ["booted", "resumed"]
    resumed = next(t for t in told if t["event"] == "resumed")
    assert resumed["time_s"] == pytest.approx(saved.time_s, abs=0.01)
    assert {"lat", "lon", "alt_m", "distance_home_m", "wall_s"} <= set(resumed)

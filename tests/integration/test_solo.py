"""Flights without a daemon: the command line against the simulated autopilot as a process of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_agent.flight.record import verify

LAT, LON = 30.25, 120.15
WITHIN_S = 90
ROUTE = """QGC WPL 110
0\t1\t0\t16\t0\t0\t0\t0\t30.25\t120.15\t10\t1
1\t0\t3\t22\t0\t0\t0\t0\t0\t0\t8\t1
2\t0\t3\t16\t0\t0\t0\t0\t30.2502\t120.15\t8\t1
3\t0\t3\t20\t0\t0\t0\t0\t0\t0\t0\t1
"""

pytestmark = pytest.mark.integration


def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Site:
    """A vehicle of its own, and commands that fly it."""

    def __init__(self, folder: Path, battery_pct: float = 100.0) -> None:
        self.folder, self.port = folder, port()
        self.log, self.out = folder / "world.log", folder / "out"
        (folder / "short.waypoints").write_text(ROUTE)
        (folder / "long.waypoints").write_text(ROUTE.replace("16\t0\t0\t0\t0\t30.2502", "16\t300\t0\t0\t0\t30.2502"))
        self.world = self._start(
            "simulate", "--lat", LAT, "--lon", LON, "--tcp-listen", f"127.0.0.1:{self.port}", "--speedup", 4,
            "--battery-pct", battery_pct, "--log", self.log,
        )  # fmt: skip
        end = time.monotonic() + WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.05)

    def start(self, command: str, *args: object) -> subprocess.Popen[str]:
        where = ("--connection", f"tcp:127.0.0.1:{self.port}", "--out", self.out)
        return self._start(command, *args, *where, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, command: str, *args: object) -> tuple[int, str, str]:
        process = self.start(command, *args)
        out, err = process.communicate(timeout=WITHIN_S)
        return process.returncode, out, err

    def fly(self, route: str) -> subprocess.Popen[str]:
        return self.start("fly", self.folder / f"{route}.waypoints", "--json")

    def happened(self, event: str) -> bool:
        return any(json.loads(line)["event"] == event for line in self.log.read_text().splitlines())

    @staticmethod
    def _start(*args: object, **pipes: int) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "edge_agent", *map(str, args)]
        return subprocess.Popen(line, text=True, stdin=subprocess.DEVNULL, env=dict(os.environ), **pipes)


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.world.kill()
    made.world.wait(10)


def until(process: subprocess.Popen[str], phase: str) -> list[dict]:
    """The transitions up to a phase, as they come."""
    found: list[dict] = []
    end = time.monotonic() + WITHIN_S
    assert process.stdout is not None
    while not found or found[-1]["phase"] != phase:
        assert time.monotonic() < end, found
        ready, _, _ = select.select([process.stdout], [], [], 1.0)
        if ready:
            line = process.stdout.readline()
            assert line, (found, process.stderr and process.stderr.read())
            found.append(json.loads(line))
    return found


def test_a_route_file_is_flown_to_its_end_with_a_record_and_a_plot(site):
    process = site.fly("short")
    out, err = process.communicate(timeout=WITHIN_S)
    told = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0, err
    assert [one["seq"] for one in told] == list(range(1, len(told) + 1))
    assert told[-1]["phase"] == "landed" and told[-1]["exit"] == 0
    assert Path(told[-1]["plot"]).read_bytes().startswith(b"\x89PNG")
    with Path(told[-1]["record"]).open("rb") as lines:
        assert verify(lines)[1:] == (True, None)


def test_a_dry_run_does_all_but_arm(site):
    code, out, err = site.run("fly", site.folder / "short.waypoints", "--dry-run", "--json")
    assert code == 0, err
    assert [json.loads(line)["phase"] for line in out.splitlines()] == ["gating", "uploading", "verifying", "checked"]
    code, out, _ = site.run("preflight", site.folder / "short.waypoints", "--json")
    assert code == 0
    assert {"link", "gps", "home", "energy", "fence", "weather"} <= {
        json.loads(line)["gate"] for line in out.splitlines()
    }
    assert not site.happened("armed")


def test_an_interrupt_brings_it_home_and_a_second_agent_is_refused(site):
    process = site.fly("long")
    until(process, "route")
    assert site.run("fly", site.folder / "short.waypoints")[0] == 75
    process.send_signal(signal.SIGINT)
    told = until(process, "landed")
    process.communicate(timeout=WITHIN_S)
    assert process.returncode == 3
    assert told[0]["phase"] == "returning" and "recalled" in told[0]["cause"]


class Terminal:
    """A command with a terminal of its own: what it shows, and keys for it."""

    def __init__(self, *args: object) -> None:
        self.master, slave = os.openpty()
        self.shown = ""
        line = [sys.executable, "-m", "edge_agent", *map(str, args)]
        self.process = subprocess.Popen(line, preexec_fn=lambda: os.login_tty(slave))  # noqa: PLW1509  # no threads here
        os.close(slave)

    def press(self, keys: str) -> None:
        self.shown = ""
        os.write(self.master, keys.encode())

    def until(self, words: str) -> None:
        end = time.monotonic() + WITHIN_S
        while words not in self.shown:
            assert time.monotonic() < end, self.shown
            ready, _, _ = select.select([self.master], [], [], 1.0)
            if ready:
                self.shown += os.read(self.master, 4096).decode(errors="replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.master)


def test_ctrl_c_on_a_terminal_asks_and_does_what_is_answered(site):
    route, link = site.folder / "long.waypoints", f"tcp:127.0.0.1:{site.port}"
    terminal = Terminal("fly", route, "--connection", link, "--out", site.out)
    try:
        terminal.until("route")
        terminal.press("\x03")
        terminal.until("[c]ontinue, [r]eturn home, [l]eave it flying?")
        terminal.press("c\n")
        terminal.until("going on")
        terminal.until("margin")  # and shows the flight again
        terminal.press("\x03")
        terminal.until("[l]eave it flying?")
        terminal.press("\x03")  # no answer, but once more
        terminal.until("returning")
        terminal.until("record:")
        assert terminal.process.wait(WITHIN_S) == 3
    finally:
        terminal.close()


def test_what_is_left_flying_is_taken_up_and_called_home(site):
    process = site.fly("long")
    until(process, "climb")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=WITHIN_S)
    assert process.returncode == 4
    code, _, err = site.run("fly", site.folder / "short.waypoints")  # not the route that is being flown
    assert code == 1 and "record:" in err
    elsewhere = site.start("dispatch", LAT + 0.0004, LON, "--alt", 10, "--hover", 300, "--json")
    until(elsewhere, "on_scene")
    elsewhere.send_signal(signal.SIGTERM)
    assert elsewhere.wait(WITHIN_S) == 4
    elsewhere.communicate()
    code, _, err = site.run("recall")
    assert code == 0, err
    assert site.run("recall")[0] == 1  # nothing flies


def test_what_cannot_be_flown_is_refused_with_the_reason_and_leaves_a_record(site):
    code, out, err = site.run("dispatch", 31.25, LON, "--json")
    assert code == 1 and "gate.route" in err
    assert json.loads(out.splitlines()[0])["phase"] == "refused"
    assert site.run("dispatch", LAT + 0.0005, LON, "--hover", 3000)[0] == 1  # longer than limits.max_on_scene_s
    assert len(list((site.out / "runs").glob("*.jsonl"))) == 2
    (site.folder / "cut.plan").write_text('{"fileType": "Plan", "mission": {"items": [')
    code, out, err = site.run("fly", site.folder / "cut.plan", "--json")
    assert (code, json.loads(out)["refusals"][0]["gate"]) == (78, "route.file")
    record = Path(err.split("record: ")[1].strip())
    assert verify(record.read_bytes().splitlines(keepends=True)).ended
    assert site.run("fly", "nowhere")[0] == 78
    assert not site.happened("armed")


def test_a_link_that_is_not_there_is_named(tmp_path):
    line = [sys.executable, "-m", "edge_agent", "preflight", "--connection", f"tcp:127.0.0.1:{port()}", "--wait", "2"]
    done = subprocess.run(
        [*line, "--out", str(tmp_path)], check=False, capture_output=True, text=True, timeout=WITHIN_S
    )
    assert done.returncode == 69 and "is the autopilot or its router running?" in done.stderr
    done = subprocess.run([*line[:-3], "tcp:nonsense"], check=False, capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 2 and "serial:DEVICE:BAUD" in done.stderr

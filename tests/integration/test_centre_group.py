"""Several processes are one centre: whichever of them is killed, nothing is lost and nothing is confirmed too early."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import apsw
import paho.mqtt.client as paho
import pytest
from fake_device import FakeDevice

pytestmark = pytest.mark.integration
EVENTS = 1500


@contextmanager
def centre(db: Path, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`edge-agent centre run` as a process; ready once it has subscribed."""
    command = [sys.executable, "-m", "edge_agent", "centre", "run", "--port", str(port), "--db", str(db), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


class Auditor:
    """Reads every acknowledgement on the broker, and looks at once whether the file holds what it says."""

    def __init__(self, port: int, files: list[Path]) -> None:
        self.read, self.lies = 0, list[str]()
        self._files = files
        self._dbs: list[apsw.Connection] = []
        self._ready = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("ea/1/+/down/ack", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._check
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(5)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        for db in self._dbs:
            db.close()

    def _check(self, _: Any, __: Any, message: Any) -> None:
        if not self._dbs:
            self._dbs = [apsw.Connection(str(file)) for file in self._files]
        ack = json.loads(message.payload)
        query = "SELECT count(DISTINCT seq) FROM place WHERE device = ? AND epoch = ? AND seq BETWEEN ? AND ?"
        for first, last in [(1, ack["cum"]), *ack.get("sel", [])]:
            bounds = (message.topic.split("/")[2], ack["epoch"], first, last)
            held = max(db.execute(query, bounds).fetchall()[0][0] for db in self._dbs)
            if held != last - first + 1:
                self.lies.append(f"{message.topic} says {first}-{last}, {held} are held")
        self.read += 1


def stored(*files: Path) -> set[str]:
    found: set[str] = set()
    for file in files:
        db = apsw.Connection(str(file))
        found |= {row[0] for row in db.execute("SELECT id FROM event")}
        db.close()
    return found


def pump(device: FakeDevice, condition: Callable[[], bool], deadline_s: float = 30.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"{device.depth} events left, {len(device.acks)} acknowledgements"
        device.step()
        time.sleep(0.005)


@pytest.mark.parametrize("files", ["one file", "a file each"])
def test_members_that_are_killed_lose_nothing_and_confirm_only_what_is_committed(
    mosquitto: Callable[..., Any], tmp_path: Path, free_port: int, files: str
) -> None:
    mosquitto("max_queued_messages 10000").start()
    dbs = [tmp_path / "a.db", tmp_path / ("a.db" if files == "one file" else "b.db")]

    with ExitStack() as stack, FakeDevice(free_port) as device:
        auditor = Auditor(free_port, dbs)
        stack.callback(auditor.close)
        first = stack.enter_context(centre(dbs[0], free_port, "--group", "g"))
        second = stack.enter_context(centre(dbs[1], free_port, "--group", "g"))
        for n in range(EVENTS):
            device.event("fault", {"part": "camera", "reason": f"cause {n}"})
        pump(device, lambda: device.depth < EVENTS * 2 // 3)
        os.kill(first.pid, signal.SIGKILL)
        pump(device, lambda: device.depth < EVENTS // 3)
        third = stack.enter_context(centre(dbs[0], free_port, "--group", "g"))
        pump(device, lambda: device.depth < EVENTS // 6)
        os.kill(second.pid, signal.SIGKILL)
        pump(device, lambda: device.depth == 0)
        assert third.poll() is None
        assert device.sends < EVENTS * 3
    assert stored(*dbs) == {f"D-1-e{seq}" for seq in range(1, EVENTS + 1)}
    assert auditor.read > 10
    assert not auditor.lies


def test_members_share_the_work(mosquitto: Callable[..., Any], tmp_path: Path, free_port: int) -> None:
    mosquitto().start()
    dbs = [tmp_path / "a.db", tmp_path / "b.db"]
    with ExitStack() as stack, FakeDevice(free_port) as device:
        for db in dbs:
            stack.enter_context(centre(db, free_port, "--group", "g"))
        for n in range(200):
            device.event("fault", {"part": "camera", "reason": f"cause {n}"})
        pump(device, lambda: device.depth == 0)
        device.birth()
    shares = [len(stored(db)) for db in dbs]
    assert min(shares) > 40, shares
    assert sum(shares) < 240, shares

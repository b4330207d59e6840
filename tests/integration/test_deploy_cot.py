"""deploy/cot: what the adapter sends through pytak is Cursor-on-Target that a listener can read."""

import signal
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from brokers import MOSQUITTO
from deploy_site import ROOT, Client, Site
from fake_device import FakeDevice

HOME = ROOT.parent / "build" / "cot"
PROGRAM = ROOT / "cot" / "ea_cot.py"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python with the adapter's own requirements; kept in build/ for the next time."""
    program = HOME / "bin" / "python"
    if not (HOME / "ready").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", HOME], check=True, capture_output=True, timeout=60)
            install = [HOME / "bin" / "pip", "install", "-q", "-r", PROGRAM.with_name("requirements.txt")]
            subprocess.run(install, check=True, capture_output=True, timeout=100)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"pytak cannot be installed: {error}")
        (HOME / "ready").touch()
    return program


class Listener:
    """A TAK server's ear: TCP or UDP on 127.0.0.1; keeps each event as parsed XML."""

    def __init__(self, kind: str) -> None:
        self.events: list[ET.Element] = []
        self._socket = socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._kind = kind
        if kind == "tcp":
            self._socket.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM if self._kind == "udp" else socket.SOCK_STREAM) as knock:
            if self._kind == "udp":
                knock.sendto(b"", ("127.0.0.1", self.port))
            else:
                knock.connect_ex(("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()

    def find(self, kind: str) -> ET.Element | None:
        return next((event for event in self.events if event.get("type") == kind), None)

    def _run(self) -> None:
        if self._kind == "udp":
            while data := self._socket.recv(65535):
                self.events.append(ET.fromstring(data))
            return
        peer, _ = self._socket.accept()
        rest = b""
        with peer:
            while data := peer.recv(65535):
                *whole, rest = (rest + data).split(b"</event>")
                self.events += [ET.fromstring(one.strip() + b"</event>") for one in whole]


@contextmanager
def adapter(python: Path, site: Site, url: str, *options: str) -> Iterator[Path]:
    log = site.directory / "adapter.log"
    command = [python, PROGRAM, "--cot-url", url, "--port", site.inner, "--ca-file", site.pki / "ca.crt"]
    command += ["--cert-file", site.pki / "dashboard.crt", "--key-file", site.pki / "dashboard.key", *options]
    with log.open("w") as out:
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 15
        while "INFO connected" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield log
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.broker.start()
    yield made
    made.broker.kill(signal.SIGTERM)


def until(condition: Callable[[], Any], what: Callable[[], object]) -> Any:
    deadline = time.monotonic() + 10
    while (found := condition()) is None:
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)
    return found


def seconds(event: ET.Element, name: str) -> float:
    return datetime.fromisoformat(event.attrib[name]).timestamp()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_drone_its_detections_and_an_alarm_reach_tak(python: Path, site: Site, kind: str) -> None:
    ear = Listener(kind)
    url = f"{kind}://127.0.0.1:{ear.port}" if kind == "tcp" else f"udp+wo://127.0.0.1:{ear.port}"
    with (
        adapter(python, site, url, "--alarm", "forbidden_zone") as log,
        FakeDevice(site.port, context=site.tls("D-1")) as device,
    ):
        device.incident("01JBEFORE")  # nobody knows where the device is
        device.step()
        device.tele()
        drone = until(lambda: ear.find("a-f-A-M-H-Q"), log.read_text)
        assert (drone.get("version"), drone.get("uid"), drone.get("how")) == ("2.0", "EA-D-1", "m-g")
        point = drone.find("point")
        assert point is not None
        assert (float(point.attrib["lat"]), float(point.attrib["lon"])) == (31.2304, 121.4737)
        assert (float(point.attrib["hae"]), point.get("le")) == (59.7, "110")
        assert seconds(drone, "stale") - seconds(drone, "time") == 30
        assert drone.find("detail/track").attrib == {"course": "270.0", "speed": "4.5"}
        device.incident("01JCAR")
        device.incident("01JWATER", kind="forbidden_zone", label="person", plate=None)
        device.step()
        marker = until(lambda: ear.find("b-m-p-s-m"), log.read_text)
        assert marker.get("uid") == "EA-D-1-01JCAR"
        assert marker.find("detail/contact").get("callsign") == "dwell car 沪A12345"
        alarm = until(lambda: ear.find("b-a-o-tbl"), log.read_text)
        assert alarm.find("detail/emergency").get("type") == "911 Alert"
        assert alarm.find("detail/link").get("uid") == "EA-D-1"
        device.event("det", {"id": "01JWATER", "rev": 1, "state": "acknowledged", "by": "li", "wall_s": 1.0})
        device.event("det", {"id": "01JWATER", "rev": 2, "state": "handled", "by": "li", "wall_s": 1.0})
        device.step()
        cancel = until(lambda: ear.find("b-a-o-can"), log.read_text)
        assert cancel.get("uid") == alarm.get("uid")
        assert "01JBEFORE is nowhere" in log.read_text()
        kinds = [event.get("type") for event in ear.events if event.get("type", "").startswith("b-")]
        assert kinds == ["b-m-p-s-m", "b-a-o-tbl", "b-a-o-can"]
    ear.close()


def test_a_box_that_does_not_fly_stands_where_it_was_put_and_bad_bytes_do_not_end_it(python: Path, site: Site) -> None:
    ear = Listener("tcp")
    with adapter(python, site, f"tcp://127.0.0.1:{ear.port}", "--at", "D-2=30.25,120.17") as log:
        client = Client(site.port, site.tls("D-2"), "D-2")
        assert client.connected.wait(30)
        for body in (b"\xff", b"[]", b"3", b'{"data":null}', b'{"data":{"lat":1,"lon":"x"},"time":"t"}', b"{"):
            client.publish("ea/1/D-2/up/ev/det", body)
            client.publish("ea/1/D-2/up/tele/pos", body)
        client.close()
        with FakeDevice(site.port, "D-2", context=site.tls("D-2")) as device:
            device.incident("01JGATE")
            device.step()
            marker = until(lambda: ear.find("b-m-p-s-m"), log.read_text)
        point = marker.find("point")
        assert (float(point.attrib["lat"]), float(point.attrib["lon"]), point.get("hae")) == (
            30.25,
            120.17,
            "9999999.0",
        )
    ear.close()


def test_a_place_that_is_none_is_refused(python: Path) -> None:
    for text in ("D-1", "D-1=91,0", "=1,2", "D-1=a,b"):
        command = [python, PROGRAM, "--cot-url", "tcp://127.0.0.1:1", "--at", text]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
        assert done.returncode == 2
        assert "DEVICE=LAT,LON is wanted" in done.stderr

"""deploy/node-red/flow.json in a Node-RED that really runs: incidents come in, a command goes out and is answered."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import MOSQUITTO
from deploy_site import ROOT, Site
from fake_device import FakeDevice

VERSION = "4.1.15"
HOME = ROOT.parent / "build" / "node-red"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed: no Node-RED"),
]


@pytest.fixture(scope="module")
def node_red() -> Path:
    """Its main program, from npm; kept in build/ for the next time."""
    program = HOME / "node_modules" / "node-red" / "red.js"
    if not program.exists():
        HOME.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(HOME), f"node-red@{VERSION}"]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not bring Node-RED in 100 s")
        if done.returncode:
            pytest.skip(f"npm cannot bring Node-RED: {done.stderr[-300:]}")
    return program


@pytest.fixture
def running(node_red: Path, tmp_path: Path, free_port: int) -> Iterator[tuple[Site, str]]:
    site = Site(tmp_path)
    site.broker.start()
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "node-red" / "flow.json", home / "flow.json")
    (home / "settings.js").write_text(
        f"module.exports = {{uiHost: '127.0.0.1', uiPort: {free_port}, httpAdminRoot: false, credentialSecret: false,"
        " diagnostics: {enabled: false}, logging: {console: {level: 'info'}}};"
    )
    files = {"EA_CA": "ca.crt", "EA_CERT": "node-red.crt", "EA_KEY": "node-red.key"}
    environment = {name: str(site.pki / file) for name, file in files.items()}
    environment |= {"EA_BROKER": "localhost", "EA_PORT": str(site.inner)}
    with (tmp_path / "node-red.log").open("w") as log:
        process = subprocess.Popen(
            ["node", str(node_red), "-u", str(home), "-s", str(home / "settings.js"), "flow.json"],
            env=os.environ | environment,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 40
        while "Connected to broker" not in (tmp_path / "node-red.log").read_text():
            assert process.poll() is None, (tmp_path / "node-red.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "node-red.log").read_text()
            time.sleep(0.1)
        yield site, f"http://127.0.0.1:{free_port}/edge"
    finally:
        process.terminate()
        process.wait(10)
        site.broker.kill(signal.SIGTERM)


def get(url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_flow_lists_incidents_and_acknowledges_one(running: tuple[Site, str], tmp_path: Path) -> None:
    site, url = running
    with FakeDevice(site.port, context=site.tls("D-1")) as device:
        device.birth()
        device.incident("01JINCIDENT")
        device.step()
        deadline = time.monotonic() + 10
        while not (board := get(f"{url}/incidents")[1]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert [(one["device"], one["id"], one["plate"], one["state"]) for one in board] == [
            ("D-1", "01JINCIDENT", "沪A12345", "new")
        ]
        order = {"device": "D-1", "incident": "01JINCIDENT", "by": "li", "note": "on my way"}
        status, answer = get(f"{url}/acknowledge", order)
        assert (status, answer["state"]) == (200, "done")
        [command] = device.commands
        assert (command["name"], command["by"], command["args"]["note"]) == ("acknowledge", "li", "on my way")
        assert answer["id"] == command["id"]
        device.reply = {"state": "rejected", "reason": "is acknowledged already"}
        assert get(f"{url}/acknowledge", order)[0] == 409
        assert get(f"{url}/acknowledge", {"device": "D-1/#", "incident": "x", "by": "li"})[0] == 400
        device.event("det", {"id": "01JINCIDENT", "rev": 1, "state": "acknowledged", "by": "li", "wall_s": 1.0})
        device.step()
        while get(f"{url}/incidents")[1][0]["state"] != "acknowledged":
            assert time.monotonic() < deadline + 10
            time.sleep(0.05)
    status, answer = get(f"{url}/acknowledge", {"device": "D-2", "incident": "01JINCIDENT", "by": "li"})
    assert (status, answer["error"]) == (504, "D-2 did not answer in 10 s")
    assert "state: 'online'" in (tmp_path / "node-red.log").read_text(), "the device's birth"

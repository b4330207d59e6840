"""The loop of an incident through the command line: listed, dispatched, acknowledged, handled, reported back."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_device import FakeDevice
from inline import call

pytestmark = pytest.mark.integration


@pytest.fixture
def run_centre(mosquitto: Callable[..., Any], tmp_path: Path, free_port: int) -> Iterator[None]:
    mosquitto().start()
    command = [sys.executable, "-m", "edge_agent", "centre", "run", "--port", str(free_port)]
    command += ["--db", str(tmp_path / "centre.db"), "--name", "hq", "--max-in-flight", "50"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    yield
    process.kill()
    process.wait(10)
    process.stdout.close()


def ask(*arguments: str, code: int = 0) -> tuple[list[Any], str]:
    found, told, why = call("centre", *arguments, "--json")
    assert found == code, why
    return [json.loads(line) for line in told.splitlines()], why


def test_an_incident_is_taken_on_handled_and_reported_back(run_centre: None, tmp_path: Path, free_port: int) -> None:
    db, broker = ("--db", str(tmp_path / "centre.db")), ("--port", str(free_port))
    with FakeDevice(free_port) as device:
        device.birth()
        device.tele()
        device.incident("01JINCIDENT")
        device.thumb("01JINCIDENT", b"\xff\xd8\xff\xe0 a small picture \xff\xd9")
        device.drain()
        [case], _ = ask("incidents", *db, "--open", "--pictures", str(tmp_path / "pictures"))
        assert (case["state"], case["plate"], case["zone"]) == ("open", "沪A12345", "fire lane")
        assert Path(case["thumb_file"]).read_bytes().startswith(b"\xff\xd8")
        ask("dispatch", "01J", *db, "--to", "patrol 3", "--by", "wang")
        [step], _ = ask("acknowledge", "01J", *db, *broker, "--by", "li", "--note", "on my way")
        assert (step["answer"], step["by"]) == ("done", "li")
        device.event("det", {"id": "01JINCIDENT", "rev": 1, "state": "acknowledged", "by": "li", "wall_s": 1.0})
        device.drain()
        ask("handled", "01J", *db, *broker, "--by", "li", "--outcome", "false_alarm")
        [case], _ = ask("incidents", *db)
        assert case["state"] == "handled"
        assert [(step["word"], step["by"]) for step in case["steps"]] == [
            ("dispatched", "wang"),
            ("acknowledged", "li"),
            ("handled", "li"),
        ]
        assert [report["state"] for report in case["reports"]] == ["acknowledged"]
        assert [(command["name"], command["args"]) for command in device.commands] == [
            ("acknowledge", {"incident": "01JINCIDENT", "note": "on my way"}),
            ("handled", {"incident": "01JINCIDENT", "outcome": "false_alarm"}),
        ]
        assert ask("incidents", *db, "--open")[0] == []
        [verdict], _ = ask("verify", *db)
        assert (verdict["whole"], verdict["events"], verdict["thumbs"]) == (True, 2, 1)
        [found], _ = ask("devices", *db)
        assert (found["device"], found["state"], found["events"]) == ("D-1", "online", 2)
        assert found["tele_age_s"] < 30


def test_a_device_that_is_away_is_told_later_by_the_same_command(
    run_centre: None, tmp_path: Path, free_port: int
) -> None:
    db, broker = ("--db", str(tmp_path / "centre.db")), ("--port", str(free_port))
    with FakeDevice(free_port) as device:
        device.incident("01JINCIDENT")
        device.drain()
    _, told = ask("acknowledge", "01J", *db, *broker, "--by", "li", "--expires-s", "1", code=75)
    assert "is written down" in told
    assert "run this again" in told
    _, told = ask("acknowledge", "01J", *db, "--port", "1", "--by", "li", code=69)
    assert "is written down; run this again to tell D-1" in told
    [case], _ = ask("incidents", *db)
    assert (case["state"], "answer" in case["steps"][0]) == ("acknowledged", False)
    with FakeDevice(free_port) as device:
        ask("acknowledge", "01J", *db, *broker, "--by", "li")
        [case], _ = ask("incidents", *db)
        assert [step["answer"] for step in case["steps"]] == ["done"]
        assert [command["id"] for command in device.commands] == [case["steps"][0]["command"]]
        device.reply = {"state": "rejected", "reason": "is acknowledged already"}
        ask("acknowledge", "01J", *db, *broker, "--by", "zhao", code=1)


def test_places_that_never_came_are_named_and_fail_the_check(run_centre: None, tmp_path: Path, free_port: int) -> None:
    db = ("--db", str(tmp_path / "centre.db"))
    with FakeDevice(free_port) as device:
        device.event("fault", {"part": "camera", "reason": "gone"})
        device.next += 2
        device.event("gap", {"epoch": 7, "first": 3, "last": 3, "reason": "too large"})
        device.drain()
    [verdict], _ = ask("verify", *db, code=1)
    assert verdict["epochs"][0]["missing"] == [{"first": 2, "last": 2, "reason": None}]
    assert verdict["epochs"][0]["gaps"] == [{"first": 3, "last": 3, "reason": "too large"}]


@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto-clients is not installed")
def test_the_late_will_of_a_dead_connection_does_not_stand(run_centre: None, free_port: int) -> None:
    """The broker may notice only minutes later that the centre's former connection is dead."""
    will = {"state": "offline", "sess": "of yesterday", "time": "2026-11-22T01:18:03.412Z"}
    here = ("-h", "127.0.0.1", "-p", str(free_port), "-t", "ea/1/host/hq/state")
    subprocess.run(["mosquitto_pub", *here, "-q", "1", "-r", "-m", json.dumps(will)], check=True, timeout=30)
    command = ["mosquitto_sub", *here, "-q", "1", "-C", "2", "-W", "3"]
    heard = subprocess.run(command, check=False, capture_output=True, text=True, timeout=15).stdout.splitlines()
    assert json.loads(heard[-1])["state"] == "online", heard


def test_a_centre_says_that_it_is_there_and_its_death_is_known(
    mosquitto: Callable[..., Any], tmp_path: Path, free_port: int
) -> None:
    import paho.mqtt.client as paho

    mosquitto().start()
    heard: list[dict[str, Any]] = []
    news = threading.Condition()

    def on_message(_: Any, __: Any, message: Any) -> None:
        with news:
            heard.append(json.loads(message.payload))
            news.notify()

    def wait(count: int, state: str) -> None:
        with news:
            assert news.wait_for(lambda: [h["state"] for h in heard].count(state) >= count, 15), heard

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.on_message = on_message
    client.connect("127.0.0.1", free_port)
    client.subscribe("ea/1/host/hq/state", qos=1)
    client.loop_start()
    command = [sys.executable, "-m", "edge_agent", "centre", "run", "--port", str(free_port)]
    command += ["--db", str(tmp_path / "centre.db"), "--name", "hq", "--max-in-flight", "50", "--group", "g"]
    members = []
    for _ in range(2):
        members.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        assert members[-1].stdout.readline() == "ready\n"
    wait(1, "online")
    assert heard[0]["max_in_flight"] == 50
    members[0].kill()
    wait(1, "offline")
    with news:
        assert news.wait_for(lambda: heard[-1]["state"] == "online", 15), "the other member is still there, and says so"
    members[1].terminate()
    wait(2, "offline")
    for member in members:
        member.kill()
        member.wait(10)
        member.stdout.close()
    client.disconnect()
    client.loop_stop()

"""The whole agent over mosquitto: signed commands to their end, states, settings, the loop of an incident."""

import hashlib
import json
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from contract_check import check
from inline import call
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from sound_peers import operator_speaking

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

AGENT = """
data_dir = "state"
[site]
device = "D-1"
lat = 30.25
lon = 120.17
[vehicle]
type = "simulated"
speedup = 5  # a loaded machine must still take off before the autopilot disarms by itself
[[route]]
id = "r"
alt_m = 10
waypoints = [{{lat = 30.2502, lon = 120.17}}]
[[schedule]]
id = "dusk"
route = "r"
cron = "0 20 * * *"
[[detector]]
name = "d"
type = "simulated"
[[camera]]
name = "bank"
type = "simulated"
detector = "d"
[[zone]]
name = "water"
camera = "bank"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
[[rule]]
id = "bather"
type = "forbidden_zone"
zone = "water"
after_s = 0.5
[[speaker]]
name = "horn"
type = "simulated"
realtime = false
[mqtt]
port = {port}
plain = true
groups = ["east"]
"""


IN_FLIGHT = ("climb", "route", "returning", "landing")


class Ears:
    """Hears all that the device says, and holds it to the contract; knows nothing else of edge-agent."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, Any]] = []
        self._inbox: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = lambda _, __, message: self._inbox.put(message)
        self.client.on_connect = lambda *_: self.client.subscribe("ea/1/#", 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def wait(self, what: Any, within_s: float = 60.0) -> Any:
        """The first message, of those heard already too, for which `what(topic, message)` is true."""
        end = time.monotonic() + within_s
        seen = 0
        while time.monotonic() < end:
            while not self._inbox.empty():
                message = self._inbox.get()
                check(message.topic, message.payload)
                is_json = message.payload[:1] == b"{"
                self.heard.append((message.topic, json.loads(message.payload) if is_json else message.payload))
            for topic, message in self.heard[seen:]:
                if what(topic, message):
                    return message
            seen = len(self.heard)
            time.sleep(0.05)
        raise TimeoutError([topic for topic, _ in self.heard][-30:])

    def say(self, topic: str, body: Any, **facts: Any) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        for name, fact in facts.items():
            setattr(properties, name, fact)
        self.client.publish(topic, json.dumps(body), 1, properties=properties).wait_for_publish(10)


@pytest.fixture
def site(mosquitto: Any, tmp_path: Path) -> Iterator[Any]:
    broker = mosquitto()
    broker.start()
    operators = ""
    for name, role in (("pilot", "pilot"), ("guest", "viewer"), ("boss", "admin")):
        code, told, _ = call("centre", "key", "new", str(tmp_path / f"{name}.key"), "--role", role)
        assert code == 0
        operators += told
    (tmp_path / "agent.toml").write_text(AGENT.format(port=broker.port) + operators)
    ears = Ears(broker.port)
    with (tmp_path / "log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run", "-c", str(tmp_path / "agent.toml")], stderr=log
        )

    def send(name: str, *words: str, key: str | None = "pilot", code: int = 0) -> list[dict[str, Any]]:
        to = ["--device", "D-1"] if "--group" not in words else []
        verb = ["send", *to] if name != "desired" else []
        signed = ["--key", str(tmp_path / f"{key}.key")] if key else []
        found, told, why = call("centre", *verb, name, *words, "--json", "--port", str(broker.port), *signed)
        assert found == code, told + why + (tmp_path / "log").read_text()
        return [json.loads(line) for line in told.splitlines()]

    try:
        ears.wait(lambda topic, message: topic.endswith("state/flight") and message["data"]["phase"] == "ground")
        yield ears, send
    finally:
        agent.terminate()
        agent.wait(20)
        ears.client.disconnect()
        ears.client.loop_stop()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_whole_site_is_commanded_by_those_who_may(site: Any) -> None:
    ears, send = site

    # who may
    [answer] = send("fly", "--arg", "route=r", key=None, code=1)
    assert "wants the signature" in answer["reason"]
    [answer] = send("fly", "--arg", "route=r", key="guest", code=1)
    assert "guest is viewer" in answer["reason"]
    denied = ears.wait(lambda t, m: t.endswith("ev/audit") and "guest is viewer" in m["data"].get("reason", ""))
    assert denied["data"]["state"] == "rejected"

    # a flight, followed to its end, and asked for again
    answers = send("fly", "--arg", "route=r", "--id", "flight-1", "--follow-s", "100")
    assert [answers[0]["state"], answers[-1]["state"]] == ["accepted", "done"]
    assert {"climb", "route", "returning"} <= {answer.get("phase") for answer in answers}
    [again] = send("fly", "--arg", "route=r", "--id", "flight-1", code=1)
    assert (again["state"], again["recorded"]["state"], again["recorded"]["run"]) == (
        "duplicate",
        "done",
        answers[0]["run"],
    )
    run = answers[0]["run"]
    ears.wait(lambda t, m: t.endswith("state/flight") and m["data"]["run"] == run and m["data"]["phase"] in IN_FLIGHT)
    ears.wait(lambda t, m: t.endswith("state/gps") and (m["data"]["fix"] or 0) >= 3)

    # a text, a picture, silence, a flight left out
    assert send("say", "--arg", "text=巡逻正常。", "--follow-s", "30")[-1]["state"] == "done"
    with operator_speaking() as port:  # push-to-talk: his voice by RTP, so long and no longer, and a record of it
        talk = ("talk", "--arg", f"source=rtp://127.0.0.1:{port}", "--arg", "for_s=1", "--follow-s", "30")
        answers = send(*talk)
    assert [answer["state"] for answer in answers] == ["accepted", "done"]
    told = ears.wait(lambda t, m: t.endswith("ev/voice") and m["data"]["announcement"] == answers[0]["run"])["data"]
    assert (told["cls"], told["by"], told["outcome"]) == ("live", "operator:pilot (centre)", "delivered")
    assert (told["detail"], len(told["sha256"])) == ("its time of 1 s is over", 64)
    [snapped] = send("snapshot", key="guest")
    ears.wait(lambda t, m: t.endswith("ev/snapshot") and m["data"]["id"] == snapped["run"])
    ears.wait(lambda t, m: f"/up/thumb/{snapped['run']}/" in t)
    clip = send("clip", "--arg", "camera=bank", "--arg", "last_s=2", "--follow-s", "30", key="guest")
    assert [answer["state"] for answer in clip] == ["accepted", "done"]
    told = ears.wait(lambda t, m: t.endswith("ev/clip") and m["data"]["id"] == clip[0]["run"])["data"]
    assert told["video"]["lasts_s"] >= 1
    assert hashlib.sha256(Path(told["video"]["path"]).read_bytes()).hexdigest() == told["video"]["sha256"]

    # the admin's: a list of plates, and a zone that is moved
    entry = '{"plate": "京A12345", "authority": "police", "reason": "stolen", "expires": "2099-01-01T00:00:00Z"}'
    words = ("hot_list", "--arg", "version=1", "--arg", f"plates=[{entry}]")
    assert "guest is viewer" in send(*words, key="guest", code=1)[0]["reason"]
    [answer] = send(*words, key="boss")
    assert (answer["state"], "1 added" in answer["reason"]) == ("done", True)
    assert "not newer" in send(*words, key="boss", code=1)[0]["reason"]
    zone = '{"name": "water", "camera": "bank", "polygon": [[0, 0], [1, 0], [1, 0.99], [0, 0.99]]}'
    assert send("zones", "--arg", f"zones=[{zone}]", key="boss")[0]["state"] == "done"
    assert (
        "there is none"
        in send("zones", "--arg", f"zones=[{zone.replace('water', 'sea')}]", key="boss", code=1)[0]["reason"]
    )
    assert send("hush")[0]["state"] == "done"
    assert send("skip", "--arg", "schedule=dusk")[0]["state"] == "done"
    ears.wait(lambda t, m: t.endswith("ev/mission") and m["data"]["cause"].startswith("skipped by operator:pilot"))
    [far] = send("dispatch", "--arg", "lat=52.5", "--arg", "lon=13.4", "--arg", "alt_m=20", code=1)
    assert far["refusal"]["gate"] == "gate.distance"

    # an incident from report to reported back
    incident = ears.wait(lambda t, m: t.endswith("ev/det") and "rule" in m["data"])["data"]["id"]
    send("acknowledge", "--arg", f"incident={incident}", "--arg", "note=going", key=None)
    send("handled", "--arg", f"incident={incident}", "--arg", "outcome=false_alarm")
    for rev, state, by in ((1, "acknowledged", "unsigned:"), (2, "handled", "operator:pilot")):
        told = ears.wait(lambda t, m, rev=rev: t.endswith("ev/det") and m["data"].get("rev") == rev)
        assert (told["id"], told["data"]["state"]) == (f"{incident}.{rev}", state)
        assert told["data"]["by"].startswith(by)

    # what was refused before it left
    assert subprocess_refuses(send, "dispatch", "--arg", "lat=95", "--arg", "lon=0", "--arg", "alt_m=20")

    # settings that are not signed change nothing
    ears.say("ea/1/D-1/down/desired", {"version": 1, "by": "x", "settings": {"mqtt": {"telemetry_period_s": 9}}})
    reported = ears.wait(lambda t, m: t.endswith("up/reported") and m["rejected"])
    assert (reported["desired_version"], reported["rejected"][0]["path"]) == (0, "auth")

    # signed ones are taken, on top of each other, or refused with path and reason, and then what was stays
    set_, period = ("desired", "set", "D-1"), "mqtt.telemetry_period_s"
    [told] = send(*set_, f"{period}=2", key="boss")
    assert (told["desired_version"], told["settings"]["mqtt"]["telemetry_period_s"]) == (2, 2.0)
    [told] = send(*set_, "rules.bather.after_s=0.7", key="boss")
    assert (told["desired_version"], told["settings"]["mqtt"]["telemetry_period_s"]) == (3, 2.0)
    [told] = send(*set_, f"{period}=0", "rules.none.after_s=1", key="boss", code=1)
    assert (told["desired_version"], [one["path"] for one in told["rejected"]]) == (3, [period, "rules.none"])
    assert send(*set_, f"{period}=0", "--dry-run", key=None, code=1)[0]["reason"].startswith(f"{period}: ")
    [told] = send(*set_, f"{period}=5", key="pilot", code=1)
    assert "pilot is pilot, which may not" in told["rejected"][0]["why"]

    # a command to a group, signed for the group and not for the device
    [told] = send("hush", "--group", "east", "--expires-s", "4")
    assert (told["device"], told["state"]) == ("D-1", "done")
    assert send("hush", "--group", "west", "--expires-s", "1", code=75) == []


def subprocess_refuses(send: Any, *words: str) -> bool:
    """Whether the command line says no, with the usage, and nothing goes out."""
    return bool(send(*words, code=2) == [])


def test_the_example_of_the_readme_works_as_it_is_printed(mosquitto: Any, tmp_path: Path) -> None:
    for tool in ("jq", "openssl", "mosquitto_pub", "mosquitto_sub"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    broker = mosquitto()
    broker.start()
    readme = (Path(__file__).resolve().parents[2] / "docs/contract/README.md").read_text()
    make_key, *rest = readme.split("```sh\n", 1)[1].split("```", 1)[0].splitlines()
    script = "\n".join(rest).replace("-h 127.0.0.1", f"-h 127.0.0.1 -p {broker.port}")
    words = [sys.executable, "-m", "edge_agent", *make_key.split("#")[0].split()[1:]]
    made = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True)
    (tmp_path / "agent.toml").write_text(AGENT.format(port=broker.port).replace('"D-1"', '"EA-000123"') + made.stdout)
    ears = Ears(broker.port)
    with (tmp_path / "log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run", "-c", str(tmp_path / "agent.toml")], stderr=log
        )
    try:
        ears.wait(lambda topic, message: topic.endswith("up/status") and message["state"] == "online")
        done = subprocess.run(["bash", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert '"state":"accepted"' in done.stdout, done.stdout + done.stderr
        ears.wait(lambda topic, message: topic.endswith("ev/voice") and message["data"]["by"] == "operator:wang")
    finally:
        agent.terminate()
        agent.wait(20)
        ears.client.disconnect()
        ears.client.loop_stop()

"""deploy/home-assistant: what the adapter publishes is what Home Assistant's own integration accepts."""

import json
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import MOSQUITTO
from deploy_site import ROOT, Client, Site
from fake_device import INCIDENT, FakeDevice, now

PROGRAM = ROOT / "home-assistant" / "ea_homeassistant.py"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]

# home-assistant/core: components/mqtt/discovery.py (TOPIC_MATCHER) and schemas.py (DEVICE_DISCOVERY_SCHEMA)
TOPIC = re.compile(r"homeassistant/device/[a-zA-Z0-9_-]+/config")
TOP = {"device", "origin", "components", "availability", "qos"}
DEVICE = {
    *("identifiers", "connections", "manufacturer", "model", "name", "hw_version", "serial_number", "sw_version"),
    *("via_device", "suggested_area", "configuration_url"),
}
ENTITY = {"platform", "name", "unique_id", "entity_category"}
# What each platform's page in the documentation names: (required, all that we use)
PLATFORMS = {
    "sensor": (
        {"state_topic"},
        {"state_topic", "value_template", "device_class", "state_class", "unit_of_measurement", "expire_after"},
    ),
    "binary_sensor": ({"state_topic"}, {"state_topic", "value_template", "expire_after"}),
    "device_tracker": ({"json_attributes_topic"}, {"json_attributes_topic", "json_attributes_template"}),
    "event": ({"state_topic", "event_types"}, {"state_topic", "event_types"}),
    "image": ({"image_topic"}, {"image_topic", "content_type"}),
}
UNITS = {"battery": "%", "distance": "m", "speed": "m/s"}


def check(topic: str, payload: dict[str, Any]) -> None:
    assert TOPIC.fullmatch(topic), topic
    assert {"device", "origin", "components"} <= set(payload) <= TOP
    assert set(payload["device"]) <= DEVICE
    assert payload["device"]["identifiers"]
    assert payload["origin"]["name"]
    assert set(payload["origin"]) <= {"name", "sw_version", "support_url"}
    assert [set(one) for one in payload["availability"]] == [{"topic", "value_template"}]
    uniques = [component["unique_id"] for component in payload["components"].values()]
    assert len(uniques) == len(set(uniques))
    for component in payload["components"].values():
        required, known = PLATFORMS[component["platform"]]
        assert required <= set(component) <= known | ENTITY, component
        if "device_class" in component:
            assert component["unit_of_measurement"] == UNITS[component["device_class"]]


def values(template: str) -> list[str]:
    """The paths into `value_json` that a template reads."""
    return re.findall(r"value_json((?:\.\w+)+)", template)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.issue("client", "home-assistant")
    made.broker.start()
    command = [sys.executable, str(PROGRAM), "--port", str(made.inner), "--ca-file", str(made.pki / "ca.crt")]
    command += ["--cert-file", f"{made.pki}/home-assistant.crt", "--key-file", f"{made.pki}/home-assistant.key"]
    with (tmp_path / "adapter.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)
    deadline = time.monotonic() + 10
    while "connected" not in (tmp_path / "adapter.log").read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    yield made
    assert process.poll() is None, (tmp_path / "adapter.log").read_text()
    process.terminate()
    process.wait(10)
    made.broker.kill(signal.SIGTERM)


def until(condition: Callable[[], Any], deadline_s: float = 30.0) -> Any:
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_a_birth_makes_the_device_known_and_an_incident_fires_once(site: Site) -> None:
    home = Client(site.inner, site.tls("home-assistant"), "ha")
    assert home.connected.wait(30)
    for topic in ("homeassistant/#", "edge-agent/#", "ea/1/+/up/tele/pos"):
        home.subscribe(topic)
    with FakeDevice(site.port, context=site.tls("D-1")) as device:
        device.birth()
        config = "homeassistant/device/D-1/config"
        assert home.heard(config)
        payload = json.loads(next(body for topic, body in home.inbox if topic == config))
        check(config, payload)
        device.tele()
        assert home.heard("ea/1/D-1/up/tele/pos"), "home-assistant may read what its entities are fed by"
        sample = json.loads(next(body for topic, body in home.inbox if topic == "ea/1/D-1/up/tele/pos"))
        for component in payload["components"].values():
            if component.get("state_topic", component.get("json_attributes_topic")) == "ea/1/D-1/up/tele/pos":
                for path in values(component.get("value_template", "") + component.get("json_attributes_template", "")):
                    found: Any = sample
                    for name in path[1:].split("."):
                        assert name in found, path
                        found = found[name]
        for _ in range(3):  # nobody confirms here, so the device sends it again and again
            if device.next == 1:
                device.incident("01JINCIDENT")
                device.thumb("01JINCIDENT", b"\xff\xd8 picture")
            device.again_s = 0
            device.step()
        device.event("det", {"id": "01JINCIDENT", "rev": 1, "state": "handled", "by": "li", "wall_s": 1.0})
        device.strict = False
        device.event("det", {"kind": "of a newer device", "id": "01JNEW"})
        device.step()
        until(lambda: [t for t, _ in home.inbox].count("edge-agent/D-1/incident") >= 2)
        fired = [json.loads(body) for topic, body in home.inbox if topic == "edge-agent/D-1/incident"]
        assert [one["event_type"] for one in fired] == ["dwell", "other"]
        assert (fired[0]["plate"], fired[0]["zone"]) == ("沪A12345", "fire lane")
        assert set(payload["components"]["incident"]["event_types"]) >= {one["event_type"] for one in fired}
        assert home.heard("edge-agent/D-1/picture")
    home.close()
    later = Client(site.inner, site.tls("home-assistant"), "ha-2")
    assert later.connected.wait(30)
    later.subscribe("#")
    assert later.heard("homeassistant/device/D-1/config"), "it is retained"
    assert later.heard("edge-agent/D-1/picture")
    assert not any(topic == "edge-agent/D-1/incident" for topic, _ in later.inbox), "an event is not"
    later.close()


def test_hostile_bytes_do_not_end_it_and_a_deleted_device_is_forgotten(site: Site) -> None:
    home = Client(site.inner, site.tls("home-assistant"), "ha")
    device = Client(site.port, site.tls("D-2"), "D-2")
    assert home.connected.wait(30)
    assert device.connected.wait(30)
    home.subscribe("homeassistant/#")
    for body in (b"\xff\xfe", b"[]", b"3", b'{"data":null}', b'{"data":{"id":1},"time":5,"id":[]}', b"{"):
        device.publish("ea/1/D-2/up/ev/det", body)
        device.publish("ea/1/D-2/up/status", body)
    device.publish("ea/1/D-2/up/status", b'{"state":"online","sw":"1"}', retain=True)
    assert home.heard("homeassistant/device/D-2/config")
    device.publish("ea/1/D-2/up/status", b"", retain=True)
    until(lambda: ("homeassistant/device/D-2/config", b"") in home.inbox)
    home.close()
    device.close()


def test_a_box_without_a_vehicle_has_no_vehicle_and_names_stay_apart() -> None:
    adapter = runpy.run_path(str(PROGRAM))
    topic, payload = adapter["discovery"]("gate.7", {"caps": ["say"], "sw": "1"})
    check(topic, payload)
    assert set(payload["components"]) == {"incident", "picture", "waiting"}
    assert len({adapter["object_id"](name) for name in ("a.b", "a_b", "a_db", "a__db", "a_.b")}) == 5


def test_an_old_incident_does_not_set_off_an_automation() -> None:
    adapter = runpy.run_path(str(PROGRAM))
    event = {"id": "e", "time": now(), "data": {"id": "e", **INCIDENT}}
    assert 0 <= adapter["incident"](event, time.time())["age_s"] < 5
    assert adapter["incident"](event, time.time() + 3600)["age_s"] > 3599

"""Home Assistant learns of every device and its incidents: MQTT discovery for the ea/1 contract.

Runs at the centre, beside the broker that Home Assistant uses too. A device's own messages feed its entities, so they
go on without this process; what goes through it are incidents and pictures. Needs paho-mqtt 2, nothing of the agent.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import ssl
import time
from collections import OrderedDict
from datetime import datetime
from typing import Any

import paho.mqtt.client as paho

log = logging.getLogger("ea_homeassistant")

ROOT = "ea/1"
OURS = "edge-agent"
ORIGIN = {"name": "edge-agent", "support_url": "https://www.home-assistant.io/integrations/mqtt/"}
KINDS = ("forbidden_zone", "dwell")  # what a newer device calls otherwise becomes "other"
STALE_S = 120  # of telemetry: the entity is unknown after that
KNOWN = 1000
_LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def object_id(device: str) -> str:
    """A device id as Home Assistant's topics want it ([a-zA-Z0-9_-]); two ids never become the same."""
    return device.replace("_", "__").replace(".", "_d")


def discovery(device: str, status: dict[str, Any], prefix: str = "homeassistant") -> tuple[str, dict[str, Any]]:
    """Topic and payload of the retained message that makes one device and its entities known."""
    up = f"{ROOT}/{device}/up"
    unique = f"ea_{object_id(device)}"

    def sensor(name: str, field: str, **facts: Any) -> dict[str, Any]:
        template = f"{{{{ value_json.data.{field} }}}}"
        return entity("sensor", name, state_topic=f"{up}/tele/pos", value_template=template, **facts)

    def entity(platform: str, name: str, **facts: Any) -> dict[str, Any]:
        return {"platform": platform, "name": name, "unique_id": f"{unique}_{name.lower().replace(' ', '_')}", **facts}

    place = "{{ {'latitude': value_json.data.lat, 'longitude': value_json.data.lon} | tojson }}"
    measured = {"expire_after": STALE_S, "state_class": "measurement"}
    components = {
        "incident": entity("event", "Incident", state_topic=f"{OURS}/{device}/incident", event_types=[*KINDS, "other"]),
        "picture": entity("image", "Last incident", image_topic=f"{OURS}/{device}/picture", content_type="image/jpeg"),
        "waiting": entity(
            "sensor",
            "Events waiting",
            state_topic=f"{up}/status",
            value_template="{{ (value_json.streams | default({})).get('ev', {}).get('depth', 0) }}",
            entity_category="diagnostic",
        ),
    }
    if "fly" in status.get("caps", ["fly"]):
        components |= {
            "place": entity(
                "device_tracker", "Place", json_attributes_topic=f"{up}/tele/pos", json_attributes_template=place
            ),
            "battery": sensor("Battery", "battery_pct", device_class="battery", unit_of_measurement="%", **measured),
            "altitude": sensor("Altitude", "alt_m", device_class="distance", unit_of_measurement="m", **measured),
            "speed": sensor("Speed", "speed_mps", device_class="speed", unit_of_measurement="m/s", **measured),
            "mode": sensor("Mode", "mode", expire_after=STALE_S),
            "armed": entity(
                "binary_sensor",
                "Armed",
                state_topic=f"{up}/tele/pos",
                value_template="{{ 'ON' if value_json.data.armed else 'OFF' }}",
                expire_after=STALE_S,
            ),
        }
    payload = {
        "device": {
            "identifiers": [unique],
            "name": device,
            "model": "edge-agent",
            "sw_version": str(status.get("sw") or "unknown"),
            "serial_number": device,
        },
        "origin": ORIGIN,
        "availability": [{"topic": f"{up}/status", "value_template": "{{ value_json.state }}"}],
        "components": components,
        "qos": 1,
    }
    return f"{prefix}/device/{object_id(device)}/config", payload


def incident(event: dict[str, Any], now_s: float) -> dict[str, Any] | None:
    """What the event entity is given; None for a revision of an incident, which is no new one."""
    data = event["data"]
    if data.get("rev"):
        return None
    kind = data.get("kind")
    facts = {name: data.get(name) for name in ("id", "rule", "zone", "camera", "label", "lasted_s")}
    return {
        "event_type": kind if kind in KINDS else "other",
        **facts,
        "plate": (data.get("plate") or {}).get("text"),
        "time": event["time"],
        "age_s": round(now_s - datetime.fromisoformat(event["time"]).timestamp(), 1),
    }


class Adapter:
    """From the contract's topics to Home Assistant's; a repeated event fires once."""

    def __init__(self, client: paho.Client, prefix: str, max_age_s: float) -> None:
        self._client, self._prefix, self._max_age_s = client, prefix, max_age_s
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        client.on_connect = self._on_connect
        client.on_message = self._on_message

    def _on_connect(self, client: paho.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            log.error("the broker refuses us: %s", reason)
            return
        up = f"{ROOT}/+/up"
        client.subscribe([(f"{up}/status", 1), (f"{up}/ev/det", 1), (f"{up}/thumb/+/+/+", 1)])
        log.info("connected")

    def _on_message(self, _: paho.Client, __: Any, message: paho.MQTTMessage) -> None:
        levels = message.topic.split("/")
        device = levels[2]
        if not _LEVEL.fullmatch(device):
            return
        try:
            match levels[4:]:
                case ["status"]:
                    self._take_status(device, message.payload)
                case ["ev", "det"]:
                    self._take_event(device, json.loads(message.payload))
                case ["thumb", event, _, _] if self._first(device, f"{event}/thumb"):
                    self._client.publish(f"{OURS}/{device}/picture", message.payload, qos=1, retain=True)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # hostile or newer: never our end
            log.warning("%s: cannot be read: %s: %s", message.topic, type(error).__name__, error)

    def _take_status(self, device: str, payload: bytes) -> None:
        """Make a device known at its birth, and forgotten when its retained status is deleted."""
        topic, wanted = discovery(device, json.loads(payload) if payload else {}, self._prefix)
        if not payload:
            log.info("%s: is gone", device)
            self._client.publish(topic, b"", qos=1, retain=True)
        elif json.loads(payload)["state"] == "online":
            self._client.publish(topic, json.dumps(wanted, ensure_ascii=False), qos=1, retain=True)

    def _take_event(self, device: str, event: dict[str, Any]) -> None:
        found = incident(event, time.time())
        if found is None or not self._first(device, event["id"]):
            return
        if found["age_s"] > self._max_age_s:
            log.info(
                "%s: incident %s is %.0f s old: not told, lest automations act on it",
                device,
                found["id"],
                found["age_s"],
            )
            return
        self._client.publish(f"{OURS}/{device}/incident", json.dumps(found, ensure_ascii=False), qos=1)

    def _first(self, device: str, event: str) -> bool:
        if (device, event) in self._seen:
            return False
        self._seen[device, event] = None
        if len(self._seen) > KNOWN:
            self._seen.popitem(last=False)
        return True


def main() -> None:
    """Run until stopped; paho reconnects by itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="the broker (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8884, help="its port (default: %(default)s)")
    parser.add_argument("--ca-file", help="speak TLS and trust this CA; without it: plain, for a bench")
    parser.add_argument("--cert-file", help="our certificate, with --key-file")
    parser.add_argument("--key-file")
    parser.add_argument("--prefix", default="homeassistant", help="Home Assistant's discovery prefix (%(default)s)")
    parser.add_argument("--max-age-s", type=float, default=300.0, help="older incidents are not told (%(default)s)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="ea-homeassistant", protocol=paho.MQTTv5)
    if args.ca_file:
        context = ssl.create_default_context(cafile=args.ca_file)
        if args.cert_file:
            context.load_cert_chain(args.cert_file, args.key_file)
        client.tls_set_context(context)
    else:
        log.warning("no --ca-file: everything crosses the network in the clear")
    Adapter(client, args.prefix, args.max_age_s)
    client.connect_async(args.host, args.port)
    client.loop_forever(retry_first_connection=True)


if __name__ == "__main__":
    main()

"""TAK sees drones, detections and alarms: Cursor-on-Target for the ea/1 contract, by pytak.

Runs at the centre. A vehicle's position becomes `a-f-A-M-H-Q` (a friendly rotary-wing drone), an incident a marker at
the place of its device, an incident of a kind named by --alarm an alarm `b-a-o-tbl`, and one that was handled, or that
expired, cancels its alarm (`b-a-o-can`). Needs pytak 7 and paho-mqtt 2, and nothing of the agent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import ssl
import xml.etree.ElementTree as ET
from configparser import ConfigParser
from datetime import UTC, datetime, timedelta
from typing import Any

import paho.mqtt.client as paho
import pytak

log = logging.getLogger("ea_cot")

ROOT = "ea/1"
DRONE = "a-f-A-M-H-Q"
MARKER = "b-m-p-s-m"
ALARM = "b-a-o-tbl"
CANCEL = "b-a-o-can"
UNKNOWN = "9999999.0"
GEOID_M = "110"  # heights here are above mean sea level, CoT wants the ellipsoid's: they differ by at most this
POSITION_STALE_S = 30
INCIDENT_STALE_S = 3600
FIXED_CE_M = "50"
VEHICLE_CE_M = "100"  # an incident is where its device's camera looks, not where the device is

Place = tuple[float, float, float | None]  # latitude, longitude, metres above mean sea level


def position(device: str, sample: dict[str, Any]) -> tuple[Place, bytes] | None:
    """A vehicle's place and its CoT event; None while the autopilot has not said where it is."""
    data = sample["data"]
    if data.get("lat") is None or data.get("lon") is None:
        return None
    place = (float(data["lat"]), float(data["lon"]), data.get("alt_msl_m"))
    event = _event(f"EA-{device}", DRONE, sample["time"], place, stale_s=POSITION_STALE_S, ce_m="10")
    detail = ET.SubElement(event, "detail")
    ET.SubElement(detail, "contact", callsign=device)
    if data.get("heading_deg") is not None and data.get("speed_mps") is not None:
        ET.SubElement(detail, "track", course=f"{data['heading_deg']:.1f}", speed=f"{data['speed_mps']:.1f}")
    if data.get("battery_pct") is not None:
        ET.SubElement(detail, "status", battery=f"{data['battery_pct']:.0f}")
    ET.SubElement(detail, "remarks").text = f"{data.get('mode', '')} {'armed' if data.get('armed') else 'disarmed'}"
    return place, _bytes(event)


def incident(device: str, event: dict[str, Any], place: Place, ce_m: str, alarms: frozenset[str]) -> bytes | None:
    """The CoT event of an incident, or of its end; None for a revision that ends nothing."""
    data = event["data"]
    uid = f"EA-{device}-{data['id']}"
    if data.get("rev"):
        if data["state"] not in ("handled", "expired"):
            return None
        made = _event(uid, CANCEL, event["time"], place, stale_s=60, ce_m=ce_m)
        detail = ET.SubElement(made, "detail")
        ET.SubElement(detail, "emergency", cancel="true").text = device
        return _bytes(made)
    alarm = data["kind"] in alarms
    kind = ALARM if alarm else MARKER
    made = _event(uid, kind, event["time"], place, stale_s=INCIDENT_STALE_S, ce_m=ce_m)
    detail = ET.SubElement(made, "detail")
    plate = (data.get("plate") or {}).get("text")
    words = [data["kind"].replace("_", " "), data.get("label"), plate]
    ET.SubElement(detail, "contact", callsign=" ".join(word for word in words if word))
    if alarm:
        ET.SubElement(detail, "emergency", type="911 Alert").text = device
    ET.SubElement(detail, "link", uid=f"EA-{device}", type=DRONE, relation="p-p")
    where = f"zone {data.get('zone')}, camera {data.get('camera')}, rule {data.get('rule')}"
    ET.SubElement(detail, "remarks").text = f"{where}, {data.get('lasted_s', 0):.0f} s"
    return _bytes(made)


def _event(uid: str, kind: str, time: str, place: Place, *, stale_s: float, ce_m: str) -> ET.Element:
    began = datetime.fromisoformat(time).astimezone(UTC)
    times = {
        "time": _cot_time(began),
        "start": _cot_time(began),
        "stale": _cot_time(began + timedelta(seconds=stale_s)),
    }
    event = ET.Element("event", version="2.0", uid=uid, type=kind, how="m-g", **times)
    lat, lon, alt_m = place
    height = {"hae": UNKNOWN, "le": UNKNOWN} if alt_m is None else {"hae": f"{alt_m:.1f}", "le": GEOID_M}
    ET.SubElement(event, "point", lat=f"{lat:.7f}", lon=f"{lon:.7f}", ce=ce_m, **height)
    return event


def _cot_time(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


def _bytes(event: ET.Element) -> bytes:
    return ET.tostring(event, encoding="utf-8", xml_declaration=True) + b"\n"


class Adapter(pytak.QueueWorker):
    """Takes messages from paho's thread, and puts CoT into pytak's queue; a repeated event is sent once."""

    def __init__(self, queue: Any, config: Any, places: dict[str, Place], alarms: frozenset[str]) -> None:
        super().__init__(queue, config)
        self._places, self._fixed, self._alarms = dict(places), frozenset(places), alarms
        self._seen: dict[str, None] = {}
        self.inbox: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(10_000)

    async def run(self, _: int = -1) -> None:
        while True:
            topic, payload = await self.inbox.get()
            try:
                data = self._convert(topic.split("/"), json.loads(payload))
            except (ValueError, KeyError, TypeError, AttributeError) as error:  # hostile or newer: never our end
                log.warning("%s: cannot be read: %s: %s", topic, type(error).__name__, error)
                continue
            if data is not None:
                await self.put_queue(data)

    def _convert(self, levels: list[str], message: dict[str, Any]) -> bytes | None:
        device = levels[2]
        match levels[4:]:
            case ["tele", "pos"]:
                found = position(device, message)
                if found is None:
                    return None
                self._places[device], data = found
                return data
            case ["ev", "det"]:
                if message["id"] in self._seen:
                    return None
                self._seen[message["id"]] = None
                if len(self._seen) > 1000:
                    del self._seen[next(iter(self._seen))]
                place = self._places.get(device)
                if place is None:
                    log.warning("%s: incident %s is nowhere: no position yet, and no --at", device, message["id"])
                    return None
                ce_m = FIXED_CE_M if device in self._fixed else VEHICLE_CE_M
                return incident(device, message, place, ce_m, self._alarms)
        return None


def _listen(args: argparse.Namespace, adapter: Adapter) -> paho.Client:
    loop = asyncio.get_running_loop()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="ea-cot", protocol=paho.MQTTv5)

    def put(topic: str, payload: bytes) -> None:
        if not adapter.inbox.full():  # TAK is behind: the newest position comes again in a second
            adapter.inbox.put_nowait((topic, payload))

    def on_connect(_: paho.Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if reason.is_failure:
            log.error("the broker refuses us: %s", reason)
            return
        client.subscribe([(f"{ROOT}/+/up/tele/pos", 0), (f"{ROOT}/+/up/ev/det", 1)])
        log.info("connected")

    client.on_connect = on_connect
    client.on_message = lambda _, __, message: loop.call_soon_threadsafe(put, message.topic, message.payload)
    if args.ca_file:
        context = ssl.create_default_context(cafile=args.ca_file)
        if args.cert_file:
            context.load_cert_chain(args.cert_file, args.key_file)
        client.tls_set_context(context)
    else:
        log.warning("no --ca-file: everything crosses the network in the clear")
    client.connect_async(args.host, args.port)
    client.loop_start()
    return client


def _place(text: str) -> tuple[str, Place]:
    """`EA-1=30.25,120.17`, where a box without a vehicle stands."""
    device, _, where = text.partition("=")
    try:
        lat, lon = (float(part) for part in where.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"DEVICE=LAT,LON is wanted, got {text!r}") from None
    if not device or abs(lat) > 90 or abs(lon) > 180:
        raise argparse.ArgumentTypeError(f"DEVICE=LAT,LON is wanted, in degrees, got {text!r}")
    return device, (lat, lon, None)


async def _run(args: argparse.Namespace) -> None:
    config = ConfigParser({"COT_URL": args.cot_url, "TAK_PROTO": "0"})
    config.read_dict({"ea_cot": {name: str(value) for name, value in (item.split("=", 1) for item in args.pytak)}})
    tool = pytak.CLITool(config["ea_cot"])
    await tool.setup()
    adapter = Adapter(tool.tx_queue, config["ea_cot"], dict(args.at), frozenset(args.alarm))
    tool.add_task(adapter)
    client = _listen(args, adapter)
    try:
        await tool.run()
    finally:
        client.disconnect()
        client.loop_stop()


def main() -> None:
    """Run until stopped; ends when TAK hangs up, so let systemd restart it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cot-url", required=True, metavar="URL", help="tls://HOST:8089, tcp://HOST:PORT or udp://…")
    parser.add_argument("--host", default="127.0.0.1", help="the broker (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8884, help="its port (default: %(default)s)")
    parser.add_argument("--ca-file", help="speak TLS and trust this CA; without it: plain, for a bench")
    parser.add_argument("--cert-file", help="our certificate, with --key-file")
    parser.add_argument("--key-file")
    parser.add_argument("--at", action="append", default=[], type=_place, metavar="DEVICE=LAT,LON")
    parser.add_argument("--alarm", action="append", default=[], metavar="KIND", help="incidents that are alarms")
    parser.add_argument("--pytak", action="append", default=[], metavar="NAME=VALUE", help="PYTAK_TLS_CLIENT_CERT=…, …")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    asyncio.run(_run(args))


if __name__ == "__main__":
    main()

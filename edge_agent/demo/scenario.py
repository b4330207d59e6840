"""What the demo plays: one site, one river bank, one patrol, and the agent's configuration for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from edge_agent import geo

DEVICE = "EA-DEMO"
TIME_ZONE = "Asia/Shanghai"
ORDER = "巡逻正常。"  # "patrol is as it should be": what the centre has said over the loudspeaker
HOME_LAT, HOME_LON = 30.2461, 120.1552
ALT_M, SPEED_MPS = 20.0, 8.0
CORNERS_M = ((45.0, -20.0), (45.0, 35.0), (15.0, 35.0))  # (north, east) of home: along the bank and back

FILE = """\
# Written by `edge-agent demo`: the same format as on a real device. Change one `type =` at a time to go there.
data_dir = "agent"

[site]
device = "{device}"
name = "river bank"
time_zone = "{time_zone}"
lat = {lat}
lon = {lon}

[vehicle]                               # on a drone: url = "serial:/dev/ttyAMA0:921600"
type = "mavlink"
url = "udpin:127.0.0.1:{vehicle_port}"

[limits]
max_alt_m = 60.0
max_distance_m = 300.0

[[route]]
id = "river"
alt_m = {alt_m}
speed_mps = {speed_mps}
waypoints = [
{waypoints}
]

[[schedule]]
id = "patrol"
route = "river"
rrule = "FREQ=DAILY;COUNT=1"
dtstart = "{dtstart}"
enabled = {schedule}

[[detector]]                            # the weights that came along; another: model = "yolox-s", or a file
name = "eyes"
type = "onnx"
threads = 1

[[camera]]                              # on a device: type = "video" and a path
name = "bank"
type = "simulated"
detector = "eyes"
scene = "{scene}"
began_s = {began_s}

[plates]                                # real: the built-in weights read the rendered picture
enabled = {plates}

[[zone]]
name = "water"
camera = "bank"
polygon = {water}

[[zone]]
name = "kerb"
camera = "bank"
polygon = {kerb}

[[rule]]
id = "bather"
type = "forbidden_zone"
zone = "water"
after_s = 1.5
speakers = ["bank"]
say = [
  {{lang = "cmn", text = "水边危险，请立即离开水域。"}},
  {{lang = "en", text = "Danger. Leave the water now."}},
]

[[rule]]
id = "parking"
type = "dwell"
zone = "kerb"
after_s = 8.0
speakers = ["bank"]
say = [{{lang = "cmn", text = "车牌{{plate}}，此处禁止停车，请尽快驶离。"}}]

[[speaker]]                             # on a street: type = "rtp", host = "239.1.1.1", port = 5004
name = "bank"
type = "simulated"
{speaker_directory}

{operator}

[mqtt]                                  # at a centre: its host, ca_file, cert_file and key_file
host = "127.0.0.1"
port = {broker_port}
plain = true
"""


def agent_toml(
    *,
    vehicle_port: int,
    broker_port: int,
    began_s: float,
    takeoff_s: float,
    water: Sequence[tuple[float, float]],
    kerb: Sequence[tuple[float, float]],
    operator: str,
    broken: str | None = None,
) -> str:
    """The configuration; times are Unix, `operator` is who may command. `broken` names the link that must fail."""
    return FILE.format(
        device=DEVICE,
        time_zone=TIME_ZONE,
        lat=HOME_LAT,
        lon=HOME_LON,
        vehicle_port=vehicle_port,
        alt_m=ALT_M,
        speed_mps=SPEED_MPS,
        waypoints=",\n".join(f"  {{lat = {lat:.7f}, lon = {lon:.7f}}}" for lat, lon in waypoints()),
        dtstart=datetime.fromtimestamp(takeoff_s, ZoneInfo(TIME_ZONE)).strftime("%Y-%m-%dT%H:%M:%S"),
        schedule=_toml(broken != "schedule"),
        scene="empty" if broken == "camera" else "river_bank",
        began_s=began_s,
        plates=_toml(broken != "plates"),
        water=json.dumps(water),
        kerb=json.dumps(kerb),
        speaker_directory='directory = "agent.toml"  # no directory: this speaker is broken'
        if broken == "speaker"
        else "",
        broker_port=broker_port,
        operator=operator,
    )


def waypoints() -> list[tuple[float, float]]:
    """(lat, lon) of the patrol's corners."""
    return [geo.from_local(north_m, east_m, HOME_LAT, HOME_LON) for north_m, east_m in CORNERS_M]


def write(directory: Path, text: str) -> Path:
    """Put the configuration where the agent looks for it."""
    file = directory / "agent.toml"
    file.write_text(text, encoding="utf-8")
    return file


def _toml(value: bool) -> str:
    return "true" if value else "false"

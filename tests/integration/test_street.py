"""The agent on a real street video: people followed, the zone's rule fires, the warning is heard, the centre is told.

The video is `vtest.avi` of Debian's opencv-doc (768 x 576, pedestrians from above); the detector is a motion-blob model
that the test builds and names so; broker and subscriber are mosquitto and paho.
"""

import hashlib
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

PLACES = (
    Path("/usr/share/doc/opencv-doc/examples/data"),
    Path("build/opencv-doc/usr/share/doc/opencv-doc/examples/data"),
)
VIDEO = next((place / "vtest.avi" for place in PLACES if (place / "vtest.avi").exists()), None)
ENGLISH = "Please keep the road clear."

CONFIG = """
data_dir = "state"
[site]
device = "EA-STREET"
[[detector]]
name = "main"
type = "onnx"
model = "motion.onnx"
score = 0.5
classes = ["moving"]
[[camera]]
name = "street"
type = "video"
path = "{video}"
detector = "main"
[[zone]]
name = "road"
camera = "street"
polygon = [[0.30, 0.30], [0.70, 0.30], [0.75, 0.80], [0.30, 0.80]]
[[rule]]
id = "road"
type = "forbidden_zone"
zone = "road"
classes = ["moving"]
after_s = 1.0
speakers = ["horn"]
say = [{{lang = "en", text = "{english}"}}, {{lang = "cmn", text = "请不要在路面停留。"}}]
[[speaker]]
name = "horn"
type = "rtp"
host = "127.0.0.1"
port = {rtp_port}
[mqtt]
port = {mqtt_port}
plain = true
ack = "broker"
"""


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the model."""
    if VIDEO is None:
        pytest.skip("no vtest.avi: apt-get install opencv-doc")
    import av
    import motion_model

    directory = tmp_path_factory.mktemp("street")
    with av.open(str(VIDEO)) as container:
        frames = container.decode(video=0)
        motion_model.build(
            directory / "motion.onnx", [f.to_ndarray(format="bgr24") for n, f in enumerate(frames) if n % 20 == 0]
        )
    return directory


def write_config(directory: Path, **ports: int) -> Path:
    file = directory / "agent.toml"
    file.write_text(CONFIG.format(video=VIDEO.resolve() if VIDEO else "", english=ENGLISH, **ports))
    return file


class Loudspeaker:
    """A far end of RTP: keeps what came, by the sequence numbers of RFC 3550, and decodes G.711 by its formula."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(0.2)
        self.port: int = self.sock.getsockname()[1]
        self.packets: list[tuple[int, int, bytes]] = []  # SSRC, sequence number, payload
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        while not self.done.is_set():
            try:
                data = self.sock.recv(2048)
            except TimeoutError:
                continue
            _, kind, seq, _, ssrc = struct.unpack("!BBHII", data[:12])
            assert kind & 0x7F == 0  # PCMU, RFC 3551
            self.packets.append((ssrc, seq, data[12:]))

    def close(self) -> None:
        self.done.set()
        self.thread.join()
        self.sock.close()

    def heard(self) -> np.ndarray:
        """The first announcement, as -1..1 at 8 kHz."""
        first = self.packets[0][0]
        body = b"".join(payload for ssrc, _, payload in self.packets if ssrc == first)
        code = ~np.frombuffer(body, np.uint8)  # ITU-T G.711, table 2a: sign, 3 bits of exponent, 4 of mantissa
        magnitude = (((code & 0x0F).astype(int) * 2 + 33) << ((code >> 4) & 7)) - 33
        return np.where(code & 0x80, -magnitude, magnitude) / 8159


def envelope(samples: np.ndarray) -> np.ndarray:
    """Energy in steps of 20 ms."""
    whole = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    return np.sqrt(np.mean(whole**2, axis=1))


class Subscriber:
    """A centre's consumer as anyone would write it."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_message = lambda _client, _data, message: self.messages.append((message.topic, message.payload))
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("ea/1/EA-STREET/up/#", qos=1)
        self.client.loop_start()

    def close(self) -> None:
        self.client.loop_stop()
        self.client.disconnect()

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(body)["data"] for topic, body in self.messages if topic.endswith(f"/up/ev/{kind}")]


def wait_for(what: Any, within_s: float) -> None:
    end = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def test_a_walker_on_the_road_is_seen_warned_and_reported(street: Path, mosquitto: Any) -> None:
    broker = mosquitto()
    broker.start()
    horn, centre = Loudspeaker(), Subscriber(broker.port)
    config = write_config(street, rtp_port=horn.port, mqtt_port=broker.port)
    log = (street / "agent.log").open("wb")
    agent = subprocess.Popen([sys.executable, "-m", "edge_agent", "run", "-c", str(config)], stderr=log)
    try:
        wait_for(lambda: centre.events("det") and any(e["outcome"] == "delivered" for e in centre.events("voice")), 90)
        wait_for(lambda: any("/up/thumb/" in topic for topic, _ in centre.messages), 10)
    finally:
        agent.send_signal(signal.SIGTERM)
        status = agent.wait(20)
        log.close()
        centre.close()
        horn.close()
    assert status == 0, (street / "agent.log").read_text()

    incident = next(event for event in centre.events("det") if "rule" in event)
    assert (incident["rule"], incident["label"], incident["zone"]) == ("road", "moving", "road")
    assert 1.0 <= incident["lasted_s"] < 1.5
    picture = Path(incident["picture"]["path"])
    assert hashlib.sha256(picture.read_bytes()).hexdigest() == incident["picture"]["sha256"]
    thumb = next(body for topic, body in centre.messages if f"/up/thumb/{incident['id']}/" in topic)
    assert thumb[:3] == b"\xff\xd8\xff"
    assert len(thumb) <= 24 * 1024

    spoken = next(e for e in centre.events("voice") if e["outcome"] == "delivered")
    assert spoken["incident"] == incident["id"]
    heard = horn.heard()
    tone = heard[: int(0.25 * 8000)]
    peak_hz = np.argmax(np.abs(np.fft.rfft(tone * np.hanning(len(tone)), 16000))) * 8000 / 16000
    assert abs(peak_hz - 1000) <= 10
    assert correlation_with_rendered(heard) >= 0.95


def correlation_with_rendered(heard: np.ndarray) -> float:
    """How well what was heard follows the same words rendered anew."""
    import asyncio

    from edge_agent.config import Voice as Section
    from edge_agent.messages import Phrase
    from edge_agent.speakers.voice import Voice

    phrases = (Phrase(lang="en", text=ENGLISH), Phrase(lang="cmn", text="请不要在路面停留。"))
    sent = asyncio.run(Voice(Section()).render(phrases)).samples / 32768
    a, b = envelope(heard), envelope(sent)
    length = min(len(a), len(b))
    assert abs(len(a) - len(b)) <= 5
    return float(np.corrcoef(a[:length], b[:length])[0, 1])


def test_watch_sees_the_same_street_frame_by_frame(street: Path) -> None:
    config = write_config(street, rtp_port=5004, mqtt_port=1883)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "edge_agent",
            "watch",
            str(VIDEO.resolve() if VIDEO else ""),
            "-c",
            str(config),
            "--json",
            "--pictures",
            "shots",
        ],
        capture_output=True,
        text=True,
        cwd=street,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    tracks = [line for line in lines if line["type"] == "track"]
    incidents = [line for line in lines if line["type"] == "incident"]
    assert lines[-1] == {"type": "end", "frames": 795, "complete": True}
    assert len({track["id"] for track in tracks}) == len(tracks) >= 10
    assert max(track["last_s"] - track["first_s"] for track in tracks) > 5.0  # somebody was followed for a while
    assert all(0 <= track["first_s"] <= track["last_s"] <= 79.5 for track in tracks)
    assert incidents
    assert all((street / "shots" / f"{incident['id']}.jpg").exists() for incident in incidents)
    assert [line for line in lines if line["type"] == "incident"] == sorted(incidents, key=lambda i: i["at_s"])

"""How many events a second `edge-agent centre run` stores and acknowledges, and what one costs: for docs/FLEET.md.

`python bench/centre.py [--events N] [--devices D] [--consumers C] [--one-file]` prints one line of JSON. The devices
are one raw MQTT connection that sends ready-made events and counts acknowledgements, so that the centre is measured;
they have IN_FLIGHT events on their way together, and none is sent twice.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

IN_FLIGHT = 1500  # of all devices together: a consumer's inbox holds 2,000 and leaves the rest to be sent again
DATA = {
    "kind": "dwell",
    "rule": "no-parking",
    "camera": "cam0",
    "zone": "fire lane",
    "track": 17,
    "label": "car",
    "score": 0.91,
    "box": [10.5, 20.5, 110.5, 90.5],
    "began_s": 1795310000.0,
    "wall_s": 1795310060.0,
    "at_s": 81233.4,
    "lasted_s": 60.0,
    "frame": 900,
    "plate": {"text": "沪A12345", "confidence": 0.97, "box": [40.0, 70.0, 70.0, 80.0], "votes": 9},
    "picture": {"path": "e1.jpg", "sha256": "ab" * 32, "bytes": 183220, "width": 1920, "height": 1080},
}


class Devices:
    """`count` devices on one connection; they have IN_FLIGHT events on their way together, and none is sent twice."""

    def __init__(self, port: int, count: int, events: int) -> None:
        self.share, self.window = events // count, max(1, IN_FLIGHT // count)
        self.acked = [0] * count
        self._held: list[set[int]] = [set() for _ in range(count)]
        self._sent = [0] * count
        self._packet = 0
        self._free = threading.Condition()
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = b"bench"
        self._send(0x10, b"\x00\x04MQTT\x05\x02\x00\x3c\x00" + struct.pack("!H", len(client)) + client)
        topic = b"ea/1/+/down/ack"
        self._send(0x82, b"\x00\x01\x00" + struct.pack("!H", len(topic)) + topic + b"\x00")
        threading.Thread(target=self._read, daemon=True).start()

    def run(self) -> None:
        """Send everything, and return when all of it is acknowledged."""
        while True:
            with self._free:
                ready = [d for d, n in enumerate(self._sent) if n < self.share and n - self.acked[d] < self.window]
                if not ready:
                    if min(self.acked) == self.share:
                        return
                    if not self._free.wait(60):
                        raise SystemExit(f"stuck at {sum(self.acked)} acknowledged of {sum(self._sent)} sent")
                    continue
            out = bytearray()
            for device in ready:
                while self._sent[device] < self.share and self._sent[device] - self.acked[device] < self.window:
                    self._sent[device] += 1
                    out += self._event(device, self._sent[device])
            self._socket.sendall(out)

    def _event(self, device: int, seq: int) -> bytes:
        name = f"D-{device}"
        event = {"specversion": "1.0", "id": f"01K{device:05}{seq:018}", "source": f"ea/{name}", "type": "ev.det"}
        event |= {"time": "2026-11-22T01:18:03.412Z", "seq": seq, "epoch": 7, "boot": "b6c1" * 8, "data": DATA}
        event |= {"prev": "sha256:" + "9f" * 32, "mono_us": 8123344112, "tq": {"src": "gps", "err_ms": 20}}
        topic, body = f"ea/1/{name}/up/ev/det".encode(), json.dumps(event, ensure_ascii=False).encode()
        self._packet = self._packet % 65535 + 1
        return _packet(0x32, struct.pack("!H", len(topic)) + topic + struct.pack("!HB", self._packet, 0) + body)

    def _send(self, kind: int, body: bytes) -> None:
        self._socket.sendall(_packet(kind, body))

    def _read(self) -> None:
        stream = self._socket.makefile("rb", buffering=1 << 16)
        while head := stream.read(1):
            length = shift = 0
            while True:
                [byte] = stream.read(1)
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            body = stream.read(length)
            if head[0] >> 4 == 3:
                size = struct.unpack("!H", body[:2])[0]
                self._take(body[2 : 2 + size].decode(), json.loads(body[body.index(b"{") :]))

    def _take(self, topic: str, ack: dict[str, object]) -> None:
        device = int(topic.split("/")[2][2:])
        held, cum = self._held[device], self.acked[device]
        for first, last in [(cum + 1, ack["cum"]), *ack.get("sel", [])]:  # type: ignore[misc, list-item]
            held.update(range(max(first, cum + 1), last + 1))
        while cum + 1 in held:
            cum += 1
            held.discard(cum)
        with self._free:
            self.acked[device] = cum
            self._free.notify()


def _packet(kind: int, body: bytes) -> bytes:
    out, length = bytearray([kind]), len(body)
    while True:
        length, low = divmod(length, 128)
        out.append(low | (128 if length else 0))
        if not length:
            return bytes(out) + body


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """One broker, some consumers, one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--consumers", type=int, default=1)
    parser.add_argument("--one-file", action="store_true", help="all consumers on one database")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        home = Path(name)
        (home / "m.conf").write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 100000\n"
        )
        broker = subprocess.Popen(["/usr/sbin/mosquitto", "-c", home / "m.conf"], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        consumers = []
        for n in range(args.consumers):
            db = home / ("c.db" if args.one_file else f"c{n}.db")
            command = [sys.executable, "-m", "edge_agent", "centre", "run", "--port", str(port), "--db", str(db)]
            if args.consumers > 1:
                command += ["--group", "g"]
            consumers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
            assert consumers[-1].stdout is not None
            consumers[-1].stdout.readline()
        devices = Devices(port, args.devices, args.events)
        began_s, before = time.monotonic(), [_cpu_s(p.pid) for p in (broker, *consumers)]
        devices.run()
        took_s = time.monotonic() - began_s
        used = [_cpu_s(p.pid) - b for p, b in zip((broker, *consumers), before, strict=True)]
        stored, size = 0, 0
        for process in consumers:
            process.terminate()
            process.wait(20)
        for db in home.glob("c*.db"):
            with sqlite3.connect(db) as connection:
                stored += connection.execute("SELECT count(*) FROM event").fetchone()[0]
            connection.close()
            size += db.stat().st_size
        broker.terminate()
        broker.wait(10)
    sent = devices.share * args.devices
    body = len(devices._event(0, sent))
    print(
        json.dumps(
            {
                "events": sent,
                "devices": args.devices,
                "consumers": args.consumers,
                "one_file": args.one_file,
                "events_per_s": round(sent / took_s),
                "consumer_cpu_us_per_event": round(sum(used[1:]) / sent * 1e6),
                "broker_cpu_us_per_event": round(used[0] / sent * 1e6),
                "bytes_on_the_wire_per_event": body,
                "bytes_in_the_file_per_event": round(size / sent),
                "stored": stored,
                "load": round(os.getloadavg()[0], 1),
            }
        )
    )


if __name__ == "__main__":
    main()

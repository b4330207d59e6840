"""What receiving costs: our link beside `mavutil.recv_match`, the same stream at its own pace over the same transport.

The mix is what ArduCopter 4.6 SITL sends a ground station that asks for every stream at 4 Hz (MAVProxy's default) while
an agent asks for its own messages: counted over a minute, made anew here from a seed. Nothing of ArduPilot is in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TRANSPORTS = ("tcp", "udp", "serial")
WARM_UP = 300  # messages before the clock runs: imports, first decodes
QUIET_S, START_S = 5.0, 60.0  # the stream is over; it began

# Messages a second, by MAVLink id.
MIX: dict[int, float] = {
    33: 5, 163: 4, 178: 4, 30: 4, 74: 4, 1: 4, 125: 4, 152: 4, 62: 4, 42: 4, 36: 4, 65: 4, 27: 4, 116: 4, 129: 4,
    29: 4, 137: 4, 24: 4, 2: 4, 164: 4, 136: 4, 193: 4, 241: 4, 147: 4, 11030: 4, 168: 2.2, 32: 2.2, 245: 2, 242: 2,
    0: 1, 133: 0.5, 111: 0.1, 253: 0.1,
}  # fmt: skip


def stream(seconds: float, seed: int = 1) -> list[tuple[float, bytes]]:
    """(when, frame): every kind at its rate, from its own phase, with plausible numbers in all fields."""
    from pymavlink.dialects.v20 import ardupilotmega as mavlink

    rng, mav = random.Random(seed), mavlink.MAVLink(None, srcSystem=1, srcComponent=1)
    times = sorted(
        ((n + phase) / rate, number)
        for number, rate in MIX.items()
        for phase in (rng.random(),)
        for n in range(int(seconds * rate))
    )
    frames = []
    for at_s, number in times:
        frames.append((at_s, _message(mavlink, number, at_s, rng).pack(mav)))
        mav.seq = (mav.seq + 1) % 256
    return frames


def _message(mavlink: Any, number: int, at_s: float, rng: random.Random) -> Any:
    known = mavlink.mavlink_map[number]
    values: list[Any] = []
    for name, kind, order in zip(known.fieldnames, known.fieldtypes, known.orders, strict=True):
        length = known.array_lengths[order]
        if name == "time_boot_ms":
            values.append(int(at_s * 1000))
        elif kind == "char":
            values.append(b"EKF3 IMU0 is using GPS")
        elif name in ("id", "type", "autopilot"):
            values.append({"id": 0, "type": 2, "autopilot": 3}[name])
        else:
            one = [rng.uniform(-1, 1) if kind == "float" else rng.randrange(1, 100) for _ in range(length or 1)]
            values.append(one if length else one[0])
    return known(*values)


def main() -> None:
    """`flight_link.py [--seconds S] [--repeats N]`, or as the child that reads: `flight_link.py READER TRANSPORT …`."""
    if len(sys.argv) > 1 and sys.argv[1] in READERS:
        name, place, number = sys.argv[1:4]
        print(json.dumps(READERS[name](place, int(number))))
        return
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    found = measure(float(options.get("--seconds", 30)), int(options.get("--repeats", 3)))
    print(json.dumps(found, indent=1))


def measure(seconds: float, repeats: int) -> dict[str, Any]:
    """CPU milliseconds per 1,000 messages, by transport and reader; both read the same bytes at the same time."""
    frames = stream(seconds)
    found: dict[str, Any] = {"messages": len(frames), "per_s": round(len(frames) / seconds), "ms": {}}
    for transport in TRANSPORTS:
        runs: dict[str, list[float]] = {name: [] for name in READERS}
        for _ in range(repeats):
            for name, ms in _run(transport, frames).items():
                runs[name].append(ms)
        found["ms"][transport] = {
            name: [round(f(values), 2) for f in (statistics.median, min, max)] for name, values in runs.items()
        }
        ours, theirs = (found["ms"][transport][name][0] for name in ("ours", "mavutil"))
        found["ms"][transport]["ratio"] = round(ours / theirs, 3)
        print(transport, found["ms"][transport], file=sys.stderr, flush=True)
    return found


def _run(transport: str, frames: list[tuple[float, bytes]]) -> dict[str, float]:
    """One stream to every reader."""
    with Source(transport, len(READERS)) as source:
        children = {
            name: subprocess.Popen(
                [sys.executable, __file__, name, place, str(len(frames))], stdout=subprocess.PIPE, text=True, cwd=ROOT
            )
            for name, place in zip(READERS, source.places, strict=True)
        }
        try:
            for child in children.values():
                assert child.stdout is not None
                assert child.stdout.readline() == "ready\n"
            source.play(frames)
            found = {name: json.loads(child.communicate(timeout=30)[0]) for name, child in children.items()}
        finally:
            for child in children.values():
                child.kill()
                child.wait()
    for name, result in found.items():
        assert result["frames"] >= 0.98 * len(frames), f"{name} has seen {result['frames']} of {len(frames)}"
    return {name: result["ms"] / result["counted"] * 1000 for name, result in found.items()}


class Source:
    """The vehicle's end: as many wires as there are readers."""

    def __init__(self, transport: str, number: int) -> None:
        self._transport, self._files, self.places = transport, [], []
        self._writers: list[Any] = []
        for _ in range(number):
            match transport:
                case "tcp":
                    server = socket.create_server(("127.0.0.1", 0))
                    self.places.append(f"tcp:127.0.0.1:{server.getsockname()[1]}")
                    self._files.append(server)
                case "udp":
                    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                        probe.bind(("127.0.0.1", 0))
                        port = probe.getsockname()[1]
                    self.places.append(f"udpin:127.0.0.1:{port}")
                    sock.connect(("127.0.0.1", port))
                    self._files.append(sock)
                case _:
                    ours, theirs = os.openpty()
                    tty.setraw(theirs)
                    self.places.append(f"serial:{os.ttyname(theirs)}:115200")
                    self._files.append((ours, theirs))

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (*self._files, *self._writers):
            for one in file if isinstance(file, tuple) else (file,):
                os.close(one) if isinstance(one, int) else one.close()

    def play(self, frames: list[tuple[float, bytes]]) -> None:
        """Send each frame when it is due, as an autopilot does."""
        writes = [self._writer(file) for file in self._files]
        began = time.monotonic()
        for at_s, frame in frames:
            wait = began + at_s - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            for write in writes:
                try:
                    write(frame)
                except OSError:  # a reader that had enough
                    continue

    def _writer(self, file: Any) -> Any:
        match self._transport:
            case "tcp":
                client, _ = file.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._writers.append(client)
                threading.Thread(target=_drain, args=(client.recv,), daemon=True).start()
                return client.sendall
            case "udp":
                return file.send
            case _:
                threading.Thread(target=_drain, args=(lambda n: os.read(file[0], n),), daemon=True).start()
                return lambda frame: os.write(file[0], frame)


def _drain(read: Any) -> None:
    try:
        while read(4096):
            pass
    except OSError:
        return


def _ours(place: str, number: int) -> dict[str, float]:
    """The agent's driver and link: every message that gates and pilot use is decoded and kept."""
    from edge_agent import config
    from edge_agent.flight.mavlink import TICK_S, Link
    from edge_agent.flight.vehicle import open_vehicle
    from edge_agent.runtime import SystemClock

    async def run() -> dict[str, float]:
        clock = SystemClock()
        vehicle = open_vehicle(config.MavlinkVehicle(url=place), config.Site(device="b"), clock)
        link = Link(1)
        link.watched = link.read_params((), 0.0)  # a recording answers no question for parameters
        await vehicle.open()
        print("ready", flush=True)
        started, first, heard_s = 0.0, 0, time.monotonic()
        while link.frames < number and time.monotonic() - heard_s < (QUIET_S if link.frames else START_S):
            if data := await vehicle.receive(TICK_S):
                heard_s = time.monotonic()
            link.receive(data, clock.monotonic())
            link.tick(clock.monotonic())
            if out := link.data_to_send():
                await vehicle.send(out)
            if not started and link.frames >= WARM_UP:
                started, first = time.process_time(), link.frames
            if not link.busy:
                await clock.sleep(vehicle.gather_s)
        used = time.process_time() - started
        await vehicle.close()
        return {"ms": used * 1000, "counted": link.frames - first, "frames": link.frames}

    return asyncio.run(run())


def _mavutil(place: str, number: int) -> dict[str, float]:
    """pymavlink's own way, as every script has it."""
    os.environ["MAVLINK20"] = "1"
    from pymavlink import mavutil

    kind, host, port = place.split(":")
    device, options = (host, {"baud": int(port)}) if kind == "serial" else (place, {})
    master = mavutil.mavlink_connection(device, **options)
    print("ready", flush=True)
    seen, started, first = 0, 0.0, 0
    while seen < number:
        if master.recv_match(blocking=True, timeout=QUIET_S if seen else START_S) is None:
            break
        seen += 1
        if not started and seen >= WARM_UP:
            started, first = time.process_time(), seen
    return {"ms": (time.process_time() - started) * 1000, "counted": seen - first, "frames": seen}


READERS = {"ours": _ours, "mavutil": _mavutil}

if __name__ == "__main__":
    main()

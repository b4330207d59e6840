"""The eyes as a whole: from a picture to an incident on disk, and memory over 100,000 frames."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import msgspec
import numpy as np

from edge_agent import config, plate_types
from edge_agent.agent import Agent
from edge_agent.incidents.rules import Rules
from edge_agent.messages import Detection, Plate
from edge_agent.runtime import Health, SystemClock
from edge_agent.vision.camera import Frame
from edge_agent.vision.eye import Eye
from edge_agent.vision.pipeline import Vision
from edge_agent.vision.votes import Calibration, Read

SITE = """
data_dir = "{folder}"
site = {{device = "bench"}}
[[camera]]
type = "simulated"
name = "c"
detector = "d"
[[detector]]
type = "simulated"
name = "d"
[[zone]]
name = "z"
camera = "c"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
[[rule]]
id = "r"
type = "forbidden_zone"
zone = "z"
after_s = 0.0
cool_down_s = 0.0
"""
PERIOD_S, CYCLE, PRESENT = 0.1, 12, 6  # somebody is there for 6 of 12 frames, each time elsewhere
INCIDENTS = 30


def where(cycle: int) -> tuple[float, float, float, float]:
    """Where somebody stands in this cycle."""
    x = 60.0 + cycle * 733 % 1700
    return x, 400.0, x + 80, 640.0


class Passers:
    """A 1080p camera at 10 frames a second, stamped when a frame is handed over; and the detector that finds them.

    The detector is as dear as a small net: matrix products of about 20 ms.
    """

    name, every_frame, state, max_exposure_ms = "c", False, "live", None
    labels, score = ("person",), 0.3
    share: float | None = None

    def __init__(self) -> None:
        self.drops, self.took_ms = Counter[str](), list[float]()
        rng = np.random.default_rng(5)
        self._scene = cv2.GaussianBlur(rng.integers(0, 255, (1080, 1920, 3), np.uint8), (0, 0), 5)
        self._square = np.ones((640, 640), np.float32)

    async def frames(self) -> AsyncGenerator[Frame, None]:
        for n in range((INCIDENTS + 3) * CYCLE):
            pixels = self._scene.copy()
            x1, y1, x2, y2 = (int(side) for side in where(n // CYCLE))
            if n % CYCLE < PRESENT:
                cv2.rectangle(pixels, (x1, y1), (x2, y2), (255, 255, 255), -1)
            yield Frame("c", n, time.monotonic(), time.time(), pixels)
            await asyncio.sleep(PERIOD_S)

    def detect(self, frame: Frame) -> list[Detection]:
        began = time.monotonic()
        for _ in range(2):
            self._square @ self._square
        cv2.GaussianBlur(frame.pixels, (0, 0), 7)
        self.took_ms.append((time.monotonic() - began) * 1000)
        there = frame.seq % CYCLE < PRESENT
        return [Detection(label="person", score=0.9, box=where(frame.seq // CYCLE))] if there else []


async def latency() -> dict[str, float]:
    """Ms from a frame's capture to its incident in the outbox, picture and all; of the detector; of the loop's lag."""
    told: list[float] = []
    beside: list[float] = []  # the same without what the detector took for that very frame
    with tempfile.TemporaryDirectory() as folder:
        clock = SystemClock()
        settings = config.parse(SITE.format(folder=folder), Path(folder) / "agent.toml")
        agent = Agent(settings, clock=clock, health=Health(clock))
        report = agent.wiring.report

        async def timed(kind: str, data: msgspec.Struct, **facts: Any) -> None:
            await report(kind, data, **facts)
            if kind == "det":
                told.append((time.monotonic() - data.at_s) * 1000)  # type: ignore[attr-defined]
                beside.append(told[-1] - passers.took_ms[-1])

        agent.wiring.report = timed  # type: ignore[method-assign]
        passers, camera = Passers(), agent.settings.cameras[0]
        vision = Vision(
            [passers],
            {"d": lambda: passers},
            {"c": camera},
            config.Plates(),
            {},
            health=agent.health,
            on_tracks=agent.wiring.on_tracks,
        )
        agent.vision = vision
        others = [part for part in agent.parts if not part[0].startswith(("camera.", "detector."))]
        agent.parts = others + vision.parts()
        stop = asyncio.Event()
        running = asyncio.create_task(agent.run(stop))
        await asyncio.sleep((INCIDENTS + 3) * CYCLE * PERIOD_S + 3)
        lag_ms = agent.lag.p99_ms()
        stop.set()
        await running
        await agent.evidence.close()
        await agent.outbox.close()
    return {
        "incidents": len(told),
        "p50_ms": median(told),
        "p95_ms": p95(told),
        "beside_p95_ms": p95(beside),
        "detector_ms": median(passers.took_ms),
        "loop_lag_p99_ms": lag_ms,
    }


def p95(values: list[float]) -> float:
    """The value that 95 % of them do not exceed."""
    return sorted(values)[int(len(values) * 0.95)]


class Crossing:
    """Cars and people that come and go for ever, without looking; and the reader of their plates."""

    name, labels, score = "crossing", ("car", "person"), 0.3
    share: float | None = None

    def __init__(self) -> None:
        self.types, self.calibration = plate_types.of_countries(("CN",)), Calibration(1.0, 0.0)

    def detect(self, frame: Frame) -> list[Detection]:
        found = []
        for lane in range(6):
            x = (frame.seq * (3 + lane) / 2 + 57 * lane) % 250 - 40
            label = "car" if lane % 2 else "person"
            found.append(Detection(label=label, score=0.8, box=(x, 10.0 * lane, x + 20.0, 10.0 * lane + 30)))
        return found

    def read(self, frame: Frame, box: Any) -> Read | None:
        text = f"京A{frame.seq % 100000:05d}"
        return Read(Plate(text=text, confidence=0.9, box=box), tuple({sign: 0.99} for sign in text), "blue", 0.5)


def memory(frames: int = 100_000) -> dict[str, float]:
    """Resident MiB after a tenth of the frames, and at the end: eye, plates and rules of every kind."""
    crossing = Crossing()
    section = config.SimulatedCamera(name="c", detector="d", motion="off")
    plates = config.Plates(enabled=True, every_s=0.2)
    eye = Eye(crossing, plates, crossing, section)  # type: ignore[arg-type]
    zone = config.Zone(name="z", camera="c", polygon=((0.2, 0), (1, 0), (1, 1), (0.2, 1)))
    rules = Rules(
        (zone,),
        (
            config.ForbiddenZone(id="a", zone="z", cool_down_s=5),
            config.Dwell(id="b", zone="z", after_s=2),
            config.Loitering(id="c", zone="z", after_s=2, cool_down_s=5),
            config.Crowd(id="d", zone="z", count=2, cool_down_s=5),
            config.LineCrossing(id="e", camera="c", line=((0.5, 0), (0.5, 1))),
            config.PlateSeen(id="f", zone="z", min_votes=1),
            config.Count(id="g", zone="z"),
        ),
    )
    pixels, early, incidents = np.zeros((90, 160, 3), np.uint8), 0.0, 0
    for n in range(frames):
        tracks = eye.process(Frame("c", n, n / 10, 1e9 + n / 10, pixels))
        incidents += len(rules.update(tracks))
        rules.count(tracks)
        if n == frames // 10:
            early = resident_mib()
    return {"frames": frames, "early_mib": early, "late_mib": resident_mib(), "incidents": incidents}


def resident_mib() -> float:
    """Of this process, as the kernel has it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20

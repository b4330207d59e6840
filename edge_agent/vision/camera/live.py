"""What all live cameras share: a thread that reads, a watch over whether it still does, and times of capture."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_agent.runtime import Clock, DriverError
from edge_agent.vision.camera import Frame
from edge_agent.vision.camera.liveness import Liveness, SenderClock, State
from edge_agent.vision.worker import Worker

Pixels = npt.NDArray[np.uint8]

LOOK_S = 0.2
MIN_SIDE, MAX_PIXELS = 16, 100_000_000


class Shot(NamedTuple):
    """One picture as its source has it; `stamp_s` is the sender's time, on its own clock unless `exact`.

    `exact` stamps are of the agent's monotonic clock, which the kernel gives for sensors of this machine.
    """

    stamp_s: float | None
    exact: bool
    pixels: Callable[[], Pixels]  # (H, W, 3) BGR; costs time, so it is called only for what is used
    lores: Pixels | None = None  # the same, smaller, where the camera's own scaler made one
    lux: float | None = None


Source = Callable[[Counter[str]], Generator[Shot, None, None]]


class LiveCamera:
    """A source that goes on by itself, read in a thread: what nobody takes in time is replaced by what is newer."""

    every_frame = False

    def __init__(
        self,
        name: str,
        what: str,
        source: Source,
        clock: Clock,
        *,
        connect_s: float,
        stall_s: float,
        frozen_s: float,
        max_fps: float | None,
    ) -> None:
        self.name, self.drops = name, Counter[str]()
        self.state: State = "back-off"
        self.max_exposure_ms: float | None = None
        self._what, self._source, self._clock = what, source, clock
        self._connect_s, self._stall_s, self._frozen_s = connect_s, stall_s, frozen_s
        self._period_s = 0.0 if max_fps is None else 1 / max_fps
        self._hung: Worker | None = None  # the thread of a read that was given up

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Frames with the time at which they were taken; raises DriverError where no more come."""
        if self._hung and self._hung.alive:  # a thread more at each restart would pile up
            raise DriverError(f"{self._what}: the read that was given up still hangs")
        worker, source = Worker(f"camera.{self.name}"), self._source(self.drops)
        liveness = Liveness(
            self._clock.monotonic(), connect_s=self._connect_s, stall_s=self._stall_s, frozen_s=self._frozen_s
        )
        sender, seq, due_s = SenderClock(), 0, float("-inf")
        try:
            while True:
                self.state = liveness.state
                shot, pixels = await self._next(worker, source, liveness, due_s)
                now = self._clock.monotonic()
                at_s = sender.taken(shot.stamp_s, now)
                if shot.exact and shot.stamp_s is not None and abs(now - shot.stamp_s) < 2 * self._stall_s:
                    at_s = shot.stamp_s
                if pixels is None:
                    continue
                if not liveness.frame(now, shot.stamp_s, _digest(pixels)):
                    self.drops["stalled"] += 1
                    if why := liveness.look(now):
                        raise DriverError(f"{self._what}: {why}")
                    continue
                self.state = liveness.state
                due_s = now + self._period_s * 0.9  # a little early, so that a camera's own rate is not halved
                wall_s = self._clock.wall() - (now - at_s)
                yield Frame(self.name, seq, at_s, wall_s, pixels, lores=shot.lores, lux=shot.lux)
                seq += 1
        finally:
            self.state = "back-off"
            worker.close(source.close)

    async def _next(
        self, worker: Worker, source: Generator[Shot, None, None], liveness: Liveness, due_s: float
    ) -> tuple[Shot, Pixels | None]:
        """The next shot, with its pixels where it is time for them; raises DriverError where none comes."""
        read = worker.call(self._read, source, due_s)
        while not read.done():
            await asyncio.wait({read}, timeout=LOOK_S)
            why = None if read.done() else liveness.look(self._clock.monotonic())
            self.state = liveness.state
            if why:
                self._hung = worker
                raise DriverError(f"{self._what}: {why}")
        return read.result()

    def _read(self, source: Generator[Shot, None, None], due_s: float) -> tuple[Shot, Pixels | None]:
        shot = next(source, None)
        if shot is None:
            raise DriverError(f"{self._what}: the stream ended")
        if self._clock.monotonic() < due_s:
            self.drops["rate"] += 1
            return shot, None
        pixels = shot.pixels()
        if min(pixels.shape[:2]) < MIN_SIDE or pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
            self.drops["size"] += 1
            return shot, None
        return shot, pixels


def _digest(pixels: Pixels) -> int:
    """A number that noise changes: of every 8th pixel of every 8th row."""
    return zlib.crc32(pixels[::8, ::8].tobytes())

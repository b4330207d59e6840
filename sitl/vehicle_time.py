"""The vehicle's clock, shared with the agent's process, so that every timeout counts the vehicle's seconds.

The harness writes what the vehicle last said of its time into a small file; the agent reads it through mmap as its own
clock. At speed-up 8 both then live 8 times as fast, and where the machine is too slow both wait together. While the
vehicle says nothing (it was killed, it reboots) time goes on at the machine's own rate.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import time
from pathlib import Path

_LAYOUT = struct.Struct("<QdddQ")  # count, vehicle time, when it was read (CLOCK_MONOTONIC), wall offset, count again
SLICE_S = 0.01  # how finely a sleeper looks at the clock


class Hand:
    """The writing end. `hear` takes the vehicle's time since boot; a reboot does not turn the clock back."""

    def __init__(self, file: Path, wall_s: float) -> None:
        file.write_bytes(bytes(_LAYOUT.size))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _LAYOUT.size)
        self._count = 0
        self._boot_s = 0.0  # the clock's time at the vehicle's last boot
        self._last_s = 0.0
        self._read_s = time.monotonic()
        self.wall_offset_s = wall_s
        self._write()

    def hear(self, boot_s: float) -> None:
        """The vehicle says that it has been up for `boot_s` seconds."""
        if self._boot_s + boot_s < self._last_s - 2:
            self._boot_s = self.now()
        self._last_s = max(self._last_s, self._boot_s + boot_s)
        self._read_s = time.monotonic()
        self._write()

    def step_wall(self, seconds: float) -> None:
        """The computer's wall clock jumps, as by NTP."""
        self.wall_offset_s += seconds
        self._write()

    def now(self) -> float:
        """Vehicle seconds since the harness began."""
        return self._last_s + time.monotonic() - self._read_s

    def wall(self) -> float:
        return self.wall_offset_s + self.now()

    def _write(self) -> None:
        self._count += 1
        self._map[:] = _LAYOUT.pack(self._count, self._last_s, self._read_s, self.wall_offset_s, self._count)


class VehicleClock:
    """The reading end: a clock as `edge_agent.runtime.Clock` wants it."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as opened:
            self._map = mmap.mmap(opened.fileno(), _LAYOUT.size, access=mmap.ACCESS_READ)
        self._last_s = 0.0

    def monotonic(self) -> float:
        vehicle_s, read_s, _ = self._read()
        self._last_s = max(self._last_s, vehicle_s + time.monotonic() - read_s)
        return self._last_s

    def wall(self) -> float:
        return self._read()[2] + self.monotonic()

    async def sleep(self, seconds: float) -> None:
        end = self.monotonic() + seconds
        await asyncio.sleep(0)
        while (left := end - self.monotonic()) > 0:
            await asyncio.sleep(min(left, SLICE_S))

    def _read(self) -> tuple[float, float, float]:
        """What was written as a whole: a write that is under way is read again."""
        while True:
            before, vehicle_s, read_s, wall_offset_s, after = _LAYOUT.unpack(self._map[:])
            if before == after:
                return vehicle_s, read_s, wall_offset_s

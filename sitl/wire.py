"""The wire between the agent and the vehicle: a TCP or UDP proxy through bad air, which writes down all that passes."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sitl.air import Air, cut, message_id
from sitl.vehicle_time import Hand

Place = tuple[str, int]
LATER_S = 0.3


class Passed(NamedTuple):
    """A frame that one end sent, whether it arrived or not."""

    at_s: float
    frame: bytes


class Wire:
    """Listens at `here` for the agent and connects to `there` for each connection; `up` is towards the vehicle."""

    def __init__(self, here: Place, there: Place, *, seed: int, clock: Hand, speedup: float, tlog: Path) -> None:
        self.here, self._there, self._clock, self._speedup = here, there, clock, speedup
        self.up, self.down = Air(random.Random(seed)), Air(random.Random(seed + 1))
        self.sent: list[Passed] = []  # by the agent
        self.heard: list[bytes] = []  # what the vehicle sent
        self.watch: Callable[[int, int], None] = lambda _number, _count: None  # told of each frame of the agent
        self._counts: dict[int, int] = {}
        self._tlog = tlog.open("wb")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter] | None = None  # to the vehicle, to the agent

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, *self.here)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tlog.close()

    def break_connections(self) -> None:
        """As if the cable were pulled and put in again: TCP ends, and the agent may connect anew."""
        for task in self._tasks:
            task.cancel()

    def slip_in(self, frame: bytes, *, upward: bool) -> None:
        """A frame that neither end sent, to the vehicle or to the agent."""
        assert self._ends is not None, "nobody is connected"
        _write(self._ends[0 if upward else 1], frame)

    def count(self, number: int) -> int:
        """How many frames with this message id the agent has sent."""
        return self._counts.get(number, 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._there)
            self._ends = far_writer, writer
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, far_writer, self.up))
                    group.create_task(self._pump(far_reader, writer, self.down))
            finally:
                far_writer.close()
        except* (OSError, EOFError):
            pass  # either end hung up: so does the other
        except* asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, air: Air) -> None:
        buffer, loop = bytearray(), asyncio.get_running_loop()
        while data := await reader.read(65536):
            buffer += data
            for frame in cut(buffer):
                self._note(frame, upward=air is self.up)
                for late_s, out in air.pass_on(frame):
                    if late_s:
                        loop.call_later(late_s / self._speedup, _write, writer, out)
                    else:
                        _write(writer, out)
        raise EOFError

    def _note(self, frame: bytes, *, upward: bool) -> None:
        """One entry of a tlog: the time in µs, big-endian, then the frame, as MAVProxy and UAVLogViewer read it."""
        self._tlog.write(struct.pack(">Q", int(self._clock.wall() * 1e6)) + frame)
        number = message_id(frame)
        if not upward:
            self.heard.append(frame)
        elif number is not None:
            self.sent.append(Passed(self._clock.now(), frame))
            self._counts[number] = self._counts.get(number, 0) + 1
            self.watch(number, self._counts[number])


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)

"""The two vehicles that a scenario can be flown with: real ArduCopter, and the agent's simulated autopilot."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"


class Vehicle(Protocol):
    """A vehicle as a process; `link` is where an agent connects, `station` where a ground station does."""

    real: bool
    link: tuple[str, int]
    station: tuple[str, int]
    rc: tuple[str, int] | None

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class _Child:
    """One process with its output in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: Process | None = None
        folder.mkdir(parents=True, exist_ok=True)

    async def _spawn(self, *line: str) -> None:
        with (self.folder / "vehicle.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *line, cwd=self.folder, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
            )

    async def stop(self) -> None:
        """Kill it, as a power cut would."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._process = None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class ArduCopter(_Child):
    """Real ArduCopter with its own physics. SERIAL1 is the agent's link; SERIAL0, the one of USB, the station's."""

    real = True

    def __init__(
        self, binary: Path, folder: Path, home: tuple[float, float], speedup: float, slot: int, start_s: float
    ) -> None:
        super().__init__(folder)
        base = 5760 + 10 * slot
        self.link, self.station, self.rc = (HOST, base + 2), (HOST, base), (HOST, 5501 + 10 * slot)
        self._line = (
            str(binary), "--model", "quad", "--speedup", f"{speedup:g}", "-I", str(slot),
            "--home", f"{home[0]},{home[1]},10,0", "--defaults", str(HERE / "copter.parm"),
            "--serial0", "tcp:0", "--serial1", "tcp:2", "--serial2", "none:x", "--start-time", f"{start_s:.0f}",
        )  # fmt: skip

    async def start(self) -> None:
        await self._spawn(*self._line)


class Simulated(_Child):
    """`edge-agent simulate` as a process of its own; one port for all."""

    real = False

    def __init__(self, folder: Path, home: tuple[float, float], speedup: float, port: int) -> None:
        super().__init__(folder)
        self.link = self.station = (HOST, port)
        self.rc = None
        self._line = (
            sys.executable, "-m", "edge_agent", "simulate", "--lat", str(home[0]), "--lon", str(home[1]),
            "--tcp-listen", f"{HOST}:{port}", "--speedup", f"{speedup:g}",
        )  # fmt: skip

    async def start(self) -> None:
        await self._spawn(*self._line)


def arducopter() -> Path | None:
    """The binary that `ARDUCOPTER` names; AssertionError where it names none that can run."""
    named = os.environ.get("ARDUCOPTER")
    if not named:
        return None
    binary = Path(named).resolve()
    if not os.access(binary, os.X_OK):
        raise SystemExit(f"ARDUCOPTER={named}: not a program that can be run")
    return binary

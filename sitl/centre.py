"""A centre for the agent to report to: our broker and `edge-agent centre run` as processes, and its sentences."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sitl.phrases import drone_at_home, phrase
from sitl.world import World

START_S = 30.0
HOST, PORT = "127.0.0.1", 5799


class Centre:
    """Starts and stops; what it has stored outlives it."""

    def __init__(self, folder: Path) -> None:
        self._db, self._log = folder / "centre.db", folder / "centre.log"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.due: list[tuple[str, int, str]] = []  # run, seq, phase: what the agent owed it at first

    async def start(self) -> None:
        """The broker, then the consumer: a broker without one would take events that nobody keeps."""
        await self._begin(sys.executable, "-m", "edge_agent.centre.broker", "--port", str(PORT))
        run = (sys.executable, "-m", "edge_agent", "centre", "run", "--db", str(self._db))
        await self._begin(*run, "--host", HOST, "--port", str(PORT))

    async def _begin(self, *line: str) -> None:
        mark, process = self._spawn(line)
        end = time.monotonic() + START_S
        while b"ready" not in self._log.read_bytes()[mark:]:
            said = self._log.read_text(errors="replace")[-300:]
            assert process.poll() is None and time.monotonic() < end, f"{line[2]} does not start: {said}"
            await asyncio.sleep(0.05)

    def _spawn(self, line: tuple[str, ...]) -> tuple[int, subprocess.Popen[bytes]]:
        """Where its words begin in the log, and the process."""
        mark = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            process = subprocess.Popen(line, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._processes.append(process)
        return mark, process

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(10)
        self._processes = []

    def stored(self, kind: str) -> list[dict[str, Any]]:
        """What it keeps of one kind, oldest first."""
        if not self._db.exists():
            return []
        line = [sys.executable, "-m", "edge_agent", "centre", "list", "--db", str(self._db), "--kind", kind, "--json"]
        done = subprocess.run([*line, "--limit", "1000"], capture_output=True, text=True, timeout=60, check=True)
        return sorted((json.loads(row) for row in done.stdout.splitlines()), key=lambda event: str(event["id"]))


@phrase("a drone at home with the patrol {route}, and a centre that is out of reach")
async def centre_away(world: World, route: str) -> None:
    world.agent.settings["mqtt"] = {"host": HOST, "port": PORT, "plain": True}
    world.centre = Centre(world.folder)
    await drone_at_home(world, route)


@phrase("the centre can be reached")
async def reached(world: World) -> None:
    assert world.centre is not None, "this world has no centre"
    world.centre.due = [(event["run"], event["seq"], event["phase"]) for event in world.agent.events()]
    assert world.centre.due, "the agent has nothing to tell"
    await world.centre.start()


@phrase("the centre has every event of the flight once within {seconds} s")
async def has_every_event(world: World, seconds: float) -> None:
    """Seconds of the machine: a broker lives by no vehicle's clock."""
    centre = world.centre
    assert centre is not None, "this world has no centre"
    end = time.monotonic() + seconds
    while True:
        data = [event["data"] for event in centre.stored("mission")]
        found = sorted((event["run"], event["seq"], event["phase"]) for event in data)
        if found == sorted(centre.due) or time.monotonic() > end:
            break
        await asyncio.sleep(0.5)
    assert found == sorted(centre.due), f"it has {found}, the agent had to tell {centre.due}"

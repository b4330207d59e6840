"""The agent under test, as a process: its configuration, its life and death, what it says of itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import tomli_w

from edge_agent import control, messages
from edge_agent.runtime import DriverError

ROOT = Path(__file__).resolve().parent.parent
DEVICE = "sitl-1"


class Agent:
    """`edge-agent run` in `folder`, living in the vehicle's time by the clock file."""

    def __init__(self, folder: Path, clock_file: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self._clock_file = clock_file
        self._process: Process | None = None
        self.daemon = False  # whether it is one, with an outbox and a control socket
        self.data_dir = folder / "data"
        self.log = folder / "agent.log"
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def config(self) -> Path:
        return self.folder / "agent.toml"

    def line(self, *args: str) -> tuple[str, ...]:
        """Our command line for `edge-agent ARGS`."""
        return (sys.executable, "-m", "sitl.on_vehicle_time", str(self._clock_file), *args)

    def write_config(self) -> None:
        """Write the settings as they are now."""
        self.config.write_text(tomli_w.dumps(self.settings | {"data_dir": str(self.data_dir)}))

    async def start(self) -> None:
        """Start the daemon with the settings as they are now."""
        self.write_config()
        await self.run("run", "-c", str(self.config), "--log", "text")
        self.daemon = True

    async def run(self, *args: str) -> None:
        """Start `edge-agent ARGS`; what it prints goes to the log."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.line(*args), cwd=ROOT, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
            )

    async def exit_code(self) -> int:
        """Wait for its end."""
        assert self._process is not None
        return await self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        if self.runs:
            self._process.kill()
        await self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: it hangs, and its connections stay open."""
        self.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.send_signal(signal.SIGCONT)

    async def stop(self) -> int | None:
        """SIGTERM; the exit code, None where it was not running."""
        if self._process is None:
            return None
        if self.runs:
            self.go_on()
            self._process.terminate()
            try:
                async with asyncio.timeout(15):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        return self._process.returncode

    async def ask(self, question: control.Question) -> dict[str, Any]:
        """One question by the control socket; {} where nobody answers."""
        try:
            return await asyncio.to_thread(control.ask, self.data_dir, question, 5.0)
        except (DriverError, OSError, ValueError):
            return {}

    async def order(self, name: str, **args: Any) -> dict[str, Any]:
        """A request by its name in the contract, `fly` or `recall`."""
        import msgspec

        request = msgspec.convert({"name": name, **args}, messages.Request)
        return await self.ask(request)

    async def flight(self) -> dict[str, Any]:
        """The pilot's part of the agent's status; {} where it does not answer yet."""
        status = await self.ask(control.Status())
        flight = status.get("flight") or status.get("pilot") or {}
        return flight if isinstance(flight, dict) else {}

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def events(self, kind: str = "mission") -> list[dict[str, Any]]:
        """The data of the events that it keeps for the centre, in order."""
        done = subprocess.run(
            [*self.line("outbox", "export", "-", "--data-dir", str(self.data_dir))],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ),
        )  # fmt: skip
        if done.returncode != 0:
            raise AssertionError(f"the agent's outbox cannot be read: {done.stderr.strip()}")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return [row["data"] for row in rows if row["kind"] == kind]

    def outbox_is_sound(self) -> str:
        """What `outbox verify` complains of; empty where it does not."""
        done = subprocess.run(
            [*self.line("outbox", "verify", "--data-dir", str(self.data_dir))],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return "" if done.returncode == 0 else done.stdout + done.stderr

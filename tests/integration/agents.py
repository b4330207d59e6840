"""The whole agent as a process of its own, and what its users ask it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SITE = 'data_dir = "state"\n[site]\ndevice = "EA-1"\nlat = 30.25\nlon = 120.17\n'
CAMERA = '[[detector]]\nname = "d"\ntype = "simulated"\n[[camera]]\nname = "bank"\ntype = "simulated"\ndetector = "d"\n'
VEHICLE = '[vehicle]\ntype = "simulated"\nspeedup = 5\n'
SILENT = '[vehicle]\ntype = "mavlink"\nurl = "udpin:127.0.0.1:{port}"\n'
ROUTE = '[[route]]\nid = "r"\nalt_m = 10\nwaypoints = [{lat = 30.2502, lon = 120.17}]\n'
SPEAKER = '[[speaker]]\nname = "horn"\ntype = "simulated"\nrealtime = false\n'


class Running:
    """An agent as a process, and what it wrote."""

    def __init__(self, directory: Path, text: str, **environment: str) -> None:
        self.directory, self.config = directory, directory / "agent.toml"
        self.config.write_text(text)
        self.log = directory / "log"
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "run", "-c", str(self.config)],
                stderr=out,
                env=os.environ | environment,
            )

    def ask(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "edge_agent", *words, "--json", "-c", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else {"error": done.stderr}

    def status(self) -> dict[str, Any]:
        return self.ask("status")[1]

    def wait(self, what: Any, within_s: float = 60.0) -> None:
        end = time.monotonic() + within_s
        while not what():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


@contextlib.contextmanager
def agent(directory: Path, text: str, **environment: str) -> Iterator[Running]:
    running = Running(directory, text, **environment)
    try:
        running.wait(lambda: "parts" in running.status())
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()

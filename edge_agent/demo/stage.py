"""The processes of the demo: the world, the broker, the centre and the agent, each on its own."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2): the child gets this signal when its parent dies, so that nothing is left behind
READY_S = 30.0
_LIBC = ctypes.CDLL(None)


class NotReadyError(Exception):
    """A process did not come up."""


class Stage:
    """Starts, watches and stops processes; each writes its log to `logs/NAME.log`."""

    def __init__(self, directory: Path) -> None:
        self._logs = directory / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._commands: dict[str, list[str]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts = 0

    def start(self, name: str, *command: str, ready: str | None = None) -> None:
        """Start a process; with `ready`, wait until it has printed a line that says so."""
        self._commands[name] = list(command)
        log = self.log(name)
        seen = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=_die_with_us,  # noqa: PLW1509 (one call into a library that is loaded already)
            )
        if ready is not None:
            self._wait(name, ready, seen)

    def keep(self, name: str) -> None:
        """Start a process again if it died: what systemd does for the agent."""
        if self._running[name].poll() is not None:
            self.restarts += 1
            self.start(name, *self._commands[name])

    def died(self) -> dict[str, str]:
        """Processes that ended though nobody stopped them, and how."""
        return {name: _how(process.returncode) for name, process in self._running.items() if process.poll() is not None}

    def kill(self, name: str) -> None:
        """Break a link on purpose."""
        self._running[name].kill()

    def stop(self, name: str, wait_s: float = 15.0) -> int | None:
        """Ask a process to end; returns its exit status, or None if it had to be killed."""
        process = self._running.pop(name, None)
        if process is None:
            return 0
        process.terminate()
        try:
            return process.wait(wait_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None

    def stop_all(self) -> None:
        """End whatever still runs, last started first."""
        for name in list(self._running)[::-1]:
            self.stop(name)

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self._logs / f"{name}.log"

    def _wait(self, name: str, ready: str, seen: int) -> None:
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            with self.log(name).open("rb") as log:
                log.seek(seen)
                text = log.read().decode(errors="replace")
            if ready in text:
                return
            if self._running[name].poll() is not None:
                raise NotReadyError(
                    f"{name} ended: {text.strip().splitlines()[-1:] or _how(self._running[name].returncode)}"
                )
            time.sleep(0.05)
        raise NotReadyError(f"{name} was not ready after {READY_S:.0f} s; see {self.log(name)}")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _how(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _die_with_us() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

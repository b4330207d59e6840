"""What `--fix` may do: modes of our own files, halves of writes, the clock, a certificate that is due. Nothing else."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from edge_agent import config
from edge_agent.device import clocks, moment
from edge_agent.device.doctor.gather import leftovers
from edge_agent.device.doctor.table import Finding
from edge_agent.runtime import DriverError


class Mend(NamedTuple):
    """One fix: its name, what it does in words, and the doing, which may raise OSError."""

    name: str
    what: str
    do: Callable[[], None]


def mends(
    findings: Sequence[Finding], secrets: Sequence[str], settings: config.Agent | None, file: Path | None
) -> list[Mend]:
    """What is safe to do about these findings, in their order; `secrets` are the files that others may read."""
    wanted = [one for one in findings if one.mend and one.state in ("warning", "failure")]
    found: list[Mend] = []
    for one in wanted:
        match one.mend:
            case "clock":
                found.append(Mend("clock", "set the clock", lambda: _set_clock(settings)))
            case "data_dir_mode" if settings is not None:
                folder = settings.data_dir
                found.append(Mend(one.mend, f"chmod 700 {folder}", partial(folder.chmod, 0o700)))
            case "secrets":
                for path in map(Path, secrets):
                    found.append(Mend(one.mend, f"chmod 600 {path}", partial(_close, path)))
            case "leftovers" if settings is not None:
                for path in leftovers(settings.data_dir):
                    found.append(Mend(one.mend, f"delete {path}", partial(path.unlink, missing_ok=True)))
            case "renew":
                found.append(Mend(one.mend, "renew the certificate", lambda: _renew(file)))
    return found


def _set_clock(settings: config.Agent | None) -> None:
    judged = moment.judge(time.time(), clocks.sources(settings.data_dir if settings else None))
    try:
        clocks.set_clock(judged)
    except DriverError as error:
        raise PermissionError(1, str(error)) from None


def _close(path: Path) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)


def _renew(file: Path | None) -> None:
    command = [sys.executable, "-m", "edge_agent", "enrol", "--renew", *(["-c", str(file)] if file else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise OSError(done.returncode, done.stderr.strip() or "it was not renewed")

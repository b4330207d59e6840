"""The clocks of this machine: read them, save the time for the next start, and set the system's where that is asked."""

from __future__ import annotations

import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.device import board, moment
from edge_agent.device.moment import Judged, Source
from edge_agent.files import write_durably
from edge_agent.runtime import Clock, DriverError
from edge_agent.timequality import SET_MARK, time_quality

SAVED = "clock"  # in data_dir: its mtime is the last time that this device knew, as systemd-timesyncd keeps it
SAVE_EVERY_S = 600.0
CHRONY = ("chronyc", "-n", "-c", "authdata")


def sources(data_dir: Path | None, root: Path = Path("/")) -> list[Source]:
    """What can be asked without a network or a vehicle."""
    found: list[Source] = []
    quality = time_quality()
    if quality.src == "ntp":
        name: moment.Name = "nts" if _has_nts() else "ntp"
        err_s = None if quality.err_ms is None else quality.err_ms / 1000
        found.append(Source(name=name, unix_s=time.time(), err_s=err_s))
    since = board.read(root / "sys/class/rtc/rtc0/since_epoch")
    if since.isdigit():
        found.append(Source(name="rtc", unix_s=float(since), err_s=None))
    if (saved := saved_s(data_dir)) is not None:
        found.append(Source(name="saved", unix_s=saved))
    return found


def saved_s(data_dir: Path | None) -> float | None:
    """The time that was saved last."""
    try:
        return None if data_dir is None else (data_dir / SAVED).stat().st_mtime
    except OSError:
        return None


def save(data_dir: Path, at_least_s: float = 0.0) -> None:
    """Remember the time for the next start, or one that it is known to be past; never an earlier one. DriverError."""
    try:
        now, last = max(time.time(), at_least_s), saved_s(data_dir)
        if moment.FLOOR_S < now < moment.CEILING_S and (last is None or now > last):
            (data_dir / SAVED).touch(mode=0o600)
            os.utime(data_dir / SAVED, (now, now))
    except OSError as error:
        raise DriverError(f"{data_dir / SAVED}: {error.strerror}") from None


async def keep(data_dir: Path, clock: Clock) -> None:
    """A part: save the time now and every ten minutes."""
    while True:
        save(data_dir)
        await clock.sleep(SAVE_EVERY_S)


def now(data_dir: Path | None) -> datetime:
    """The time that is believed, whatever the system's clock says."""
    return datetime.fromtimestamp(judged_s(data_dir), UTC)


def judged_s(data_dir: Path | None) -> float:
    """The same in Unix seconds."""
    return moment.judge(time.time(), sources(data_dir)).unix_s


def set_clock(judged: Judged) -> None:
    """Step the system's clock, and leave a mark of whose time it is until the next boot. DriverError."""
    try:
        if judged.step_s:
            time.clock_settime(time.CLOCK_REALTIME, time.time() + judged.step_s)
        if judged.source == "gps":
            err_ms = 1000 if judged.err_s is None else round(judged.err_s * 1000)
            write_durably(SET_MARK, f"gps {err_ms}\n".encode(), mode=0o644)
    except OSError as error:
        raise DriverError(f"the clock cannot be set: {error.strerror}; run it as root") from None


def _has_nts() -> bool:
    """Whether chrony authenticates its sources by NTS (RFC 8915): `chronyc -c authdata`, field 2."""
    try:
        done = subprocess.run(CHRONY, check=False, capture_output=True, text=True, timeout=3.0)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any(line.split(",")[1:2] == ["NTS"] for line in done.stdout.splitlines())

"""How far this machine's clock may be trusted, as the kernel knows it (adjtimex(2)), or systemd-timesyncd says."""

from __future__ import annotations

import ctypes
import math
import time
from pathlib import Path

from edge_agent.topics import TimeQuality

STA_UNSYNC = 0x0040
TIME_ERROR = 5
MOST_S = 86_400
MARK = Path("/run/systemd/timesync/synchronized")  # touched at each synchronisation: systemd-timesyncd.service(8)
SET_MARK = Path("/run/edge-agent-clock")  # `gps ERR_MS`: `edge-agent time --set` took the autopilot's time, this boot
_LIBC = ctypes.CDLL(None)


class _Timex(ctypes.Structure):
    """struct timex of <sys/timex.h>, as far as it is read; the rest is room for the kernel."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # µs
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def time_quality(mark: Path = MARK) -> TimeQuality:
    """Whether NTP (chrony, timesyncd, ntpd) steers the clock, and the most that it may be off.

    A service with ProtectClock= may not ask the kernel; there `mark`, no older than a day, says that it is steered.
    """
    timex = _Timex()
    try:
        state = _LIBC.adjtimex(ctypes.byref(timex))
    except AttributeError:  # no such call here
        state = -1
    if state == -1 and _is_fresh(mark):
        return TimeQuality(src="ntp")
    judged = judge(state, timex.status, timex.maxerror)
    return judged if judged.src == "ntp" else _set_by_hand() or judged


def _set_by_hand() -> TimeQuality | None:
    """Whose time was put into the clock at this boot, where nobody steers it since."""
    try:
        source, err_ms = SET_MARK.read_text(encoding="ascii").split()
        return TimeQuality(src="gps", err_ms=int(err_ms)) if source == "gps" else None
    except (OSError, ValueError):
        return None


def _is_fresh(mark: Path) -> bool:
    try:
        return abs(time.time() - mark.stat().st_mtime) < MOST_S
    except OSError:
        return False


def judge(state: int, status: int, maxerror_us: int) -> TimeQuality:
    """What adjtimex said, in words: pure."""
    if state in (-1, TIME_ERROR) or status & STA_UNSYNC or not 0 <= maxerror_us < MOST_S * 1_000_000:
        return TimeQuality(src="unsynchronised")
    return TimeQuality(src="ntp", err_ms=math.ceil(maxerror_us / 1000))

"""Is a live camera alive, and when was its picture taken? Pure; times in seconds.

Connecting, live, stalled (something is wrong, and may pass), back-off (given up, to be connected to again). A stall is
no frame for `stall_s`, timestamps that stand still for so long, or a picture that has not changed for `frozen_s`: a
sensor has noise, a server that repeats its last frame has none.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

State = Literal["connecting", "live", "stalled", "back-off"]

WINDOW_S = 60.0  # for which the quickest way of a frame is remembered
JUMP_S = 5.0  # a stamp so far off is a sender that began anew


class Liveness:
    """One connection, from `now` on."""

    def __init__(self, now: float, *, connect_s: float, stall_s: float, frozen_s: float) -> None:
        self._connect_s, self._stall_s, self._frozen_s = connect_s, stall_s, frozen_s
        self._began_s, self._good_s = now, now
        self._stamp_s: float | None = None
        self._digest: int | None = None
        self._changed_s = now
        self.state: State = "connecting"
        self.why = "no picture yet"

    def frame(self, now: float, stamp_s: float | None, digest: int) -> bool:
        """A frame came, with the sender's stamp if it has one; whether it shows what is there now."""
        if stamp_s is not None and self._stamp_s is not None and stamp_s == self._stamp_s:
            self.why = "its timestamps stand still"
            self.look(now)
            return False
        self._stamp_s = stamp_s
        if digest != self._digest:
            self._digest, self._changed_s = digest, now
        elif self._frozen_s and now - self._changed_s >= self._frozen_s:
            self.why = f"its picture is frozen: the same for {now - self._changed_s:.0f} s"
            if self.state == "live":  # what was good until the picture froze is no longer
                self._good_s = min(self._good_s, now - self._stall_s)
            self.look(now)
            return False
        self._good_s, self.state = now, "live"
        self.why = f"no frame for {self._stall_s:g} s"
        return True

    def look(self, now: float) -> str | None:
        """Look at the clock; returns why to give up, once there is no more hope."""
        age_s = now - self._good_s
        if self.state == "connecting":
            return f"no picture within {self._connect_s:g} s" if age_s >= self._connect_s else None
        if age_s >= self._stall_s:
            self.state = "stalled"
        return self.why if age_s >= 2 * self._stall_s else None


class SenderClock:
    """The sender's stamps on our clock.

    Stamps tell when pictures were taken, but not by our clock; arrivals are late by the way, encoder and queues. The
    quickest of the last minute was late by the least, so it is the offset; what is the same for all stays unknown.
    """

    def __init__(self) -> None:
        self._offsets: deque[tuple[float, float]] = deque()  # arrival, offset; offsets rise from left to right
        self._last_s = float("-inf")

    def taken(self, stamp_s: float | None, now: float) -> float:
        """When the picture with this stamp was taken: never after `now`, and after the one before it."""
        if stamp_s is None:
            taken_s = now
        else:
            offset = now - stamp_s
            if self._offsets and abs(offset - self._offsets[0][1]) > JUMP_S:
                self._offsets.clear()
            while self._offsets and self._offsets[-1][1] >= offset:
                self._offsets.pop()
            self._offsets.append((now, offset))
            while self._offsets[0][0] < now - WINDOW_S:
                self._offsets.popleft()
            taken_s = stamp_s + self._offsets[0][1]
        self._last_s = max(min(taken_s, now), self._last_s + 1e-6)
        return self._last_s

"""What is left out when the board is too slow or too hot, in which order, and when it comes back: pure.

The first to go is what costs most and matters least: further looks at a plate that was read. The last is the number of
pictures: a person in the water must be seen, if only twice a second.
"""

from __future__ import annotations

from collections.abc import Collection

WINDOW_S = 5.0  # over which the pace is measured
CALM_S = 30.0  # so long all must be well before one step is taken back
BUSY, EASY = 0.9, 0.6  # share of the time at work: at its limit; with room for more
COOLER_C = 5.0  # below the limit, it counts as cool again
SLOW_FPS = 2.0
SELDOM = 4.0
SMALL = 0.6  # of the net's pixels: who is a fifth nearer is as large as before

STEPS = (
    "",
    "plates are read four times less often",
    "one tile a frame",
    "the net looks at three fifths of the pixels",
    "no plates are read",
    "two frames a second",
)
PLATES_SELDOM, ONE_TILE, SMALL_PICTURE, NO_PLATES, FEW_FRAMES = 1, 2, 3, 4, 5


class Load:
    """One detector's: it is too slow where it is always at work and still gives its cameras less than `min_fps`.

    `useless` are the steps that would spare this one nothing: they are passed over, and not told.
    """

    def __init__(self, min_fps: float, max_temp_c: float, useless: Collection[int] = ()) -> None:
        self._min_fps, self._max_temp_c = min_fps, max_temp_c
        self._useful = [step for step in range(len(STEPS)) if step not in useless]
        self._began_s: float | None = None
        self._busy_s, self._frames = 0.0, 0
        self._calm_s = 0.0  # since when all is well
        self.step, self.why = 0, ""

    def frame(self, now: float, took_s: float) -> None:
        """One frame was looked at."""
        self._began_s = now - took_s if self._began_s is None else self._began_s
        self._busy_s, self._frames = self._busy_s + took_s, self._frames + 1

    def due(self, now: float) -> bool:
        """Whether a window is full."""
        return self._began_s is not None and now - self._began_s >= WINDOW_S

    def judge(self, now: float, cameras: int, temp_c: float | None) -> bool:
        """Look at the window that is full, and begin another; whether the step has changed."""
        assert self._began_s is not None
        span_s = max(now - self._began_s, 1e-3)
        busy, fps = self._busy_s / span_s, self._frames / span_s / max(cameras, 1)
        self._began_s, self._busy_s, self._frames = now, 0.0, 0
        hot = temp_c is not None and temp_c >= self._max_temp_c
        slow = busy >= BUSY and fps < self._min_fps
        well = (busy <= EASY or fps >= 2 * self._min_fps) and not self._warm(temp_c)
        if not well:
            self._calm_s = now
        if (hot or slow) and self.step < self._useful[-1]:
            self.step = min(step for step in self._useful if step > self.step)
            self.why = f"{temp_c:.0f} °C" if hot else f"{fps:.1f} frames a second, {self._min_fps:g} wanted"
            return True
        if self.step and now - self._calm_s >= CALM_S:
            self.step, self._calm_s = max(step for step in self._useful if step < self.step), now
            return True
        return False

    def _warm(self, temp_c: float | None) -> bool:
        return temp_c is not None and temp_c >= self._max_temp_c - COOLER_C

    @property
    def left_out(self) -> tuple[str, ...]:
        """The steps that are taken, in words."""
        return tuple(STEPS[step] for step in self._useful[1:] if step <= self.step)

    def told(self) -> str:
        """How it stands, as health shows it."""
        return f"degraded: {'; '.join(self.left_out)} ({self.why})" if self.step else "running"

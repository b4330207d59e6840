"""Is it day or night before a camera, or does it see heat? Pure; times are the frames' own.

Told by the sensor's own measure where it gives one, else by the picture: a dark one, or one without colour (which an
infrared lamp makes), is night. The switch has two thresholds, and what they say must hold for a while before anything
changes: a passing headlight is no morning.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_agent.config import Light, LightFrom

DARK_LUX, BRIGHT_LUX = 10.0, 40.0  # a lit street at night is below the one, a heavy overcast far above the other
DARK_LUMA, BRIGHT_LUMA = 45.0, 70.0  # mean of 0..255
GREY, COLOURED = 2.0, 5.0  # mean difference of the channels: sensors under infrared give none, noise gives little
SET_DEG, RISEN_DEG = -4.0, -1.0  # the sun's height: street lights, and a picture without them
LOOK_S = 1.0


class Signs(NamedTuple):
    """What tells of the light: the picture's mean brightness and colour, 0..255; the sensor's lux; the sun's height."""

    luma: float
    chroma: float
    lux: float | None = None
    sun_deg: float | None = None


def signs_of(pixels: npt.NDArray[np.uint8], lux: float | None = None, sun_deg: float | None = None) -> Signs:
    """The signs of a BGR picture (H, W, 3): of every 8th pixel of every 8th row."""
    few = pixels[::8, ::8].astype(np.int16)
    return Signs(float(few.mean()), float((few.max(axis=2) - few.min(axis=2)).mean()), lux, sun_deg)


class LightSwitch:
    """The light of one camera; only those of `known` are told apart, all else is day."""

    def __init__(self, source: LightFrom, known: Collection[Light], hold_s: float) -> None:
        self._source, self._known, self._hold_s = source, known, hold_s
        self._due_s = float("-inf")
        self._other_s: float | None = None  # since when the signs speak against it
        self._began = False
        self.light: Light = source if source in ("day", "night", "thermal") else "day"

    def due(self, at_s: float) -> bool:
        """Whether it is time for another look."""
        steady = not self._known or self._source in ("day", "night", "thermal")
        return not steady and (at_s >= self._due_s or at_s < self._due_s - 2 * LOOK_S)

    def update(self, at_s: float, signs: Signs) -> Light:
        """What it is now; the first look decides at once, later ones when they have agreed for `hold_s`."""
        self._due_s = at_s + LOOK_S
        other = self._judge(signs)
        if other == self.light:
            self._other_s = None
        else:
            since_s = at_s if self._other_s is None or at_s < self._other_s else self._other_s
            settled = not self._began or at_s - since_s >= self._hold_s
            self.light, self._other_s = (other, None) if settled else (self.light, since_s)
        self._began = True
        return self.light

    def _judge(self, signs: Signs) -> Light:
        was_night, source = self.light == "night", self._source
        grey = signs.chroma < (GREY if self.light == "day" else COLOURED)
        sunk = signs.sun_deg is not None and signs.sun_deg < (RISEN_DEG if was_night else SET_DEG)
        if source == "sun":
            dark = sunk
        elif signs.lux is not None and source != "picture":
            dark = signs.lux < (BRIGHT_LUX if was_night else DARK_LUX)
        else:
            dark = grey or signs.luma < (BRIGHT_LUMA if was_night else DARK_LUMA)
        if grey and source in ("auto", "picture") and "thermal" in self._known:
            dark = dark and sunk and "night" in self._known  # else what has no colour in it is heat
            if not dark:
                return "thermal"
        return "night" if dark and "night" in self._known else "day"

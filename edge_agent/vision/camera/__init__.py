"""Cameras: each is a source of frames, one file a driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, assert_never

from edge_agent import config
from edge_agent.messages import Detection
from edge_agent.runtime import Clock
from edge_agent.vision.camera.liveness import State

if TYPE_CHECKING:  # whoever only passes frames on need not load numpy
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture, `pixels` (H, W, 3) uint8 BGR; `at_s`/`wall_s` are when it was captured, not when it was decoded.

    `lux` is how bright the sensor found it, where it says so. `lores` is the whole of it once more, smaller: as the
    camera's own scaler made it, or whoever needed it first.
    """

    camera: str
    seq: int
    at_s: float
    wall_s: float
    pixels: npt.NDArray[np.uint8]
    truth: tuple[Detection, ...] | None = None  # what a simulated camera knows to be there
    lores: npt.NDArray[np.uint8] | None = None
    lux: float | None = None


class Camera(Protocol):
    """A source of frames. `every_frame`: nothing may be skipped, so whoever reads it sets the pace."""

    name: str
    every_frame: bool
    drops: Counter[str]  # frames that were lost on this side, by cause
    state: State
    max_exposure_ms: float | None  # may be set at any time; who cannot keep to it leaves it

    def frames(self) -> AsyncGenerator[Frame, None]:
        """Frames in order of `at_s`; ends where a file ends, raises DriverError where the source fails."""
        ...


def open_camera(section: config.Camera, clock: Clock) -> Camera:
    """The driver for a camera of the config; the source itself is opened by `frames`."""
    match section:
        case config.VideoCamera():
            from edge_agent.vision.camera.video import VideoCamera

            return VideoCamera(section, clock)
        case config.SimulatedCamera():
            from edge_agent.vision.camera.simulated import SimulatedCamera

            return SimulatedCamera(section, clock)
        case config.RtspCamera():
            from edge_agent.vision.camera.rtsp import open_rtsp

            return open_rtsp(section, clock)
        case config.V4l2Camera():
            from edge_agent.vision.camera.v4l2 import open_v4l2

            return open_v4l2(section, clock)
        case config.PiCamera():
            from edge_agent.vision.camera.picamera import open_picamera

            return open_picamera(section, clock)
        case _:
            assert_never(section)

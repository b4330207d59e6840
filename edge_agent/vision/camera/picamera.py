"""The Raspberry Pi's camera by picamera2, stamped by the sensor."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Generator
from functools import partial
from typing import Any

import numpy as np

from edge_agent import config
from edge_agent.runtime import Clock, DriverError
from edge_agent.vision.camera.live import LiveCamera, Pixels, Shot

EXPOSURE_SHORT = 1  # libcamera's AeExposureModeEnum: gain before time
BUFFERS = 6  # a request that is held starves the camera where there are fewer


def open_picamera(section: config.PiCamera, clock: Clock) -> LiveCamera:
    """The camera of a config; the sensor itself is opened by `frames`."""
    return LiveCamera(
        section.name,
        f"picamera {section.number}",
        partial(read_sensor, section),
        clock,
        connect_s=10.0,
        stall_s=section.stall_s,
        frozen_s=section.frozen_s,
        max_fps=None,
    )


def read_sensor(section: config.PiCamera, drops: Counter[str]) -> Generator[Shot, None, None]:
    """Every picture of the sensor, blocking.

    `SensorTimestamp` (ns since boot) is when its first line was read out: half the exposure before that is when it was
    taken. Raises DriverError where libcamera is missing or the sensor fails.
    """
    try:
        picamera2: Any = importlib.import_module("picamera2")
    except ImportError as error:
        raise DriverError(
            f"camera {section.name}: picamera2 is missing ({error}): apt install python3-picamera2, and make the"
            " environment with --system-site-packages; elsewhere use v4l2 or rtsp"
        ) from None
    try:
        camera = picamera2.Picamera2(section.number)
    except (IndexError, RuntimeError) as error:
        raise DriverError(f"camera {section.name}: there is no sensor {section.number}: {error}") from None
    try:
        frame_us = round(1e6 / section.fps)
        controls: dict[str, Any] = {"FrameDurationLimits": (frame_us, frame_us)}
        if section.short_exposure:
            controls["AeExposureMode"] = EXPOSURE_SHORT
        camera.configure(
            camera.create_video_configuration(
                main={"size": (section.width, section.height), "format": "RGB888"},  # in memory it is B, G, R
                buffer_count=BUFFERS,
                controls=controls,
            )
        )
        camera.start()
        while True:
            request = camera.capture_request()
            try:
                metadata, pixels = request.get_metadata(), request.make_array("main")
            finally:
                request.release()
            stamp_s = metadata["SensorTimestamp"] / 1e9 - metadata.get("ExposureTime", 0) / 2e6
            yield Shot(stamp_s, True, partial(_kept, pixels))
    except RuntimeError as error:
        drops["broken"] += 1
        raise DriverError(f"camera {section.name}: {error}") from None
    finally:
        camera.close()


def _kept(pixels: Any) -> Pixels:
    return np.ascontiguousarray(pixels[:, :, :3], dtype=np.uint8)

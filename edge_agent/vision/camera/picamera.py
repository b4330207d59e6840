"""The Raspberry Pi's camera by picamera2, stamped by the sensor."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import cv2
import numpy as np

from edge_agent import config
from edge_agent.runtime import Clock, DriverError
from edge_agent.vision.camera.live import LiveCamera, Pixels, Shot

EXPOSURE_SHORT = 1  # libcamera's AeExposureModeEnum: gain before time
NO_GAIN = 1.05
BUFFERS = 6  # a request that is held starves the camera where there are fewer


def open_picamera(section: config.PiCamera, clock: Clock) -> LiveCamera:
    """The camera of a config; the sensor itself is opened by `frames`."""
    camera: LiveCamera = LiveCamera(
        section.name,
        f"picamera {section.number}",
        partial(read_sensor, section, lambda: camera.max_exposure_ms),
        clock,
        connect_s=10.0,
        stall_s=section.stall_s,
        frozen_s=section.frozen_s,
        max_fps=None,
    )
    return camera


def read_sensor(
    section: config.PiCamera, max_exposure_ms: Callable[[], float | None], drops: Counter[str]
) -> Generator[Shot, None, None]:
    """Every picture of the sensor, blocking; from the same request the ISP's smaller copy of it.

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
        streams: dict[str, Any] = {"main": {"size": (section.width, section.height), "format": "RGB888"}}  # B, G, R
        small = lores_size(section)
        if small:
            streams["lores"] = {"size": small, "format": "YUV420"}  # the only kind that a Pi 4 gives as well
        camera.configure(camera.create_video_configuration(**streams, buffer_count=BUFFERS, controls=controls))
        camera.start()
        fixed_us = 0
        while True:
            request = camera.capture_request()
            try:
                metadata, pixels = request.get_metadata(), request.make_array("main")
                planes = request.make_array("lores") if small else None
            finally:
                request.release()
            stamp_s = metadata["SensorTimestamp"] / 1e9 - metadata.get("ExposureTime", 0) / 2e6
            lores = None if planes is None or small is None else _bgr(planes, small)
            yield Shot(stamp_s, True, partial(_kept, pixels), lores, metadata.get("Lux"))
            wanted_us = exposure_us(max_exposure_ms(), fixed_us, metadata)
            if wanted_us != fixed_us:
                camera.set_controls({"ExposureTime": wanted_us})
                fixed_us = wanted_us
    except RuntimeError as error:
        drops["broken"] += 1
        raise DriverError(f"camera {section.name}: {error}") from None
    finally:
        camera.close()


def lores_size(section: config.PiCamera) -> tuple[int, int] | None:
    """Of the smaller copy, in even numbers as 4:2:0 wants them; None where it would be none."""
    longer = max(section.width, section.height)
    if not section.lores_px or section.lores_px >= longer:
        return None
    ratio = section.lores_px / longer
    return max(2, int(section.width * ratio) // 2 * 2), max(2, int(section.height * ratio) // 2 * 2)


def exposure_us(max_ms: float | None, fixed_us: int, metadata: dict[str, Any]) -> int:
    """The exposure to hold, 0 where the sensor is to choose it.

    What it chose is cut to the limit; it may choose again once the light is so good that it needs no gain at all.
    """
    if max_ms is None:
        return 0
    most_us = round(max_ms * 1000)
    if fixed_us:
        return 0 if metadata.get("AnalogueGain", 2.0) <= NO_GAIN and fixed_us == most_us else most_us
    return most_us if metadata.get("ExposureTime", 0) > most_us else 0


def _bgr(planes: Any, size: tuple[int, int]) -> Pixels:
    """I420 planes, rows padded to the hardware's liking, as BGR of the size."""
    whole = cv2.cvtColor(np.asarray(planes, dtype=np.uint8), cv2.COLOR_YUV2BGR_I420)
    return np.ascontiguousarray(whole[: size[1], : size[0]], dtype=np.uint8)


def _kept(pixels: Any) -> Pixels:
    return np.ascontiguousarray(pixels[:, :, :3], dtype=np.uint8)

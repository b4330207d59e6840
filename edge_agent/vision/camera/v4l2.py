"""A camera of the kernel (/dev/videoN) by OpenCV's V4L2, stamped by the kernel when the frame was captured."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Generator
from functools import partial

import cv2
import numpy as np

from edge_agent import config
from edge_agent.runtime import Clock, DriverError
from edge_agent.vision.camera.live import LiveCamera, Pixels, Shot

FAILED_IN_A_ROW = 10


def open_v4l2(section: config.V4l2Camera, clock: Clock) -> LiveCamera:
    """The camera of a config; the device itself is opened by `frames`."""
    return LiveCamera(
        section.name,
        str(section.device),
        partial(read_device, section),
        clock,
        connect_s=10.0,
        stall_s=section.stall_s,
        frozen_s=section.frozen_s,
        max_fps=section.max_fps,
    )


def read_device(section: config.V4l2Camera, drops: Counter[str]) -> Generator[Shot, None, None]:
    """Every picture of a device, blocking; raises DriverError where it is none or gives none."""
    device = section.device
    try:
        if not stat.S_ISCHR(device.stat().st_mode):
            raise DriverError(f"{device}: is no camera device")
    except OSError as error:
        raise DriverError(f"{device}: {error.strerror}") from None
    capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
    try:
        if not capture.isOpened():
            raise DriverError(f"{device}: cannot be opened as a camera: is another program using it?")
        if section.format is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*section.format))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, section.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, section.height)
        capture.set(cv2.CAP_PROP_FPS, section.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)
        failed = 0
        while failed < FAILED_IN_A_ROW:
            if not capture.grab():
                failed += 1
                drops["broken"] += 1
                continue
            failed = 0
            stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000  # the buffer's, CLOCK_MONOTONIC by V4L2's default
            yield Shot(stamp_s or None, True, partial(_bgr, capture, device))
        raise DriverError(f"{device}: gives no more frames: was it unplugged?")
    finally:
        capture.release()


def _bgr(capture: cv2.VideoCapture, device: object) -> Pixels:
    done, pixels = capture.retrieve()
    if not done:
        raise DriverError(f"{device}: a frame cannot be decoded")
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return np.asarray(pixels, dtype=np.uint8)

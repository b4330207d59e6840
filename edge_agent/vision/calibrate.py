"""What a lens does to straight lines, from pictures of a chessboard (Zhang, 2000, as OpenCV has it)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent.runtime import DriverError
from edge_agent.vision.picture import read_picture

ENOUGH = 5  # pictures that show the board; fewer leave the distortion open
MAX_RMS_PX = 1.0


def calibrate(files: Sequence[Path], board: tuple[int, int], square_m: float) -> dict[str, Any]:
    """Camera matrix, distortion (k1, k2, p1, p2, k3), error in pixels, and which pictures were used.

    `board` counts the inner corners by columns and rows. Raises DriverError where that gives no camera.
    """
    grid = np.zeros((board[0] * board[1], 3), np.float32)
    grid[:, :2] = np.mgrid[0 : board[0], 0 : board[1]].T.reshape(-1, 2) * square_m
    corners, used, unused, size = [], list[str](), list[str](), None
    for file in files:
        grey = cv2.cvtColor(read_picture(file), cv2.COLOR_BGR2GRAY)
        if size not in (None, grey.shape[::-1]):
            raise DriverError(f"{file}: is of another size than the pictures before it: one camera, one mode")
        size = grey.shape[::-1]
        seen, points = cv2.findChessboardCornersSB(grey, board)
        (used if seen else unused).append(str(file))
        if seen:
            corners.append(points)
    if len(used) < ENOUGH or size is None:
        raise DriverError(
            f"{len(used)} of {len(files)} pictures show a board of {board[0]}x{board[1]} inner corners whole,"
            f" {ENOUGH} are wanted: tilted in all directions, and out to the edges of the picture"
        )
    rms, matrix, distortion, _, _ = cv2.calibrateCamera([grid] * len(corners), corners, size, None, None)
    if not np.isfinite(rms) or rms > MAX_RMS_PX:
        raise DriverError(
            f"the corners are off by {rms:.2f} pixels, {MAX_RMS_PX:g} may be: is the board flat and --board right?"
        )
    points_xy = np.concatenate(corners).reshape(-1, 2)
    covered = np.ptp(points_xy, axis=0) / np.array(size)
    return {
        "width": size[0],
        "height": size[1],
        "matrix": np.asarray(matrix).round(4).tolist(),
        "distortion": np.asarray(distortion).ravel().round(7).tolist(),
        "rms_px": round(float(rms), 4),
        "covered": covered.round(3).tolist(),
        "used": used,
        "unused": unused,
    }

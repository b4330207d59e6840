"""A model and a picture for the emulated agent: somebody before a still background, and a detector of what moves."""

import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

import motion_model  # noqa: E402  # beside the tests, not on the path

folder = Path(sys.argv[1])
still = np.random.default_rng(1).integers(90, 110, (416, 416, 3), np.uint8)
motion_model.build(folder / "model.onnx", [still])
somebody = still.copy()
cv2.rectangle(somebody, (200, 180), (224, 236), (250, 250, 250), -1)
cv2.imwrite(str(folder / "picture.png"), somebody)

"""A picture of any size becomes the tensor that a net wants, and boxes find their way back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.boxes import Floats
from edge_agent.vision.heads import Input

PAD = 114  # the grey that YOLO nets were trained with


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a picture lies in the net's input, shape kept: net = frame * scale + offset, per axis."""

    width: int  # of the scaled picture
    height: int
    left: int
    top: int
    scale_x: float  # the true scales after rounding to whole pixels
    scale_y: float

    @classmethod
    def fit(cls, width: int, height: int, net_width: int, net_height: int, *, centred: bool) -> Letterbox:
        """The largest scaled picture that fits; at the top left, or centred."""
        ratio = min(net_width / width, net_height / height)
        scaled_width, scaled_height = max(1, int(width * ratio)), max(1, int(height * ratio))
        left = (net_width - scaled_width) // 2 if centred else 0
        top = (net_height - scaled_height) // 2 if centred else 0
        return cls(scaled_width, scaled_height, left, top, scaled_width / width, scaled_height / height)

    def to_frame(self, boxes: Floats) -> Floats:
        """Boxes (n, 4) in net pixels as boxes in frame pixels."""
        offset = np.array([self.left, self.top, self.left, self.top])
        scaled: Floats = (boxes - offset) / np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y])
        return scaled


class Feeder:
    """Fills one preallocated input tensor (1, 3, H, W) float32; its result is valid until the next call."""

    def __init__(self, width: int, height: int, form: Input) -> None:
        self._form, self._size = form, (width, height)
        self._tensor = np.full((1, 3, height, width), PAD * form.scale, dtype=np.float32)
        self._placed: tuple[int, int] | None = None  # the frame size that the padding belongs to

    def feed(self, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Letterbox]:
        """The tensor of a BGR picture (H, W, 3), and where the picture lies in it."""
        height, width = pixels.shape[:2]
        box = Letterbox.fit(width, height, *self._size, centred=self._form.centred)
        if self._placed != (width, height):
            self._tensor.fill(PAD * self._form.scale)
            self._placed = (width, height)
        small = cv2.resize(pixels, (box.width, box.height), interpolation=cv2.INTER_LINEAR)
        inside = self._tensor[0, :, box.top : box.top + box.height, box.left : box.left + box.width]
        for channel, plane in enumerate(cv2.split(small)):
            np.multiply(plane, np.float32(self._form.scale), out=inside[2 - channel if self._form.rgb else channel])
        return self._tensor, box

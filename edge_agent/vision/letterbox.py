"""A picture of any size becomes the tensor that a net wants, and boxes find their way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.vision.boxes import Floats
from edge_agent.vision.heads.form import Input

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a picture lies in the net's input, shape kept unless stretched: net = frame * scale + offset, per axis."""

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

    @classmethod
    def stretch(cls, width: int, height: int, net_width: int, net_height: int) -> Letterbox:
        """The picture fills the input, whatever becomes of its shape."""
        return cls(net_width, net_height, 0, 0, net_width / width, net_height / height)

    def to_frame(self, boxes: Floats) -> Floats:
        """Boxes (n, 4), or corners (n, 4, 2), in net pixels as the same in frame pixels."""
        pairs = boxes.reshape(*boxes.shape[:-1], boxes.shape[-1] // 2, 2)
        placed = (pairs - np.array([self.left, self.top])) / np.array([self.scale_x, self.scale_y])
        back: Floats = placed.reshape(boxes.shape)
        return back


class Feeder:
    """Fills one preallocated tensor, (1, 3, H, W) or (1, H, W, 3); its result is valid until the next call.

    Whole-number tensors get the bytes as they are, signed ones less 128: such nets carry their mean and scale inside.
    """

    def __init__(self, width: int, height: int, form: Input, dtype: npt.DTypeLike = np.float32) -> None:
        self._form, self.size = form, (width, height)
        self._bytes, self._less = np.dtype(dtype).kind in "iu", 128 if np.dtype(dtype) == np.int8 else 0
        self._tensor = np.zeros((1, height, width, 3) if form.nhwc else (1, 3, height, width), dtype=dtype)
        self._planes = np.moveaxis(self._tensor[0], -1, 0) if form.nhwc else self._tensor[0]
        self._channels: Sequence[Any] = (np.empty(0),)  # of the last picture, kept for the next of its size
        self._placed: tuple[int, int] | None = None  # the frame size that the padding belongs to

    def feed(self, pixels: Pixels, lores: Pixels | None = None) -> tuple[npt.NDArray[np.float32], Letterbox]:
        """The tensor of a BGR picture (H, W, 3), and where the picture lies in it.

        Made from `lores`, a smaller copy of the picture, where that is large enough.
        """
        height, width = pixels.shape[:2]
        fit = self._form.fit
        if fit == "stretch":
            box = Letterbox.stretch(width, height, *self.size)
        else:
            box = Letterbox.fit(width, height, *self.size, centred=fit == "centred")
        if self._placed != (width, height):
            self._pad()
            self._placed = (width, height)
        small = pixels if lores is None or lores.shape[1] < box.width or lores.shape[0] < box.height else lores
        if small.shape[:2] != (box.height, box.width):
            small = np.asarray(cv2.resize(small, (box.width, box.height), interpolation=cv2.INTER_LINEAR))
        inside = self._planes[:, box.top : box.top + box.height, box.left : box.left + box.width]
        self._channels = cv2.split(small, self._channels if self._channels[0].shape == small.shape[:2] else None)
        for number, plane in enumerate(self._channels):
            channel = 2 - number if self._form.rgb else number
            if self._bytes:
                inside[channel] = plane.astype(np.int16) - self._less if self._less else plane
                continue
            scale = 1 / self._form.std[channel]
            np.multiply(plane, np.float32(scale), out=inside[channel], casting="same_kind")
            if mean := self._form.mean[channel]:
                inside[channel] -= np.float32(mean * scale)
        return self._tensor, box

    def _pad(self) -> None:
        for channel, plane in enumerate(self._planes):
            grey = self._form.pad
            plane[:] = grey - self._less if self._bytes else (grey - self._form.mean[channel]) / self._form.std[channel]

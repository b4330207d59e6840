"""What is known of a model before it is used: its input's size, what a grey picture gives, its metadata. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_agent.vision.heads.form import Tensor, grid
from edge_agent.vision.heads.told import key_points

SHOWN = 24  # outputs that a refusal names


@dataclass(frozen=True)
class Model:
    """What is known of a model before it is used: its input's size, its tensors for a grey picture, its metadata."""

    width: int
    height: int
    inputs: tuple[str, ...]  # their names
    outputs: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    nhwc: bool = False
    told: bool = False  # whether its family was told: what its outputs are then shows without their names too

    @property
    def tensors(self) -> list[Tensor]:
        return list(self.outputs.values())

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [tuple(tensor.shape) for tensor in self.tensors]

    def at(self, *names: str) -> tuple[int, ...] | None:
        """Where outputs of these names stand; None where one is missing."""
        there = [name.removesuffix(":0") for name in self.outputs]  # as TensorFlow's converters leave it
        return tuple(there.index(name) for name in names) if set(names) <= set(there) else None

    @property
    def table(self) -> tuple[int, int]:
        """Rows and columns of the first output, where it is a table and all others are maps; else 0, 0."""
        match self.shapes:
            case [(1, rows, columns), *others] if all(len(shape) > 3 for shape in others):
                return rows, columns
        return 0, 0

    @property
    def beside(self) -> int:
        """Numbers that a row of the table has for key points or masks, behind its classes."""
        points, numbers = key_points(self.metadata)
        match self.shapes:
            case [_, (1, masks, _, _)]:
                return points * numbers + masks
        return points * numbers

    def cells(self, strides: Sequence[int]) -> int:
        """How many cells the strides make of the input."""
        return len(grid(self.width, self.height, strides)[0])

    def map(self, stride: int) -> tuple[int, int]:
        """Width and height of a map of this stride."""
        return self.width // stride, self.height // stride

    @property
    def corner_numbers(self) -> int:
        """Numbers a corner (2 or 3) of a plate, whose key points are four; else 0."""
        points, numbers = key_points(self.metadata)
        return numbers if points == 4 else 0

    def lists(self, *names: str) -> tuple[int, ...] | None:
        """Where boxes, scores and classes of these names stand, a picture's, with or without the batch; else None."""
        at = self.at(*names) or (self._by_kind() if self.told else None)
        if at is None:
            return None
        boxes, scores, classes = (self.shapes[i] for i in at)
        count = int(np.prod(scores))
        one = all(side == 1 for side in (*boxes[:-2], *scores[:-1], *classes[:-1]))
        fits = one and boxes[-2:] == (count, 4) and int(np.prod(classes)) == count and len(scores) and len(classes)
        return at if fits else None

    def queries(self, *names: str) -> tuple[int, ...] | None:
        """Where a box (1, Q, 4) and scores (1, Q, C) a query stand, by these names; else None."""
        at = self.at(*names)
        if at is None and self.told and len(self.shapes) == 2:
            at = (0, 1) if self.shapes[0][-1:] == (4,) else (1, 0)
        match [self.shapes[i] for i in at or ()]:
            case [(1, boxes, 4), (1, named, classes)] if boxes == named and classes:
                return at
        return None

    def _by_kind(self) -> tuple[int, ...] | None:
        """Boxes have four sides, classes are whole numbers."""
        tensors = list(enumerate(self.tensors))
        boxes = [i for i, tensor in tensors if tensor.ndim > 1 and tensor.shape[-1] == 4]
        classes = [i for i, tensor in tensors if tensor.dtype.kind in "iu" and i not in boxes]
        scores = [i for i, _ in tensors if i not in (*boxes, *classes)]
        return (boxes[0], scores[0], classes[0]) if [len(boxes), len(scores), len(classes)] == [1, 1, 1] else None

    def __str__(self) -> str:
        inputs = ", ".join(self.inputs)
        told = [f"{name[:80]} {tuple(tensor.shape)}" for name, tensor in self.outputs.items()]
        outputs = ", ".join(told[:SHOWN]) + (f", ... ({len(told)})" if len(told) > SHOWN else "")
        return f"outputs {outputs or 'none'} for the inputs {inputs} of {self.width}x{self.height}"


def reach(values: Tensor) -> float:
    """The largest of them, whatever its sign; numbers that are none do not count."""
    return float(np.nan_to_num(np.abs(values), nan=0.0).max(initial=0.0))

"""An ONNX file as a net: what it is fed, what it gives, of which family it is and why, under which labels."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Struct

from edge_agent.files import read_text
from edge_agent.runtime import DriverError
from edge_agent.vision.coco import COCO, COCO_91
from edge_agent.vision.heads.find import Found, find_head
from edge_agent.vision.heads.form import Candidates, Head, Input, Tensor, UnknownLayoutError
from edge_agent.vision.heads.model import Model
from edge_agent.vision.heads.told import names
from edge_agent.vision.letterbox import Feeder, Letterbox, Pixels
from edge_agent.vision.session import Port, Trial, on_trial, open_backend
from edge_agent.vision.sizes import STEP, budget, own_size

DEFAULT_SIZE = 640  # of models that leave their input size open
SIDES = (32, 4096)
MAX_SIDECAR_BYTES = 1 << 20
KEPT_SIZES = 32  # beside its own that a net is ready for: each has a tensor of some megabytes
MAX_CLASSES, MAX_TENSORS = 10_000, 64
GREY = 114
DTYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8,
}  # fmt: skip
SIZES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32}  # of inputs that tell sizes

Above = Annotated[float, Meta(gt=0)]
Three = tuple[float, float, float]


class InputSidecar(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the net is fed, where its family's way is not right; mean and std are in 0..255, in the net's order."""

    width: Annotated[int, Meta(ge=SIDES[0], le=SIDES[1])] | None = None
    height: Annotated[int, Meta(ge=SIDES[0], le=SIDES[1])] | None = None
    color: Literal["rgb", "bgr"] | None = None
    fit: Literal["centred", "top_left", "stretch"] | None = None
    mean: Three | None = None
    std: tuple[Above, Above, Above] | None = None
    pad: Annotated[int, Meta(ge=0, le=255)] | None = None
    shape: Literal["own", "fixed"] | None = None  # of a model with an open size: the picture's, or always the same

    def over(self, form: Input) -> Input:
        """The family's form, with what is set here in its place."""
        return form._replace(
            rgb=form.rgb if self.color is None else self.color == "rgb",
            fit=self.fit or form.fit,
            mean=self.mean or form.mean,
            std=self.std or form.std,
            pad=form.pad if self.pad is None else self.pad,
        )


class Sidecar(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`MODEL.onnx.toml` beside a model: what its tensors cannot say."""

    format: str | None = None
    labels: tuple[str, ...] = ()
    input: InputSidecar = InputSidecar()


class _Sized(NamedTuple):
    """A net at one size of its input."""

    feeder: Feeder
    head: Head
    shapes: list[tuple[int, ...]]  # of its outputs for a grey picture


class Net:
    """One model in one session. Raises DriverError where the file is missing, broken, or of no family we know.

    `width` and `height` are its input's; a net that is `open` looks at each picture in the picture's own shape, at as
    many pixels as these have, at up to `imgsz_most` of its metadata of a large one, or at as many as a square of
    `side_px` has.
    """

    def __init__(self, file: Path, threads: int, labels: tuple[str, ...] = (), side_px: int | None = None) -> None:
        self.file, self._side_px = file, side_px
        self.sidecar = read_sidecar(file)
        with on_trial(file) as trial:
            self._backend = open_backend(file, threads, plain=True)
            self.metadata = self._backend.metadata
            self._picture = self._find_picture()
            self.width, self.height, self.dtype, self._nhwc = self._input()
            self._rest = self._other_inputs()
            probe = self.run(self.grey(), trial)
            self._backend = open_backend(file, threads)
        try:
            found = self._found(self.width, self.height, probe)
            own = names(self.metadata)
        except UnknownLayoutError as error:
            raise DriverError(f"{file}: unknown layout: {error} {sidecar_path(file).name}") from None
        except ValueError as error:
            raise DriverError(f"{file}: {error}") from None
        self.head, self.why = found.head, found.why
        self.shapes = {one.name: tuple(t.shape) for one, t in zip(self._backend.outputs, probe, strict=True)}
        self.form = self.sidecar.input.over(self.head.input)._replace(nhwc=self._nhwc)
        self.labels = self._labels(labels, own)
        self._sizes = {(self.width, self.height): self._sized(self.width, self.height, self.head, probe)}
        self.open = self._is_open()
        self._most = self._most_pixels()

    def look(
        self, pixels: Pixels, lores: Pixels | None, score: float, share: float = 1.0
    ) -> tuple[Candidates, Letterbox]:
        """What a BGR picture shows from `score` on, before suppression, and where the picture lies in the input.

        The input is made from `lores`, a smaller copy, where that is large enough; of its pixels a `share` is used,
        if the net is open.
        """
        sized = self._at(pixels.shape[1], pixels.shape[0], share)
        tensor, letterbox = sized.feeder.feed(pixels, lores)
        outputs = self.run(tensor)
        head, shapes = sized.head, [tuple(output.shape) for output in outputs]
        if shapes != sized.shapes and self._alike(*sized.feeder.size, outputs) is None:  # more boxes found are alike
            raise DriverError(f"{self.file}: gives {shapes} for a picture, and gave {sized.shapes} for a grey one")
        with np.errstate(all="ignore"):
            return head.decode(outputs, score), letterbox

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the input for a picture of this size."""
        return self._at(width, height, 1.0).feeder.size

    def grey(self, width: int | None = None, height: int | None = None) -> Tensor:
        """A picture's tensor without a picture, of the net's size or another."""
        wide, high = width or self.width, height or self.height
        return np.full((1, high, wide, 3) if self._nhwc else (1, 3, high, wide), GREY, dtype=self.dtype)

    def run(self, picture: Tensor, trial: Trial | None = None) -> list[Tensor]:
        """All outputs for a picture's tensor; raises DriverError naming the file."""
        return self._backend.run({self._picture.name: picture, **self._rest}, trial)

    def _at(self, width: int, height: int, share: float) -> _Sized:
        """The net at the size for such a picture; at its own where it fails at that one, whatever its axes say."""
        size = self.width, self.height
        if self.open:
            step = 64 if self.metadata.get("stride") == "64" else STEP  # as of YOLOv5's larger models
            pixels = budget(width, height, self.width * self.height, self._most)
            size = own_size(width, height, int(pixels * share), step)
        if size not in self._sizes:
            if len(self._sizes) > KEPT_SIZES:
                del self._sizes[list(self._sizes)[1]]  # the oldest but its own, which is the first
            self._sizes[size] = self._tried(*size) or self._sizes[self.width, self.height]
        return self._sizes[size]

    def _tried(self, width: int, height: int) -> _Sized | None:
        """The net at another size; None where it fails or loops there, or gives what is of another family."""
        try:
            with on_trial(self.file) as trial:
                outputs = self.run(self.grey(width, height), trial)
        except DriverError:
            return None
        head = self._alike(width, height, outputs)
        return self._sized(width, height, head, outputs) if head else None

    def _alike(self, width: int, height: int, outputs: Sequence[Tensor]) -> Head | None:
        """The head for these outputs, where they are of the model's family."""
        try:
            head = self._found(width, height, outputs).head
        except UnknownLayoutError:
            return None
        return head if (head.family, head.classes) == (self.head.family, self.head.classes) else None

    def _sized(self, width: int, height: int, head: Head, outputs: Sequence[Tensor]) -> _Sized:
        shapes = [tuple(output.shape) for output in outputs]
        return _Sized(Feeder(width, height, self.form, self.dtype), head, shapes)

    def _found(self, width: int, height: int, probe: Sequence[Tensor]) -> Found:
        """The family, by what a grey picture of this size gives; raises UnknownLayoutError."""
        model = Model(
            width=width,
            height=height,
            inputs=tuple(one.name for one in self._backend.inputs),
            outputs=dict(zip((one.name for one in self._backend.outputs), probe, strict=True)),
            metadata=self.metadata,
            nhwc=self._nhwc,
        )
        return find_head(model, self.sidecar.format)

    def _is_open(self) -> bool:
        """Whether the picture's shape is the input's: the model leaves its size open, and nobody has fixed it."""
        told, shape = self.sidecar.input, self._picture.shape
        free = not any(isinstance(side, int) for side in (shape[1:3] if self._nhwc else shape[2:]))
        fixed = self._side_px is None and (told.width is not None or told.height is not None)
        own = told.shape == "own" or (told.shape is None and not fixed)
        return free and own and self.form.fit != "stretch" and not self._rest

    def _most_pixels(self) -> int:
        """How many pixels of a large picture the model may look at; 0 where it says nothing, or the user fixed them."""
        high, wide = _size(self.metadata, "imgsz_most") or (0, 0)
        fixed = self._side_px or self.sidecar.input.width or self.sidecar.input.height
        return 0 if fixed or max(wide, high) > SIDES[1] else wide * high

    def _find_picture(self) -> Port:
        """The input of four dimensions, which need not be the first; raises DriverError where there are no tensors."""
        inputs, outputs = self._backend.inputs, self._backend.outputs
        if (count := len(inputs) + len(outputs)) > MAX_TENSORS:
            raise DriverError(f"{self.file}: unknown layout: {count} inputs and outputs; no detector has so many")
        for one in (*inputs, *outputs):
            if not one.kind.startswith("tensor(") or one.kind in ("tensor(string)", "tensor(bool)"):
                raise DriverError(f"{self.file}: unknown layout: {one.name} is a {one.kind}, not a tensor of numbers")
        if not inputs:
            raise DriverError(f"{self.file}: unknown layout: it has no input, and so cannot be shown a picture")
        return next((one for one in inputs if len(one.shape) == 4), inputs[0])

    def _input(self) -> tuple[int, int, Any, bool]:
        """Width, height, number type and order of the picture's input."""
        first = self._picture
        dtype, told, side = DTYPES.get(first.kind), self.sidecar.input, self._side_px
        open_size = _size(self.metadata, "imgsz") or (DEFAULT_SIZE, DEFAULT_SIZE)
        nhwc = len(first.shape) == 4 and first.shape[3] == 3
        match first.shape:
            case (1 | str() | None, height, width, 3) | (1 | str() | None, 3 | str() | None, height, width):
                if side is not None and isinstance(width, int):
                    raise DriverError(
                        f"{self.file}: its input is fixed at {width} x {height}: `side_px` cannot change it"
                    )
                wide = width if isinstance(width, int) else side or told.width or open_size[1]
                high = height if isinstance(height, int) else side or told.height or open_size[0]
            case _:
                wide = high = 0
        if dtype is None or not all(SIDES[0] <= side <= SIDES[1] for side in (wide, high)):
            shapes = ", ".join(f"{one.name} {one.shape} {one.kind}" for one in self._backend.inputs)
            raise DriverError(
                f"{self.file}: unknown layout: inputs {shapes}; one must be a picture (1, 3, H, W) or "
                f"(1, H, W, 3) of {', '.join(DTYPES)}, H and W from {SIDES[0]} to {SIDES[1]}"
            )
        return wide, high, dtype, nhwc

    def _other_inputs(self) -> dict[str, Tensor]:
        """What some families ask for besides: the size that boxes are wanted in, which is the input's."""
        known = {
            "orig_target_sizes": [[self.width, self.height]],
            "scale_factor": [[1.0, 1.0]],
            "im_shape": [[self.height, self.width]],
            "pixel_mask": np.ones((1, 64, 64)),  # of DETR: the whole picture counts, at whatever size
        }
        rest = {one.name: one.kind for one in self._backend.inputs if one.name != self._picture.name}
        if unknown := [name for name, kind in rest.items() if name not in known or kind not in SIZES]:
            asked = ", ".join(f"{name} {rest[name]}" for name in unknown)
            raise DriverError(
                f"{self.file}: unknown layout: asks for {asked} besides a picture; known are {', '.join(known)}"
            )
        return {name: np.array(known[name], dtype=SIZES[kind]) for name, kind in rest.items()}

    def _labels(self, told: tuple[str, ...], own: tuple[str, ...] | None) -> tuple[str, ...]:
        """Names of the classes: the sidecar's, else the model's own, else told, else what the family or COCO says.

        Where nobody names them they are numbered. RF-DETR may have one more, which is nothing (`_class_layout.py`).
        """
        classes = self.head.classes
        usual = {2: ("plate", "plate"), 1: ("plate",), 0: ("plate",)} if "plate" in self.head.family else {}
        fixed = {
            "lpd-yunet": ("plate",), "yunet": ("face",), "ssd": COCO_91[1:], "ssd-torchvision": COCO_91,
        }.get(self.head.family)  # fmt: skip
        labels = (
            self.sidecar.labels
            or own
            or told
            or fixed
            or usual.get(classes)
            or {0: COCO, 80: COCO, 91: COCO_91}.get(classes, ())
        )
        if max(classes, len(labels)) > MAX_CLASSES:
            raise DriverError(f"{self.file}: has {max(classes, len(labels))} classes; at most {MAX_CLASSES} are taken")
        self.named = bool(labels)
        if not labels:
            return tuple(f"class {number}" for number in range(classes))
        nothing = self.head.family == "rf-detr" and len(labels) == classes - 1
        if classes and len(labels) != classes and not nothing:
            who = "its metadata" if own and not self.sidecar.labels else "`labels`"
            raise DriverError(f"{self.file}: has {classes} classes, but {who} name {len(labels)}")
        return labels


def sidecar_path(file: Path) -> Path:
    """Where a model's sidecar lies."""
    return file.parent / f"{file.name}.toml"


def read_sidecar(file: Path) -> Sidecar:
    """What lies beside a model, or nothing; raises DriverError with file, key and reason."""
    path = sidecar_path(file)
    try:
        return msgspec.convert(tomllib.loads(read_text(path, MAX_SIDECAR_BYTES)), Sidecar)
    except FileNotFoundError:
        return Sidecar()
    except RecursionError:
        raise DriverError(f"{path}: is nested too deeply") from None
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise DriverError(f"{path}: {error}") from None


def _size(metadata: dict[str, str], key: str) -> tuple[int, int] | None:
    """Such as `imgsz` as ultralytics writes it, `[height, width]`, for models with an open input size."""
    match metadata.get(key, "")[:100].strip("[]() ").replace(" ", "").split(","):
        case [height, width] if height.isdecimal() and width.isdecimal():
            return int(height), int(width)
        case _:
            return None

"""YOLOX-Nano for three classes: the published architecture in PyTorch, and how its Apache-2.0 weights are lifted in.

Written from the paper (Ge et al., "YOLOX: Exceeding YOLO Series in 2021") and the shapes of the published tensors; the
batch norms of the release are folded into its convolutions, and stay so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
CLASSES = ("person", "vehicle", "two-wheeler")
FROM_COCO = ((0,), (2, 7, 5), (3, 1))  # rows of COCO-80: person; car, truck, bus; motorcycle, bicycle
WIDTH = (16, 32, 64, 128, 256)


class Conv(nn.Module):
    """A convolution that keeps the size at stride 1, and SiLU."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.conv(x))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 a channel, then 1x1 across channels."""
    return nn.Sequential(Conv(inputs, inputs, 3, stride, inputs), Conv(inputs, outputs))


class Bottleneck(nn.Module):
    def __init__(self, channels: int, add: bool) -> None:
        super().__init__()
        self.first, self.second, self.add = Conv(channels, channels), separable(channels, channels), add

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return x + y if self.add else y


class Csp(nn.Module):
    """Half of the channels goes through bottlenecks, half past them."""

    def __init__(self, inputs: int, outputs: int, count: int, add: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.through, self.past = Conv(inputs, half), Conv(inputs, half)
        self.blocks = nn.Sequential(*(Bottleneck(half, add) for _ in range(count)))
        self.join = Conv(2 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        through, past = self.through(x), self.past(x)
        return self.join(torch.cat([self.blocks(through), past], 1))


class Spp(nn.Module):
    """The strongest response within 5, 9 and 13 cells."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = Conv(inputs, inputs // 2), Conv(inputs * 2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        within = [self.first(x)]
        for _ in range(3):  # 5 of 5 are 9, 5 of 9 are 13
            within.append(functional.max_pool2d(within[-1], 5, 1, 2))
        return self.last(torch.cat(within, 1))


class Branch(nn.Module):
    """The head of one stride: 4 of the box, objectness, classes."""

    def __init__(self, inputs: int, classes: int, hidden: int = 64) -> None:
        super().__init__()
        self.stem = Conv(inputs, hidden)
        self.cls_convs = nn.Sequential(separable(hidden, hidden), separable(hidden, hidden))
        self.cls = nn.Conv2d(hidden, classes, 1)
        self.reg_convs = nn.Sequential(separable(hidden, hidden), separable(hidden, hidden))
        self.reg, self.obj = nn.Conv2d(hidden, 4, 1), nn.Conv2d(hidden, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        cls = self.cls(self.cls_convs(x))
        reg = self.reg_convs(x)
        return torch.cat([self.reg(reg), self.obj(reg), cls], 1)


class Nano(nn.Module):
    """Pictures (n, 3, S, S), BGR 0..255, to rows (n, cells, 5 + classes): x, y, w, h by cell, and logits."""

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = WIDTH
        self.stem = Conv(3, c1, 6, 2)
        self.stem.conv.padding = (2, 2)
        self.dark2 = nn.Sequential(separable(c1, c2, 2), Csp(c2, c2, 1))
        self.dark3 = nn.Sequential(separable(c2, c3, 2), Csp(c3, c3, 3))
        self.dark4 = nn.Sequential(separable(c3, c4, 2), Csp(c4, c4, 3))
        self.dark5 = nn.Sequential(separable(c4, c5, 2), Spp(c5, c5), Csp(c5, c5, 1, add=False))
        self.lateral5, self.merge4 = Conv(c5, c4), Csp(2 * c4, c4, 1, add=False)
        self.lateral4, self.merge3 = Conv(c4, c3), Csp(2 * c3, c3, 1, add=False)
        self.down3, self.join4 = separable(c3, c3, 2), Csp(2 * c3, c4, 1, add=False)
        self.down4, self.join5 = separable(c4, c4, 2), Csp(2 * c4, c5, 1, add=False)
        self.branches = nn.ModuleList(Branch(c, classes) for c in (c3, c4, c5))

    def maps(self, x: Tensor) -> list[Tensor]:
        """A map (n, 5 + classes, rows, columns) a stride."""
        p3 = self.dark3(self.dark2(self.stem(x)))
        p4 = self.dark4(p3)
        p5 = self.lateral5(self.dark5(p4))
        up = self.merge4(torch.cat([functional.interpolate(p5, scale_factor=2.0), p4], 1))
        p4 = self.lateral4(up)
        n3 = self.merge3(torch.cat([functional.interpolate(p4, scale_factor=2.0), p3], 1))
        n4 = self.join4(torch.cat([self.down3(n3), p4], 1))
        n5 = self.join5(torch.cat([self.down4(n4), p5], 1))
        return [branch(level) for branch, level in zip(self.branches, (n3, n4, n5), strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([m.flatten(2) for m in self.maps(x)], 2).transpose(1, 2)


class Exported(nn.Module):
    """As YOLOX is exported: objectness and classes after the sigmoid, boxes by cell."""

    def __init__(self, net: Nano) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        parts = [torch.cat([m[:, :4], m[:, 4:].sigmoid()], 1).flatten(2) for m in self.net.maps(x)]
        return torch.cat(parts, 2).transpose(1, 2)


def grid(side: int) -> tuple[Tensor, Tensor]:
    """Cells (n, 2) of all strides as x, y, and the stride (n, 1) of each."""
    cells, strides = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(side // stride), torch.arange(side // stride), indexing="ij")
        cells.append(torch.stack([x, y], -1).reshape(-1, 2))
        strides.append(torch.full((len(cells[-1]), 1), stride))
    return torch.cat(cells).float(), torch.cat(strides).float()


def decode(rows: Tensor, cells: Tensor, strides: Tensor) -> Tensor:
    """Boxes x1, y1, x2, y2 in pixels of the input."""
    middle = (rows[..., :2] + cells) * strides
    half = rows[..., 2:4].clamp(max=6.0).exp() * strides / 2
    return torch.cat([middle - half, middle + half], -1)


def unfocused(weight: np.ndarray) -> np.ndarray:
    """The 3x3 over four pictures of every other pixel as the 6x6 at stride 2 that it is: a tenth less time."""
    wide = np.zeros((weight.shape[0], 3, 6, 6), np.float32)
    for number, (y, x) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        wide[:, :, y::2, x::2] = weight[:, 3 * number : 3 * number + 3]
    return wide


def lift(net: Nano, onnx_file: Path) -> None:
    """Fill a net of 80 classes from the published file: its convolutions stand in the order in which they run."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(onnx_file)).graph
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    theirs = [(tensors[n.input[1]], tensors[n.input[2]]) for n in graph.node if n.op_type == "Conv"]
    ours: list[nn.Conv2d] = []
    hooks = [
        m.register_forward_hook(lambda m, _i, _o: ours.append(m)) for m in net.modules() if isinstance(m, nn.Conv2d)
    ]
    with torch.no_grad():
        net(torch.zeros(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    assert len(ours) == len(theirs), (len(ours), len(theirs))
    for conv, (published, bias) in zip(ours, theirs, strict=True):
        weight = unfocused(published) if conv is net.stem.conv else published
        assert tuple(conv.weight.shape) == weight.shape, (conv, weight.shape)
        conv.weight.data, conv.bias.data = torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())


def from_coco(onnx_file: Path) -> Nano:
    """A net of our classes that begins with what the published one knows of them."""
    coco = Nano(80)
    lift(coco, onnx_file)
    net = Nano()
    state = coco.state_dict()
    for key in list(state):
        if ".cls.weight" in key or ".cls.bias" in key:
            state[key] = torch.stack([state[key][list(rows)].mean(0) for rows in FROM_COCO])
    net.load_state_dict(state)
    return net


def parameters(net: nn.Module) -> int:
    return int(np.sum([p.numel() for p in net.parameters()]))

"""The detector's network: a frame becomes the four corners of each plate, and whether it has one row or two.

Without anchors, at strides 8, 16 and 32. Its output is laid out as YOLOv8-pose lays out boxes with key points
(1, 4 + 2 + 8, cells): centre, size, chances of one row and of two, four corners; so the agent needs no head of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.plates.reader import Residual, conv

STRIDES = (8, 16, 32)
REACH = 4.0  # corners are told in this many strides from the middle of the cell


class PlateDetectorNet(nn.Module):
    """(N, 3, H, W) RGB 0..1, H and W multiples of 32 -> (N, 14, cells)."""

    def __init__(self, channels: tuple[int, int, int, int, int] = (12, 24, 40, 64, 88)) -> None:
        super().__init__()
        a, b, c, d, e = channels
        self.to8 = nn.Sequential(conv(3, a, 3, 2), conv(a, b, 3, 2), conv(b, c, 3, 2), Residual(c))
        self.to16 = nn.Sequential(conv(c, d, 3, 2), Residual(d))
        self.to32 = nn.Sequential(conv(d, e, 3, 2), Residual(e), Residual(e))
        self.across = nn.ModuleList(nn.Conv2d(width, c, 1) for width in (c, d, e))
        self.neck = nn.ModuleList(conv(c, c) for _ in STRIDES)
        self.rows = nn.ModuleList(nn.Conv2d(c, 2, 1) for _ in STRIDES)
        self.corners = nn.ModuleList(nn.Sequential(conv(c, c, 1), nn.Conv2d(c, 8, 1)) for _ in STRIDES)
        for head in self.rows:
            nn.init.constant_(head.bias, -4.5)

    def maps(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Scores before the sigmoid (N, cells, 2), and corners in pixels (N, cells, 8)."""
        at8 = self.to8(frames)
        at16 = self.to16(at8)
        levels = [at8, at16, self.to32(at16)]
        down = [across(level) for across, level in zip(self.across, levels, strict=True)]
        for i in (1, 0):
            down[i] = down[i] + functional.interpolate(down[i + 1], scale_factor=2.0, mode="nearest")
        scores, corners = [], []
        for i, stride in enumerate(STRIDES):
            seen = self.neck[i](down[i])
            offsets = self.corners[i](seen).float() * (REACH * stride)
            height, width = frames.shape[2] // stride, frames.shape[3] // stride
            ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            middles = (torch.stack([xs, ys], 0).float() + 0.5) * stride
            corners.append((offsets + middles.repeat(4, 1, 1)).flatten(2))
            scores.append(self.rows[i](seen).float().flatten(2))
        return torch.cat(scores, 2).transpose(1, 2), torch.cat(corners, 2).transpose(1, 2)

    def forward(self, frames: Tensor) -> Tensor:
        scores, corners = self.maps(frames)
        points = corners.unflatten(2, (4, 2))
        low, high = points.amin(dim=2), points.amax(dim=2)
        return torch.cat([(low + high) / 2, high - low, scores.sigmoid(), corners], 2).transpose(1, 2)

"""The reader's network: a crop becomes the chances of each character at each of eight places, and of each colour.

It also says where the plate's corners lie in the crop: cut out again by them, a plate reads better.

Each place looks where it wants (a softmax over the feature map, from the features and their position), so askew
plates need no rectifying; of a plate of two rows it gets the rows side by side. The network scales its own input:
crops come as BGR 0..255.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.plates.crops import HEIGHT, WIDTH
from training.plates.kinds import ALPHABET, COLORS, LONGEST

CLASSES = ("", *ALPHABET)  # "" fills the places after the last character
GROUNDS = (*COLORS, "none")  # "none": the crop shows no plate


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int | tuple[int, int] = 1) -> nn.Sequential:
    """A convolution with its normalisation and activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def first_looks(height: int, width: int) -> Tensor:
    """Where training begins to look (places, height, width): a bell for each place of a plate of seven or eight."""
    pitch = width / (LONGEST - 0.4)
    middles = (torch.arange(LONGEST) + 0.5)[:, None] * pitch
    bells = -((torch.arange(width) + 0.5 - middles) ** 2) / (2 * (0.6 * pitch) ** 2)
    return bells[:, None, :].repeat(1, height, 1)


class Residual(nn.Module):
    """Two convolutions around which the input is carried."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class PlateReaderNet(nn.Module):
    """(N, 3, 40, 128) BGR 0..255 -> chances (N, 8, classes) of characters and (N, colours) of the ground, and corners.

    Corners (N, 4, 2) are shares of the crop's width and height, from the top left, clockwise.
    """

    def __init__(self, channels: tuple[int, int, int] = (24, 48, 96)) -> None:
        super().__init__()
        a, b, c = channels
        self.body = nn.Sequential(
            conv(3, a, 5, 2), conv(a, a), conv(a, b, 3, 2), Residual(b), conv(b, c, 3, (2, 1)), Residual(c), Residual(c)
        )
        self.wide = nn.Sequential(
            nn.Conv2d(c, c, (5, 15), 1, (2, 7), groups=c, bias=False), nn.BatchNorm2d(c), nn.ReLU(inplace=True)
        )
        self.position = nn.Parameter(torch.randn(1, c, HEIGHT // 8, WIDTH // 4) * 0.02)
        self.prior = nn.Parameter(first_looks(HEIGHT // 8, WIDTH // 4))
        self.where = nn.Conv2d(c, LONGEST, 1)
        self.place = nn.Parameter(torch.randn(LONGEST, c) * 0.02)
        self.character = nn.Sequential(nn.Dropout(0.1), nn.Linear(c, len(CLASSES)))
        self.ground = nn.Sequential(nn.Linear(a + c, 48), nn.ReLU(inplace=True), nn.Linear(48, len(GROUNDS)))
        cells = HEIGHT // 8 * (WIDTH // 4)
        self.rim = nn.Sequential(
            conv(c, 16, 1), nn.Flatten(), nn.Linear(16 * cells, 64), nn.ReLU(inplace=True), nn.Linear(64, 8)
        )
        self.register_buffer("square", torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))

    def logits(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unscaled scores, for training."""
        mean = crops.mean(dim=(1, 2, 3), keepdim=True)
        spread = ((crops - mean) ** 2).mean(dim=(1, 2, 3), keepdim=True).sqrt()
        x = (crops - mean) / (spread + 8.0)
        early = self.body[1](self.body[0](x))
        features = self.body[2:](early)
        context = self.wide(features) + self.position
        looks = (self.where(context) + self.prior).flatten(2).softmax(dim=2)  # (N, places, cells)
        seen = looks @ (features + context).flatten(2).transpose(1, 2)  # (N, places, channels)
        whole = torch.cat([early.mean(dim=(2, 3)), features.mean(dim=(2, 3))], dim=1)
        corners = self.square + self.rim(context).float().unflatten(1, (4, 2)) * 0.1
        return self.character(seen + self.place), self.ground(whole), corners

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        text, color, corners = self.logits(crops)
        return text.softmax(dim=2), color.softmax(dim=1), corners

"""Which cells answer for which objects (as YOLOX's SimOTA), and what is paid: by class, where the class is labelled."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.people.net import CLASSES, decode

REACH = 2.0  # cells around an object's middle that may answer for it
BOX_WEIGHT = 5.0


def overlaps(a: Tensor, b: Tensor, slack_px: float = 0.0) -> Tensor:
    """(n, m) IoU, of boxes wider by `slack_px` on each side: a pixel beside must not cost a tiny one everything."""
    wider = a.new_tensor([-slack_px, -slack_px, slack_px, slack_px])
    a, b = a + wider, b + wider
    low, high = torch.max(a[:, None, :2], b[None, :, :2]), torch.min(a[:, None, 2:], b[None, :, 2:])
    both = (high - low).clamp(min=0).prod(2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    return both / (area_a[:, None] + area_b[None] - both + 1e-7)


def paired(a: Tensor, b: Tensor) -> Tensor:
    """(n,) generalised IoU of pairs."""
    low, high = torch.max(a[:, :2], b[:, :2]), torch.min(a[:, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    area = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - both
    hull = (torch.max(a[:, 2:], b[:, 2:]) - torch.min(a[:, :2], b[:, :2])).prod(1)
    return both / (area + 1e-7) - (hull - area) / (hull + 1e-7)


def log_score(rows: Tensor) -> Tensor:
    """The logarithm of objectness times class."""
    return functional.logsigmoid(rows[..., 4:5]) + functional.logsigmoid(rows[..., 5:])


@torch.no_grad()
def assign(
    boxes: Tensor, logs: Tensor, truth: Tensor, centres: Tensor, strides: Tensor, slack_px: float
) -> tuple[Tensor, Tensor, Tensor]:
    """For one picture: cells that answer, the object of each, its IoU. `truth`: rows class, x1, y1, x2, y2."""
    middle, reach = (truth[:, 1:3] + truth[:, 3:5]) / 2, REACH * strides
    near = ((centres[:, None] - middle[None]).abs() <= reach[:, None]).all(2)  # (cells, objects)
    cells = near.any(1).nonzero()[:, 0]
    if not len(cells):
        return cells, cells, boxes.new_zeros(0)
    near, iou = near[cells], overlaps(boxes[cells], truth[:, 1:], slack_px)
    inside = (centres[cells, None] > truth[None, :, 1:3]).all(2) & (centres[cells, None] < truth[None, :, 3:5]).all(2)
    cost = -logs[cells][:, truth[:, 0].long()] / 2 - 3 * (iou + 1e-6).log() + 1e5 * ~near + 2.0 * ~inside
    wanted = torch.topk(iou * near, min(10, len(cells)), dim=0).values.sum(0).int().clamp(min=1)
    chosen = torch.zeros_like(cost, dtype=torch.bool)
    rank = cost.argsort(0).argsort(0)
    chosen = (rank < wanted[None]) & near
    twice = chosen.sum(1) > 1
    if twice.any():
        best = cost[twice].argmin(1)
        chosen[twice] = False
        chosen[twice.nonzero()[:, 0], best] = True
    cell, which = chosen.nonzero(as_tuple=True)
    return cells[cell], which, iou[cell, which]


def loss(
    rows: Tensor, truths: list[Tensor], masks: Tensor, cells: Tensor, strides: Tensor, slack_px: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Classes and boxes, each a mean over answering cells. `masks`: (n, cells) bits of the labelled classes."""
    boxes, logs = decode(rows, cells, strides), log_score(rows)
    centres = (cells + 0.5) * strides
    target = torch.zeros_like(logs)
    paid = (masks[..., None] >> torch.arange(len(CLASSES)) & 1).float()
    box_loss, count = rows.new_zeros(()), 0
    for number, truth in enumerate(truths):
        if not len(truth):
            continue
        found = boxes[number].detach(), logs[number].detach()
        at, which, iou = assign(*found, truth, centres, strides[:, 0:1], slack_px)
        if not len(at):
            continue
        kind = truth[which, 0].long()
        target[number, at, kind] = iou.clamp(min=0.05)
        paid[number, at, kind] = 1.0  # also what a teacher told
        box_loss = box_loss + (1 - paired(boxes[number, at], truth[which, 1:])).sum()
        count += len(at)
    rest = torch.log1p(-logs.exp().clamp(max=1 - 1e-5))
    cls_loss = -(target * logs + (1 - target) * rest) * paid
    return cls_loss.sum() / max(count, 1), BOX_WEIGHT * box_loss / max(count, 1)

"""Trains the plate detector on rendered scenes: `python -m training.plates.train_detector --out build/plate-detector`.

Real photographs (`--photographs`, a folder with ground_truth.json above it) are only ever measured on.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.plates.detector import STRIDES, PlateDetectorNet
from training.plates.measure import found_plates, photographs, precision_recall
from training.plates.pictures import load_pictures
from training.plates.scenes import SIDE, Scene, render_scene
from training.plates.train_reader import follow, relit
from training.run import Run

REACHES = ((0.0, 56.0), (40.0, 144.0), (104.0, 1e9))  # plate widths in pixels that each stride is taught
VALIDATION_SEED, VALIDATION_SCENES = 999_983, 64
POOL = 1_500  # renderings at hand at a time: to draw one costs more than to learn from it


class Wanted(NamedTuple):
    """By cell: scores (cells, 2), their weights (cells,), and corners (cells, 8) where `plate` (cells,) is true."""

    scores: Tensor
    weights: Tensor
    plate: Tensor
    corners: Tensor
    widths: Tensor


def targets(scene: Scene) -> Wanted:
    """What each cell should say: cells well within a plate tell it, those at its rim say nothing."""
    size = sum((SIDE // stride) ** 2 for stride in STRIDES)
    scores, weights = np.zeros((size, 2), np.float32), np.ones(size, np.float32)
    plate, corners, widths = np.zeros(size, bool), np.zeros((size, 8), np.float32), np.ones(size, np.float32)
    first = 0
    for stride, (least, most) in zip(STRIDES, REACHES, strict=True):
        side = SIDE // stride
        middles = (np.arange(side) + 0.5) * stride
        xs, ys = np.meshgrid(middles, middles)
        here = slice(first, first + side * side)
        level_scores, level_weights = scores[here], weights[here]
        for box in scene.ignored:
            level_weights[((xs > box[0]) & (xs < box[2]) & (ys > box[1]) & (ys < box[3])).ravel()] = 0
        for quad, rows in zip(scene.corners, scene.rows, strict=True):
            low, high = quad.min(axis=0), quad.max(axis=0)
            centre, size_px = quad.mean(axis=0), high - low
            away_x, away_y = np.abs(xs - centre[0]) / size_px[0], np.abs(ys - centre[1]) / size_px[1]
            level_weights[((away_x < 0.5) & (away_y < 0.5)).ravel()] = 0
            if not least <= size_px[0] < most:
                continue
            own = ((away_x < 0.22) & (away_y < 0.28)).ravel()
            own[int(np.argmin((xs - centre[0]) ** 2 + (ys - centre[1]) ** 2))] = True
            level_scores[own] = 0
            level_scores[own, rows] = 1
            level_weights[own] = 1
            plate[here][own] = True
            corners[here][own] = quad.ravel()
            widths[here][own] = max(np.linalg.norm(quad[1] - quad[0]), 8.0)
        first += side * side
    return Wanted(*(torch.from_numpy(part) for part in (scores, weights, plate, corners, widths)))


def loss_of(scores: Tensor, corners: Tensor, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """Focal loss of the scores (Lin et al., 2017), and the corners' error in widths of the plate."""
    count = wanted.plate.sum().clamp(min=1)
    chance = scores.sigmoid()
    missed = torch.where(wanted.scores > 0.5, 1 - chance, chance)
    cross = functional.binary_cross_entropy_with_logits(scores, wanted.scores, reduction="none")
    share = torch.where(wanted.scores > 0.5, 0.6, 0.4)
    focal = (share * missed**2 * cross).sum(dim=2) * wanted.weights
    off = (corners[wanted.plate] - wanted.corners[wanted.plate]) / wanted.widths[wanted.plate][:, None]
    return focal.sum() / count, functional.smooth_l1_loss(off, torch.zeros_like(off), beta=0.02, reduction="sum") / (
        8 * count
    )


def tensor(scenes: list[Scene]) -> Tensor:
    """(N, 3, SIDE, SIDE) RGB 0..1."""
    stacked = torch.from_numpy(np.stack([scene.pixels[..., ::-1] for scene in scenes]))
    return (stacked.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=torch.channels_last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/plate-detector"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end by the clock where that is sooner")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="folders SET/train with pictures")
    parser.add_argument("--known", type=Path, help="the plates that they show, as training.plates.known found them")
    parser.add_argument("--photographs", type=Path, help="real plates, measured on only")
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--uses", type=int, default=4, help="how often each rendering is shown, about")
    parser.add_argument("--every", type=int, default=150, help="steps between measurements")
    args = parser.parse_args()

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    run = Run(args.out, args)
    pictures = load_pictures(args.pictures, args.known)
    net = PlateDetectorNet()
    if args.start:
        net.load_state_dict(torch.load(args.start)["net"])
    net = net.to(memory_format=torch.channels_last)
    mean_net = copy.deepcopy(net).eval()
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=0.01)
    shown = [render_scene(np.random.default_rng([VALIDATION_SEED, i]), pictures) for i in range(VALIDATION_SCENES)]
    real = photographs(args.photographs) if args.photographs else []
    pool, drawn, rng = list[Scene](), 0, np.random.default_rng(args.seed)
    began = time.monotonic()
    losses: list[tuple[float, float]] = []
    for step in range(args.steps):
        progress = max(step / args.steps, (time.monotonic() - began) / 60 / args.minutes)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)
        for number in range(drawn, drawn + (args.batch // args.uses if pool else args.batch * 32)):
            pool[number % POOL : number % POOL + 1] = [
                render_scene(np.random.default_rng([args.seed, number]), pictures)
            ]
            drawn = number + 1
        chosen = [pool[i] for i in rng.choice(len(pool), args.batch, replace=False)]
        scenes = [scene._replace(pixels=relit(rng, scene.pixels)) for scene in chosen]
        wanted = Wanted(*(torch.stack(part) for part in zip(*map(targets, scenes), strict=True)))
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            scores, corners = net.maps(tensor(scenes))
        of_scores, of_corners = loss_of(scores, corners, wanted)
        optimizer.zero_grad()
        (of_scores + 2.0 * of_corners).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        follow(mean_net, net, min(0.998, (step + 1) / (step + 20)))
        losses.append((of_scores.item(), of_corners.item()))
        if step % args.every == args.every - 1:
            recent = np.mean(losses[-args.every :], axis=0)
            row = {"step": step + 1, "scores": float(recent[0]), "corners": float(recent[1])}
            row["rendered_ap50"] = precision_recall(
                [(found_plates(mean_net, scene.pixels, SIDE), scene.corners) for scene in shown]
            ).ap50
            if real:
                row["real_ap50"] = precision_recall(
                    [(found_plates(mean_net, picture.pixels), picture.corners) for picture in real]
                ).ap50
            run.note(row)
            torch.save({"net": mean_net.state_dict(), "raw": net.state_dict()}, args.out / "last.pt")
    torch.save({"net": mean_net.state_dict(), "raw": net.state_dict()}, args.out / "last.pt")
    run.finish()


if __name__ == "__main__":
    main()

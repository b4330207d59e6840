"""Trains the plate reader on rendered crops: `python -m training.plates.train_reader --out build/plate-reader`.

Real crops (`--crops`, a folder with ground_truth.json above it) are only ever measured on.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from training.plates.crops import HEIGHT, WIDTH, Crop, render_crop
from training.plates.kinds import LONGEST
from training.plates.pictures import load_pictures
from training.plates.reader import CLASSES, GROUNDS, PlateReaderNet
from training.plates.render import Pixels
from training.run import Run

INDEX = {character: number for number, character in enumerate(CLASSES)}
GIBBERISH, PLAIN_FROM = 0.45, 0.8  # the share of such crops, and the progress from which there are none
VALIDATION_SEED, VALIDATION_CROPS = 999_983, 256
HEED_CORNERS = 10.0  # beside the characters' loss
POOL = 6_000  # renderings at hand at a time: to draw one costs more than to learn from it


def targets(crops: list[Crop]) -> tuple[Tensor, Tensor, Tensor]:
    """Class numbers (N, 8) of the characters and (N,) of the grounds; corners (N, 4, 2), not a number where unknown."""
    text = torch.zeros(len(crops), LONGEST, dtype=torch.long)
    for number, crop in enumerate(crops):
        for place, character in enumerate(crop.text):
            text[number, place] = INDEX[character]
    grounds = torch.tensor([GROUNDS.index(crop.kind.color if crop.kind else "none") for crop in crops])
    nowhere = np.full((4, 2), np.nan, np.float32)
    return text, grounds, torch.from_numpy(np.stack([nowhere if c.corners is None else c.corners for c in crops]))


def corners_off(told: Tensor, wanted: Tensor) -> Tensor:
    """How far corners are off, in widths of the crop (smooth near nothing), over those that are known."""
    known = ~wanted.isnan().any(dim=2).any(dim=1)
    off = (told[known] - wanted[known]) * torch.tensor([1.0, HEIGHT / WIDTH])
    return nn.functional.smooth_l1_loss(off, torch.zeros_like(off), beta=0.01)


def tensor(crops: list[Crop]) -> Tensor:
    """(N, 3, H, W) 0..255."""
    stacked = torch.from_numpy(np.stack([crop.pixels for crop in crops]))
    return stacked.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)


def vary(rng: np.random.Generator, crop: Crop) -> Crop:
    """The same crop, moved and turned a little, under other light: so that no picture is shown twice."""
    turn = np.eye(2) + rng.normal(0, ((0.02, 0.03), (0.008, 0.04)))
    middle = np.array([WIDTH / 2, HEIGHT / 2])
    shift = middle - turn @ middle + rng.normal(0, (1.2, 0.8))
    matrix = np.concatenate([turn, shift[:, None]], axis=1)
    pixels = cv2.warpAffine(crop.pixels, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    corners = crop.corners
    if corners is not None:
        corners = ((corners * (WIDTH, HEIGHT)) @ turn.T + shift) / (WIDTH, HEIGHT)
    corners = None if corners is None else corners.astype(np.float32)
    return crop._replace(pixels=relit(rng, np.asarray(pixels, np.uint8)), corners=corners)


def relit(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """The same picture under a little more or less light, of another colour."""
    gain = np.exp(rng.normal(0, 0.12, 3) + rng.normal(0, 0.2))
    tones = np.arange(256)[:, None] * gain + rng.normal(0, 8)
    return np.asarray(cv2.LUT(pixels, np.clip(tones, 0, 255).astype(np.uint8)[None]), np.uint8)


def read(net: PlateReaderNet, crops: Tensor) -> list[tuple[str, str]]:
    """The likeliest text and ground of each crop, without any grammar."""
    net.eval()
    with torch.inference_mode():
        text, ground, _ = net(crops)
    return [
        ("".join(CLASSES[i] for i in row), GROUNDS[color])
        for row, color in zip(text.argmax(2).tolist(), ground.argmax(1).tolist(), strict=True)
    ]


def real_crops(folder: Path) -> list[Crop]:
    """The labelled crops of a folder."""
    listed = json.loads((folder.parent / "ground_truth.json").read_text())["crops"]
    crops = []
    for one in listed:
        pixels = cv2.resize(cv2.imread(str(folder.parent / one["file_name"])), (WIDTH, HEIGHT))
        crops.append(Crop(np.asarray(pixels, np.uint8), one["plate_text"], None))
    return crops


def exact(net: PlateReaderNet, crops: list[Crop]) -> float:
    """The share of crops of which every character is right."""
    said = read(net, tensor(crops))
    return sum(text == crop.text for (text, _), crop in zip(said, crops, strict=True)) / len(crops)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/plate-reader"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end by the clock where that is sooner")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="folders with pictures for backgrounds")
    parser.add_argument("--crops", type=Path, help="real crops, measured on only")
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--uses", type=int, default=3, help="how often each rendering is shown, about")
    parser.add_argument("--every", type=int, default=200, help="steps between measurements")
    args = parser.parse_args()

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    run = Run(args.out, args)
    pictures = load_pictures(args.pictures)
    net = PlateReaderNet()
    if args.start:
        net.load_state_dict(torch.load(args.start)["net"], strict=False)  # an older one may lack a head
    net = net.to(memory_format=torch.channels_last)
    mean_net = copy.deepcopy(net).eval()
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=0.01)
    rendered = [render_crop(np.random.default_rng([VALIDATION_SEED, i]), pictures) for i in range(VALIDATION_CROPS)]
    real = real_crops(args.crops) if args.crops else []
    text_loss, ground_loss = nn.CrossEntropyLoss(label_smoothing=0.02, reduction="none"), nn.CrossEntropyLoss()
    heed = torch.tensor([3.0, *[1.0] * (LONGEST - 1)])  # the province is the hardest: one of 31, with many strokes
    pool, drawn, rng = list[Crop](), 0, np.random.default_rng(args.seed)
    began = time.monotonic()
    losses: list[tuple[float, float]] = []
    for step in range(args.steps):
        progress = max(step / args.steps, (time.monotonic() - began) / 60 / args.minutes)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 150) * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)
        gibberish = GIBBERISH if progress < PLAIN_FROM else 0.0
        for number in range(drawn, drawn + (args.batch // args.uses if pool else args.batch * 32)):
            fresh = render_crop(np.random.default_rng([args.seed, number]), pictures, gibberish=gibberish)
            pool[number % POOL : number % POOL + 1] = [fresh]
            drawn = number + 1
        crops = [vary(rng, pool[i]) for i in rng.choice(len(pool), args.batch, replace=False)]
        wanted_text, wanted_ground, wanted_corners = targets(crops)
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            text, ground, corners = net.logits(tensor(crops))
        loss = (text_loss(text.float().transpose(1, 2), wanted_text) * heed).mean()
        off = corners_off(corners.float(), wanted_corners)
        loss = loss + 0.15 * ground_loss(ground.float(), wanted_ground) + HEED_CORNERS * off
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        follow(mean_net, net, min(0.998, (step + 1) / (step + 20)))
        losses.append((loss.item(), off.item()))
        if step % args.every == args.every - 1:
            row = {
                "step": step + 1,
                "loss": float(np.mean([one for one, _ in losses[-args.every :]])),
                "corners": float(np.mean([off for _, off in losses[-args.every :]])),
                "rendered": exact(mean_net, rendered),
            }
            if real:
                row["real"] = exact(mean_net, real)
            run.note(row)
            torch.save({"net": mean_net.state_dict(), "raw": net.state_dict()}, args.out / "last.pt")
    torch.save({"net": mean_net.state_dict(), "raw": net.state_dict()}, args.out / "last.pt")
    run.finish()


def follow(mean_net: nn.Module, net: nn.Module, keep: float) -> None:
    """Move the averaged weights a little towards the present ones."""
    with torch.no_grad():
        for mean, now in zip(mean_net.state_dict().values(), net.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1 - keep)
            else:
                mean.copy_(now)


if __name__ == "__main__":
    main()

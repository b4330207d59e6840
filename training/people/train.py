"""One training run: `python -m training.people.train CONFIG.toml --out DIR`; the configuration and its seed say all.

Writes into DIR: log.jsonl, curves.png, best.pt and last.pt (the weights' moving average), metrics.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import time
import tomllib
from pathlib import Path

import numpy as np
import torch

from training.people import ap
from training.people.data import MASK_PX, Mixer, Picture, fill, letterbox, read_set
from training.people.loss import log_score, loss
from training.people.net import CLASSES, Nano, decode, from_coco, grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder of sets")
    parser.add_argument("--start", type=Path, help="yolox_nano ONNX, or a .pt of an earlier run; else from nothing")
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="further set folders, as of rendered.py")
    parser.add_argument("--filled", type=Path, help="what a teacher found: lines of `edge-agent detect --json`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="fewer, for a smoke run")
    parser.add_argument("--minutes", type=float, default=1e9, help="the schedule ends by then")
    args = parser.parse_args()
    settings = tomllib.loads(args.config.read_text())
    run(settings, args)


def run(settings: dict, args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    seed, side, steps = settings["seed"], settings["side"], args.steps or settings["steps"]
    random.seed(seed), torch.manual_seed(seed)
    args.out.mkdir(parents=True, exist_ok=True)
    folders = {name: args.data / name for name in settings["sets"]} | {more.name: more for more in args.more}
    weights = settings["sets"] | {more.name: settings["more"] for more in args.more}
    train = {name: read_set(folder, "train") for name, folder in folders.items()}
    judged = folders | {name: args.data / name for name in settings.get("judged", ())}
    val = {name: read_set(folder, "val") for name, folder in judged.items() if (folder / "val").is_dir()}
    if args.filled:
        train = {name: fill(pictures, args.filled) for name, pictures in train.items()}
    print({name: len(pictures) for name, pictures in train.items()}, flush=True)
    look_side = settings.get("look_side", side)
    mixer = Mixer(train, weights, side, seed, look_side)
    mixer.mosaics, mixer.thermal = settings["mosaics"], settings.get("thermal", False)
    mixer.scales, mixer.pasted = tuple(settings.get("scales", mixer.scales)), settings.get("pasted", 0.0)
    mixer.ground = settings.get("ground", {})
    if mixer.pasted:
        mixer.collect_people()
    if mixer.ground:
        mixer.cut_people_out()
    net = begin(args.start).to(memory_format=torch.channels_last)
    mean = copy.deepcopy(net)
    for part in settings.get("frozen", ()):
        net.get_submodule(part).requires_grad_(False)
    learning = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=settings["lr"], weight_decay=settings["decay"])
    cells, strides = grid(side)
    at, slack_px = mask_index(side), settings.get("slack_px", 0.0)
    log, best, began_s = (args.out / "log.jsonl").open("w"), -1.0, time.monotonic()
    sums, batch = np.zeros(2), settings["batch"]
    step = 0
    while step < steps:
        gone = max(step / steps, (time.monotonic() - began_s) / 60 / args.minutes)
        if gone >= 1:
            break
        if gone > settings["plain_from"]:
            mixer.mosaics = 0.0
        cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * gone)) / 2
        rate = settings["lr"] * min(1.0, (step + 1) / settings["warmup"]) * cosine
        for group in optimiser.param_groups:
            group["lr"] = rate
        pixels, truths, masks = zip(*(mixer.draw() for _ in range(batch)), strict=True)
        x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float()  # channels last already
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.get("bfloat16", False)):
            rows = net(x)
        rows = rows.float()
        seen = torch.from_numpy(np.stack(masks).reshape(batch, -1).astype(np.int64))[:, at]
        objects = [torch.from_numpy(truth.astype(np.float32)) for truth in truths]
        cls, box = loss(rows, objects, seen, cells, strides, slack_px)
        optimiser.zero_grad(set_to_none=True)
        (cls + box).backward()
        torch.nn.utils.clip_grad_norm_(learning, 10.0)
        optimiser.step()
        step += 1
        keep = min(settings["ema"], (1 + step) / (10 + step))
        with torch.no_grad():
            for a, b in zip(mean.parameters(), net.parameters(), strict=True):
                a.lerp_(b, 1 - keep)
        sums += (float(cls.detach()), float(box.detach()))
        if step % 50 == 0:
            paid = {"cls": sums[0] / 50, "box": sums[1] / 50}
            say(log, {"step": step, "lr": rate, **paid, "s": time.monotonic() - began_s})
            sums[:] = 0
        if step % settings["look"] == 0 or step == steps:
            best = look(mean, val, look_side, log, args.out, step, best)
    look(mean, val, look_side, log, args.out, step, best)
    log.close()
    draw_curves(args.out)


def begin(start: Path | None) -> Nano:
    """A net from YOLOX's file, from an earlier run, or from nothing."""
    if start is not None and start.suffix == ".onnx":
        return from_coco(start)
    net = Nano()
    if start is not None:
        net.load_state_dict(torch.load(start))
    return net


def look(net: Nano, val: dict[str, list[Picture]], side: int, log, out: Path, step: int, best: float) -> float:
    """Judge on the validation splits, keep what is best and what is last; gives the best mean AP50 so far."""
    torch.save(net.state_dict(), out / "last.pt")
    told = evaluate(net, val, side)
    mean = float(np.nanmean([v for values in told.values() for v in values.values()]))
    say(log, {"step": step, "mean": mean, "ap50": told})
    if mean > best:
        torch.save(net.state_dict(), out / "best.pt")
        (out / "metrics.json").write_text(json.dumps({"step": step, "mean": mean, "ap50": told}, indent=1))
    draw_curves(out)
    return max(best, mean)


@torch.no_grad()
def evaluate(net: Nano, val: dict[str, list[Picture]], side: int) -> dict[str, dict[str, float]]:
    """AP50 a set and labelled class."""
    cells, strides = grid(side)
    told = {}
    for name, pictures in val.items():
        judged: dict[str, list[ap.Judged]] = {}
        for picture in pictures:
            canvas, scale = letterbox(picture.pixels, side)
            rows = net(torch.from_numpy(canvas)[None].permute(0, 3, 1, 2).float())[0]
            scores = log_score(rows).exp().numpy()
            boxes = decode(rows, cells, strides).numpy().astype(np.float64) / scale
            for number, label in enumerate(CLASSES):
                if not picture.labelled >> number & 1:
                    continue
                keep = np.flatnonzero(scores[:, number] >= 0.01)
                keep = keep[suppress(boxes[keep], scores[keep, number], 0.5)]
                truth = picture.boxes[picture.boxes[:, 0] == number, 1:].astype(np.float64)
                judged.setdefault(label, []).append(
                    ap.judge(boxes[keep], scores[keep, number].astype(np.float64), truth)
                )
        there = {label: some for label, some in judged.items() if any(one.there for one in some)}
        told[name] = {label: round(ap.average_precision(some), 4) for label, some in there.items()}
    return told


def suppress(boxes: np.ndarray, scores: np.ndarray, limit: float) -> np.ndarray:
    """Which boxes stay."""
    order, kept = list(np.argsort(-scores)[:300]), []
    while order:
        first = order.pop(0)
        kept.append(first)
        if order:
            order = list(np.array(order)[ap.iou(boxes[[first]], boxes[order])[0] <= limit])
    return np.array(kept, int)


def mask_index(side: int) -> torch.Tensor:
    """For each cell of all strides, the cell of the mask (stride 8) that its middle lies in."""
    cells, strides = grid(side)
    at = ((cells + 0.5) * strides / MASK_PX).long()
    return at[:, 1] * (side // MASK_PX) + at[:, 0]


def say(log, line: dict) -> None:
    text = json.dumps(line)
    print(text, flush=True)
    log.write(text + "\n")
    log.flush()


def draw_curves(out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    paid, looks = [o for o in lines if "cls" in o], [o for o in lines if "ap50" in o]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5))
    for key in ("cls", "box"):
        left.plot([o["step"] for o in paid], [o[key] for o in paid], label=key)
    left.set(xlabel="step", title="loss"), left.legend()
    for name, values in looks[-1]["ap50"].items() if looks else ():
        for label in values:
            right.plot([o["step"] for o in looks], [o["ap50"][name][label] for o in looks], label=f"{name} {label}")
    right.set(xlabel="step", title="AP50 on the validation splits", ylim=(0, 1)), right.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(out / "curves.png", dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()

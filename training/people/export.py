"""A run's weights as the ONNX file that ships: `python -m training.people.export RUN/best.pt CONFIG.toml OUT.onnx`.

Tensors are stored as float16 and widened when the file is loaded: half the bytes, the same speed, and no difference
that AP50 shows. The metadata says what the file is, under which licence, and which run made it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tomllib
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from training.people.net import CLASSES, Exported, Nano

SMALL = 64  # tensors with fewer values stay as they are


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--version", default="1")
    parser.add_argument("--began", type=Path, help="the weights that the run began with, to be mixed in")
    parser.add_argument("--most-side", type=int, help="of the square whose pixels it may look at in a large picture")
    parser.add_argument("--share", type=float, default=1.0, help="of the run's own weights in that")
    args = parser.parse_args()
    settings = tomllib.loads(args.config.read_text())
    net = Nano().eval()
    learnt = torch.load(args.weights)
    if args.began:  # so that less is forgotten (Wortsman et al., 2022, "Robust fine-tuning ...")
        began = torch.load(args.began)
        learnt = {key: began[key].lerp(value, args.share) for key, value in learnt.items()}
    net.load_state_dict(learnt)
    side = settings.get("look_side", settings["side"])
    write(net, side, args.out)
    model = halve(onnx.load(str(args.out)))
    helper.set_model_props(model, told(args.out.stem, args.version, args.config, side, args.most_side))
    onnx.checker.check_model(model)
    onnx.save(model, str(args.out))
    print(args.out, args.out.stat().st_size, hashlib.sha256(args.out.read_bytes()).hexdigest())


def write(net: Nano, side: int, out: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Exported(net),
            (torch.zeros(1, 3, side, side),),
            str(out),
            dynamo=False,
            opset_version=13,
            input_names=["images"],
            output_names=["output"],
            dynamic_axes={"images": {2: "height", 3: "width"}, "output": {1: "cells"}},  # any shape: vision/sizes.py
        )


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """Large float32 tensors as float16, each widened by a Cast, which ONNX Runtime folds away as it loads."""
    casts, kept = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALL:
            kept.append(tensor)
            continue
        kept.append(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}.half"))
        casts.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    model.producer_name, model.doc_string = "edge-agent training", ""
    return model


def told(name: str, version: str, config: Path, side: int, most_side: int | None) -> dict[str, str]:
    """What the file says of itself."""
    most = {"imgsz_most": f"[{most_side}, {most_side}]"} if most_side else {}
    return most | {
        "name": name,
        "version": version,
        "labels": json.dumps(CLASSES),
        "names": repr(dict(enumerate(CLASSES))),
        "layout": "yolox",
        "imgsz": f"[{side}, {side}]",
        "licence": "Apache-2.0",
        "training_config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
        "origin": "fine-tuned from YOLOX-Nano (Megvii, Apache-2.0)",
    }


if __name__ == "__main__":
    main()

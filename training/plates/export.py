"""A trained checkpoint becomes the ONNX file that the agent carries.

`python -m training.plates.export reader|detector RUN_FOLDER OUT.onnx [--version 1]`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from training.people.export import halve
from training.plates.crops import HEIGHT, WIDTH
from training.plates.detector import PlateDetectorNet
from training.plates.measure import INPUT_SIDE
from training.plates.reader import CLASSES, GROUNDS, PlateReaderNet
from training.run import config_sha256

OPSET = 17
TOLERANCE = 2e-3


def export(net: nn.Module, shape: tuple[int, ...], inputs: str, outputs: list[str], file: Path, batch: bool) -> None:
    """Write a network, and check that ONNX Runtime gives what PyTorch gives."""
    net.eval()
    sample = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * (255 if batch else 1)
    dynamic = {name: {0: "n"} for name in (inputs, *outputs)} if batch else None
    torch.onnx.export(
        net,
        (sample,),
        str(file),
        input_names=[inputs],
        output_names=outputs,
        dynamic_axes=dynamic,
        opset_version=OPSET,
        dynamo=False,
    )
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    said = session.run(None, {inputs: sample.numpy()})
    with torch.inference_mode():
        wanted = net(sample)
    for one, other in zip(said, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        true = other.numpy()
        worst = float(np.abs(one - true).max() / max(1.0, np.abs(true).max()))
        if worst > TOLERANCE:
            raise SystemExit(f"{file}: ONNX Runtime is off by {worst:.2g}")


def describe(file: Path, told: dict[str, str]) -> None:
    """Put what the model is into its metadata."""
    model = halve(onnx.load(str(file)))
    del model.metadata_props[:]
    for key, value in told.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version, model.doc_string = "edge-agent training", "", ""
    for node in model.graph.node:  # where a layer stood in the Python source is of no use to anybody
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("reader", "detector"))
    parser.add_argument("run", type=Path, help="the folder of a training run")
    parser.add_argument("out", type=Path)
    parser.add_argument("--version", default="1")
    args = parser.parse_args()
    state = torch.load(args.run / "last.pt", map_location="cpu")["net"]
    told = {
        "version": args.version,
        "licence": "Apache-2.0",
        "training_config_sha256": config_sha256(args.run),
    }
    if args.what == "reader":
        net: nn.Module = PlateReaderNet()
        net.load_state_dict(state)
        export(net, (2, 3, HEIGHT, WIDTH), "crops", ["characters", "colors", "corners"], args.out, batch=True)
        told |= {
            "name": "plate-reader",
            "layout": "plate-reader",
            "labels": json.dumps(CLASSES, ensure_ascii=False),
            "colors": json.dumps(GROUNDS),
        }
    else:
        net = PlateDetectorNet()
        net.load_state_dict(state)
        export(net, (1, 3, INPUT_SIDE, INPUT_SIDE), "images", ["plates"], args.out, batch=False)
        labels = ["plate", "plate two rows"]
        told |= {
            "name": "plate-detector",
            "layout": "yolov8-plate",
            "labels": json.dumps(labels),
            "names": str(dict(enumerate(labels))),
            "kpt_shape": "[4, 2]",
        }
    describe(args.out, told)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

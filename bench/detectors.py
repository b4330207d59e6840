"""Our detectors beside public ones on the same pictures: `make bench-detectors DATA=DIR MODELS=DIR`.

AP50 as `training/people/evaluate.py` has it, milliseconds of one picture in one thread, models taking turns. Writes
build/bench-detectors.json and its part of docs/PERFORMANCE.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from pages import write_part  # noqa: E402

from edge_agent import config, weights  # noqa: E402
from edge_agent.cli.models import of_net, taking_turns  # noqa: E402
from edge_agent.runtime import DriverError  # noqa: E402
from edge_agent.vision.detect import open_detector  # noqa: E402
from edge_agent.vision.net import Net  # noqa: E402
from training.people.evaluate import LOWEST, TOGETHER, judge_all  # noqa: E402

ROWS = (*TOGETHER, "hit_uav_thermal: person", "hit_uav_thermal: vehicle")
ROUNDS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of sets")
    parser.add_argument("--models", type=Path, help="a folder of ONNX files")
    args = parser.parse_args()
    folders = [folder for folder in sorted(args.data.iterdir()) if (folder / "val").is_dir()]
    ours = [weights.path(name) for name in weights.names() if name.startswith("person-vehicle")]
    nets: dict[str, Net] = {}
    found: dict[str, dict[str, Any]] = {}
    for file in [*ours, *sorted(args.models.glob("*.onnx") if args.models else [])]:
        try:
            net = Net(file, 1)
        except DriverError:
            continue
        if "person" not in net.labels:
            continue
        section = config.OnnxDetector(name="judged", model=file, score=LOWEST, threads=1, classes=())
        nets[file.stem] = net
        found[file.stem] = {"mb": file.stat().st_size / 1e6, "rows": judge_all(open_detector(section), folders)}
    for name, times in zip(nets, taking_turns([of_net(net).look for net in nets.values()], ROUNDS), strict=True):
        found[name]["ms"] = sorted(times)[len(times) // 2] * 1000
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench-detectors.json").write_text(json.dumps(found, indent=1))
    print(write_part("detectors", part(found)))


def part(found: dict[str, dict[str, Any]]) -> str:
    """The page's part."""
    lines = [
        "## Detectors of people and vehicles",
        "",
        "AP50 on the validation splits of the training sets (95 % in brackets), towards which only ours were trained;",
        "one thread, models taking turns (`make bench-detectors`). What each set is: docs/models.",
        "",
        "| model | " + " | ".join(ROWS) + " | ms | MB |",
        "|---|" + "---|" * (len(ROWS) + 2),
    ]
    for name, one in found.items():
        cells = [shown(one["rows"].get(row)) for row in ROWS]
        lines.append(f"| {name} | {' | '.join(cells)} | {one['ms']:.1f} | {one['mb']:.1f} |")
    return "\n".join(lines)


def shown(row: dict[str, Any] | None) -> str:
    return f"{row['ap50']:.2f} ({row['from']:.2f}–{row['to']:.2f})" if row and row["objects"] else "–"


if __name__ == "__main__":
    main()

"""The flight's figures: `make bench-flight` writes build/bench-flight.json and its part of docs/PERFORMANCE.md.

About 25 minutes with an ArduCopter (ARDUCOPTER=/path/to/arducopter, as root), three without.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import flight_link  # noqa: E402  # beside this file, which is a script
import flight_upload  # noqa: E402
from pages import write_part  # noqa: E402


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the stream lasts")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--runs", type=int, default=20, help="uploads to ArduCopter, of each")
    args = parser.parse_args()
    began_s, load = time.monotonic(), os.getloadavg()[1]
    found = {
        "link": flight_link.measure(args.seconds, args.repeats),
        "upload": flight_upload.measure(args.seeds, args.runs),
    }
    asked = f" ARGS='{' '.join(sys.argv[1:])}'" if sys.argv[1:] else ""
    found["facts"] = {"load": round(load, 1), "seconds": round(time.monotonic() - began_s), "asked": asked}
    where = ROOT / "build" / "bench-flight.json"
    where.parent.mkdir(exist_ok=True)
    where.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(write_part("flight", part(found)))


def part(found: dict[str, Any]) -> str:
    """The part of the page."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    link, upload, facts = found["link"], found["upload"], found["facts"]
    lines = [
        "# Flight",
        "",
        f"One run of `make bench-flight{facts['asked']}` ({facts['seconds']} s, {datetime.now(UTC):%Y-%m-%d}) on"
        f" {cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores; the load of everything else when it began"
        f" was {facts['load']}. Written by `bench/flight.py`.",
        "",
        "## Receiving",
        "",
        f"CPU milliseconds per 1,000 messages of the same stream at its own pace ({link['per_s']} messages a second),",
        "both readers at the same time; medians, with the lowest and the highest run. Ours is the agent's driver and",
        "link: every frame is checked, and what gates and pilot use is decoded and kept. The other is",
        "`mavutil.recv_match(blocking=True)` of pymavlink. Goal: at most a fifth.",
        "",
        *_table(
            ("transport", "ours", "mavutil", "ratio"),
            [
                (name, _three(row["ours"]), _three(row["mavutil"]), f"{row['ratio']:.2f}")
                for name, row in link["ms"].items()
            ],
        ),
        "",
        "The mix, messages a second: what ArduCopter 4.6 sends where a ground station asks for every stream at 4 Hz",
        "and the agent for its own messages: " + ", ".join(f"{name} {rate:g}" for name, rate in _mix()) + ".",
        "",
        "## Upload of 100 items, 30 % of all frames lost in each direction",
        "",
        "Right: it said that the mission is aboard, and a clean link read back just that. False: it said so, and it",
        "was not. Ours reads back by itself before it says anything, and its time includes that.",
        "",
        *_uploads(upload),
    ]
    return "\n".join(lines)


def _uploads(upload: dict[str, Any]) -> list[str]:
    simulated = upload["simulated"]
    rows = [
        ("ours, simulated clock, 80 ms round trip", simulated["seeds"], simulated["verified"], simulated["false"],
         simulated["median_s"], simulated["p95_s"], ""),
    ]  # fmt: skip
    names = {"ours": "ours, ArduCopter 4.6 SITL at speed-up 1", "mavsdk": "MAVSDK-Python 4.1, the same proxy and seeds"}
    for key, result in upload.get("arducopter", {}).items():
        why = ", ".join(result["why"])
        rows.append((names[key], result["runs"], result["right"], result["false"], result["median_s"],
                     result["p95_s"], why))  # fmt: skip
    head = ("", "uploads", "right", "false", "median s", "p95 s", "why not")
    return _table(head, [tuple("" if cell is None else str(cell) for cell in row) for row in rows])


def _mix() -> list[tuple[str, float]]:
    from pymavlink.dialects.v20 import ardupilotmega as mavlink

    return [(mavlink.mavlink_map[number].msgname, rate) for number, rate in flight_link.MIX.items()]


def _three(values: list[float]) -> str:
    return f"{values[0]:.0f} ({values[1]:.0f}…{values[2]:.0f})"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows)]


if __name__ == "__main__":
    main()

"""One training run: its settings and their hash, its log, and its curves, in one folder."""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import time
from pathlib import Path


class Run:
    """Writes config.json at once, log.csv as it goes, and curves.png and metrics.json at the end."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._began, self._rows = folder, time.monotonic(), list[dict[str, float]]()
        config = {key: value for key, value in sorted(vars(args).items()) if not _is_path(value)}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    def note(self, row: dict[str, float]) -> None:
        """Add a line to the log and print it."""
        row = {**row, "minutes": (time.monotonic() - self._began) / 60}
        self._rows.append(row)
        with (self._folder / "log.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(self._rows)
        print("  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)

    def finish(self) -> None:
        """Draw the curves and keep the last figures."""
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot

        if not self._rows:
            return
        keys = [key for key in self._rows[0] if key not in {"step", "minutes"}]
        figure, axes = pyplot.subplots(1, len(keys), figsize=(4 * len(keys), 3), squeeze=False)
        for axis, key in zip(axes[0], keys, strict=True):
            axis.plot([row["step"] for row in self._rows], [row[key] for row in self._rows])
            axis.set_title(key)
            axis.set_xlabel("step")
        figure.tight_layout()
        figure.savefig(self._folder / "curves.png", dpi=80)
        (self._folder / "metrics.json").write_text(json.dumps(self._rows[-1], indent=1) + "\n")


def config_sha256(folder: Path) -> str:
    """What names a run: the hash of its settings."""
    return hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    if not total:
        return 0.0, 1.0
    z, share = 1.96, hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def _is_path(value: object) -> bool:
    """Where things lie on one machine is no part of a run's settings."""
    return isinstance(value, Path) or (isinstance(value, list) and any(isinstance(one, Path) for one in value))

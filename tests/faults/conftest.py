"""The table at the end of a run; it goes to $FAULTS_JSON too."""

import json
import os
from pathlib import Path
from typing import Any


def pytest_configure(config: Any) -> None:
    config.outcomes = []


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    outcomes = config.outcomes
    if not outcomes:
        return
    terminalreporter.section("faults")
    columns = ("events", "lost", "named", "duplicated", "reordered", "repeated", "refused")
    terminalreporter.write_line(f"{'':34}" + "".join(f"{name:>11}" for name in (*columns, "seconds")))
    for outcome in outcomes:
        if outcome.skipped:
            terminalreporter.write_line(f"{outcome.scenario:34} skipped: {outcome.skipped}")
            continue
        told = "".join(f"{getattr(outcome, name):>11}" for name in columns)
        failed = "  FAILED" if outcome.failed else ""
        terminalreporter.write_line(f"{outcome.scenario:34}{told}{outcome.seconds:>11.0f}{failed}")
    if where := os.environ.get("FAULTS_JSON"):
        path = Path(where)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([outcome.json() for outcome in outcomes], indent=1, ensure_ascii=False) + "\n")

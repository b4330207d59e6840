"""Structured logs: one JSON object a line under systemd, readable lines on a terminal."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Literal

PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # sd-daemon(3): `<N>` before a line


class JsonFormatter(logging.Formatter):
    """`<6>{"time": …, "level": …, "logger": …, "message": …}`; the journal takes the level from the prefix."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return f"<{PRIORITY.get(record.levelname, 6)}>{json.dumps(entry, ensure_ascii=False)}"


class TextFormatter(logging.Formatter):
    """`21:30:05.123 WARNING pilot: …`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        record.name = record.name.removeprefix("edge_agent.")
        return super().format(record)


def setup(form: Literal["auto", "json", "text"] = "auto", level: str = "INFO") -> None:
    """Send the root logger to stderr; `auto` is JSON where systemd's journal listens and text elsewhere."""
    if form == "auto":
        form = "json" if os.environ.get("JOURNAL_STREAM") and not sys.stderr.isatty() else "text"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)

"""What surrounds a message: MQTT 5's properties on the way out, and reading a stranger's bytes on the way in."""

from __future__ import annotations

import logging
from typing import Any, TypeVar

import msgspec

from edge_agent import topics

log = logging.getLogger(__name__)
T = TypeVar("T")


def facts(schema: str, *, expiry_s: int | None = None, lane: int | None = None, hist: bool = False) -> dict[str, Any]:
    """The MQTT 5 properties of a JSON message."""
    user = [("schema", f"{schema}/{topics.VERSION}")]
    user += [("lane", str(lane))] if lane is not None else []
    user += [("hist", "1")] if hist else []
    expiry = {} if expiry_s is None else {"MessageExpiryInterval": expiry_s}
    return {"ContentType": topics.JSON, "PayloadFormatIndicator": 1, "UserProperty": user} | expiry


def decoded(payload: bytes, kind: type[T], what: str) -> T | None:
    """A stranger's bytes as a message, or None and one line in the log."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning("uplink: %s cannot be read: %s", what, error)
        return None

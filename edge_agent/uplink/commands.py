"""A command's bytes become a request, or the reason why not: pure."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from msgspec import Struct

from edge_agent.messages import Land, Recall, Reply, Request
from edge_agent.topics import unix_s

MAX_BYTES = 64 * 1024
INTERRUPTED = Reply(state="failed", reason="interrupted: the agent stopped while it ran; look before asking again")
RUNNING = Reply(state="accepted", reason="still running")

# These only ever make a flight safer, and twice is as good as once: they are obeyed even where nothing can be recorded.
HOMEWARD = (Recall, Land)

_NAMES = sorted(str(kind.__struct_config__.tag) for kind in get_args(Request))


class Order(Struct, frozen=True, kw_only=True):
    """A command that may be carried out, once."""

    id: str
    by: str
    request: Request


class Refused(Struct, frozen=True, kw_only=True):
    """A command that may not; without an id it cannot even be remembered."""

    id: str | None
    by: str
    reply: Reply


def read(name: str, payload: bytes, *, retained: bool, wall_s: float) -> Order | Refused:
    """Check what came on `down/cmd/{name}`: `{"id", "name", "args", "not_after", "by"}`."""
    if len(payload) > MAX_BYTES:
        return _refuse(None, "", f"{len(payload)} bytes are more than the {MAX_BYTES} that a command may have")
    try:
        fields = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _refuse(None, "", f"not a JSON object: {error}")
    given, author = fields.get("id"), fields.get("by")
    id = given if isinstance(given, str) and 0 < len(given) <= 64 else None
    by = author if isinstance(author, str) else ""
    if id is None:
        return _refuse(None, by, "`id` is required: a string of 1 to 64 characters, never used before")
    if not by or len(by) > 200:
        return _refuse(id, by[:200], "`by` is required: who asks, in 1 to 200 characters")
    if retained:
        return _refuse(id, by, "a command must not be retained")
    if fields.get("name") != name:
        return _refuse(id, by, f"`name` is {fields.get('name')!r}, but the topic says {name!r}")
    return _read_body(id, by, name, fields, wall_s)


def _read_body(id: str, by: str, name: str, fields: dict[str, Any], wall_s: float) -> Order | Refused:
    not_after, args = fields.get("not_after"), fields.get("args", {})
    try:
        late_s = wall_s - unix_s(not_after if isinstance(not_after, str) else "")
    except (ValueError, OverflowError):
        return _refuse(id, by, f"`not_after` is required, as RFC 3339 (2026-11-22T01:18:03Z); got {not_after!r}")
    if late_s > 0:
        return Refused(id=id, by=by, reply=Reply(state="expired", reason=f"`not_after` was {late_s:.1f} s ago"))
    if name not in _NAMES:
        return _refuse(id, by, f"no command is called {name!r} (there is: {', '.join(_NAMES)})")
    if not isinstance(args, dict) or "name" in args:
        return _refuse(id, by, "`args` must be an object, without `name`")
    try:
        request = msgspec.convert({**args, "name": name}, Request)
    except msgspec.ValidationError as error:
        return _refuse(id, by, f"`args`: {error}")
    return Order(id=id, by=by, request=request)


def _refuse(id: str | None, by: str, reason: str) -> Refused:
    return Refused(id=id, by=by, reply=Reply(state="rejected", reason=reason))

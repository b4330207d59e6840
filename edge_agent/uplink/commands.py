"""A command's bytes become a request, or the reason why not: pure."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from msgspec import Struct

from edge_agent.canonical import shallow
from edge_agent.messages import Land, Recall, Refusal, Reply, Request
from edge_agent.topics import Auth, rfc3339, unix_s
from edge_agent.uplink.signing import Signatures

MAX_BYTES = 64 * 1024
MAX_AHEAD_S = 86_400.0  # of `not_after`: ids are remembered for longer, so what is forgotten has expired
INTERRUPTED = Reply(state="failed", reason="interrupted: the agent stopped while it ran; look before asking again")
RUNNING = Reply(state="accepted", reason="still running")

# These only ever make a flight safer, and twice is as good as once: they are obeyed even where nothing can be recorded.
HOMEWARD = (Recall, Land)

OUTLIVE_US = ("fly", "recall", "land")  # a flight goes on while the agent restarts, and so does what was asked of it

NAMES = tuple(sorted(str(kind.__struct_config__.tag) for kind in get_args(Request)))


class Order(Struct, frozen=True, kw_only=True):
    """A command that may be carried out, once; `by` says whether who asks is proven."""

    id: str
    by: str
    request: Request


class Refused(Struct, frozen=True, kw_only=True):
    """A command that may not; it uses up no id, so that nobody can burn the id of another's command."""

    id: str | None
    by: str
    reply: Reply


def read(
    name: str, payload: bytes, *, signatures: Signatures, retained: bool, expires: bool, wall_s: float
) -> Order | Refused:
    """Check what came on `down/cmd/{name}`: `{"id", "name", "args", "not_after", "by", "auth"}`.

    `expires` is whether the message carried MQTT 5's expiry, or came by a version that has none.
    """
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
        return _refuse(None, by[:200], "`id` is required: a string of 1 to 64 characters, never used before")
    if not by or len(by) > 200:
        return _refuse(id, by[:200], "`by` is required: who asks, in 1 to 200 characters")
    if retained:
        return _refuse(id, by, "a command must not be retained")
    if not expires:
        return _refuse(id, by, "the message has no expiry: publish commands by MQTT 5 with a Message Expiry Interval")
    if fields.get("name") != name:
        return _refuse(id, by, f"`name` is {_short(fields.get('name'))}, but the topic says {name!r}")
    return _read_body(id, by, name, fields, signatures=signatures, wall_s=wall_s)


def _read_body(
    id: str, by: str, name: str, fields: dict[str, Any], *, signatures: Signatures, wall_s: float
) -> Order | Refused:
    not_after, args = fields.get("not_after"), fields.get("args", {})
    try:
        late_s = wall_s - unix_s(not_after if isinstance(not_after, str) else "")
    except (ValueError, OverflowError):
        return _refuse(id, by, f"`not_after` is required, as RFC 3339 (2026-11-22T01:18:03Z); got {_short(not_after)}")
    if late_s > 0:
        why = f"`not_after` was {late_s:.1f} s ago; it is {rfc3339(wall_s)} here"
        return Refused(id=id, by=by, reply=Reply(state="expired", reason=why))
    if -late_s > MAX_AHEAD_S:
        ahead = f"`not_after` is {-late_s / 3600:.0f} h ahead, at most {MAX_AHEAD_S / 3600:.0f} h may be"
        return _refuse(id, by, f"{ahead}; it is {rfc3339(wall_s)} here: is the clock right?")
    if name not in NAMES:
        return _refuse(id, by, f"no command is called {name!r} (there is: {', '.join(NAMES)})")
    if not isinstance(args, dict) or "name" in args or not shallow(args):
        return _refuse(id, by, "`args` must be an object, without `name`, and not deeply nested")
    try:
        auth = msgspec.convert(fields.get("auth"), Auth | None)
    except msgspec.ValidationError as error:
        return _refuse(id, by, f"`auth` must be {{kid, sig}}: {error}")
    assert isinstance(not_after, str)
    who = signatures.author(id=id, name=name, not_after=not_after, by=by, args=args, auth=auth, wall_s=wall_s)
    if isinstance(who, Refusal):
        return Refused(id=id, by=by, reply=Reply(state="rejected", reason=str(who), refusal=who))
    try:
        request = msgspec.convert({**args, "name": name}, Request)
    except msgspec.ValidationError as error:
        return _refuse(id, who, f"`args`: {error}")
    return Order(id=id, by=who, request=request)


def _refuse(id: str | None, by: str, reason: str) -> Refused:
    return Refused(id=id, by=by, reply=Reply(state="rejected", reason=reason))


def _short(value: Any) -> str:
    """A value of a stranger, for a sentence."""
    return f"{value!r}"[:80] if isinstance(value, str | int | float | None) else f"of {type(value).__name__}"


class Sparing:
    """Lets a burst of `burst` through and then one every `every_s`; the rest is counted. Times are monotonic."""

    def __init__(self, burst: int, every_s: float) -> None:
        self._burst, self._every_s = float(burst), every_s
        self._left, self._at_s = float(burst), 0.0
        self.withheld = 0

    def let(self, now: float) -> bool:
        """Whether this one goes through."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at_s) / self._every_s)
        self._at_s = now
        if self._left < 1.0:
            self.withheld += 1
            return False
        self._left -= 1.0
        return True

    def told(self) -> int:
        """How many were withheld since the last time that somebody asked."""
        withheld, self.withheld = self.withheld, 0
        return withheld

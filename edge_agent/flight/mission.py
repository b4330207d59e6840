"""The mission protocol (https://mavlink.io/en/services/mission.html) as ArduPilot speaks it, sans-I/O.

A transfer is told what arrives and what time it is, and says what to send. An upload's own verdict is never proof:
`compare` what a download brings back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.frames import Message

State = Literal["running", "done", "unsettled", "failed"]

# ArduPilot asks again for an item after 1 s and gives up after 8 s (MissionItemProtocol.h).
UPLOAD_GIVE_UP_S = 9.0
FINAL_ACK_S = 2.5  # all items are sent and it asks for nothing more: the ACK is lost, a download settles it
COUNT_RESEND_S = 1.5
COUNT_TRIES = 6
REQUEST_RESEND_S = 0.7
REQUEST_TRIES = 16  # longer than ArduPilot keeps an upload open that nobody feeds

# What read-back turns our frames into: the _INT frames come back as their plain twins.
_FRAMES = {
    mavlink.MAV_FRAME_GLOBAL_INT: mavlink.MAV_FRAME_GLOBAL,
    mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT: mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT,
    mavlink.MAV_FRAME_GLOBAL_TERRAIN_ALT_INT: mavlink.MAV_FRAME_GLOBAL_TERRAIN_ALT,
}
_PLACES = (mavlink.MAV_CMD_NAV_WAYPOINT, mavlink.MAV_CMD_NAV_TAKEOFF, mavlink.MAV_CMD_NAV_LAND)


class Item(Struct, frozen=True, kw_only=True):
    """One mission item; `x`/`y` are degrees × 1e7, `z` metres in `frame`."""

    seq: int
    frame: int
    command: int
    p1: float = 0.0
    p2: float = 0.0
    p3: float = 0.0
    p4: float = 0.0
    x: int = 0
    y: int = 0
    z: float = 0.0


class Ends(Struct, frozen=True):
    """The two ends of a transfer: the autopilot's ids, and ours."""

    system: int
    component: int
    our_system: int
    our_component: int

    def is_ours(self, message: Message) -> bool:
        """ACKs and requests for other clients, and for fence or rally, are common on a shared link."""
        ours = (self.our_system, self.our_component, mavlink.MAV_MISSION_TYPE_MISSION)
        return (message.target_system, message.target_component, message.mission_type) == ours


def normalise(item: Item) -> tuple[int | float, ...]:
    """An item as ArduCopter keeps it: it drops and rounds what it has no use for, and says nothing about it.

    AP_Mission::mavlink_int_to_mission_cmd: WAYPOINT keeps only param1, as whole seconds; altitudes become cm.
    """
    p = (round(item.p1, 3), round(item.p2, 3), round(item.p3, 3), round(item.p4, 3))
    if item.command not in _PLACES:
        kept = {mavlink.MAV_CMD_DO_CHANGE_SPEED: p[:3]}.get(item.command, ())
        return (item.seq, item.command, *kept)
    hold = (int(item.p1),) if item.command == mavlink.MAV_CMD_NAV_WAYPOINT else ()
    return (item.seq, item.command, _FRAMES.get(item.frame, item.frame), *hold, item.x, item.y, round(item.z * 100))


def digest(items: Sequence[Item]) -> str:
    """SHA-256 over the normalised items; item 0 is home, which the autopilot writes itself."""
    return hashlib.sha256(json.dumps([normalise(item) for item in items if item.seq > 0]).encode()).hexdigest()


def compare(sent: Sequence[Item], held: Sequence[Item]) -> str | None:
    """None where the autopilot holds what was sent, else the first difference; 1 cm of altitude is its rounding."""
    if len(sent) != len(held):
        return f"{len(held)} items aboard, {len(sent)} were sent"
    for ours, theirs in zip(sent[1:], held[1:], strict=True):
        a, b = normalise(ours), normalise(theirs)
        if ours.command in _PLACES and len(a) == len(b) and abs(a[-1] - b[-1]) <= 1:
            a, b = a[:-1], b[:-1]
        if a != b:
            return f"item {ours.seq}: aboard {b}, sent {a}"
    return None


class _Transfer:
    """What both directions have in common: `state`, `detail`, and the messages that are meant for us."""

    def __init__(self, ends: Ends, now: float) -> None:
        self._ends = ends
        self._tries, self._due = 0, now
        self._out: list[Message] = []
        self.state: State = "running"
        self.detail = ""

    def receive(self, message: Message, now: float) -> None:
        if self.state == "running" and self._ends.is_ours(message):
            self._heed(message, now)

    def messages(self) -> list[Message]:
        """What to send now."""
        out, self._out = self._out, []
        return out

    def _heed(self, message: Message, now: float) -> None:
        raise NotImplementedError


class Upload(_Transfer):
    """Puts a mission aboard: we announce, the autopilot asks item by item, and acknowledges at the end.

    `done`: acknowledged; `unsettled`: all was sent and the ACK is missing; `failed`: `detail` says why. While
    it runs the mission aboard is a mix of old and new (the count truncates at once): never arm on it.
    """

    def __init__(self, ends: Ends, items: Sequence[Item], now: float) -> None:
        super().__init__(ends, now)
        self._items = items
        self._asked: set[int] = set()
        self._heard = now
        self.tick(now)

    def _heed(self, message: Message, now: float) -> None:
        match message.get_msgId():
            case mavlink.MAVLINK_MSG_ID_MISSION_REQUEST | mavlink.MAVLINK_MSG_ID_MISSION_REQUEST_INT:
                if message.seq < len(self._items):
                    self._asked.add(message.seq)
                    self._heard = now
                    self._out.append(_item_message(self._ends, self._items[message.seq]))
            case mavlink.MAVLINK_MSG_ID_MISSION_ACK:
                self._ack(message.type)

    def tick(self, now: float) -> None:
        if self.state != "running":
            return
        if self._asked:
            quiet_s = now - self._heard
            if len(self._asked) == len(self._items) and quiet_s > FINAL_ACK_S:
                self.state, self.detail = "unsettled", "the final ACK is missing"
            elif quiet_s > UPLOAD_GIVE_UP_S:
                self.state, self.detail = "failed", f"the autopilot stopped asking after {len(self._asked)} items"
        elif now >= self._due:
            if self._tries == COUNT_TRIES:
                self.state, self.detail = "failed", "the autopilot does not ask for the mission"
                return
            self._tries += 1
            self._due = now + COUNT_RESEND_S
            self._out.append(
                mavlink.MAVLink_mission_count_message(self._ends.system, self._ends.component, len(self._items), 0)
            )

    def _ack(self, result: int) -> None:
        if result == mavlink.MAV_MISSION_INVALID_SEQUENCE:
            return  # ArduPilot's answer to an item that arrived twice; its transfer goes on
        if result == mavlink.MAV_MISSION_ERROR and not self._asked:
            return  # its answer to an item that arrived after the end: an echo of the upload before
        if result != mavlink.MAV_MISSION_ACCEPTED:
            self.state, self.detail = "failed", _name("MAV_MISSION_RESULT", result)
        elif len(self._asked) == len(self._items):
            self.state = "done"
        # An ACCEPTED before the last item was asked for belongs to an earlier transfer.


class Download(_Transfer):
    """Reads the mission aboard, item 0 included: `items` once `state` is `done`. Harmless at any time."""

    def __init__(self, ends: Ends, now: float) -> None:
        super().__init__(ends, now)
        self._count: int | None = None
        self.items: list[Item] = []
        self.tick(now)

    def _heed(self, message: Message, now: float) -> None:
        match message.get_msgId():
            case mavlink.MAVLINK_MSG_ID_MISSION_COUNT if self._count is None:
                self._count = message.count
                self._next(now)
            case mavlink.MAVLINK_MSG_ID_MISSION_ITEM_INT if self._count is not None and message.seq == len(self.items):
                self.items.append(item_of(message))
                self._next(now)
            case mavlink.MAVLINK_MSG_ID_MISSION_ACK if message.type != mavlink.MAV_MISSION_ACCEPTED:
                # An upload is under way (DENIED, it ends within 8 s), or an echo of one that is over: ask again.
                self.detail = _name("MAV_MISSION_RESULT", message.type)

    def tick(self, now: float) -> None:
        if self.state != "running" or now < self._due:
            return
        if self._tries == REQUEST_TRIES:
            what = "the mission's length" if self._count is None else f"item {len(self.items)} of {self._count}"
            self.state = "failed"
            self.detail = f"the autopilot does not send {what}" + (f" ({self.detail})" if self.detail else "")
            return
        self._tries += 1
        self._due = now + REQUEST_RESEND_S
        to = self._ends.system, self._ends.component
        if self._count is None:
            self._out.append(mavlink.MAVLink_mission_request_list_message(*to, 0))
        else:
            self._out.append(mavlink.MAVLink_mission_request_int_message(*to, len(self.items), 0))

    def _next(self, now: float) -> None:
        self._tries, self._due = 0, now
        if len(self.items) == self._count:
            self.state = "done"
            to = self._ends.system, self._ends.component
            self._out.append(mavlink.MAVLink_mission_ack_message(*to, mavlink.MAV_MISSION_ACCEPTED, 0))
        else:
            self.tick(now)


def item_of(message: Message) -> Item:
    """A MISSION_ITEM_INT as an item."""
    p = (message.param1, message.param2, message.param3, message.param4)
    return Item(
        seq=message.seq, frame=message.frame, command=message.command,
        p1=p[0], p2=p[1], p3=p[2], p4=p[3], x=message.x, y=message.y, z=message.z,
    )  # fmt: skip


def _item_message(ends: Ends, item: Item) -> Message:
    """ArduPilot asks with MISSION_REQUEST even today; the INT item is the answer that keeps the centimetres."""
    return mavlink.MAVLink_mission_item_int_message(
        ends.system, ends.component, item.seq, item.frame, item.command, 0, 1,
        item.p1, item.p2, item.p3, item.p4, item.x, item.y, item.z, mavlink.MAV_MISSION_TYPE_MISSION,
    )  # fmt: skip


def _name(enum: str, value: int) -> str:
    entry = mavlink.enums[enum].get(value)
    return entry.name if entry else f"{enum} {value}"

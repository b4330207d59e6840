"""The mission protocol (https://mavlink.io/en/services/mission.html) as ArduPilot speaks it, sans-I/O.

One core for mission, fence and rally points. A transfer is told what arrives and what time it is, and says what to
send. ArduPilot takes an item when it is the one it waits for, asked or not, asks again only after a second, and never
repeats its final ACK: so what stays unanswered is sent again as soon as this link's own round trip allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.frames import Message
from edge_agent.flight.mission import KINDS, MISSION, Item

State = Literal["running", "done", "unsettled", "failed"]

# ArduPilot asks again for an item after 1 s and gives up after 8 s (MissionItemProtocol.h).
UPLOAD_GIVE_UP_S = 9.0
FINAL_ACK_S = 2.5  # all items are sent and it asks for nothing more: the ACK is lost, a download settles it
ECHO_S = 1.0  # so long after the start an ERROR may still answer the transfer before
COUNT_RESEND_S = 1.5
COUNT_TRIES = 6
DOWNLOAD_GIVE_UP_S = 11.0  # longer than ArduPilot keeps an upload open that nobody feeds
WINDOW = 5  # items asked for at a time
AHEAD = 4  # items sent before they are asked for, at most
FIRST_WAIT_S, MIN_WAIT_S, MAX_WAIT_S = 0.5, 0.1, 0.9


class Ends(Struct, frozen=True):
    """The two ends of a transfer: the autopilot's ids, and ours."""

    system: int
    component: int
    our_system: int
    our_component: int

    def is_ours(self, message: Message) -> bool:
        """ACKs and requests for other clients are common on a shared link."""
        return (message.target_system, message.target_component) == (self.our_system, self.our_component)


class _Pace:
    """How long to wait for an answer on this link: three times what it took of late."""

    def __init__(self) -> None:
        self.wait_s = FIRST_WAIT_S

    def took(self, seconds: float) -> None:
        """An answer to what was sent once only: of others nobody knows which sending they answer (Karn)."""
        self.wait_s = min(max(0.7 * self.wait_s + 0.3 * 3 * seconds, MIN_WAIT_S), MAX_WAIT_S)


class _Transfer:
    """What both directions have in common: `state`, `detail`, and the messages that are meant for us."""

    def __init__(self, ends: Ends, kind: int, now: float) -> None:
        self.kind = kind
        self._ends, self._to = ends, (ends.system, ends.component)
        self._tries, self._due = 0, now
        self._began = self._heard = now
        self._pace = _Pace()
        self._out: list[Message] = []
        self.state: State = "running"
        self.detail = ""

    def receive(self, message: Message, now: float) -> None:
        ours = self._ends.is_ours(message) and message.mission_type == self.kind
        if self.state == "running" and ours:
            self._heed(message, now)

    def messages(self) -> list[Message]:
        """What to send now."""
        out, self._out = self._out, []
        return out

    def abandon(self, why: str) -> None:
        """The other end is gone, or another transfer takes its place."""
        if self.state == "running":
            self._end("failed", why)

    def _end(self, state: State, detail: str = "") -> None:
        self.state, self.detail = state, detail

    def _heed(self, message: Message, now: float) -> None:
        raise NotImplementedError


class Upload(_Transfer):
    """Puts items aboard: we announce, the autopilot asks item by item, and acknowledges at the end.

    `done`: acknowledged; `unsettled`: all was sent and the ACK is missing; `failed`: `detail` says why. While a
    mission or rally points are sent, what is aboard is a mix of old and new (the count truncates at once; a fence
    is replaced as a whole at the end): never arm on it. Items that do not begin at 0 are a partial list: they take
    the place of those aboard, or the first place behind the last one, and nothing is truncated.
    """

    def __init__(self, ends: Ends, items: Sequence[Item], now: float, kind: int = MISSION) -> None:
        super().__init__(ends, kind, now)
        self._items = items
        self._first, self._end_seq = items[0].seq if items else 0, items[-1].seq + 1 if items else 0
        self._sent: set[int] = set()
        self._next = self._first  # what it asked for last
        self._once_s: float | None = None  # when that was sent, if once only
        self._nudges = 0  # since then
        self._wait_s = FIRST_WAIT_S
        self.tick(now)

    def _heed(self, message: Message, now: float) -> None:
        match message.get_msgId():
            case mavlink.MAVLINK_MSG_ID_MISSION_REQUEST | mavlink.MAVLINK_MSG_ID_MISSION_REQUEST_INT:
                if self._first <= message.seq < self._end_seq:
                    self._requested(message.seq, now)
            case mavlink.MAVLINK_MSG_ID_MISSION_ACK:
                self._ack(message.type, now)

    def _requested(self, seq: int, now: float) -> None:
        if seq == self._next + 1 and self._once_s is not None:
            self._pace.took(now - self._once_s)
        self._once_s = None if seq in self._sent else now
        self._next, self._heard, self._nudges = seq, now, 0
        self._wait_s = self._pace.wait_s
        self._due = now + self._wait_s
        self._push(seq)

    def tick(self, now: float) -> None:
        if self.state != "running":
            return
        if not self._sent:
            self._announce(now)
            return
        quiet_s = now - self._heard
        if len(self._sent) == len(self._items) and quiet_s > FINAL_ACK_S:
            self._end("unsettled", "the final ACK is missing")
        elif quiet_s > UPLOAD_GIVE_UP_S:
            self._end("failed", f"the autopilot stopped asking after {len(self._sent)} items")
        elif now >= self._due:
            self._nudge(now)

    def _announce(self, now: float) -> None:
        if now < self._due:
            return
        if self._tries == COUNT_TRIES:
            self._end("failed", f"the autopilot does not ask for the {KINDS[self.kind]}")
            return
        self._tries += 1
        self._due = now + COUNT_RESEND_S
        if self._first:
            span = self._first, self._end_seq - 1
            self._out.append(mavlink.MAVLink_mission_write_partial_list_message(*self._to, *span, self.kind))
        else:
            self._out.append(mavlink.MAVLink_mission_count_message(*self._to, len(self._items), self.kind))

    def _nudge(self, now: float) -> None:
        """The item was lost, or the request for the next: send both and, while it stays silent, what follows. It
        takes what it waits for.
        """
        self._once_s = None
        self._nudges = min(self._nudges + 1, AHEAD)
        self._wait_s = min(self._wait_s * 1.5, MAX_WAIT_S)
        self._due = now + self._wait_s
        for seq in range(self._next, min(self._next + self._nudges + 1, self._end_seq)):
            self._push(seq)

    def _push(self, seq: int) -> None:
        self._sent.add(seq)
        self._out.append(_item_message(self._ends, self._items[seq - self._first], self.kind))

    def _ack(self, result: int, now: float) -> None:
        all_sent = len(self._sent) == len(self._items)
        match result:
            case mavlink.MAV_MISSION_INVALID_SEQUENCE:
                pass  # ArduPilot's answer to an item that it does not wait for; its transfer goes on
            case mavlink.MAV_MISSION_ERROR if not self._sent or now - self._began < ECHO_S:
                pass  # its answer to an item that arrived after the end: an echo of the upload before
            case mavlink.MAV_MISSION_ERROR if all_sent:
                self._end("unsettled", "MAV_MISSION_ERROR after the last item")  # as to a repeat after the end
            case mavlink.MAV_MISSION_ACCEPTED if all_sent:
                self._end("done")
            case mavlink.MAV_MISSION_ACCEPTED:
                pass  # before the last item was sent: it belongs to an earlier transfer
            case mavlink.MAV_MISSION_DENIED if self._first and self._tries > 1:
                pass  # to the repeated announcement: ArduPilot denies a partial list while it receives one, ours too
            case mavlink.MAV_MISSION_DENIED:
                self._end("failed", "MAV_MISSION_DENIED: another ground station is uploading")
            case _:
                self._end("failed", _name("MAV_MISSION_RESULT", result))


class Download(_Transfer):
    """Reads what is aboard from item `first` on, a mission's item 0 is home: `items` once `state` is `done`.

    Harmless at any time.
    """

    def __init__(self, ends: Ends, now: float, kind: int = MISSION, first: int = 0) -> None:
        super().__init__(ends, kind, now)
        self._first = first
        self._count: int | None = None
        self._held: dict[int, Item] = {}
        self._asked: dict[int, tuple[float, int]] = {}  # when it was asked for last, and how often
        self.items: list[Item] = []
        self.tick(now)

    def _heed(self, message: Message, now: float) -> None:
        match message.get_msgId():
            case mavlink.MAVLINK_MSG_ID_MISSION_COUNT if self._count is None:
                self._count, self._heard = message.count, now
                self._ask(now)
            case mavlink.MAVLINK_MSG_ID_MISSION_ITEM_INT if message.seq in self._asked:
                asked_s, times = self._asked.pop(message.seq)
                if times == 1:
                    self._pace.took(now - asked_s)
                self._held[message.seq], self._heard = item_of(message), now
                self._ask(now)
            case mavlink.MAVLINK_MSG_ID_MISSION_ACK if message.type != mavlink.MAV_MISSION_ACCEPTED:
                # An upload is under way (DENIED, it ends within 8 s), or an echo of one that is over: ask again.
                self.detail = _name("MAV_MISSION_RESULT", message.type)

    def tick(self, now: float) -> None:
        if self.state != "running":
            return
        if now - self._heard > DOWNLOAD_GIVE_UP_S:
            missing = f"item {min(self._asked)} of {self._count}" if self._asked else "length"
            said = f" ({self.detail})" if self.detail else ""
            self._end("failed", f"the autopilot does not send the {KINDS[self.kind]}'s {missing}{said}")
        elif self._count is not None:
            self._ask(now)
        elif now >= self._due:
            self._due = now + max(self._pace.wait_s, FIRST_WAIT_S)
            self._out.append(mavlink.MAVLink_mission_request_list_message(*self._to, self.kind))

    def _ask(self, now: float) -> None:
        """Keep a few requests on their way; end when everything is here."""
        assert self._count is not None
        if self._first + len(self._held) >= self._count:
            self.items = [self._held[seq] for seq in range(self._first, self._count)]
            self._end("done")
            self._out.append(mavlink.MAVLink_mission_ack_message(*self._to, mavlink.MAV_MISSION_ACCEPTED, self.kind))
            return
        for seq, (asked_s, times) in self._asked.items():
            if now - asked_s >= self._pace.wait_s:
                self._request(seq, times + 1, now)
        fresh = self._first + len(self._held) + len(self._asked)  # they are asked for in order
        for seq in range(fresh, min(self._count, fresh + WINDOW - len(self._asked))):
            self._request(seq, 1, now)

    def _request(self, seq: int, times: int, now: float) -> None:
        self._asked[seq] = (now, times)
        self._out.append(mavlink.MAVLink_mission_request_int_message(*self._to, seq, self.kind))


def item_of(message: Message) -> Item:
    """A MISSION_ITEM_INT as an item."""
    p = (message.param1, message.param2, message.param3, message.param4)
    return Item(
        seq=message.seq, frame=message.frame, command=message.command,
        p1=p[0], p2=p[1], p3=p[2], p4=p[3], x=message.x, y=message.y, z=message.z,
    )  # fmt: skip


def _item_message(ends: Ends, item: Item, kind: int) -> Message:
    """ArduPilot asks with MISSION_REQUEST even today; the INT item is the answer that keeps the centimetres."""
    return mavlink.MAVLink_mission_item_int_message(
        ends.system, ends.component, item.seq, item.frame, item.command, 0, 1,
        item.p1, item.p2, item.p3, item.p4, item.x, item.y, item.z, kind,
    )  # fmt: skip


def _name(enum: str, value: int) -> str:
    entry = mavlink.enums[enum].get(value)
    return entry.name if entry else f"{enum} {value}"

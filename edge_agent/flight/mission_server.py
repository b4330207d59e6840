"""The autopilot's end of the mission protocol, with ArduPilot's manners (MissionItemProtocol.cpp). Pure."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.frames import Frame, Message
from edge_agent.flight.mission import FENCE, MISSION, RALLY, Item
from edge_agent.flight.transfer import item_of

CAPACITY = {MISSION: 700, FENCE: 84, RALLY: 50}
ASK_AGAIN_S = 1.0
GIVE_UP_S = 8.0
_FRAMES = {5: 0, 6: 3, 11: 10}  # read-back knows only the plain frames
_POLYGONS = (
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION,
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_EXCLUSION,
)
_CIRCLES = (mavlink.MAV_CMD_NAV_FENCE_CIRCLE_INCLUSION, mavlink.MAV_CMD_NAV_FENCE_CIRCLE_EXCLUSION)
_KNOWN = {
    MISSION: (
        mavlink.MAV_CMD_NAV_WAYPOINT, mavlink.MAV_CMD_NAV_TAKEOFF, mavlink.MAV_CMD_NAV_LAND,
        mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH, mavlink.MAV_CMD_NAV_LOITER_TIME, mavlink.MAV_CMD_NAV_LOITER_TURNS,
        mavlink.MAV_CMD_DO_CHANGE_SPEED, mavlink.MAV_CMD_DO_SET_ROI, mavlink.MAV_CMD_DO_JUMP,
    ),
    FENCE: (*_POLYGONS, *_CIRCLES),
    RALLY: (mavlink.MAV_CMD_NAV_RALLY_POINT,),
}  # fmt: skip
Peer = tuple[int, int]


class MissionServer:
    """Holds the mission, the fence or the rally points: `items`; a mission's first is home.

    Only a fence is replaced as a whole: of the others a broken upload leaves a mix of old and new.
    """

    def __init__(
        self, items: list[Item], home: Callable[[], Item], send: Callable[[Message], None], kind: int = MISSION
    ) -> None:
        self.items, self._home, self._send, self.kind = items, home, send, kind
        self._peer: Peer | None = None  # who uploads
        self._count = self._next = 0
        self._item_s = self._asked_s = 0.0
        self._staged: list[Item] = []
        self.received = False  # an upload is complete; whoever looks resets it

    def receive(self, frame: Frame, now: float, *, locked: bool) -> None:
        """One message of the protocol; `locked` while the mission runs, when it cannot be cleared."""
        peer, message = (frame.system, frame.component), frame.message
        if message.mission_type != self.kind:
            return
        match message.get_msgId():
            case mavlink.MAVLINK_MSG_ID_MISSION_COUNT:
                self._begin(peer, message.count, now)
            case mavlink.MAVLINK_MSG_ID_MISSION_WRITE_PARTIAL_LIST:
                self._begin_part(peer, message.start_index, message.end_index, now)
            case mavlink.MAVLINK_MSG_ID_MISSION_ITEM_INT:
                self._item(peer, message, now)
            case mavlink.MAVLINK_MSG_ID_MISSION_REQUEST_LIST | mavlink.MAVLINK_MSG_ID_MISSION_REQUEST_INT if self._peer:
                self._ack(peer, mavlink.MAV_MISSION_DENIED)
            case mavlink.MAVLINK_MSG_ID_MISSION_REQUEST_LIST:
                self._send(mavlink.MAVLink_mission_count_message(*peer, len(self.items), self.kind))
            case mavlink.MAVLINK_MSG_ID_MISSION_REQUEST_INT if message.seq >= len(self.items):
                self._ack(peer, mavlink.MAV_MISSION_INVALID_SEQUENCE)
            case mavlink.MAVLINK_MSG_ID_MISSION_REQUEST_INT:
                self._answer(peer, message.seq)
            case mavlink.MAVLINK_MSG_ID_MISSION_CLEAR_ALL:
                if not locked:
                    self.items.clear()
                self._ack(peer, mavlink.MAV_MISSION_DENIED if locked else mavlink.MAV_MISSION_ACCEPTED)

    def tick(self, now: float) -> None:
        """Ask again, or give the upload up."""
        if self._peer is None:
            return
        if now - self._item_s > GIVE_UP_S:
            self._ack(self._peer, mavlink.MAV_MISSION_OPERATION_CANCELLED)
            self._peer = None
        elif now - self._asked_s > ASK_AGAIN_S:
            self._ask(now)

    def _begin(self, peer: Peer, count: int, now: float) -> None:
        if self._peer not in (None, peer):
            self._ack(peer, mavlink.MAV_MISSION_DENIED)
            return
        if count > CAPACITY[self.kind]:
            self._ack(peer, mavlink.MAV_MISSION_NO_SPACE)
            return
        self._staged = []
        if self.kind != FENCE or count == 0:
            del self.items[count:]  # at once, before anything has arrived
        if count == 0:
            self._ack(peer, mavlink.MAV_MISSION_ACCEPTED)
            return
        self._peer, self._count, self._next, self._item_s = peer, count, 0, now
        self._ask(now)

    def _begin_part(self, peer: Peer, first: int, last: int, now: float) -> None:
        """`last` may be the first place behind the mission: it grows by one (handle_mission_write_partial_list)."""
        if self._peer is not None:
            self._ack(peer, mavlink.MAV_MISSION_DENIED)
            return
        if not first <= last <= len(self.items):
            self._ack(peer, mavlink.MAV_MISSION_ERROR)
            return
        self._peer, self._count, self._next, self._item_s = peer, last + 1, first, now
        self._ask(now)

    def _item(self, peer: Peer, message: Message, now: float) -> None:
        if self._peer is None:
            self._ack(peer, mavlink.MAV_MISSION_ERROR)
            return
        if message.seq != self._next:
            self._ack(peer, mavlink.MAV_MISSION_INVALID_SEQUENCE)  # and the transfer goes on
            return
        if peer != self._peer:
            self._ack(peer, mavlink.MAV_MISSION_DENIED)
            return
        jumps_out = message.command == mavlink.MAV_CMD_DO_JUMP and message.param1 >= max(len(self.items), self._count)
        if jumps_out:  # MissionItemProtocol_Waypoints::append_item
            self._ack(peer, mavlink.MAV_MISSION_ERROR)
            self._peer = None
            return
        if message.command not in _KNOWN[self.kind]:
            self._ack(peer, mavlink.MAV_MISSION_UNSUPPORTED)
            self._peer = None
            return
        into = self._staged if self.kind == FENCE else self.items
        into[self._next : self._next + 1] = [_kept(item_of(message))]
        self._next, self._item_s = self._next + 1, now
        if self._next < self._count:
            self._ask(now)
            return
        self._peer = None
        if self.kind == FENCE and not _is_whole(self._staged):
            self._ack(peer, mavlink.MAV_MISSION_ERROR)
            return
        if self.kind == FENCE:
            self.items[:] = self._staged
        self.received = True
        self._ack(peer, mavlink.MAV_MISSION_ACCEPTED)

    def _ask(self, now: float) -> None:
        assert self._peer is not None
        self._asked_s = now
        self._send(mavlink.MAVLink_mission_request_message(*self._peer, self._next, self.kind))

    def _answer(self, peer: Peer, seq: int) -> None:
        item = self._home() if seq == 0 and self.kind == MISSION else self.items[seq]
        self._send(
            mavlink.MAVLink_mission_item_int_message(
                *peer, seq, item.frame, item.command, 0, 1,
                item.p1, item.p2, item.p3, item.p4, item.x, item.y, item.z, self.kind,
            )
        )  # fmt: skip

    def _ack(self, peer: Peer, result: int) -> None:
        self._send(mavlink.MAVLink_mission_ack_message(*peer, result, self.kind))


def _is_whole(fence: list[Item]) -> bool:
    """AC_PolyFence_loader::validate_fence: polygons of three or more vertices that name their number, real circles."""
    at = 0
    while at < len(fence):
        item = fence[at]
        if item.command in _CIRCLES:
            if item.p1 <= 0:
                return False
            at += 1
            continue
        count = int(item.p1)
        corners = [(other.command, int(other.p1)) for other in fence[at : at + count]]
        if count < 3 or corners != [(item.command, count)] * count:
            return False
        at += count
    return True


def _kept(item: Item) -> Item:
    """What ArduCopter stores of an item: whole seconds, centimetres, plain frames, and no radius or yaw."""
    if item.command in (*_POLYGONS, *_CIRCLES):
        return Item(seq=item.seq, frame=0, command=item.command, p1=item.p1, x=item.x, y=item.y)
    frame = _FRAMES.get(item.frame, item.frame)
    if item.command == mavlink.MAV_CMD_NAV_RALLY_POINT:
        return Item(seq=item.seq, frame=frame, command=item.command, x=item.x, y=item.y, z=float(int(item.z)))
    item = structs.replace(item, frame=frame, z=int(round(item.z * 1000) / 10) / 100)
    match item.command:
        case mavlink.MAV_CMD_NAV_WAYPOINT | mavlink.MAV_CMD_DO_SET_ROI:
            return structs.replace(item, p1=float(int(item.p1)), p2=0.0, p3=0.0, p4=0.0)
        case mavlink.MAV_CMD_NAV_LOITER_TIME:
            turn, leave = -1.0 if item.p3 < 0 else 1.0, float(item.p4 > 0)
            return structs.replace(item, p1=float(int(item.p1)), p2=0.0, p3=turn, p4=leave)
        case _:
            return item

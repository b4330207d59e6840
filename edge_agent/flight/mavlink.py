"""One autopilot over one MAVLink link, sans-I/O: what it says becomes telemetry, what we want becomes bytes.

Bytes in by `receive`, time in by `tick`, bytes out by `data_to_send`. Nothing here decides anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight import params, telemetry
from edge_agent.flight.command import Command, Commands
from edge_agent.flight.frames import Framer, Message, Sender
from edge_agent.flight.mission import MISSION, Item
from edge_agent.flight.poses import STREAMS as POSES
from edge_agent.flight.poses import posed
from edge_agent.flight.signing import Signing
from edge_agent.flight.streams import STREAMS, Rates
from edge_agent.flight.transfer import Download, Ends, Upload
from edge_agent.messages import Posed, Telemetry

AUTOPILOT = 1  # MAV_COMP_ID_AUTOPILOT1
OURS = mavlink.MAV_COMP_ID_ONBOARD_COMPUTER  # 191, under the vehicle's own system id: never masks the loss of a GCS

HEARTBEAT_S = 1.0
LOST_S = 3.0  # nothing was heard for so long: the link is down
SILENT_HEART_S = 10.0  # so is one on which only heartbeats stay away
TICK_S = 0.1
MOST_OTHERS = 100
SIGN = "EDGEAGENT"  # the name under which agents make themselves known to each other

MODES: dict[int, str] = {
    number: entry.name.removeprefix("COPTER_MODE_")
    for number, entry in mavlink.enums["COPTER_MODE"].items()
    if not entry.name.endswith("ENUM_END")
}
MODE_NUMBERS = {name: number for number, name in MODES.items()}

COPTERS = frozenset(
    {
        mavlink.MAV_TYPE_QUADROTOR,
        mavlink.MAV_TYPE_HEXAROTOR,
        mavlink.MAV_TYPE_OCTOROTOR,
        mavlink.MAV_TYPE_TRICOPTER,
        mavlink.MAV_TYPE_COAXIAL,
        mavlink.MAV_TYPE_DODECAROTOR,
        mavlink.MAV_TYPE_DECAROTOR,
    }
)

_TRANSFER = (
    mavlink.MAVLINK_MSG_ID_MISSION_REQUEST,
    mavlink.MAVLINK_MSG_ID_MISSION_REQUEST_INT,
    mavlink.MAVLINK_MSG_ID_MISSION_ACK,
    mavlink.MAVLINK_MSG_ID_MISSION_COUNT,
    mavlink.MAVLINK_MSG_ID_MISSION_ITEM_INT,
)
_OF_UPLOADS = _TRANSFER[:2]  # asked of somebody else, they tell of a rival
_WANTED = {*STREAMS, *POSES, *_TRANSFER, *(
    mavlink.MAVLINK_MSG_ID_HEARTBEAT, mavlink.MAVLINK_MSG_ID_NAMED_VALUE_INT, mavlink.MAVLINK_MSG_ID_COMMAND_ACK,
    mavlink.MAVLINK_MSG_ID_STATUSTEXT,
    mavlink.MAVLINK_MSG_ID_PARAM_VALUE, mavlink.MAVLINK_MSG_ID_OPEN_DRONE_ID_ARM_STATUS,
)}  # fmt: skip

_T = TypeVar("_T", Upload, Download)
_P = TypeVar("_P", params.Read, params.ReadAll, params.Set)


class Other(NamedTuple):
    """Somebody else on this link, as of its last heartbeat; `kind` is a MAV_TYPE."""

    system: int
    component: int
    kind: int
    at_s: float


class Text(NamedTuple):
    """A STATUSTEXT and when it came."""

    at_s: float
    severity: int
    text: str


class Link:
    """What this end knows of the autopilot with `system_id`, and what it still owes it."""

    def __init__(
        self,
        system_id: int,
        token: int = 0,
        *,
        signing: Signing | None = None,
        tap: Callable[[bytes], None] | None = None,
        on_posed: Callable[[Posed], None] | None = None,
    ) -> None:
        """`token` stands in our heartbeats: another with our identity and no such token is a second agent. `tap` is
        shown every frame, in and out.
        """
        self.system_id, self._token = system_id, token
        self.signing, self._tap = signing, tap
        self._framer = Framer(_WANTED, signing=signing, tap=tap)
        self._sender = Sender(system_id, OURS, signing)
        self._ends = Ends(system_id, AUTOPILOT, system_id, OURS)
        self._to = (system_id, AUTOPILOT)
        self._out: list[bytes] = []
        self._on_posed = on_posed  # hears how the vehicle stands, which is asked for more often then
        self._rates = Rates(STREAMS | POSES if on_posed else STREAMS)
        self._heartbeat_due_s = 0.0
        self._commands = Commands(self._to, (system_id, OURS))
        self.transfer: Upload | Download | None = None
        self._param_jobs: list[params.Job] = []
        self.texts: deque[Text] = deque(maxlen=30)
        self.orders: deque[tuple[object, object]] = deque(maxlen=100)  # ordered, and its refusal, for the record
        self.reboots = 0
        self.rival_s = float("-inf")  # when an upload of another ground station was last seen
        self.others: dict[tuple[int, int], Other] = {}
        self.forget()

    def forget(self) -> None:
        """The link is new, or the autopilot rebooted: all that it said is void."""
        self.first_heard_s: float | None = None
        self.heard_s: float | None = None
        self._any_s = float("-inf")
        self.copter = False
        self.armed = False
        self.mode = "UNKNOWN"
        self.mode_s = float("-inf")  # when another mode was first seen
        self.landed_state = mavlink.MAV_LANDED_STATE_UNDEFINED
        self.prearm_ok: bool | None = None
        self.ekf_flags: int | None = None
        self._said: dict[int, tuple[float, Message]] = {}
        self._rates.forget()
        self._commands.forget()
        for job in (*self._param_jobs, *([self.transfer] if self.transfer else [])):
            job.abandon("the link is a new one, or the autopilot restarted")
        self.transfer, self._param_jobs = None, []
        self.params: dict[str, float] = {}  # every value that was said, ours to ask or not
        self.watched: params.Read | None = None  # the settings that safety hangs on, asked for once

    # --- in -------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Take what came from the wire; other systems and components on it are not our business."""
        for system, component, message in self._framer.receive(data):
            if system == self.system_id and component == AUTOPILOT:
                self._take(message, now)
            elif message.get_msgId() == mavlink.MAVLINK_MSG_ID_HEARTBEAT:
                self._meet(Other(system, component, message.type, now), message.custom_mode)
            elif message.get_msgId() == mavlink.MAVLINK_MSG_ID_NAMED_VALUE_INT and message.name == SIGN:
                self._meet(Other(system, component, mavlink.MAV_TYPE_ONBOARD_CONTROLLER, now), message.value)

    def _take(self, message: Message, now: float) -> None:
        number = message.get_msgId()
        self._any_s = now
        self._rates.heard(number)
        match number:
            case mavlink.MAVLINK_MSG_ID_HEARTBEAT:
                self._heartbeat(message, now)
                self._said[number] = (now, message)
            case mavlink.MAVLINK_MSG_ID_COMMAND_ACK:
                self._commands.answered(message, lambda: self.said_since(now - 2), now)
            case mavlink.MAVLINK_MSG_ID_STATUSTEXT:
                self.texts.append(Text(now, message.severity, message.text))
            case _ if number in _TRANSFER:
                if number in _OF_UPLOADS and not self._ends.is_ours(message):
                    self.rival_s = now
                if self.transfer is not None:
                    self.transfer.receive(message, now)
            case mavlink.MAVLINK_MSG_ID_PARAM_VALUE:
                self.params[message.param_id] = message.param_value
                for job in self._param_jobs:
                    job.receive(message, now)
            case mavlink.MAVLINK_MSG_ID_BATTERY_STATUS if message.id != 0:
                pass
            case _:
                self._fact(number, message, now)

    def _meet(self, other: Other, token: int) -> None:
        """Somebody else's heartbeat, unless a router sends our own back."""
        ours = (other.system, other.component, token) == (self.system_id, OURS, self._token)
        if not ours and (len(self.others) < MOST_OTHERS or (other.system, other.component) in self.others):
            self.others[other.system, other.component] = other

    def _heartbeat(self, message: Message, now: float) -> None:
        if self.first_heard_s is None:
            self.first_heard_s = now
        self.heard_s = now
        self.copter = message.autopilot == mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA and message.type in COPTERS
        self.armed = bool(message.base_mode & mavlink.MAV_MODE_FLAG_SAFETY_ARMED)
        mode = MODES.get(message.custom_mode, f"MODE {message.custom_mode}")
        if mode != self.mode:
            self.mode, self.mode_s = mode, now

    def _fact(self, number: int, message: Message, now: float) -> None:
        before = self._said.get(mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT)
        match number:
            case mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT if before is not None:
                back_ms = before[1].time_boot_ms - message.time_boot_ms
                if back_ms > 5000:
                    self.reboots += 1
                    self.forget()
                elif back_ms > 0:
                    return  # older than what we have: the network reordered it
            case mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE:
                self.landed_state = message.landed_state
            case mavlink.MAVLINK_MSG_ID_SYS_STATUS:
                bit = mavlink.MAV_SYS_STATUS_PREARM_CHECK
                enabled = message.onboard_control_sensors_present & message.onboard_control_sensors_enabled & bit
                self.prearm_ok = bool(message.onboard_control_sensors_health & bit) if enabled else None
            case mavlink.MAVLINK_MSG_ID_EKF_STATUS_REPORT:
                self.ekf_flags = message.flags
        self._said[number] = (now, message)
        if self._on_posed is not None and (said := posed(message, now)) is not None:
            self._on_posed(said)

    # --- known ----------------------------------------------------------------------------------------------------

    def alive(self, now: float) -> bool:
        """Whether the autopilot is heard: a bad link may lose some heartbeats among all that it says."""
        if self.heard_s is None:
            return False
        return now - max(self.heard_s, self._any_s) < LOST_S and now - self.heard_s < SILENT_HEART_S

    @property
    def busy(self) -> bool:
        """Whether the next message is waited for: item by item, or for an answer to a command."""
        return bool(self._commands) or (self.transfer is not None and self.transfer.state == "running")

    @property
    def frames(self) -> int:
        """Whole frames received, of whomever."""
        return self._framer.frames

    @property
    def bad_crc(self) -> int:
        return self._framer.bad_crc

    def said_since(self, at_s: float) -> list[str]:
        """The texts of the autopilot since then, warnings and worse; a breach is only a notice (AC_Fence.cpp)."""
        worst = mavlink.MAV_SEVERITY_WARNING
        return [t.text for t in self.texts if t.at_s >= at_s and (t.severity <= worst or t.text.endswith(" breached"))]

    @property
    def said(self) -> dict[int, tuple[float, Message]]:
        """The last message of each id that is listened to, and when it came."""
        return dict(self._said)

    def fact(self, number: int) -> Message | None:
        """The last message with this id."""
        said = self._said.get(number)
        return said[1] if said else None

    @property
    def home_s(self) -> float:
        """When home was last told."""
        return self._said.get(mavlink.MAVLINK_MSG_ID_HOME_POSITION, (float("-inf"), None))[0]

    @property
    def landed(self) -> bool | None:
        match self.landed_state:
            case mavlink.MAV_LANDED_STATE_UNDEFINED:
                return None
            case state:
                return bool(state == mavlink.MAV_LANDED_STATE_ON_GROUND)

    @property
    def landing(self) -> bool:
        return bool(self.landed_state == mavlink.MAV_LANDED_STATE_LANDING)

    @property
    def located(self) -> bool:
        """Whether position and mission progress were heard."""
        return all(
            n in self._said
            for n in (mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT, mavlink.MAVLINK_MSG_ID_MISSION_CURRENT)
        )

    def telemetry(self) -> Telemetry | None:
        """All that is known, as of its oldest vital part (heartbeat, position); None before the first heartbeat."""
        if self.heard_s is None:
            return None
        return telemetry.of(self._said, self.heard_s, armed=self.armed, mode=self.mode, landed=self.landed)

    # --- out ------------------------------------------------------------------------------------------------------

    def command(self, number: int, *params: float, now: float, wanted: Callable[[], bool] = lambda: True) -> Command:
        """Send a COMMAND_LONG until it is answered; a newer one of the same number takes its place."""
        return self._commands.send(number, params, wanted, now)

    def withdraw(self) -> None:
        """Send no command again that is unanswered yet."""
        self._commands.withdraw()

    def play_tune(self, tune: str) -> None:
        """Send PLAY_TUNE (258): its first 30 characters, and the others. pymavlink has no PLAY_TUNE_V2."""
        data = tune.encode("ascii")
        self._send(mavlink.MAVLink_play_tune_message(*self._to, data[:30], data[30:]))

    def upload(self, items: Sequence[Item], now: float, kind: int = MISSION) -> Upload:
        """Put a mission, a fence or rally points aboard; what was being transferred is abandoned."""
        return self._begin(Upload(self._ends, items, now, kind))

    def download(self, now: float, kind: int = MISSION, first: int = 0) -> Download:
        """Read what is aboard, from an item on; what was being transferred is abandoned."""
        return self._begin(Download(self._ends, now, kind, first))

    def _begin(self, transfer: _T) -> _T:
        if self.transfer is not None:
            self.transfer.abandon("another transfer took its place")
        self.transfer = transfer
        return transfer

    def ask(self, number: int, now: float) -> Command:
        """Ask for one message, once; whoever does not know it says so."""
        return self.command(mavlink.MAV_CMD_REQUEST_MESSAGE, number, now=now)

    def read_params(self, names: Iterable[str], now: float) -> params.Read:
        """Read parameters by name; names that this firmware does not know end as missing."""
        return self._add(params.Read(self._to, names, now))

    def read_all_params(self, now: float) -> params.ReadAll:
        """Read every parameter: about 1,400, some seconds over USB and a minute over a radio."""
        return self._add(params.ReadAll(self._to, now))

    def set_param(self, name: str, value: float, now: float) -> params.Set:
        """Set a parameter and read it back."""
        return self._add(params.Set(self._to, name, value, now))

    def _add(self, job: _P) -> _P:
        self._param_jobs.append(job)
        return job

    def tick(self, now: float) -> None:
        """Do what is due: our heartbeat, streams that stay away, commands and transfers without an answer."""
        if self.signing is not None:
            self.signing.tick(now)
        if now >= self._heartbeat_due_s:
            self._heartbeat_due_s = now + HEARTBEAT_S
            self._send(
                mavlink.MAVLink_heartbeat_message(
                    mavlink.MAV_TYPE_ONBOARD_CONTROLLER,
                    mavlink.MAV_AUTOPILOT_INVALID,
                    0,
                    self._token,
                    mavlink.MAV_STATE_ACTIVE,
                    3,
                )
            )
            if self.alive(now):  # ArduPilot keeps heartbeats from a link of the same identity; this it forwards to all
                self._send(mavlink.MAVLink_named_value_int_message(0, SIGN.encode(), self._token))
        if not self.alive(now):
            return
        for number, interval_s in self._rates.due(now):
            rate = (mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, 0, number, interval_s * 1e6, 0, 0, 0, 0, 0)
            self._send(mavlink.MAVLink_command_long_message(*self._to, *rate))
        for message in self._commands.due(now):
            self._send(message)
        if self.transfer is not None:
            self.transfer.tick(now)
        if self.watched is None:
            self.watched = self.read_params(params.WATCHED, now)
        for job in self._param_jobs:
            job.tick(now)

    def data_to_send(self) -> bytes:
        """The bytes that are owed to the wire."""
        if self.transfer is not None:
            for message in self.transfer.messages():
                self._send(message)
        for job in self._param_jobs:
            for message in job.messages():
                self._send(message)
        self._param_jobs = [job for job in self._param_jobs if job.state == "running"]
        out, self._out = self._out, []
        return b"".join(out)

    def _send(self, message: Message) -> None:
        frame = self._sender.encode(message)
        self._out.append(frame)
        if self._tap is not None:
            self._tap(frame)

"""The simulated autopilot: a small ArduCopter that speaks the same MAVLink bytes. Deterministic, sans-I/O.

What it does was seen on ArduCopter 4.6: AUTO on the ground waits for MISSION_START and disarms after DISARM_DELAY,
a mission's return item stays in AUTO, an acknowledgement says only that a command was taken.
"""

from __future__ import annotations

import math
from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import geo
from edge_agent.flight import airframe, scene, sim_messages
from edge_agent.flight.airframe import Aim, Body
from edge_agent.flight.frames import Framer, Message, Sender
from edge_agent.flight.mavlink import AUTOPILOT, MODES
from edge_agent.flight.mission import FENCE, RALLY
from edge_agent.flight.mission_server import MissionServer
from edge_agent.flight.param_server import ParamServer
from edge_agent.flight.sim_messages import BATTERY_LOW_PCT, MAKERS, State

STEP_S = 0.05
SPOOL_S = 1.0
DISARM_DELAY_S = 10.0
TOUCHDOWN_S = 0.5
RTL_ALT_M = 15.0
RTL_LOITER_S = 1.0
REACHED_M = 2.0
BATTERY_CRITICAL_PCT = 10.0
FORCE = 21196
FLYABLE = ("STABILIZE", "ALT_HOLD", "AUTO", "GUIDED", "LOITER", "RTL", "LAND", "BRAKE")
ARMABLE = ("STABILIZE", "ALT_HOLD", "GUIDED", "LOITER")

_DEFAULT_STREAMS = {
    mavlink.MAVLINK_MSG_ID_HEARTBEAT: 1.0,
    mavlink.MAVLINK_MSG_ID_SYS_STATUS: 1.0,
    mavlink.MAVLINK_MSG_ID_GPS_RAW_INT: 1.0,
    mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT: 1.0,
}
_MISSION = (
    mavlink.MAVLINK_MSG_ID_MISSION_COUNT,
    mavlink.MAVLINK_MSG_ID_MISSION_ITEM_INT,
    mavlink.MAVLINK_MSG_ID_MISSION_REQUEST_LIST,
    mavlink.MAVLINK_MSG_ID_MISSION_REQUEST_INT,
    mavlink.MAVLINK_MSG_ID_MISSION_CLEAR_ALL,
    mavlink.MAVLINK_MSG_ID_MISSION_WRITE_PARTIAL_LIST,
)
_PARAMS = (
    mavlink.MAVLINK_MSG_ID_PARAM_REQUEST_LIST,
    mavlink.MAVLINK_MSG_ID_PARAM_REQUEST_READ,
    mavlink.MAVLINK_MSG_ID_PARAM_SET,
)
_WANTED = (*_MISSION, *_PARAMS, mavlink.MAVLINK_MSG_ID_COMMAND_LONG, mavlink.MAVLINK_MSG_ID_MISSION_ACK)


class Autopilot:
    """One vehicle. `receive` bytes, `step` time, `data_to_send` to every client; `happenings` is what truly happened.

    `now` is in simulated seconds and may start anywhere.
    """

    def __init__(
        self,
        lat: float,
        lon: float,
        *,
        system_id: int = 1,
        wind_mps: float = 0.0,
        wind_from_deg: float = 0.0,
        battery_pct: float = 100.0,
        state: State | None = None,
    ) -> None:
        self.state = s = state or State(lat=lat, lon=lon, body=Body(battery_pct=battery_pct))
        towards = math.radians(wind_from_deg + 180)
        self.wind = (wind_mps * math.cos(towards), wind_mps * math.sin(towards))
        self._system_id = system_id
        self._framers: dict[int, Framer] = {}
        self._sender = Sender(system_id, AUTOPILOT)
        self._out: list[bytes] = []
        self._streams = dict(_DEFAULT_STREAMS)
        self._sent_s: dict[int, float] = {}
        self._epoch_s: float | None = None
        self._position_s = s.time_s
        self._complained_s = float("-inf")
        self.missions = MissionServer(s.items, lambda: sim_messages.home_item(s), self._send)
        self._lists = (
            self.missions,
            MissionServer(s.fence, lambda: sim_messages.home_item(s), self._send, FENCE),
            MissionServer(s.rally, lambda: sim_messages.home_item(s), self._send, RALLY),
        )
        s.params["SYSID_THISMAV"] = float(system_id)
        self._params = ParamServer(s.params, self._send)
        self._fence_enable = s.params["FENCE_ENABLE"]
        self.happenings: list[dict[str, Any]] = []
        self._happen("resumed" if state else "booted")

    # --- in and out -----------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float, source: int = 0) -> None:
        """Bytes of one client."""
        self.step(now)
        for frame in self._framers.setdefault(source, Framer(_WANTED)).receive(data):
            if frame.message.target_system not in (0, self._system_id):
                continue
            number = frame.message.get_msgId()
            if number == mavlink.MAVLINK_MSG_ID_COMMAND_LONG:
                result = self._command(frame.message)
                self._send(
                    mavlink.MAVLink_command_ack_message(
                        frame.message.command, result, 0, 0, frame.system, frame.component
                    )
                )
            elif number in _MISSION:
                locked = self.state.armed and self.state.started
                for one in self._lists:
                    one.receive(frame, self.state.time_s, locked=locked)
            elif number in _PARAMS:
                self._params.receive(frame.message)

    def leave(self, source: int) -> None:
        """A client went away; half a frame of its is nothing to wait for."""
        self._framers.pop(source, None)

    def step(self, now: float) -> None:
        """Live until `now`."""
        if self._epoch_s is None:
            self._epoch_s = now - self.state.time_s
        while self.state.time_s + STEP_S <= now - self._epoch_s:
            self._live(STEP_S)

    def data_to_send(self) -> bytes:
        out, self._out = self._out, []
        return b"".join(out)

    # --- one step of time -----------------------------------------------------------------------------------------

    def _live(self, dt: float) -> None:
        s = self.state
        s.time_s = round(s.time_s + dt, 3)
        if not s.armed:
            self._lie(dt)
        elif s.body.on_ground and not self._lifts():
            airframe.rest(s.body, dt, idling=True)
            s.idle_s += dt
            if s.descending and s.mode == "AUTO" and s.seq + 1 < len(s.items):
                s.seq, s.descending, s.started = s.seq + 1, False, False  # the mission goes on, and cannot take off
            elif s.idle_s >= (TOUCHDOWN_S if s.descending else DISARM_DELAY_S):
                self._disarm("landed" if s.descending else "disarm delay")
        else:
            s.idle_s = 0.0
            airframe.move(s.body, self._aim(), self.wind, dt)
            self._check_battery()
        self._keep_house()
        if self.missions.received:
            self.missions.received = False
            if s.started:  # ArduCopter flies on: the current item anew, as it now reads
                s.seq, s.arrived_s = min(s.seq, len(s.items) - 1), None
            else:
                s.seq = 0
            self._text(mavlink.MAV_SEVERITY_INFO, "Flight plan received")
        self._stream()
        if s.time_s - self._position_s >= 1.0:
            self._position_s = s.time_s
            self._happen("position")

    def _keep_house(self) -> None:
        s = self.state
        for one in self._lists:
            one.tick(s.time_s)
        self._params.tick()
        s.params |= {"MIS_TOTAL": len(s.items), "FENCE_TOTAL": len(s.fence), "RALLY_TOTAL": len(s.rally)}
        if s.params["FENCE_ENABLE"] != self._fence_enable:  # a change of the setting counts, not the setting
            self._fence_enable = s.params["FENCE_ENABLE"]
            s.fence_on = self._fence_enable == 1

    def _lie(self, dt: float) -> None:
        body = self.state.body
        if body.on_ground:
            airframe.rest(body, dt, idling=False)
            return
        if airframe.fall(body, dt):
            self._happen("crashed")

    def _lifts(self) -> bool:
        """On the ground, armed, and about to leave it."""
        s = self.state
        return s.mode == "AUTO" and s.started and not s.descending and s.time_s - s.started_s >= SPOOL_S

    def _aim(self) -> Aim:
        s = self.state
        match s.mode:
            case "AUTO" if s.started and not s.paused:
                return self._mission()
            case "RTL":
                return self._return()
            case "LAND":
                return self._descend()
            case "STABILIZE" | "ALT_HOLD":
                return Aim(adrift=True)
            case _:
                return Aim()

    def _mission(self) -> Aim:
        s = self.state
        while s.seq < len(s.items):
            item = s.items[s.seq]
            match item.command:
                case mavlink.MAV_CMD_NAV_TAKEOFF:
                    if s.body.up_m < item.z - 0.3:
                        return Aim(up_m=item.z)
                case mavlink.MAV_CMD_DO_CHANGE_SPEED:
                    s.speed_mps = item.p2
                case mavlink.MAV_CMD_DO_JUMP:
                    s.seq = int(item.p1)
                    continue
                case mavlink.MAV_CMD_NAV_WAYPOINT | mavlink.MAV_CMD_NAV_LOITER_TIME:
                    place = geo.to_local(item.x / 1e7, item.y / 1e7, s.lat, s.lon)
                    if not self._stayed(place, item.z, item.p1):
                        return Aim(place=place, speed_mps=s.speed_mps, up_m=item.z)
                case mavlink.MAV_CMD_NAV_LOITER_TURNS:
                    lap_s = scene.lap_s(item.p3)
                    turned = 0.0 if s.arrived_s is None else math.tau * (s.time_s - s.arrived_s) / lap_s
                    north_m, east_m = geo.to_local(item.x / 1e7, item.y / 1e7, s.lat, s.lon)
                    place = north_m + item.p3 * math.cos(turned), east_m + item.p3 * math.sin(turned)
                    if not self._stayed(place, item.z, item.p1 * lap_s):
                        return Aim(place=place, speed_mps=s.speed_mps, up_m=item.z)
                case mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH:
                    return self._return()
                case mavlink.MAV_CMD_NAV_LAND:
                    return self._descend()
            self._reached()
        return Aim()

    def _stayed(self, place: tuple[float, float], up_m: float, hold_s: float) -> bool:
        s = self.state
        away_m = math.dist(place, (s.body.north_m, s.body.east_m))
        if s.arrived_s is None and away_m < REACHED_M and abs(s.body.up_m - up_m) < 1.0:
            s.arrived_s = s.time_s
        return s.arrived_s is not None and s.time_s - s.arrived_s >= hold_s

    def _reached(self) -> None:
        s = self.state
        self._send(mavlink.MAVLink_mission_item_reached_message(s.seq))
        self._happen("reached", seq=s.seq)
        s.seq, s.arrived_s = s.seq + 1, None

    def _return(self) -> Aim:
        s = self.state
        if s.descending:
            return self._descend()
        up_m = max(s.body.up_m, RTL_ALT_M)
        away_m = math.dist(s.home, (s.body.north_m, s.body.east_m))
        if away_m > 0.5 and s.body.up_m < RTL_ALT_M - 0.5:
            return Aim(up_m=up_m)
        if away_m <= 0.5:
            s.arrived_s = s.time_s if s.arrived_s is None else s.arrived_s
            if s.time_s - s.arrived_s >= RTL_LOITER_S:
                s.descending = True
        return Aim(place=s.home, speed_mps=max(s.speed_mps, 5.0), up_m=s.body.up_m if away_m <= 0.5 else up_m)

    def _descend(self) -> Aim:
        s = self.state
        s.descending = True
        slow = s.body.up_m < airframe.TOUCHDOWN_BELOW_M
        place = s.home if s.mode != "LAND" else None
        return Aim(place=place, up_mps=-airframe.TOUCHDOWN_MPS if slow else -airframe.DESCENT_MPS)

    def _check_battery(self) -> None:
        s = self.state
        level = s.body.battery_pct
        if level < BATTERY_CRITICAL_PCT and s.failsafe != "critical":
            s.failsafe = "critical"
            self._failsafe("Battery 1 is critical", "LAND")
        elif level < BATTERY_LOW_PCT and not s.failsafe:
            s.failsafe = "low"
            if s.mode != "LAND":
                self._failsafe("Battery 1 is low", "RTL")

    def _failsafe(self, text: str, mode: str) -> None:
        self._text(mavlink.MAV_SEVERITY_WARNING, text)
        self._text(mavlink.MAV_SEVERITY_WARNING, "Battery Failsafe")
        self.set_mode(mode, "failsafe")

    # --- commands -------------------------------------------------------------------------------------------------

    def _command(self, m: Message) -> int:
        s = self.state
        match m.command:
            case mavlink.MAV_CMD_COMPONENT_ARM_DISARM:
                return self._arm_disarm(arm=m.param1 == 1, force=int(m.param2) == FORCE)
            case mavlink.MAV_CMD_DO_SET_MODE:
                done = self.set_mode(MODES.get(int(m.param2), ""), "command")
            case mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH:
                done = self.set_mode("RTL", "command")
            case mavlink.MAV_CMD_NAV_LAND:
                done = self.set_mode("LAND", "command")
            case mavlink.MAV_CMD_MISSION_START:
                done = self._start_mission()
            case mavlink.MAV_CMD_DO_SET_MISSION_CURRENT:
                done = self._set_current(int(m.param1))
            case mavlink.MAV_CMD_DO_CHANGE_SPEED:
                done, s.speed_mps = True, m.param2
            case mavlink.MAV_CMD_DO_PAUSE_CONTINUE:
                done = s.mode == "AUTO" and not s.body.on_ground
                s.paused = done and m.param1 == 0
            case mavlink.MAV_CMD_DO_FENCE_ENABLE:
                done, s.fence_on = True, m.param1 == 1
            case mavlink.MAV_CMD_SET_MESSAGE_INTERVAL:
                done = self._set_interval(int(m.param1), m.param2)
            case mavlink.MAV_CMD_REQUEST_MESSAGE:
                done = int(m.param1) in MAKERS
                if done:
                    self._send(MAKERS[int(m.param1)](s))
            case _:
                return int(mavlink.MAV_RESULT_UNSUPPORTED)
        return int(mavlink.MAV_RESULT_ACCEPTED if done else mavlink.MAV_RESULT_FAILED)

    def set_mode(self, mode: str, by: str) -> bool:
        """Change the mode, as a command, a failsafe or a pilot's switch does."""
        s = self.state
        if mode not in FLYABLE:
            return False
        if mode == "AUTO" and (len(s.items) < 2 or s.items[1].command != mavlink.MAV_CMD_NAV_TAKEOFF):
            self._text(mavlink.MAV_SEVERITY_WARNING, "Mode change to AUTO failed: missing takeoff")
            return False
        if mode == s.mode:
            return True
        s.mode, s.descending, s.arrived_s, s.paused = mode, False, None, False
        s.started = mode == "AUTO" and s.armed and not s.body.on_ground  # in the air AUTO goes on where it was
        self._happen("mode", by=by)
        self._send(sim_messages.heartbeat(s))
        return True

    def _arm_disarm(self, *, arm: bool, force: bool) -> int:
        s = self.state
        if not arm:
            if not s.body.on_ground and not force:
                return int(mavlink.MAV_RESULT_FAILED)
            self._disarm("forced" if force else "command")
            return int(mavlink.MAV_RESULT_ACCEPTED)
        if s.armed:
            return int(mavlink.MAV_RESULT_ACCEPTED)
        if not force and (complaint := sim_messages.prearm(s) or ("" if s.mode in ARMABLE else "Mode not armable")):
            self._text(mavlink.MAV_SEVERITY_CRITICAL, f"Arm: {complaint}")
            return int(mavlink.MAV_RESULT_FAILED)
        s.armed, s.idle_s, s.descending, s.failsafe = True, 0.0, False, ""
        s.home = (s.body.north_m, s.body.east_m)
        self._happen("armed")
        self._send(sim_messages.heartbeat(s))
        return int(mavlink.MAV_RESULT_ACCEPTED)

    def _disarm(self, why: str) -> None:
        s = self.state
        if not s.armed:
            return
        if s.descending and s.body.on_ground:
            self._happen("landed")
            s.seq = 0
        s.armed, s.started, s.descending, s.idle_s = False, False, False, 0.0
        self._happen("disarmed", why=why)
        self._send(sim_messages.heartbeat(s))

    def _start_mission(self) -> bool:
        s = self.state
        if len(s.items) < 2:
            return False
        if not s.armed:
            return True  # so does ArduCopter: accepted, and nothing happens
        if self.set_mode("AUTO", "command") and not s.started:
            s.started, s.started_s, s.seq, s.arrived_s = True, s.time_s, max(s.seq, 1), None
            self._happen("mission started")
        return s.started

    def _set_current(self, seq: int) -> bool:
        s = self.state
        if not 0 <= seq < len(s.items):
            return False
        s.seq, s.arrived_s = seq, None
        return True

    def _set_interval(self, number: int, interval_us: float) -> bool:
        if number not in MAKERS:
            return False
        self._streams.pop(number, None)
        if interval_us > 0:
            self._streams[number] = interval_us / 1e6
        return True

    # --- what it says ---------------------------------------------------------------------------------------------

    def _stream(self) -> None:
        now = self.state.time_s
        for number, interval_s in self._streams.items():
            if now - self._sent_s.get(number, float("-inf")) >= interval_s - STEP_S / 2:
                self._sent_s[number] = now
                self._send(MAKERS[number](self.state))
        if not self.state.armed and (complaint := sim_messages.prearm(self.state)) and now - self._complained_s > 30:
            self._complained_s = now
            self._text(mavlink.MAV_SEVERITY_CRITICAL, f"PreArm: {complaint}")

    def _send(self, message: Message) -> None:
        self._out.append(self._sender.encode(message))

    def _text(self, severity: int, text: str) -> None:
        self._send(mavlink.MAVLink_statustext_message(severity, text.encode()[:50]))

    def _happen(self, event: str, **more: Any) -> None:
        s, (lat, lon) = self.state, sim_messages.place(self.state)
        self.happenings.append(
            {
                "event": event,
                "time_s": round(s.time_s, 2),
                "mode": s.mode,
                "armed": s.armed,
                "lat": round(lat, 7),
                "lon": round(lon, 7),
                "alt_m": round(s.body.up_m, 2),
                "distance_home_m": round(math.dist(s.home, (s.body.north_m, s.body.east_m)), 2),
                "battery_pct": round(s.body.battery_pct, 1),
                **more,
            }
        )

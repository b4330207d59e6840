"""A ground station of our own: watches the vehicle's true path, keeps its clock, and plays operator and rival."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sitl.vehicle_time import Hand

SYSTEM, COMPONENT = 255, 190
MODES = {"STABILIZE": 0, "ALT_HOLD": 2, "AUTO": 3, "GUIDED": 4, "LOITER": 5, "RTL": 6, "LAND": 9, "BRAKE": 17}
NAMES = {number: name for name, number in MODES.items()}
SWITCH = {"ALT_HOLD": 1165, "RTL": 1295, "LAND": 1425, "AUTO": 1555, "LOITER": 1690, "STABILIZE": 1800}
ANSWER_S = 5.0
ASK_WALL_S = 0.1
STREAMS = {  # what is watched, and how often, in the vehicle's seconds
    mavlink.MAVLINK_MSG_ID_SYSTEM_TIME: 0.1,  # before there is a position, only this tells ArduCopter's time
    mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT: 0.1,
    mavlink.MAVLINK_MSG_ID_SIM_STATE: 0.2,
    mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE: 0.2,
    mavlink.MAVLINK_MSG_ID_SYS_STATUS: 1.0,
    mavlink.MAVLINK_MSG_ID_EKF_STATUS_REPORT: 1.0,
    mavlink.MAVLINK_MSG_ID_GPS_RAW_INT: 1.0,
    mavlink.MAVLINK_MSG_ID_MISSION_CURRENT: 0.5,
}


class Point(NamedTuple):
    """Where the vehicle was: metres north and east of home, and above it."""

    at_s: float
    north_m: float
    east_m: float
    up_m: float


class Station:
    """Connected to the vehicle beside the agent. `present` sends a ground station's heartbeats."""

    def __init__(
        self, place: tuple[str, int], rc: tuple[str, int] | None, home: tuple[float, float], clock: Hand
    ) -> None:
        self._place, self._rc_place, self._home, self._clock = place, rc, home, clock
        self._mav = mavlink.MAVLink(None, srcSystem=SYSTEM, srcComponent=COMPONENT)
        self._mav.robust_parsing = True
        self.present = False
        self.armed = False
        self.mode = ""
        self.on_ground = False
        self.battery_pct: int | None = None
        self.mission_seq = 0
        self.texts: list[tuple[float, str]] = []
        self.path: list[Point] = []
        self.truth: Point | None = None
        self.lifted_s: float | None = None  # when the vehicle was first seen armed and above 1 m since `forget_flight`
        self._said: deque[Any] = deque(maxlen=4000)
        self._news = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sticks = [1500, 1500, 1000, 1500, SWITCH["STABILIZE"], 1000, 1000, 1000] + [0] * 8
        self.connected = asyncio.Event()
        self._timed = False  # whether this connection tells the vehicle's time: until then we ask by the machine's

    # --- in and out -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        self._tasks = [asyncio.create_task(self._live()), asyncio.create_task(self._beat())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._udp.close()

    async def _live(self) -> None:
        """Connected for ever: a vehicle that was killed or reboots is met again."""
        while True:
            try:
                reader, self._writer = await asyncio.open_connection(*self._place)
                try:
                    await self._hear(reader)
                finally:
                    self._writer.close()
            except OSError:
                pass
            self._writer, self._timed = None, False
            self.connected.clear()
            await asyncio.sleep(0.05)

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        self._mav = mavlink.MAVLink(None, srcSystem=SYSTEM, srcComponent=COMPONENT)
        self._mav.robust_parsing = True
        while data := await reader.read(65536):
            for message in self._mav.parse_buffer(data) or ():
                if message.get_type() != "BAD_DATA" and message.get_srcComponent() == 1:
                    self._take(message)
            self._news.set()

    async def _beat(self) -> None:
        """Once a second of the vehicle's: our heartbeat, the streams that stay away."""
        beat_s = asked_s = asked_wall_s = -10.0
        while True:
            now, wall_s = self._clock.now(), time.monotonic()
            if self.present and now - beat_s >= 0.9:
                beat_s = now
                self.send(mavlink.MAVLink_heartbeat_message(mavlink.MAV_TYPE_GCS, 8, 0, 0, 0, 3))
            if now - asked_s >= 5 or (not self._timed and wall_s - asked_wall_s >= ASK_WALL_S):
                asked_s, asked_wall_s = now, wall_s
                for number, every_s in STREAMS.items():
                    self._interval(number, every_s)
            await asyncio.sleep(0.02)

    def _interval(self, number: int, every_s: float) -> None:
        self.send(mavlink.MAVLink_command_long_message(1, 1, 511, 0, number, every_s * 1e6, 0, 0, 0, 0, 0))

    def send(self, message: Any) -> None:
        """To the vehicle; lost where there is no connection, as in the air."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(message.pack(self._mav))
            self._mav.seq = (self._mav.seq + 1) % 256

    def _take(self, m: Any) -> None:
        now = self._clock.now()
        match m.get_type():
            case "HEARTBEAT":
                self.connected.set()
                self.armed, self.mode = bool(m.base_mode & 128), NAMES.get(m.custom_mode, str(m.custom_mode))
            case "SYSTEM_TIME":
                self._timed = True
                self._clock.hear(m.time_boot_ms / 1000)
            case "GLOBAL_POSITION_INT":
                self._timed = True
                self._clock.hear(m.time_boot_ms / 1000)
                if m.lat or m.lon:
                    point = Point(self._clock.now(), *self._offset(m.lat, m.lon), m.relative_alt / 1000)
                    self.path.append(point)
                    if self.lifted_s is None and self.armed and point.up_m > 1:
                        self.lifted_s = point.at_s
            case "SIM_STATE":
                self.truth = Point(now, *self._offset(m.lat_int, m.lon_int), m.alt)
            case "EXTENDED_SYS_STATE":
                self.on_ground = m.landed_state == mavlink.MAV_LANDED_STATE_ON_GROUND
            case "SYS_STATUS":
                self.battery_pct = m.battery_remaining
                self._said.append(m)
            case "MISSION_CURRENT":
                self.mission_seq = m.seq
            case "STATUSTEXT":
                self.texts.append((now, m.text))
            case "GPS_RAW_INT" | "EKF_STATUS_REPORT" | "COMMAND_ACK" | "PARAM_VALUE" | "HOME_POSITION":
                self._said.append(m)
            case name if name.startswith("MISSION_"):
                self._said.append(m)

    def _offset(self, lat_e7: int, lon_e7: int) -> tuple[float, float]:
        """Metres north and east of home on a plane, good to centimetres at a patrol's distances."""
        north_m = (lat_e7 / 1e7 - self._home[0]) * 111_319.49
        return north_m, (lon_e7 / 1e7 - self._home[1]) * 111_319.49 * math.cos(math.radians(self._home[0]))

    # --- asked of the vehicle -------------------------------------------------------------------------------------

    async def until(self, what: Callable[[], object], within_s: float, why: str) -> None:
        """Wait until something holds, for so many seconds of the vehicle; AssertionError says what did not happen."""
        end = self._clock.now() + within_s
        while not what():
            if self._clock.now() > end:
                raise AssertionError(f"not within {within_s:g} s: {why}; {self.in_words()}")
            self._news.clear()
            try:
                async with asyncio.timeout(0.05):
                    await self._news.wait()
            except TimeoutError:
                pass

    def in_words(self) -> str:
        """What the vehicle does now."""
        place = self.path[-1] if self.path else Point(0, 0, 0, 0)
        said = "; ".join(text for _, text in self.texts[-4:])
        state = "armed" if self.armed else "disarmed"
        return (
            f"the vehicle: {state}, {self.mode}, {place.up_m:.1f} m up, {math.hypot(place.north_m, place.east_m):.0f} m"
            f" away, item {self.mission_seq}; it said: {said or 'nothing'}"
        )

    async def answer(self, ask: Callable[[], Awaitable[None] | None], fits: Callable[[Any], bool], what: str) -> Any:
        """Ask again and again until an answer fits."""
        for _ in range(5):
            self._said.clear()
            ask()
            end = self._clock.now() + ANSWER_S
            while self._clock.now() < end:
                for message in self._said:
                    if fits(message):
                        return message
                await asyncio.sleep(0.005)
        raise AssertionError(f"the vehicle does not answer: {what}")

    async def set(self, name: str, value: float) -> None:
        """Set a parameter and see it set."""

        def fits(m: Any) -> bool:
            if m.get_type() != "PARAM_VALUE" or m.param_id != name:
                return False
            return math.isclose(m.param_value, value, abs_tol=1e-3, rel_tol=1e-5)

        ask = mavlink.MAVLink_param_set_message(1, 1, name.encode(), value, 9)
        await self.answer(lambda: self.send(ask), fits, f"parameter {name} = {value:g}")

    async def command(self, number: int, *params: float) -> int:
        """A COMMAND_LONG; its MAV_RESULT."""
        filled = (*params, *([0.0] * (7 - len(params))))
        ack = await self.answer(
            lambda: self.send(mavlink.MAVLink_command_long_message(1, 1, number, 0, *filled)),
            lambda m: m.get_type() == "COMMAND_ACK" and m.command == number,
            f"command {number}",
        )
        return int(ack.result)

    @property
    def flies_by_stick(self) -> bool:
        """Whether the vehicle has a pilot with a transmitter."""
        return self._rc_place is not None

    def transmit(
        self, *, switch: str | None = None, throttle: int | None = None, pulses: Mapping[int, int] | None = None
    ) -> None:
        """Move the pilot's sticks: the mode switch to a mode's place, the throttle, other channels (from 1), in µs."""
        if self._rc_place is None:
            raise AssertionError("this vehicle has no transmitter")
        if switch is not None:
            self._sticks[4] = SWITCH[switch]
        if throttle is not None:
            self._sticks[2] = throttle
        for channel, pulse_us in (pulses or {}).items():
            self._sticks[channel - 1] = pulse_us
        self._udp.sendto(struct.pack("<16H", *self._sticks), self._rc_place)

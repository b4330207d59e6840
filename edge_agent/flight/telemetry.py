"""What the autopilot said, in our units: what was not said is None and never 0. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.frames import Message
from edge_agent.messages import Telemetry


def of(
    said: Mapping[int, tuple[float, Message]], heard_s: float, *, armed: bool, mode: str, landed: bool | None
) -> Telemetry:
    """All that is known, as of its oldest vital part (heartbeat, position); `said` is the last message of each id."""

    def fact(number: int) -> Message | None:
        return said[number][1] if number in said else None

    place_s, place = said.get(mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT, (heard_s, None))
    gps, home = fact(mavlink.MAVLINK_MSG_ID_GPS_RAW_INT), fact(mavlink.MAVLINK_MSG_ID_HOME_POSITION)
    mission, status = (
        fact(mavlink.MAVLINK_MSG_ID_MISSION_CURRENT),
        fact(mavlink.MAVLINK_MSG_ID_SYS_STATUS),
    )
    battery = fact(mavlink.MAVLINK_MSG_ID_BATTERY_STATUS)
    percent = next((m.battery_remaining for m in (battery, status) if m and m.battery_remaining >= 0), None)
    located = place is not None and (place.lat, place.lon) != (0, 0)
    return Telemetry(
        at_s=min(heard_s, place_s),
        armed=armed,
        mode=mode,
        boot_s=place.time_boot_ms / 1000 if place else None,
        landed=landed,
        lat=place.lat / 1e7 if place and located else None,
        lon=place.lon / 1e7 if place and located else None,
        alt_m=place.relative_alt / 1000 if place else None,
        alt_msl_m=place.alt / 1000 if place and located else None,
        speed_mps=(place.vx**2 + place.vy**2) ** 0.5 / 100 if place else None,
        heading_deg=place.hdg / 100 if place and place.hdg != 0xFFFF else None,
        battery_pct=float(percent) if percent is not None else None,
        battery_v=status.voltage_battery / 1000 if status and status.voltage_battery not in (0, 0xFFFF) else None,
        gps_fix=gps.fix_type if gps else None,
        satellites=gps.satellites_visible if gps and gps.satellites_visible != 255 else None,
        home_lat=home.latitude / 1e7 if home else None,
        home_lon=home.longitude / 1e7 if home else None,
        mission_seq=mission.seq if mission else None,
        mission_total=mission.total if mission and mission.total != 0xFFFF else None,
    )

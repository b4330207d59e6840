"""What the gates ask of the autopilot's settings, of this machine, of the sky and of the rules. Pure.

The settings are ArduCopter's, by the names of 4.3 to 4.7 (`params.SAFETY`). What they should be is in
`firmware_config`; here stands only what would endanger a flight, and most of it advises unless the config requires it.
"""

from __future__ import annotations

from collections.abc import Callable

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import geo
from edge_agent.flight import handsoff, sky
from edge_agent.flight import route as routes
from edge_agent.flight.facts import Facts
from edge_agent.flight.params import safety_value
from edge_agent.flight.run import DISPATCH
from edge_agent.flight.verdict import Verdict, no, unknown, yes
from edge_agent.sun import height_deg

OLDEST = (4, 3, 0)  # the oldest ArduCopter whose behaviour is known here
CLOCK_S = 1.0
CEILING, CIRCLE, FLOOR = 1, 2, 8  # bits of FENCE_TYPE whose limits are settings, not items

# A setting, what it must hold, and what the flight lacks where it does not.
FAILSAFES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("batt_fs_low_act", lambda value: value in (2, 3, 4, 6), "it does not return at a low battery: set it to 2"),
    ("batt_fs_crt_act", lambda value: value in (1, 2, 3, 4, 5, 6), "it ignores a critical battery: set it to 1"),
    ("fs_ekf_action", lambda value: value > 0, "it does nothing when the position is lost: set it to 1"),
    ("fs_crash_check", lambda value: value == 1, "the motors go on after a crash: set it to 1"),
    ("fence_action", lambda value: value > 0, "the fence only reports: set it to 1"),
)  # fmt: skip


def firmware(facts: Facts) -> Verdict:
    version = facts.message(mavlink.MAVLINK_MSG_ID_AUTOPILOT_VERSION)
    if version is None:
        return unknown("its version was not heard", "wait", advice=True)
    number = version.flight_sw_version
    found = (number >> 24 & 0xFF, number >> 16 & 0xFF, number >> 8 & 0xFF)
    value = ".".join(map(str, found)) + f" {bytes(version.flight_custom_version).decode('ascii', 'replace')}".rstrip(
        "\0 "
    )
    limit = ".".join(map(str, OLDEST))
    if found < OLDEST:
        return no("too old: nobody knows how it behaves here", value, limit, "update the autopilot")
    if not version.capabilities & mavlink.MAV_PROTOCOL_CAPABILITY_MISSION_INT:
        return no("it takes no missions in whole degrees", value, "MISSION_INT", "update the autopilot")
    return yes("a version that is known here", value, limit)


def fence(facts: Facts) -> Verdict:
    """Enabled and healthy, by its bit: healthy alone is also what there is without any fence."""
    required = facts.plan.limits.require_fence
    status = facts.message(mavlink.MAVLINK_MSG_ID_SYS_STATUS)
    if status is None:
        return unknown("SYS_STATUS was not heard", "wait", advice=not required)
    if (beyond := beyond_fence(facts)) is not None:
        return beyond
    bit = mavlink.MAV_SYS_STATUS_GEOFENCE
    if not status.onboard_control_sensors_present & bit:
        return no("the autopilot has none", "none", "enabled", "set FENCE_TYPE and FENCE_ENABLE", advice=not required)
    if not status.onboard_control_sensors_enabled & bit:
        return no("it is switched off", "off", "enabled", "set FENCE_ENABLE to 1", advice=not required)
    if not status.onboard_control_sensors_health & bit:
        return no("it is breached, or broken", "not healthy", "healthy", "carry the vehicle inside; look at the fence")
    return yes("enabled and healthy")


def beyond_fence(facts: Facts) -> Verdict | None:
    """Why the plan's places would breach the cylinder of FENCE_RADIUS, FENCE_ALT_MAX and FENCE_ALT_MIN; it is around
    home, and switched on together with the polygons that a route brings along; a dispatch brings none.
    """
    t, plan = facts.t, facts.plan
    kinds, action = (safety_value(facts.params, key) for key in ("fence_type", "fence_action"))
    status = facts.message(mavlink.MAVLINK_MSG_ID_SYS_STATUS)
    on = status is not None and status.onboard_control_sensors_enabled & mavlink.MAV_SYS_STATUS_GEOFENCE
    if plan.route is None or not kinds or not action or t.home_lat is None or t.home_lon is None:
        return None
    brings = plan.route.fence and plan.route.id != DISPATCH
    if not on and not brings and not safety_value(facts.params, "fence_autoenable"):
        return None
    places = [stop.place for stop in routes.stops(plan.route)]
    heights = [place.alt_m for place in places]
    away_m = max(geo.distance_m(t.home_lat, t.home_lon, place.lat, place.lon) for place in places)
    for bit, key, value, over in (
        (CIRCLE, "fence_radius", away_m, True),
        (CEILING, "fence_alt_max", max(heights), True),
        (FLOOR, "fence_alt_min", min(heights), False),
    ):
        limit = safety_value(facts.params, key)
        if limit is not None and int(kinds) & bit and (value >= limit if over else value <= limit):
            reason = f"the autopilot's own fence, {key.upper()}, would be breached"
            return no(reason, f"{value:.0f} m", f"{limit:g} m", f"stay within it, or mend {key.upper()}")
    return None


def failsafes(facts: Facts) -> Verdict:
    """What the autopilot does by itself when this agent cannot help."""
    advice = not facts.plan.limits.require_failsafes
    values = {key: safety_value(facts.params, key) for key, *_ in FAILSAFES}
    if all(value is None for value in values.values()):
        return unknown("the autopilot's settings were not heard", "wait", advice=advice)
    bad = [
        (key, values[key], lacks)
        for key, good, lacks in FAILSAFES
        if values[key] is not None and not good(values[key] or 0.0)
    ]
    if safety_value(facts.params, "gcs_system_id") == safety_value(facts.params, "system_id"):
        bad.append(
            ("gcs_system_id", safety_value(facts.params, "system_id"), "this agent would pass for the ground station")
        )
    if bad:
        value = ", ".join(f"{key.upper()} {found:g}" for key, found, _ in bad if found is not None)
        return no(
            bad[0][2], value, f"{len(bad)} to mend" if len(bad) > 1 else None, "see `edge-agent params`", advice=advice
        )
    return yes("it returns or lands by itself", f"{sum(value is not None for value in values.values())} settings")


def way_home(facts: Facts) -> Verdict:
    """The height of the autopilot's own return, and that it lands at its end."""
    final_m = safety_value(facts.params, "rtl_alt_final_m")
    alt_m = safety_value(facts.params, "rtl_alt_m")
    if alt_m is None or final_m is None:
        return unknown("the height of the return was not heard", "wait", advice=True)
    if final_m != 0:
        return no("a return would hover over home and never land", f"RTL_ALT_FINAL {final_m:g} m", "0", "set it to 0")
    rally = max(facts.plan.rally, len(facts.plan.route.rally) if facts.plan.route is not None else 0)
    if rally and safety_value(facts.params, "rally_incl_home") == 0:
        return no("a return would lead to a rally point, and never home", "RALLY_INCL_HOME 0", "1", "set it to 1")
    top_m, what = facts.plan.limits.max_alt_m, "limits.max_alt_m"
    ceiling = safety_value(facts.params, "fence_alt_max")
    if (
        ceiling is not None
        and safety_value(facts.params, "fence_enable")
        and int(safety_value(facts.params, "fence_type") or 0) & 1
    ):
        top_m, what = min((top_m, what), (ceiling, "FENCE_ALT_MAX"))
    if alt_m > top_m:
        return no("a return would climb too high", f"RTL_ALT {alt_m:g} m", f"{what} {top_m:g} m", "lower RTL_ALT")
    where = f"home, or at the nearest of {rally} rally points where that is nearer" if rally else "home"
    return yes(f"it lands at {where}", f"RTL_ALT {alt_m:g} m", f"{what} {top_m:g} m")


def remote(facts: Facts) -> Verdict:
    """The switch of a remote control with which a person takes the agent's hands off."""
    channel = facts.plan.limits.hands_off_channel
    if channel is None:
        return yes("no hands-off switch is configured")
    pulse_us, limit = handsoff.pulse_us(facts.message(mavlink.MAVLINK_MSG_ID_RC_CHANNELS), channel), "1500 µs"
    if pulse_us is None:
        return unknown("the remote control is not heard", "switch it on", f"channel {channel}")
    found = f"channel {channel} at {pulse_us} µs"
    if pulse_us < handsoff.OVER_US:
        return no("the pilot's switch is at hands off", found, limit, "switch it over")
    return yes("the pilot's switch lets the agent fly", found, limit)


def remote_id(facts: Facts) -> Verdict:
    """OPEN_DRONE_ID_ARM_STATUS of the vehicle's own Remote ID, where it has one."""
    required = facts.plan.limits.require_remote_id
    message = facts.message(mavlink.MAVLINK_MSG_ID_OPEN_DRONE_ID_ARM_STATUS)
    if message is None:
        if required:
            return unknown("no Remote ID is heard", "switch DID_ENABLE on, or look at its module")
        return yes("none is required, and none is heard")
    if message.status != mavlink.MAV_ODID_ARM_STATUS_GOOD_TO_ARM:
        said = (
            message.error
            if isinstance(message.error, str)
            else bytes(message.error).rstrip(b"\0").decode("ascii", "replace")
        )
        return no("its Remote ID says no", said or str(message.status), "good to arm", "mend what it names")
    return yes("its Remote ID is good to arm")


def storage(facts: Facts) -> Verdict:
    free_mib, least_mib = facts.around.disk_free_mib, facts.plan.limits.min_disk_mib
    if facts.plan.store_fault is not None:  # a run that the disk does not know would be a stranger's after a restart
        return no(facts.plan.store_fault, remedy="free the disk, or mount it writable")
    if free_mib is None:
        return unknown("the disk was not looked at", "wait", advice=True)
    if free_mib < least_mib:
        return no("too little room on the disk", f"{free_mib:.0f} MiB", f"{least_mib:g} MiB", "free some")
    return yes("room for the record", f"{free_mib:.0f} MiB", f"{least_mib:g} MiB")


def clock(facts: Facts) -> Verdict:
    """This machine's time against the GPS's, where the autopilot tells it."""
    quality, wall_s = facts.around.clock, facts.around.wall_s
    message = facts.message(mavlink.MAVLINK_MSG_ID_SYSTEM_TIME)
    age_s = facts.age_s(mavlink.MAVLINK_MSG_ID_SYSTEM_TIME) or 0.0
    if message is not None and message.time_unix_usec and wall_s is not None:
        off_s = wall_s + facts.now - facts.around.at_s - message.time_unix_usec / 1e6 - age_s
        if abs(off_s) > CLOCK_S:
            return no("this clock is not the GPS's", f"{off_s:+.1f} s", f"{CLOCK_S:g} s", "look at chrony", advice=True)
        return yes("this clock is the GPS's", f"{off_s:+.2f} s", f"{CLOCK_S:g} s")
    if quality is None or quality == "unsynchronised":
        return unknown("nothing steers this clock", "look at chrony", advice=True)
    return yes("the clock is steered", quality)


def night(facts: Facts) -> Verdict:
    t, wall_s = facts.t, facts.around.wall_s
    if facts.plan.limits.night:
        return yes("flights at night are allowed")
    if t.lat is None or t.lon is None or wall_s is None:
        return unknown("place or time are not known", "wait")
    sun = height_deg(wall_s, t.lat, t.lon)
    value, limit = f"the sun at {sun:.1f}°", f"{sky.TWILIGHT_DEG:g}°"
    if sun < sky.TWILIGHT_DEG:
        return no("it is night", value, limit, "wait for the morning, or set limits.night")
    return yes("it is day", value, limit)


def window(facts: Facts) -> Verdict:
    if facts.around.closed is not None:
        return no("nothing takes off now", facts.around.closed, remedy="wait for the end of the window")
    return yes("no window is closed")


def weather(facts: Facts) -> Verdict:
    return facts.plan.weather or unknown("no weather is known", "name a source: [weather]", advice=True)


def lockout(facts: Facts) -> Verdict:
    if facts.plan.locked:
        return no(
            "the last flight ended disarmed in the air",
            remedy="look at the vehicle, then `edge-agent clear-lockout`, or fly with --clear-lockout",
        )
    return yes("no lockout")


def mission(facts: Facts) -> Verdict:
    """What the autopilot holds; that it is what was sent is verified in every run, by reading it back."""
    total = facts.t.mission_total
    if not facts.plan.looked and facts.plan.digest is None:
        return unknown("the fence and the rally points aboard are being read", "wait")
    if total is None:
        return unknown("what is aboard was not heard", "wait", advice=True)
    if facts.plan.digest is not None:
        return yes("the mission aboard is the one verified", f"{total} items, {facts.plan.digest[:12]}")
    return yes("replaced and read back before each flight", f"{total} items aboard")

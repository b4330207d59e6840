"""Sections of the flight: vehicle, limits, routes, schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from edge_agent.config.base import Alt, Day, Id, Lat, Lon, PatrolLevel, Positive, Section, Speed, TimeOfDay
from edge_agent.plans.model import Fence, Rally

_PORT = r"([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"


class LinkSigning(Section, frozen=True):
    """MAVLink 2 signing: `key` is the file (or credential:NAME) with 64 hex digits, or with a passphrase as Mission
    Planner and MAVProxy take it. `accept_unsigned` heeds unsigned packets too, while autopilots are being set up.
    """

    key: str
    link_id: Annotated[int, Meta(ge=0, le=255)] = 0
    accept_unsigned: bool = False


class MavlinkVehicle(Section, frozen=True, tag_field="type", tag="mavlink"):
    """A real autopilot: `udpin:HOST:PORT`, `udpout:HOST:PORT`, `tcp:HOST:PORT` or `serial:DEVICE:BAUD`."""

    url: Annotated[str, Meta(pattern=rf"^(udpin|udpout|tcp):[^:]+:{_PORT}$|^serial:[^:]+:\d{{4,7}}$")]
    system_id: Annotated[int, Meta(ge=1, le=254)] = 1
    signing: LinkSigning | None = None


class SimulatedVehicle(Section, frozen=True, tag_field="type", tag="simulated"):
    """The simulated autopilot inside this process; takes off from the site's `lat`/`lon`."""

    system_id: Annotated[int, Meta(ge=1, le=254)] = 1
    speedup: Annotated[float, Meta(gt=0, le=100)] = 1.0
    wind_mps: Annotated[float, Meta(ge=0, le=40)] = 0.0
    wind_from_deg: Annotated[float, Meta(ge=0, lt=360)] = 0.0


Vehicle = MavlinkVehicle | SimulatedVehicle


class Tlog(Section, frozen=True):
    """Telemetry logs of flights, in `tlogs` below `data_dir`: the oldest go when all are above `keep_mb`; 0: none."""

    keep_mb: Annotated[int, Meta(ge=0, le=1_000_000)] = 500


class Limits(Section, frozen=True):
    """What no flight may exceed; checked before arming and for every command."""

    max_alt_m: Alt = 120.0
    min_alt_m: Annotated[float, Meta(ge=0, le=500)] = 5.0
    max_distance_m: Annotated[float, Meta(gt=0, le=50_000)] = 2000.0
    takeoff_battery_pct: Annotated[float, Meta(ge=0, le=100)] = 50.0
    return_battery_pct: Annotated[float, Meta(ge=0, le=100)] = 30.0
    min_satellites: Annotated[int, Meta(ge=0, le=40)] = 6
    max_hdop: Annotated[float, Meta(gt=0, le=50)] = 2.5
    home_radius_m: Annotated[float, Meta(gt=0, le=1000)] = 30.0
    min_transit_alt_m: Alt = 30.0  # a dispatch flies there and back no lower
    transit_speed_mps: Speed = 8.0
    max_on_scene_s: Annotated[float, Meta(ge=0, le=3600)] = 900.0  # with all that lengthens it
    night: bool = True  # may it fly between dusk and dawn (the sun 6° below the horizon)
    require_fence: bool = False  # the autopilot's own fence must be on; else its absence is only shown
    require_failsafes: bool = False  # so must what the autopilot does about a low battery, a lost EKF, a crash
    require_remote_id: bool = False
    min_disk_mib: Annotated[float, Meta(ge=0)] = 50.0
    hands_off_channel: Annotated[int, Meta(ge=1, le=18)] | None = None  # of the remote control: low means hands off


class WeatherFile(Section, frozen=True, tag_field="type", tag="file"):
    """A JSON file that somebody keeps fresh: wind_mps, wind_from_deg, gust_mps, rain_mm_h, temp_c, visibility_m."""

    path: Path


class WeatherHttp(Section, frozen=True, tag_field="type", tag="http"):
    """The same object from an HTTP server."""

    url: Annotated[str, Meta(pattern=r"^https?://[^\s]+$")]


class WeatherVehicle(Section, frozen=True, tag_field="type", tag="mavlink"):
    """The autopilot's own estimate (WIND); exactly 0 counts as unknown."""


WeatherSource = WeatherFile | WeatherHttp | WeatherVehicle


class WeatherLimits(Section, frozen=True):
    """What weather is flown in, and who knows it; with `required` an unknown or an old one keeps it on the ground."""

    source: WeatherSource | None = None
    required: bool = False
    period_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    max_age_s: Annotated[float, Meta(gt=0, le=86_400)] = 600.0
    assumed_wind_mps: Annotated[float, Meta(ge=0, le=40)] = 3.0  # for the energy, from ahead, where none is known
    max_wind_mps: Annotated[float, Meta(gt=0, le=40)] = 10.0
    max_gust_mps: Annotated[float, Meta(gt=0, le=60)] = 13.0
    max_rain_mm_h: Annotated[float, Meta(ge=0, le=200)] = 0.5
    min_temp_c: Annotated[float, Meta(ge=-60, le=60)] = -10.0
    max_temp_c: Annotated[float, Meta(ge=-60, le=60)] = 45.0
    min_visibility_m: Annotated[float, Meta(ge=0, le=50_000)] = 500.0


class NoFly(Section, frozen=True):
    """When nothing takes off: every day from `start` to `end` (site's time, over midnight if need be), on some days."""

    id: Id
    start: Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    end: Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()  # on which it starts; empty: all


class Airframe(Section, frozen=True):
    """What flying costs this airframe, from a hover test or its maker; the default hovers for 15 minutes.

    The battery's own consumption corrects it in flight, towards dearer only.
    """

    battery_wh: Annotated[float, Meta(gt=0, le=20_000)] = 100.0
    hover_w: Annotated[float, Meta(gt=0, le=50_000)] = 400.0
    climb_w: Annotated[float, Meta(gt=0, le=50_000)] = 520.0  # at `climb_mps`
    cruise_w: Annotated[float, Meta(gt=0, le=50_000)] = 440.0  # at `cruise_mps` through the air
    cruise_mps: Speed = 10.0
    max_air_mps: Annotated[float, Meta(gt=0, le=40)] = 15.0
    climb_mps: Annotated[float, Meta(gt=0, le=20)] = 2.5
    descent_mps: Annotated[float, Meta(gt=0, le=20)] = 1.5
    reserve_pct: Annotated[float, Meta(ge=0, le=90)] = 15.0  # what must be left after landing
    cells: Annotated[int, Meta(ge=1, le=24)] | None = None  # in series; None: told from the voltage


class Waypoint(Section, frozen=True):
    """A place of a route; `alt_m` is above home and falls back to the route's."""

    lat: Lat
    lon: Lon
    alt_m: Alt | None = None
    hold_s: Annotated[float, Meta(ge=0, le=600)] = 0.0


class Survey(Section, frozen=True):
    """How the areas and lines of a map are flown over: the camera's angle of view, or its sensor and lens; overlap."""

    hfov_deg: Annotated[float, Meta(ge=1, le=150)] | None = None
    sensor_mm: tuple[Positive, Positive] | None = None
    focal_mm: Positive | None = None
    pixels: tuple[Annotated[int, Meta(gt=0)], Annotated[int, Meta(gt=0)]] = (16, 9)
    front_overlap: Annotated[float, Meta(ge=0, le=0.95)] = 0.7
    side_overlap: Annotated[float, Meta(ge=0, le=0.95)] = 0.3
    corridor_m: Annotated[float, Meta(ge=0, le=1000)] = 0.0  # the width of ground to be seen along a line
    angle_deg: Annotated[float, Meta(ge=-360, le=360)] | None = None  # of the strips, clockwise from north


class Route(Section, frozen=True):
    """A named path that starts and ends at home: `waypoints`, or a `file` that is read when the config is.

    The file is a QGroundControl `.plan`, `QGC WPL 110`, GeoJSON or KML. A `speed_mps`, `fence` or `rally` given here
    goes before the file's.
    """

    id: Id
    waypoints: Annotated[tuple[Waypoint, ...], Meta(max_length=500)] = ()
    file: Path | None = None
    alt_m: Alt = 30.0
    speed_mps: Speed = 8.0
    fence: Fence = Fence()
    rally: Annotated[tuple[Rally, ...], Meta(max_length=10)] = ()
    survey: Survey | None = None


class Span(Section, frozen=True):
    """A stretch of local time, see `edge_agent.spans`: HH:MM (every day), MM-DD (every year), YYYY-MM-DD (once)."""

    start: str = field(name="from")
    end: str = field(name="to")
    days: tuple[Day, ...] = ()  # only what begins on these; empty: on any


class Blackout(Span, frozen=True, kw_only=True):
    """When these schedules do not fly; empty: none of them."""

    id: Id
    schedules: tuple[Id, ...] = ()


class LevelSpan(Span, frozen=True, kw_only=True):
    """When the calendar wants another patrol level than `normal`."""

    level: PatrolLevel


class MustVisit(Section, frozen=True):
    """A place, a line or an area that the flights must see every so many days.

    A point counts when passed within `within_m` for `dwell_s`; a line when `share` of it was passed so near; an area
    when `share` of it was in the picture of a camera that looks straight down with `hfov_deg` across.
    """

    id: Id
    kind: Literal["point", "line", "area"]
    corners: Annotated[tuple[tuple[Lat, Lon], ...], Meta(min_length=1, max_length=200)]
    routes: tuple[Id, ...] = ()  # whose runs are expected to see it
    every_days: Annotated[float, Meta(gt=0, le=3660)] = 1.0
    remind_h: Annotated[float, Meta(ge=0, le=8760)] = 6.0  # before it runs out
    within_m: Annotated[float, Meta(gt=0, le=1000)] = 20.0
    dwell_s: Annotated[float, Meta(ge=0, le=600)] = 0.0
    share: Annotated[float, Meta(gt=0, le=1)] = 0.9
    hfov_deg: Annotated[float, Meta(ge=1, le=150)] = 70.0


class Schedule(Section, frozen=True):
    """When a route is flown, in the site's time zone or its own.

    A 5-field `cron` line; an RFC 5545 `rrule` from `dtstart`, or its iCalendar lines with TZID and EXDATE; or `sun`
    with an offset, on each day or on those of the `rrule`.
    """

    id: Id
    route: Id
    cron: str | None = None
    rrule: str | None = None
    dtstart: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$")] | None = None
    exdate: tuple[Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d(T\d\d:\d\d)?$")], ...] = ()
    time_zone: str | None = None
    sun: Literal["dawn", "sunrise", "sunset", "dusk"] | None = None
    offset_min: Annotated[float, Meta(ge=-720, le=720)] = 0.0  # after the sun's event, or before it
    not_before: TimeOfDay | None = None  # on the clock, whatever the sun does
    not_after: TimeOfDay | None = None
    windows: tuple[Span, ...] = ()  # it flies only within one of these; empty: at any time
    jitter_s: Annotated[float, Meta(ge=0, le=21_600)] = 0.0  # so much earlier or later, by a seed that others lack
    seed: str = ""
    levels: Annotated[tuple[PatrolLevel, ...], Meta(min_length=1)] = ("normal", "raised", "top")
    missed: Literal["skip", "grace", "catch_up"] = "grace"  # catch_up: the last of those missed, once, within a day
    grace_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0
    enabled: bool = True

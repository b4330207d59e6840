"""The shape of agent.toml: load it, refuse it with every fault named, dump what is in effect."""

from __future__ import annotations

import copy
import difflib
import os
import re
import stat
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError
from msgspec import Meta, Struct, field

from edge_agent import geo, spans
from edge_agent.calendar import read_ical, rule_fault
from edge_agent.messages import AnnouncementClass, Phrase, Proof
from edge_agent.phrases import phrase_faults
from edge_agent.plans.judge import route_faults
from edge_agent.plans.model import Fence, Rally

EX_CONFIG = 78  # sysexits.h: the service manager must not restart us on it


RESERVED = ("host", "grp")  # second levels of the topics that no device may take as its id


class ConfigError(Exception):
    """The configuration is wrong; `faults` holds one line for each fault."""

    def __init__(self, file: Path, faults: list[str]) -> None:
        self.file, self.faults = file, faults
        super().__init__("\n".join(f"{file}: {fault}" for fault in faults))


Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
Unit = Annotated[float, Meta(ge=0, le=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Lat = Annotated[float, Meta(ge=-90, le=90)]
Lon = Annotated[float, Meta(ge=-180, le=180)]
Alt = Annotated[float, Meta(gt=0, le=500)]
Speed = Annotated[float, Meta(gt=0, le=30)]
Positive = Annotated[float, Meta(gt=0)]
TimeOfDay = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Day = Literal["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
PatrolLevel = Literal["normal", "raised", "top"]
Secret = Annotated[str, Meta(pattern=r"^(credential:[A-Za-z0-9_.-]+|[^\x00]+)$")]  # a file, or credential:NAME


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Site(Section, frozen=True):
    """Where the device stands and what it is called; `lat`/`lon` are the take-off place."""

    device: Id
    name: str = "site"
    org: str | None = None  # on whose behalf, and for what, the device is there: stands in every event
    purpose: str | None = None
    time_zone: str = "UTC"
    lat: Lat | None = None
    lon: Lon | None = None
    alt_m: Annotated[float, Meta(ge=-500, le=9000)] | None = None  # of the take-off place, above the sea


# --- flight -------------------------------------------------------------------------------------------------------


class LinkSigning(Section, frozen=True):
    """MAVLink 2 signing: `key` is the file (or credential:NAME) with 64 hex digits, or with a passphrase as Mission
    Planner and MAVProxy take it. `accept_unsigned` heeds unsigned packets too, while autopilots are being set up.
    """

    key: str
    link_id: Annotated[int, Meta(ge=0, le=255)] = 0
    accept_unsigned: bool = False


class MavlinkVehicle(Section, frozen=True, tag_field="type", tag="mavlink"):
    """A real autopilot: `udpin:HOST:PORT`, `udpout:HOST:PORT`, `tcp:HOST:PORT` or `serial:DEVICE:BAUD`."""

    url: Annotated[str, Meta(pattern=r"^(udpin|udpout|tcp):[^:]+:\d{1,5}$|^serial:[^:]+:\d{4,7}$")]
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


# --- vision -------------------------------------------------------------------------------------------------------


class Tiles(Section, frozen=True):
    """Parts of a large picture that the detector looks at in full size, for objects too small in the whole of it.

    Every `full_every` frames the whole picture is looked at, else up to `each` tiles as far as `budget_ms` lasts.
    """

    side_px: Annotated[int, Meta(ge=64, le=4096)] = 640
    each: Annotated[int, Meta(ge=1, le=64)] = 2
    full_every: Annotated[int, Meta(ge=1, le=1000)] = 3
    budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 200.0


class Looked(Section, frozen=True, kw_only=True):
    """What all cameras have in common: whose eyes look at it, where, and when.

    `motion`: a camera that stands still (`static`) is looked at where something changes; of one that moves (`moving`)
    the picture's motion is taken from the tracks; `auto` tells which by itself, `off` does neither.
    """

    name: Id
    detector: Id
    motion: Literal["auto", "static", "moving", "off"] = "auto"
    tiles: Tiles | None = None


class VideoCamera(Looked, frozen=True, kw_only=True, tag_field="type", tag="video"):
    """A video file, or a directory of images, played at its own pace (`realtime`) or frame by frame."""

    path: Path
    realtime: bool = True
    loop: bool = False
    fps: Annotated[float, Meta(gt=0, le=120)] | None = None  # of an image directory, or to override the file's


class SimulatedCamera(Looked, frozen=True, kw_only=True, tag_field="type", tag="simulated"):
    """A rendered river bank with moving people and vehicles with plates."""

    scene: Literal["river_bank", "empty"] = "river_bank"
    fps: Annotated[float, Meta(gt=0, le=60)] = 8.0
    width: Annotated[int, Meta(ge=160, le=3840)] = 1280
    height: Annotated[int, Meta(ge=120, le=2160)] = 720
    seed: int = 1
    began_s: Annotated[float, Meta(ge=0)] | None = None  # Unix time when the scene began; else when the camera opens


StallS = Annotated[float, Meta(ge=0.5, le=300)]
FrozenS = Annotated[float, Meta(ge=0, le=3600)]
MaxFps = Annotated[float, Meta(gt=0, le=120)]


class RtspCamera(Looked, frozen=True, kw_only=True, tag_field="type", tag="rtsp"):
    """A camera on the network: `url` without user and password, which stand in the file `credentials` (USER:PASSWORD).

    Without a new picture for `stall_s`, or with the same one for `frozen_s` (0: never), it is connected to anew.
    """

    url: Annotated[str, Meta(pattern=r"^rtsps?://[^\s/@]+(/[^\s]*)?$")]
    credentials: Secret | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    connect_s: Annotated[float, Meta(gt=0, le=120)] = 10.0
    stall_s: StallS = 5.0
    frozen_s: FrozenS = 30.0
    max_fps: MaxFps | None = None  # pictures beyond it are decoded and left


class V4l2Camera(Looked, frozen=True, kw_only=True, tag_field="type", tag="v4l2"):
    """A camera of the kernel; `format` is its FourCC, as "MJPG" or "YUYV"."""

    device: Path = Path("/dev/video0")
    width: Annotated[int, Meta(ge=16, le=16384)] = 1280
    height: Annotated[int, Meta(ge=16, le=16384)] = 720
    fps: MaxFps = 15.0
    format: Annotated[str, Meta(pattern=r"^[A-Z0-9]{4}$")] | None = None
    stall_s: StallS = 5.0
    frozen_s: FrozenS = 30.0
    max_fps: MaxFps | None = None


class PiCamera(Looked, frozen=True, kw_only=True, tag_field="type", tag="picamera"):
    """The camera of a Raspberry Pi, by picamera2; `short_exposure` keeps what moves sharp, at the price of noise."""

    number: Annotated[int, Meta(ge=0, le=9)] = 0
    width: Annotated[int, Meta(ge=64, le=9152)] = 1920
    height: Annotated[int, Meta(ge=64, le=6944)] = 1080
    fps: MaxFps = 15.0
    short_exposure: bool = True
    stall_s: StallS = 5.0
    frozen_s: FrozenS = 30.0


Camera = VideoCamera | SimulatedCamera | RtspCamera | V4l2Camera | PiCamera


class OnnxDetector(Section, frozen=True, tag_field="type", tag="onnx"):
    """A detector run by ONNX Runtime; `labels` names the classes where the model does not."""

    name: Id
    model: Path
    score: Unit = 0.3
    nms_iou: Unit = 0.5
    threads: Annotated[int, Meta(ge=1, le=64)] = 2
    labels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ("person", "vehicle", "two-wheeler")  # what is kept; empty keeps all


class SimulatedDetector(Section, frozen=True, tag_field="type", tag="simulated"):
    """Reads the truth that the simulated camera knows; says so wherever it is shown."""

    name: Id


Detector = OnnxDetector | SimulatedDetector


class Plates(Section, frozen=True):
    """Reading of licence plates on vehicles."""

    enabled: bool = False
    reader: Literal["rapidocr"] = "rapidocr"
    countries: Annotated[tuple[Annotated[str, Meta(pattern="^[A-Z]{2}\\Z")], ...], Meta(min_length=1)] = ("CN",)
    min_confidence: Unit = 0.6
    every_s: Annotated[float, Meta(ge=0, le=60)] = 0.5  # per track, until `enough` reads
    enough: Annotated[int, Meta(ge=1, le=100)] = 5
    threads: Annotated[int, Meta(ge=1, le=64)] = 1


# --- incidents ----------------------------------------------------------------------------------------------------

Corner = tuple[Unit, Unit]


class Zone(Section, frozen=True):
    """A polygon in a camera's picture; corners are fractions of its width and height from the top left."""

    name: Id
    camera: Id
    polygon: Annotated[tuple[Corner, ...], Meta(min_length=3, max_length=200)]


class Rung(Section, frozen=True):
    """What an object is told if it stays `after_s` after the incident; then every `every_s`, `times` in all."""

    after_s: Annotated[float, Meta(gt=0, le=86_400)]
    say: Annotated[tuple[Phrase, ...], Meta(min_length=1)]
    urgent: bool = False  # said as a danger: interrupts other warnings
    every_s: Annotated[float, Meta(ge=5, le=3600)] = 30.0
    times: Annotated[int, Meta(ge=1, le=100)] = 1


class RuleSection(Section, frozen=True, kw_only=True):
    """What all rules have; `blur = false` lets the pictures of its incidents leave as they were taken."""

    id: Id
    speakers: tuple[Id, ...] = ()
    say: tuple[Phrase, ...] = ()
    ladder: tuple[Rung, ...] = ()
    active: tuple[Span, ...] = ()  # when it holds, in the site's time zone; empty: always
    clip_before_s: Annotated[float, Meta(ge=0, le=600)] = 10.0
    clip_after_s: Annotated[float, Meta(ge=0, le=600)] = 10.0
    blur: bool = True


class ForbiddenZone(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="forbidden_zone"):
    """Fires when one of `classes` stands in the zone for `after_s`."""

    zone: Id
    classes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("person",)
    after_s: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    min_score: Unit = 0.0
    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0


class Dwell(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="dwell"):
    """Fires when one of `classes` stays in the zone, within `radius` of its own size, for `after_s`."""

    zone: Id
    classes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("vehicle",)
    after_s: Annotated[float, Meta(gt=0, le=86_400)] = 120.0
    radius: Annotated[float, Meta(gt=0, le=10)] = 0.5
    min_score: Unit = 0.0
    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0


class HotListed(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="hot_list"):
    """Fires when a plate is read that stands on one of `lists` (all, where none is named); needs [plates].

    `quality` is the weakest match that fires: "exact", "probable" (one character that is easily mistaken), or
    "possible" (any one character in doubt).
    """

    zone: Id | None = None  # anywhere, on every camera, where none is named
    lists: tuple[Id, ...] = ()
    quality: Literal["exact", "probable", "possible"] = "probable"
    min_confidence: Unit = 0.6
    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0


class LineCrossing(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="line_crossing"):
    """Fires when one of `classes` crosses a line (two places of the picture, as corners of zones) with its feet.

    `to_left` and `to_right` are for who looks from the line's first end to its second.
    """

    camera: Id
    line: tuple[Corner, Corner]
    direction: Literal["either", "to_left", "to_right"] = "either"
    classes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("person", "vehicle", "two-wheeler")
    min_score: Unit = 0.0
    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 10.0  # for who goes to and fro


Rule = ForbiddenZone | Dwell | HotListed | LineCrossing


class Clips(Section, frozen=True):
    """The last `seconds` of each camera, kept in memory as H.264, from which clips are cut; 0 keeps nothing."""

    seconds: Annotated[float, Meta(ge=0, le=3600)] = 120.0
    fps: Annotated[float, Meta(gt=0, le=30)] = 8.0
    max_height: Annotated[int, Meta(ge=64, le=2160)] = 720
    max_mib: Annotated[int, Meta(ge=1, le=1024)] = 48  # of each camera


class Privacy(Section, frozen=True):
    """What of people leaves the device: with `blur` heads and the plates that no rule asked for cannot be made out.

    The originals stay in `data_dir/originals` for `keep_days`, at most `max_mib` of them.
    """

    blur: bool = True
    keep_days: Annotated[float, Meta(ge=0, le=36_500)] = 30.0
    max_mib: Annotated[int, Meta(ge=0, le=16_777_216)] = 2048


# --- speakers -----------------------------------------------------------------------------------------------------


class AnySpeaker(Section, frozen=True, kw_only=True):
    """What any loudspeaker has. `groups` are names that mean several; `airborne` hangs under the drone.

    A warning that is not proven as far as `proof` asks is tried on `fallback`. `microphone` hears it: `alsa:DEVICE`, or
    whatever FFmpeg opens (a camera's `rtsp://` stream).
    """

    name: Id
    groups: tuple[Id, ...] = ()
    lat: Lat | None = None
    lon: Lon | None = None
    airborne: bool = False
    volume_pct: Annotated[float, Meta(ge=0, le=100)] = 100.0
    proof: Proof = "none"
    fallback: Id | None = None
    microphone: Annotated[str, Meta(min_length=1, max_length=300)] | None = None


RtpCodec = Literal["pcmu", "pcma", "g722", "opus"]


class RtpSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="rtp"):
    """RTP to a unicast or multicast address, 20 ms a packet; with `rtcp`, reports on the port above."""

    host: str
    port: Annotated[int, Meta(ge=1024, le=65534)]
    codec: RtpCodec = "pcmu"
    rtcp: bool = False
    ttl: Annotated[int, Meta(ge=0, le=255)] = 1
    interface: str | None = None  # the local address that multicast leaves by


class SimulatedSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="simulated"):
    """Writes what it would play to WAV files in `directory` (the default is `speakers/NAME` below `data_dir`)."""

    directory: Path | None = None
    realtime: bool = True


class HttpSpeaker(AnySpeaker, frozen=True, kw_only=True):
    """A device with a web server: `http://HOST[:PORT]`, or https with the certificate in `ca_file`."""

    url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+$")]
    username: str | None = None
    password: Secret | None = None
    ca_file: Path | None = None


class AxisSpeaker(HttpSpeaker, frozen=True, kw_only=True, tag_field="type", tag="axis"):
    """Axis: VAPIX audio transmit, mu-law at 8 kHz, or at 16 kHz (`wide`) where the device has it."""

    wide: bool = False


class HikvisionSpeaker(HttpSpeaker, frozen=True, kw_only=True, tag_field="type", tag="hikvision"):
    """Hikvision: ISAPI two-way audio, in the codec that the channel is set to (G.711)."""

    channel: Annotated[int, Meta(ge=1, le=64)] = 1


class DahuaSpeaker(HttpSpeaker, frozen=True, kw_only=True, tag_field="type", tag="dahua"):
    """Dahua, Amcrest, Lorex: `audio.cgi`."""

    channel: Annotated[int, Meta(ge=1, le=64)] = 1
    codec: Literal["pcma", "pcmu"] = "pcma"


class SipSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="sip"):
    """A SIP device that answers by itself: `sip:USER@HOST[:PORT]`, called directly or through a PBX at `proxy`."""

    uri: Annotated[str, Meta(pattern=r"^sip:[^\s@;<>]+@[^\s@;<>/]+$")]
    proxy: Annotated[str, Meta(pattern=r"^[^\s@;<>/]+$")] | None = None  # HOST[:PORT]
    caller: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._+-]{1,64}$")] = "edge-agent"
    username: str | None = None
    password: Secret | None = None
    codec: RtpCodec = "pcmu"


class OnvifSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="onvif"):
    """An ONVIF Profile T device: the audio backchannel of its RTSP stream, `rtsp://HOST[:PORT]/PATH`."""

    url: Annotated[str, Meta(pattern=r"^rtsp://[^\s/?#@]+(/\S*)?$")]
    username: str | None = None
    password: Secret | None = None


class AlgoSpeaker(HttpSpeaker, frozen=True, kw_only=True, tag_field="type", tag="algo"):
    """Algo: RTP to the speaker itself or its group, and its REST API to see whether it plays (user `admin`)."""

    host: str = "224.0.2.60"  # what Algo's own speakers listen to
    port: Annotated[int, Meta(ge=1024, le=65534)] = 50_000
    codec: RtpCodec = "pcmu"
    ttl: Annotated[int, Meta(ge=0, le=255)] = 1
    interface: str | None = None


class LocalSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="local"):
    """A sound card of this machine: an ALSA device as `aplay -L` lists them."""

    device: Annotated[str, Meta(pattern=r"^[^\s\x00]{1,128}$")] = "default"


Speaker = (
    RtpSpeaker
    | SipSpeaker
    | AxisSpeaker
    | HikvisionSpeaker
    | DahuaSpeaker
    | OnvifSpeaker
    | AlgoSpeaker
    | LocalSpeaker
    | SimulatedSpeaker
)


Hours = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]


class Announcements(Section, frozen=True):
    """Restraint: what is said how often, when not, how loud at most, and when the drone may speak.

    `quiet` spans are in the site's time and may pass midnight. Danger and live talk are never limited by number.
    """

    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0  # between two warnings of one track
    per_hour: Annotated[int, Meta(ge=0, le=3600)] = 60  # of one speaker
    quiet: tuple[Hours, ...] = ()
    quiet_classes: tuple[AnnouncementClass, ...] = ("rule", "scheduled", "test")
    max_volume_pct: Annotated[float, Meta(ge=0, le=100)] = 100.0
    drone_min_alt_m: Annotated[float, Meta(ge=0, le=500)] = 5.0
    drone_max_alt_m: Annotated[float, Meta(ge=0, le=500)] = 60.0
    drone_max_speed_mps: Annotated[float, Meta(ge=0, le=30)] = 3.0
    drone_radius_m: Annotated[float, Meta(gt=0, le=10_000)] = 60.0  # around the place that a warning is for


def quiet_span(text: str) -> tuple[int, int]:
    """`22:00-06:00` as minutes of the day: when it begins and when it ends."""
    begins, ends = (int(part[:2]) * 60 + int(part[3:]) for part in text.split("-"))
    return begins, ends


class Voice(Section, frozen=True):
    """How texts are spoken."""

    speed_wpm: Annotated[int, Meta(ge=80, le=400)] = 160
    tone: bool = True
    loudness_lufs: Annotated[float, Meta(ge=-40, le=-6)] = -16.0  # EBU R128; the attention tone's RMS in dBFS, too
    stale_s: Annotated[float, Meta(gt=0, le=600)] = 10.0


# --- uplink -------------------------------------------------------------------------------------------------------


class Mqtt(Section, frozen=True):
    """The broker. `version` "auto" tries MQTT 5 and falls back to 3.1.1; `plain = true` allows no TLS and says so."""

    host: str = "127.0.0.1"
    port: Port = 1883
    version: Literal["auto", "5", "3.1.1"] = "auto"
    plain: bool = False
    username: str | None = None
    password: Secret | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keep_alive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    telemetry_period_s: Annotated[float, Meta(ge=0.1, le=3600)] = 1.0
    ack: Literal["centre", "broker"] = "centre"  # who must confirm before an event is deleted
    groups: tuple[Id, ...] = ()  # commands to these groups are obeyed as those to the device itself
    unsigned_commands: bool = False  # obey flight and speaker commands without a signature: for development


class Operator(Section, frozen=True):
    """Who may send commands over MQTT: `public_key` is Ed25519 in base64, good until the end of `not_after` (UTC)."""

    id: Id
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    role: Literal["viewer", "operator", "pilot", "admin"]
    public_key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{43}=$")]
    not_after: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$")]


class Outbox(Section, frozen=True):
    """The store of events that are not confirmed yet."""

    max_mib: Annotated[int, Meta(ge=1, le=65_536)] = 256
    window: Annotated[int, Meta(ge=1, le=10_000)] = 1000  # at most so many unconfirmed; it opens as the link allows
    ballast_mib: Annotated[int, Meta(ge=0, le=4096)] = 64  # given up when the disk is full; 0 for none


class Metrics(Section, frozen=True):
    """Where Prometheus may scrape the agent: "127.0.0.1:9464" or "unix:/run/edge-agent/metrics.sock"."""

    listen: Annotated[str, Meta(pattern=r"^(unix:/[^\x00]{1,100}|(\[[0-9A-Fa-f:]+\]|[^\s:/]+):[0-9]{1,5})$")]


class Evidence(Section, frozen=True):
    """The originals of incidents: where they are uploaded, what the link may cost, and how long they stay here.

    `upload` "static" takes them to the tus server at `url` with the bearer token in `token`; "mqtt" asks the centre
    for each file where to put it. TLS files fall back to those of [mqtt].
    """

    upload: Literal["off", "static", "mqtt"] = "off"
    url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")] | None = None
    token: Secret | None = None
    plain: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    max_kib_per_s: Annotated[float, Meta(gt=0)] | None = None
    link: Literal["auto", "metered", "free"] = "auto"  # auto: what `metered_file` says, else NetworkManager, else free
    metered_file: Path | None = None  # holds `yes` or `no`; whoever manages the modem writes it
    metered: Literal["never", "thumbs_only", "all"] = "thumbs_only"  # what may cross a metered link
    keep_days: Annotated[float, Meta(ge=0, le=36_500)] = 30.0
    max_mib: Annotated[int, Meta(ge=1, le=16_777_216)] = 4096
    min_free_mib: Annotated[int, Meta(ge=0, le=1_048_576)] = 256  # of the disk, for the events
    hold: bool = False  # nothing is deleted while this is set


class Agent(Section, frozen=True):
    """The whole file."""

    site: Site
    data_dir: Path
    vehicle: Vehicle | None = None
    tlog: Tlog = field(default_factory=Tlog)
    limits: Limits = field(default_factory=Limits)
    airframe: Airframe = field(default_factory=Airframe)
    weather: WeatherLimits = field(default_factory=WeatherLimits)
    no_fly: tuple[NoFly, ...] = ()
    routes: tuple[Route, ...] = field(default=(), name="route")
    schedules: tuple[Schedule, ...] = field(default=(), name="schedule")
    blackouts: tuple[Blackout, ...] = field(default=(), name="blackout")
    levels: tuple[LevelSpan, ...] = field(default=(), name="level")
    visits: tuple[MustVisit, ...] = field(default=(), name="visit")
    cameras: tuple[Camera, ...] = field(default=(), name="camera")
    detectors: tuple[Detector, ...] = field(default=(), name="detector")
    plates: Plates = field(default_factory=Plates)
    zones: tuple[Zone, ...] = field(default=(), name="zone")
    rules: tuple[Rule, ...] = field(default=(), name="rule")
    clips: Clips = field(default_factory=Clips)
    privacy: Privacy = field(default_factory=Privacy)
    speakers: tuple[Speaker, ...] = field(default=(), name="speaker")
    voice: Voice = field(default_factory=Voice)
    announcements: Announcements = field(default_factory=Announcements)
    mqtt: Mqtt | None = None
    operators: tuple[Operator, ...] = field(default=(), name="operator")
    outbox: Outbox = field(default_factory=Outbox)
    metrics: Metrics | None = None
    evidence: Evidence = field(default_factory=Evidence)


def load(file: Path) -> Agent:
    """Read and check a file; raises `ConfigError` with all of its faults, never only the first."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(file, [f"cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(file, [f"is not UTF-8 at byte {error.start}"]) from None
    return parse(text, file)


def parse(text: str, file: Path) -> Agent:
    """Check the text of a file; relative paths resolve against the file's own directory."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(file, [f"is not TOML: {error}"]) from None
    except RecursionError:
        raise ConfigError(file, ["is not TOML: it is nested too deeply"]) from None
    base = file.resolve().parent
    _resolve_secrets(table, base)
    unparsed = _expand_ical(table)
    config, faults = _convert(copy.deepcopy(table), base)
    faults += unparsed
    if config is not None:
        config, unread = _read_routes(config, table)
        faults += unread
        faults += _cross_check(config, table)
    if faults or config is None:
        raise ConfigError(file, faults)
    return config


def dump(config: Agent) -> str:
    """The effective configuration as TOML, defaults included; it loads back to the same values."""
    import tomli_w

    def plain(value: Any) -> Any:
        match value:
            case dict():
                return {key: plain(item) for key, item in value.items() if item is not None}
            case list() | tuple():
                return [plain(item) for item in value]
            case _:
                return value

    table = msgspec.to_builtins(config, enc_hook=str)
    for route in table["route"]:
        if route["file"] is not None:  # its waypoints are the file's
            del route["waypoints"]
    return tomli_w.dumps(plain(table))


def read_secret(secret: str) -> str:
    """The text of a secret: `credential:NAME` from systemd's $CREDENTIALS_DIRECTORY, else a file; raises OSError."""
    return secret_path(secret).read_text(encoding="utf-8").strip("\r\n")


def secret_path(secret: str) -> Path:
    """The file that holds a secret."""
    if secret.startswith("credential:"):
        return Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials/edge-agent")) / secret[11:]
    return Path(secret)


# --- faults -------------------------------------------------------------------------------------------------------

Steps = tuple[str | int, ...]
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$.*)`)?$", re.DOTALL)
_PASSWORD = re.compile(r"://[^/@\s]*@")  # of an address that holds one: it is not to be told again
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]|\[\.\.\.\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_HARMLESS: dict[Steps, Any] = {("site",): {"device": "x"}, ("site", "device"): "x", ("data_dir",): "."}


def _convert(table: dict[str, Any], base: Path) -> tuple[Agent | None, list[str]]:
    """msgspec stops at its first fault: note it, take the bad value away, and look again."""
    faults: list[str] = []
    told: list[Steps] = []

    def hook(kind: type, value: Any) -> Any:
        if kind is Path:
            if not isinstance(value, str) or not value or "\0" in value:
                raise ValueError("Expected the path of a file")
            return base / Path(value).expanduser()
        raise NotImplementedError

    for _ in range(500):
        try:
            return msgspec.convert(table, Agent, dec_hook=hook), faults
        except msgspec.ValidationError as error:
            found = _PATH.match(str(error))
            assert found
            what, steps = found["what"], _steps(found["path"] or "$")
            if unknown := _UNKNOWN.match(what):
                steps += (unknown[1],)
                near = difflib.get_close_matches(unknown[1], _known_keys(steps[:-1], table), n=1)
                faults.append(f"{_show(steps, table)}: unknown key" + (f"; did you mean `{near[0]}`?" if near else ""))
            elif missing := _MISSING.match(what):
                wanted = (*steps, missing[1])
                if not any(t[: len(wanted)] == wanted for t in told):
                    faults.append(f"{_show(wanted, table)}: required, and missing")
                if wanted in _HARMLESS:  # these cannot be taken away: put something harmless there and look on
                    _get(table, steps)[missing[1]] = _HARMLESS[wanted]
                    continue
            else:
                value = _get(table, steps)
                what += "" if repr(value) in what else f", got {value!r}"
                what = _PASSWORD.sub("://…@", what)
                choices = _choices(steps)
                faults.append(f"{_show(steps, table)}: {what}" + (f" (one of {', '.join(choices)})" if choices else ""))
            told.append(steps)
            if not steps or not _remove(table, steps):
                break
    return None, faults


def _expand_ical(table: dict[str, Any]) -> list[str]:
    """An `rrule` of several iCalendar lines becomes the keys that they stand for."""
    faults: list[str] = []
    schedules = table.get("schedule")
    for schedule in schedules if isinstance(schedules, list) else ():
        text = schedule.get("rrule") if isinstance(schedule, dict) else None
        if not isinstance(text, str) or not any(word in text.upper() for word in ("DTSTART", "EXDATE", "\n")):
            continue
        try:
            keys = read_ical(text)
        except ValueError as error:
            faults.append(f"schedule[{schedule.get('id')}].rrule: {error}, got {text!r}")
            keys = {}
        if both := sorted(set(keys) & set(schedule) - {"rrule"}):
            faults.append(f"schedule[{schedule.get('id')}].rrule: names `{both[0]}`, which stands beside it too")
        schedule.update(keys)
    return faults


def _read_routes(config: Agent, table: dict[str, Any]) -> tuple[Agent, list[str]]:
    """The routes that name a file, with what the file says; one that cannot be read keeps no waypoint."""
    given, faults, routes = table.get("route"), list[str](), list[Route]()
    for index, route in enumerate(config.routes):
        where = f"route[{route.id}]"
        if (route.file is None) == (not route.waypoints):
            faults.append(f"{where}: give either `waypoints` or a `file`")
        if route.file is None or route.waypoints:
            routes.append(route)
            continue
        said = given[index] if isinstance(given, list) and len(given) == len(config.routes) else {}
        found = read_route(route, keep_speed="speed_mps" in said)
        faults += [f"{where}.file: {fault}" for fault in found] if isinstance(found, list) else []
        routes.append(route if isinstance(found, list) else found)
    return msgspec.structs.replace(config, routes=tuple(routes)), faults


def read_route(route: Route, *, keep_speed: bool) -> Route | list[str]:
    """A route with what its file says, or every fault of the file."""
    from edge_agent.plans import files
    from edge_agent.plans.model import PlanError

    assert route.file is not None
    try:
        plan = files.read(route.file, files.survey_of(route.survey or Survey(), route.alt_m))
    except PlanError as error:
        return str(error).splitlines()
    except ValueError as error:
        return [f"survey: {error}"]
    if not plan.places:
        return [f"{route.file}: no place to fly to"]
    return msgspec.structs.replace(
        route,
        waypoints=tuple(Waypoint(lat=p.lat, lon=p.lon, alt_m=p.alt_m, hold_s=p.hold_s) for p in plan.places),
        speed_mps=route.speed_mps if keep_speed or plan.speed_mps is None else plan.speed_mps,
        fence=route.fence or plan.fence,
        rally=route.rally or plan.rally,
    )


def _resolve_secrets(table: dict[str, Any], base: Path) -> None:
    vehicle, speakers = table.get("vehicle"), table.get("speaker")
    signing = vehicle.get("signing") if isinstance(vehicle, dict) else None
    sections = [(table.get("mqtt"), "password"), (table.get("evidence"), "token"), (signing, "key")]
    sections += [(speaker, "password") for speaker in (speakers if isinstance(speakers, list) else ())]
    for section, key in sections:
        if isinstance(section, dict):
            secret = section.get(key)
            if isinstance(secret, str) and secret and not secret.startswith("credential:"):
                section[key] = str(base / secret)
    cameras = table.get("camera")
    for camera in cameras if isinstance(cameras, list) else ():
        secret = camera.get("credentials") if isinstance(camera, dict) else None
        if isinstance(secret, str) and secret and not secret.startswith("credential:"):
            camera["credentials"] = str(base / secret)


def _steps(path: str) -> Steps:
    return tuple(key if key else int(index) for key, index in _STEP.findall(path) if key or index)


def _get(table: Any, steps: Steps) -> Any:
    for step in steps:
        table = table[step]
    return table


def _remove(table: Any, steps: Steps) -> bool:
    try:
        del _get(table, steps[:-1])[steps[-1]]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _show(steps: Steps, table: Any) -> str:
    """`camera[1] "gate" .fps` as `camera.gate.fps`: by name where the table has one, else by position."""
    parts: list[str] = []
    for step in steps:
        try:
            table = table[step]
        except (KeyError, IndexError, TypeError):
            table = None
        if isinstance(step, int):
            name = (table.get("name") or table.get("id")) if isinstance(table, dict) else None
            parts[-1] += f"[{name if isinstance(name, str) else step}]"
        else:
            parts.append(step)
    return ".".join(parts) or "the file"


def _known_keys(steps: Steps, table: dict[str, Any]) -> list[str]:
    """The keys that the section at `steps` knows."""
    kinds = _kinds(steps)
    here = _get(table, steps)
    tag = here.get("type") if isinstance(here, dict) else None
    kinds = [kind for kind in kinds if kind.__struct_config__.tag == tag] or kinds
    return [f.encode_name for kind in kinds for f in msgspec.structs.fields(kind)]


def _choices(steps: Steps) -> list[str]:
    """What may stand at `steps` where only certain words may."""
    kinds = _kinds(steps[:-1])
    if steps[-1:] == ("type",):
        return [str(kind.__struct_config__.tag) for kind in kinds]
    types = [f.type for kind in kinds for f in msgspec.structs.fields(kind) if f.encode_name == steps[-1]]
    return [str(word) for kind in types for word in _words(kind)]


def _kinds(steps: Steps) -> list[Any]:
    """The struct types that may stand at `steps`."""
    kinds: list[Any] = [Agent]
    for step in steps:
        if isinstance(step, str):
            found = [f.type for kind in kinds for f in msgspec.structs.fields(kind) if f.encode_name == step]
            kinds = [struct for kind in found for struct in _structs(kind)]
    return kinds


def _words(kind: Any) -> list[Any]:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [word for arg in get_args(kind) for word in _words(arg)]


def _structs(kind: Any) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, Struct):
        return [kind]
    return [struct for arg in get_args(kind) for struct in _structs(arg)]


def _cross_check(config: Agent, table: dict[str, Any]) -> list[str]:
    """What no single value shows: names that must exist, be unique, and make sense together.

    Names are taken from the file itself, so that a section refused for another fault still counts as there.
    """
    faults: list[str] = []

    def names(kind: str) -> set[str]:
        sections = table.get(kind, ())
        found = (
            [s.get("name") or s.get("id") for s in sections if isinstance(s, dict)]
            if isinstance(sections, list)
            else []
        )
        given = [name for name in found if isinstance(name, str)]
        faults.extend(
            f"{kind}: the name `{name}` stands {given.count(name)} times"
            for name in sorted({*given})
            if given.count(name) > 1
        )
        return set(given)

    def known(where: str, name: str, among: set[str], kind: str) -> None:
        if name not in among:
            there = ", ".join(sorted(among)) or "none is configured"
            faults.append(f"{where}: no {kind} is called `{name}` (there is: {there})")

    cameras, detectors, zones, speakers, routes = map(names, ("camera", "detector", "zone", "speaker", "route"))
    names("rule"), names("blackout"), names("visit")
    schedules = names("schedule")
    vehicle = "vehicle" in table
    site = table["site"] if isinstance(table.get("site"), dict) else {}

    try:
        ZoneInfo(config.site.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        faults.append(f"site.time_zone: no such IANA zone: {config.site.time_zone!r} (one is `Asia/Shanghai`)")
    if ("lat" in site) != ("lon" in site):
        faults.append("site: `lat` and `lon` go together")
    if not vehicle and not cameras:
        faults.append("the file: neither a [vehicle] nor a [[camera]]: there is nothing to run")
    if vehicle and "lat" not in site:
        faults.append("site.lat: required with a [vehicle]: it is the take-off place that flights are checked against")
    for camera in config.cameras:
        known(f"camera[{camera.name}].detector", camera.detector, detectors, "detector")
    for camera in config.cameras:
        if isinstance(camera, RtspCamera) and camera.credentials is not None:
            faults += _secret_faults(f"camera[{camera.name}].credentials", camera.credentials)
    simulated = {d.name for d in config.detectors if isinstance(d, SimulatedDetector)}
    for camera in config.cameras:
        if camera.detector in simulated and not isinstance(camera, SimulatedCamera):
            faults.append(
                f"camera[{camera.name}].detector: a simulated detector sees only a simulated camera's truth;"
                " give this camera one of type `onnx`"
            )
    for zone in config.zones:
        known(f"zone[{zone.name}].camera", zone.camera, cameras, "camera")
        if geo.crosses_itself(zone.polygon):
            faults.append(f"zone[{zone.name}].polygon: its edges cross each other")
    spoken_to = speakers.union(*(s.groups for s in config.speakers))
    spoken_to |= {"drone"} if any(s.airborne for s in config.speakers) else set()
    for rule in config.rules:
        if isinstance(rule, LineCrossing):
            known(f"rule[{rule.id}].camera", rule.camera, cameras, "camera")
            if rule.line[0] == rule.line[1]:
                faults.append(f"rule[{rule.id}].line: its ends are the same place")
        elif rule.zone is not None:
            known(f"rule[{rule.id}].zone", rule.zone, zones, "zone")
        if isinstance(rule, HotListed) and not config.plates.enabled:
            faults.append(f"plates.enabled: rule[{rule.id}] needs plates to be read: set it to true")
        for name in rule.speakers:
            known(f"rule[{rule.id}].speakers", name, spoken_to, "speaker")
        for number, rung in enumerate(rule.ladder):
            faults += [f"rule[{rule.id}].ladder[{number}].{fault}" for fault in phrase_faults(rung.say)]
        if rule.speakers and not rule.say:
            faults.append(f"rule[{rule.id}].say: required with `speakers`: what shall they say?")
        faults += [f"rule[{rule.id}].{fault}" for fault in phrase_faults(rule.say)]
        faults += [
            f"rule[{rule.id}].active[{n}]: {why}" for n, span in enumerate(rule.active) if (why := spans.fault(span))
        ]
    for schedule in config.schedules:
        known(f"schedule[{schedule.id}].route", schedule.route, routes, "route")
        faults += _schedule_faults(schedule, config.site)
    for blackout in config.blackouts:
        for name in blackout.schedules:
            known(f"blackout[{blackout.id}].schedules", name, schedules, "schedule")
        faults += [f"blackout[{blackout.id}]: {fault}" for fault in (spans.fault(blackout),) if fault]
    for number, span in enumerate(config.levels):
        faults += [f"level[{number}]: {fault}" for fault in (spans.fault(span),) if fault]
    for visit in config.visits:
        for name in visit.routes:
            known(f"visit[{visit.id}].routes", name, routes, "route")
        faults += _visit_faults(visit, config.site, config.limits)
    if (config.routes or config.schedules) and not vehicle:
        faults.append("vehicle: required with a [[route]] or a [[schedule]]")
    take_off = None if config.site.lat is None or config.site.lon is None else (config.site.lat, config.site.lon)
    for route in config.routes:
        faults += [f"route[{route.id}].{fault}" for fault in route_faults(route, take_off, config.limits)]
    if config.limits.return_battery_pct >= config.limits.takeoff_battery_pct:
        faults.append(
            f"limits.return_battery_pct: {config.limits.return_battery_pct:g} is not below"
            f" takeoff_battery_pct {config.limits.takeoff_battery_pct:g}: every flight would turn back at once"
        )
    faults += _airframe_faults(config.airframe)
    if isinstance(config.vehicle, MavlinkVehicle) and config.vehicle.signing is not None:
        faults += _secret_faults("vehicle.signing.key", config.vehicle.signing.key)
    if config.mqtt is not None:
        faults += _mqtt_faults(config.mqtt)
    faults += _speaker_faults(config.speakers)
    faults += _evidence_faults(config.evidence, config.mqtt)
    faults += _operator_faults(config.operators)
    if config.metrics is not None and not config.metrics.listen.startswith("unix:"):
        port = int(config.metrics.listen.rpartition(":")[2])
        if not 1 <= port <= 65535:
            faults.append(f"metrics.listen: port {port} is not within 1 to 65535")
    if config.site.device in RESERVED:
        faults.append(f"site.device: {config.site.device!r} is a level of the topics themselves; give another name")
    return faults


def _schedule_faults(schedule: Schedule, site: Site) -> list[str]:
    where = f"schedule[{schedule.id}]"
    faults = [f"{where}.windows[{n}]: {why}" for n, span in enumerate(schedule.windows) if (why := spans.fault(span))]
    if schedule.time_zone is not None:
        try:
            ZoneInfo(schedule.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            faults.append(f"{where}.time_zone: no such IANA zone: {schedule.time_zone!r}")
    for day in schedule.exdate:
        try:
            datetime.fromisoformat(day)
        except ValueError as error:
            faults.append(f"{where}.exdate: {error}, got {day!r}")
    return faults + _rule_faults(where, schedule, site)


def _rule_faults(where: str, schedule: Schedule, site: Site) -> list[str]:
    sunny = schedule.sun is not None
    if (schedule.cron is None) == (schedule.rrule is None and not sunny):
        return [f"{where}: give either `cron` or `rrule`, or `sun`"]
    if not sunny and (schedule.offset_min or schedule.not_before or schedule.not_after):
        return [f"{where}.sun: required with `offset_min`, `not_before` or `not_after`"]
    if sunny and site.lat is None:
        return [f"{where}.sun: the sun of what place? give site.lat and site.lon"]
    if schedule.not_before and schedule.not_after and schedule.not_before > schedule.not_after:
        return [f"{where}.not_before: {schedule.not_before} is later than not_after {schedule.not_after}"]
    if schedule.cron is not None:
        try:
            if len(schedule.cron.split()) != 5:
                raise CronSimError("five fields are wanted: minute hour day month weekday")
            CronSim(schedule.cron, datetime(2026, 1, 1))  # noqa: DTZ001 (a naive start only parses the line)
        except CronSimError as error:
            return [f"{where}.cron: {error}, got {schedule.cron!r}"]
        return []
    if schedule.rrule is None:
        return []
    if schedule.dtstart is None:
        return [f"{where}.dtstart: required with `rrule` (local time, as 2026-11-22T21:30)"]
    fault = rule_fault(schedule.rrule, schedule.dtstart)
    return [f"{where}.{fault}"] if fault else []


def _visit_faults(visit: MustVisit, site: Site, limits: Limits) -> list[str]:
    where, count = f"visit[{visit.id}]", len(visit.corners)
    least, most = {"point": (1, 1), "line": (2, 200), "area": (3, 200)}[visit.kind]
    if not least <= count <= most:
        return [f"{where}.corners: a {visit.kind} has {least} to {most}, got {count}"]
    if visit.dwell_s and visit.kind != "point":
        return [f"{where}.dwell_s: a {visit.kind} is passed, not stayed at; use `share`"]
    if visit.kind == "area" and geo.crosses_itself(visit.corners):
        return [f"{where}.corners: its edges cross each other"]
    if site.lat is None or site.lon is None:
        return []
    away_m = max(geo.distance_m(site.lat, site.lon, *corner) for corner in visit.corners)
    if away_m <= limits.max_distance_m:
        return []
    return [f"{where}: {away_m:.0f} m from the take-off place, limits.max_distance_m is {limits.max_distance_m:g}"]


def _airframe_faults(frame: Airframe) -> list[str]:
    return [
        f"airframe.{key}: {watts:g} is below hover_w {frame.hover_w:g}: nothing is cheaper than hovering here"
        for key, watts in (("climb_w", frame.climb_w), ("cruise_w", frame.cruise_w))
        if watts < frame.hover_w
    ]


def _mqtt_faults(mqtt: Mqtt) -> list[str]:
    faults: list[str] = []
    if mqtt.ca_file is None and not mqtt.plain:
        faults.append("mqtt.ca_file: required; for a broker without TLS, in development only, set `plain = true`")
    if mqtt.ca_file is not None and mqtt.plain:
        faults.append("mqtt.plain: true contradicts `ca_file`: with a CA the link is TLS")
    faults += _tls_faults("mqtt", mqtt)
    if mqtt.password is not None:
        faults += _secret_faults("mqtt.password", mqtt.password)
        if mqtt.username is None:
            faults.append("mqtt.username: required with `password`")
    return faults


def _speaker_faults(speakers: tuple[Speaker, ...]) -> list[str]:
    faults: list[str] = []
    after = {speaker.name: speaker.fallback for speaker in speakers}
    for speaker in speakers:
        where = f"speaker[{speaker.name}]"
        if (speaker.lat is None) != (speaker.lon is None):
            faults.append(f"{where}: `lat` and `lon` go together")
        if speaker.fallback is not None and speaker.fallback not in after:
            faults.append(f"{where}.fallback: no speaker is called `{speaker.fallback}`")
        way, name = [speaker.name], speaker.fallback
        while name is not None and name not in way:
            way.append(name)
            name = after.get(name)
        if name == speaker.name:
            faults.append(f"{where}.fallback: goes round in a circle: {' → '.join([*way, name])}")
        password: str | None = getattr(speaker, "password", None)
        if password is not None:
            faults += _secret_faults(f"{where}.password", password)
            if getattr(speaker, "username", None) is None:
                faults.append(f"{where}.username: required with `password`")
        ca_file: Path | None = getattr(speaker, "ca_file", None)
        if ca_file is not None and not ca_file.is_file():
            faults.append(f"{where}.ca_file: no such file: {ca_file}")
    return faults


def _operator_faults(operators: tuple[Operator, ...]) -> list[str]:
    faults: list[str] = []
    ids = [operator.id for operator in operators]
    for operator in operators:
        where = f"operator[{operator.id}]"
        if ids.count(operator.id) > 1:
            faults.append(f"{where}: the id stands {ids.count(operator.id)} times")
        try:
            date.fromisoformat(operator.not_after)
        except ValueError as error:
            faults.append(f"{where}.not_after: {error}, got {operator.not_after!r}")
    return list(dict.fromkeys(faults))


def _evidence_faults(evidence: Evidence, mqtt: Mqtt | None) -> list[str]:
    faults = _tls_faults("evidence", evidence)
    if evidence.upload == "static" and evidence.url is None:
        faults.append('evidence.url: required with upload = "static": the tus endpoint that takes the files')
    if evidence.upload != "static" and evidence.url is not None:
        faults.append(f'evidence.url: upload = "{evidence.upload}" does not use it; set upload = "static"')
    if evidence.upload == "mqtt" and mqtt is None:
        faults.append('evidence.upload: "mqtt" asks the centre for grants, and there is no [mqtt]')
    if evidence.url is not None and evidence.url.startswith("http:") and not evidence.plain:
        faults.append("evidence.url: is http://; use https://, or set `plain = true` in development only")
    if evidence.token is not None:
        faults += _secret_faults("evidence.token", evidence.token)
    return faults


def _tls_faults(where: str, section: Mqtt | Evidence) -> list[str]:
    faults: list[str] = []
    if (section.cert_file is None) != (section.key_file is None):
        faults.append(f"{where}: `cert_file` and `key_file` go together")
    for key in ("ca_file", "cert_file", "key_file"):
        path: Path | None = getattr(section, key)
        if path is not None and not path.is_file():
            faults.append(f"{where}.{key}: no such file: {path}")
    return faults


def _secret_faults(where: str, secret: str) -> list[str]:
    path = secret_path(secret)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return [  # without its value, which may be the secret itself
            f"{where}: {error.strerror}; a secret is never written here, only the file that holds it"
            " (or credential:NAME)"
        ]
    if mode & (stat.S_IRWXO | stat.S_IWGRP) and not secret.startswith("credential:"):
        return [f"{where}: {path} is open to others (mode {stat.S_IMODE(mode):04o}); chmod 600 it"]
    return []

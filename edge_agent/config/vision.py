"""Sections of the eyes: cameras, detectors, plates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from edge_agent.config.base import Id, Lat, Lon, Secret, Section, Unit


class Tiles(Section, frozen=True):
    """Parts of a large picture that the detector looks at in full size, for objects too small in the whole of it.

    Every `full_every` frames the whole picture is looked at, else up to `each` tiles as far as `budget_ms` lasts.
    """

    side_px: Annotated[int, Meta(ge=64, le=4096)] = 640
    each: Annotated[int, Meta(ge=1, le=64)] = 2
    full_every: Annotated[int, Meta(ge=1, le=1000)] = 3
    budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 200.0


Angle = Annotated[float, Meta(ge=-360, le=360)]
Sigma = Annotated[float, Meta(ge=0, le=1000)]


class Optics(Section, frozen=True, kw_only=True):
    """What the lens does: the file that `edge-agent camera calibrate` wrote, or the horizontal angle of view."""

    lens: Path | None = None
    hfov_deg: Annotated[float, Meta(gt=1, lt=170)] | None = None


class DroneView(Optics, frozen=True, kw_only=True, tag_field="type", tag="drone"):
    """A camera on the vehicle; pitch -90 looks straight down, 0 ahead. All errors are one standard deviation.

    With `gimbal` the autopilot tells how the camera is held, and the angles are those of the camera on the gimbal; of
    one that the autopilot moves by `servo` (MNT1_TYPE 1) it tells how the servos stand, from the body.
    """

    roll_deg: Angle = 0.0
    pitch_deg: Angle = -90.0
    yaw_deg: Angle = 0.0
    gimbal: bool = False
    servo: bool = False
    late_s: Annotated[float, Meta(ge=-1, le=5)] = 0.0  # how much later than the picture its time is stamped
    terrain: tuple[Path, ...] = ()  # SRTM .hgt or ArduPilot .DAT; else the ground is level with home
    place_m: Sigma = 2.0
    height_m: Sigma = 3.0
    tilt_deg: Sigma = 0.7
    heading_deg: Sigma = 2.0
    time_s: Sigma = 0.1


class PoleView(Optics, frozen=True, kw_only=True, tag_field="type", tag="pole"):
    """A fixed camera whose place, height above the ground and direction are known; errors as for a drone's."""

    lat: Lat
    lon: Lon
    height_m: Annotated[float, Meta(gt=0, le=500)]
    heading_deg: Angle
    pitch_deg: Angle
    roll_deg: Angle = 0.0
    place_error_m: Sigma = 1.0
    height_error_m: Sigma = 0.1
    tilt_error_deg: Sigma = 0.5
    heading_error_deg: Sigma = 1.0


class Marked(Section, frozen=True, kw_only=True):
    """A point on the ground that can be made out: its place in the picture (fractions), and in the world."""

    x: Unit
    y: Unit
    lat: Lat
    lon: Lon


class PointsView(Optics, frozen=True, kw_only=True, tag_field="type", tag="points"):
    """A fixed camera that knows four or more points of the ground, here or in a file of `camera calibrate --points`."""

    points: Annotated[tuple[Marked, ...], Meta(max_length=1000)] = ()
    file: Path | None = None
    survey_m: Sigma = 0.3  # how far the points' places are off, each by itself
    common_m: Sigma = 1.0  # and all together
    mark: Annotated[float, Meta(ge=0, le=0.1)] = 0.002  # how far they are off in the picture, of its width


View = DroneView | PoleView | PointsView


Light = Literal["day", "night", "thermal"]
LightFrom = Literal["auto", "sensor", "picture", "sun", "day", "night", "thermal"]


class Profile(Section, frozen=True, kw_only=True):
    """What is another by day, at night or in thermal pictures; what is left out is as the camera and detector say.

    `max_exposure_ms` limits how much moving things are smeared (`picamera` only): what is too dark gets gain instead.
    """

    when: Light
    detector: Id | None = None
    score: Unit | None = None
    max_exposure_ms: Annotated[float, Meta(gt=0, le=1000)] | None = None


class Mask(Section, frozen=True, kw_only=True):
    """A part of the picture, in fractions of it, where nothing that is found is believed.

    With `hide` it is painted over before anybody looks: no picture, clip or original ever shows it.
    """

    polygon: Annotated[tuple[tuple[Unit, Unit], ...], Meta(min_length=3, max_length=200)]
    hide: bool = False


class Load(Section, frozen=True):
    """A board that is too slow for `min_fps` of each camera, or hotter than `max_temp_c`, leaves out what it must."""

    min_fps: Annotated[float, Meta(gt=0, le=60)] = 2.0
    max_temp_c: Annotated[float, Meta(ge=40, le=120)] = 80.0


class Looked(Section, frozen=True, kw_only=True):
    """What all cameras have in common: whose eyes look at it, where, and when.

    `motion`: a camera that stands still (`static`) is looked at where something changes; of one that moves (`moving`)
    the picture's motion is taken from the tracks; `auto` tells which by itself, `off` does neither. `view` says how it
    looks at the ground, so that what it sees has a place, and zones may be drawn on the map.
    """

    name: Id
    detector: Id
    motion: Literal["auto", "static", "moving", "off"] = "auto"
    tiles: Tiles | None = None
    light: LightFrom = "auto"
    light_after_s: Annotated[float, Meta(ge=0, le=3600)] = 60.0
    profiles: tuple[Profile, ...] = field(default=(), name="profile")
    masks: tuple[Mask, ...] = field(default=(), name="mask")
    anchored: bool = False
    view: View | None = None


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
    """The camera of a Raspberry Pi, by picamera2; `short_exposure` keeps what moves sharp, at the price of noise.

    Its own scaler makes a copy of each picture, `lores_px` on the longer side (0: none), for detector and motion.
    """

    number: Annotated[int, Meta(ge=0, le=9)] = 0
    width: Annotated[int, Meta(ge=64, le=9152)] = 1920
    height: Annotated[int, Meta(ge=64, le=6944)] = 1080
    fps: MaxFps = 15.0
    short_exposure: bool = True
    lores_px: Annotated[int, Meta(ge=0, le=2048)] = (
        640  # longer side of a copy by its own scaler, for the detector; 0: none
    )
    stall_s: StallS = 5.0
    frozen_s: FrozenS = 30.0


Camera = VideoCamera | SimulatedCamera | RtspCamera | V4l2Camera | PiCamera


class OnnxDetector(Section, frozen=True, tag_field="type", tag="onnx"):
    """A detector run by ONNX Runtime; `labels` names the classes where the model does not.

    `model`: a file, or the name of a model that came along or was installed; without it `person-vehicle`. With `socket`
    it runs in a process of its own, without network: "/run/edge-agent-detector/NAME.sock" is that of
    edge-agent-detector@NAME.socket. With `side_px` a model that leaves the size of its input open looks at as many
    pixels as this square has; the cost grows with them.
    """

    name: Id
    model: Path | None = None
    score: Unit = 0.3
    nms_iou: Unit = 0.5
    threads: Annotated[int, Meta(ge=1, le=64)] = 2
    labels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ("person", "vehicle", "two-wheeler")  # what is kept; empty keeps all
    socket: Path | None = None
    side_px: Annotated[int, Meta(ge=64, le=2048, multiple_of=32)] | None = None


class SimulatedDetector(Section, frozen=True, tag_field="type", tag="simulated"):
    """Reads the truth that the simulated camera knows; says so wherever it is shown."""

    name: Id


Detector = OnnxDetector | SimulatedDetector


PlateReader = Literal["built-in", "rapidocr"]


class Plates(Section, frozen=True):
    """Reading of licence plates on vehicles, by our own models or (installed apart) by RapidOCR's.

    A track is read every `every_s` until `enough` readings are there, then where its vehicle has come much nearer, and
    less and less often where they make no sure plate; the `enough` best of them vote. `min_confidence` 0.6: told where
    six of ten such readings are right. `types`: files with your own kinds of plates, in the form of
    edge_agent/plates.toml.
    """

    enabled: bool = False
    reader: PlateReader = "built-in"
    countries: Annotated[tuple[Annotated[str, Meta(pattern="^[A-Z]{2}\\Z")], ...], Meta(min_length=1)] = ("CN",)
    types: tuple[Path, ...] = ()
    min_confidence: Unit = 0.6
    every_s: Annotated[float, Meta(ge=0, le=60)] = 0.5
    enough: Annotated[int, Meta(ge=1, le=100)] = 5
    threads: Annotated[int, Meta(ge=1, le=64)] = 1

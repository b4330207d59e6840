"""Which camera looks where on the ground: views of the config, the vehicle's poses, zones of the map in the picture."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, assert_never

import msgspec
import numpy as np

from edge_agent import config
from edge_agent.files import read_text
from edge_agent.messages import Box, Posed, Tracks
from edge_agent.plans import terrain
from edge_agent.runtime import DriverError
from edge_agent.vision.attitude import Pose, Poses
from edge_agent.vision.fuse import Fuser
from edge_agent.vision.ground import Mark, Misfit, PointsSight
from edge_agent.vision.lens import Lens, by_angle, lens_of
from edge_agent.vision.locate import Corner, Errors, Find, Floats, PosedSight, Sight, mounted, rotation

log = logging.getLogger(__name__)


class Places:
    """`hear` what the vehicle says, then `locate` tracks; a camera whose view cannot be used locates nothing."""

    def __init__(self, cameras: Iterable[config.Camera], site: config.Site) -> None:
        self.poses = Poses()
        self.faults: dict[str, str] = {}  # by camera
        self._eyes: dict[str, _Eye] = {}
        self._fusers: dict[str, Fuser] = {}
        self.moving = False  # whether any of them is on a vehicle
        for camera in cameras:
            if camera.view is None:
                continue
            self.moving |= isinstance(camera.view, config.DroneView)
            try:
                self._eyes[camera.name] = _Eye(camera.view, site)
            except DriverError as error:
                self.faults[camera.name] = str(error)

    def hear(self, said: Posed) -> None:
        """The vehicle says how it stands."""
        self.poses.hear(said)

    def sight(self, camera: str, at_s: float, width: int, height: int) -> Sight | None:
        """How a camera looked at the ground at a moment; None where that is not known."""
        eye = self._eyes.get(camera)
        return eye.sight(self.poses, at_s, width / height) if eye else None

    def locate(self, tracks: Tracks) -> Tracks:
        """The tracks with their places, as far as they are known, each by all of its pictures."""
        fuser = self._fusers.setdefault(tracks.camera, Fuser())
        fuser.forget(tracks.ended)
        if not tracks.tracks:
            return tracks
        sight = self.sight(tracks.camera, tracks.at_s, tracks.width, tracks.height)
        if sight is None:
            return tracks
        fixes = fuser.update(tracks, _finds(tracks, sight))
        placed = (msgspec.structs.replace(track, place=fix) for track, fix in zip(tracks.tracks, fixes, strict=True))
        return msgspec.structs.replace(tracks, tracks=tuple(placed))

    def boxes(self, zones: Iterable[config.Zone], tracks: Tracks) -> list[Box]:
        """The boxes around a camera's zones in this picture, in fractions of it; what is not seen is left out."""
        mine = [zone for zone in zones if zone.camera == tracks.camera]
        sight = (
            self.sight(tracks.camera, tracks.at_s, tracks.width, tracks.height) if any(z.map for z in mine) else None
        )
        return [box for zone in mine if (box := box_around(outline(zone, sight))) is not None]


def outline(zone: config.Zone, sight: Sight | None) -> Sequence[Corner]:
    """A zone's corners in fractions of the picture; empty where it is on the map and not in the picture."""
    if not zone.map:
        return zone.polygon
    return sight.outline(zone.map) if sight is not None else ()


def box_around(corners: Sequence[Corner]) -> Box | None:
    """The box around some corners, None around nothing."""
    if not corners:
        return None
    return (
        min(x for x, _ in corners),
        min(y for _, y in corners),
        max(x for x, _ in corners),
        max(y for _, y in corners),
    )


def _finds(tracks: Tracks, sight: Sight) -> list[Find | None]:
    """Feet and wheels are at the middle of a box's lower edge, within the picture."""
    wide, high = tracks.width, tracks.height
    boxes = [track.box for track in tracks.tracks]
    spots = [
        (min(max((x1 + x2) / 2, 0.5), wide - 0.5) / wide, min(max(y2, 0.5), high - 0.5) / high)
        for x1, _, x2, y2 in boxes
    ]
    return sight.finds(spots, [(x2 - x1) / wide for x1, _, x2, _ in boxes])


class _Eye:
    """One camera's view, its files read once."""

    def __init__(self, view: config.View, site: config.Site) -> None:
        self._view, self._ground, self._home_msl_m = view, None, 0.0
        self._lens = read_lens(view.lens) if view.lens is not None else None
        self._fixed: Sight | None = None
        if isinstance(view, config.DroneView) and view.terrain:
            self._ground = terrain.Tiles([_tile(file) for file in view.terrain])
            self._home_msl_m = _home_msl_m(self._ground, site)
        if isinstance(view, config.PointsView):
            self._fixed = points_sight(view, self._lens)

    def sight(self, poses: Poses, at_s: float, aspect: float) -> Sight | None:
        """`aspect` is how many times as wide as high the picture is."""
        if self._fixed is not None:
            return self._fixed
        view = self._view
        match view:
            case config.DroneView():
                pose = poses.at(at_s - view.late_s, gimbal=view.gimbal)
                return None if pose is None else self.posed(view, pose, aspect)
            case config.PoleView():
                self._fixed = _pole(view, self._lens_for(aspect))
                return self._fixed
            case config.PointsView():
                return None
            case _:
                assert_never(view)

    def posed(self, view: config.DroneView, pose: Pose, aspect: float) -> PosedSight:
        """The camera of a vehicle in this pose."""
        attitude, position, mount = pose.attitude, pose.position, mounted(view.roll_deg, view.pitch_deg, view.yaw_deg)
        body = rotation(attitude.roll, attitude.pitch, attitude.yaw)
        base, level = body, False
        if pose.gimbal is not None:
            mount = _turn(pose.gimbal.q) @ mount
            if not view.servo:  # it keeps the horizon, whatever the body does
                base, level = np.eye(3) if pose.gimbal.earth else rotation(0.0, 0.0, attitude.yaw), True
        turn = base @ mount
        p, q, r = body @ np.array(attitude.rates)
        return PosedSight(
            self._lens_for(aspect),
            turn,
            lat=position.lat,
            lon=position.lon,
            alt_m=position.alt_m,
            errors=Errors(
                place_m=view.place_m,
                height_m=view.height_m,
                tilt_deg=view.tilt_deg,
                heading_deg=view.heading_deg,
                time_s=view.time_s,
            ),
            velocity=(position.north_mps, position.east_mps, -position.up_mps),
            rates=(0.0, 0.0, float(r)) if level else (float(p), float(q), float(r)),
            ground=self._ground,
            home_msl_m=self._home_msl_m,
        )

    def _lens_for(self, aspect: float) -> Lens:
        if self._lens is not None:
            return self._lens
        assert self._view.hfov_deg is not None  # config.load saw to it
        return by_angle(self._view.hfov_deg, aspect)


def _pole(view: config.PoleView, lens: Lens) -> PosedSight:
    turn = rotation(0.0, 0.0, np.deg2rad(view.heading_deg)) @ mounted(view.roll_deg, view.pitch_deg, 0.0)
    errors = Errors(
        place_m=view.place_error_m,
        height_m=view.height_error_m,
        tilt_deg=view.tilt_error_deg,
        heading_deg=view.heading_error_deg,
        time_s=0.0,
    )
    return PosedSight(lens, turn, lat=view.lat, lon=view.lon, alt_m=view.height_m, errors=errors, method="pole")


def points_sight(view: config.PointsView, lens: Lens | None) -> PointsSight:
    """The ground by marked points; raises DriverError where they give none."""
    marks = [Mark(x=one.x, y=one.y, lat=one.lat, lon=one.lon) for one in view.points]
    if view.file is not None:
        marks, filed = read_marks(view.file)
        lens = lens or filed
    try:
        return PointsSight(marks, lens, mark=view.mark, survey_m=view.survey_m, common_m=view.common_m)
    except Misfit as error:
        raise DriverError(f"{view.file or 'points'}: {error}") from None


def read_marks(file: Path) -> tuple[list[Mark], Lens | None]:
    """Marked points, as `camera calibrate --points` wrote them or as CSV with x, y, lat, lon; raises DriverError."""
    try:
        text = read_text(file)
        if text.lstrip().startswith("{"):
            found = json.loads(text)
            lens = lens_of(found["lens"]) if found.get("lens") else None
            return [_mark(number, one) for number, one in enumerate(found["points"], 1)], lens
        rows: list[dict[str, Any]] = list(csv.DictReader(text.splitlines()))
        return [_mark(number, row) for number, row in enumerate(rows, 1)], None
    except OSError as error:
        raise DriverError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, csv.Error) as error:
        why = f"no column {error}" if isinstance(error, KeyError) else str(error)
        raise DriverError(f"{file}: holds no marked points: {why}; a CSV with x,y,lat,lon is wanted") from None


def _mark(number: int, told: dict[str, Any]) -> Mark:
    """One marked point; raises ValueError where it lies nowhere."""
    mark = Mark(**{key: float(told[key]) for key in ("x", "y", "lat", "lon")})
    if not (math.isfinite(mark.x) and math.isfinite(mark.y) and abs(mark.lat) <= 90 and abs(mark.lon) <= 180):
        raise ValueError(f"point {number} is at x {mark.x:g}, y {mark.y:g}, lat {mark.lat:g}, lon {mark.lon:g}")
    return mark


def read_lens(file: Path) -> Lens:
    """What `edge-agent camera calibrate` wrote; raises DriverError."""
    try:
        return lens_of(json.loads(read_text(file)))
    except OSError as error:
        raise DriverError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DriverError(f"{file}: is no lens: {error}; make it with `edge-agent camera calibrate PICTURES`") from None


def _tile(file: Path) -> terrain.Ground:
    try:
        data = file.read_bytes()
        return terrain.Hgt(file.name, data) if file.suffix.lower() == ".hgt" else terrain.Dat(data)
    except OSError as error:
        raise DriverError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DriverError(f"{file}: {error}") from None


def _home_msl_m(ground: terrain.Ground, site: config.Site) -> float:
    """Of the same map as the rest of the ground, so that what it is off by falls out; else as the site says."""
    known = ground.height_m(site.lat, site.lon) if site.lat is not None and site.lon is not None else None
    found = known if known is not None else site.alt_m
    if found is None:
        raise DriverError("view.terrain: does not know the take-off place: give site.alt_m, or the tile that holds it")
    return found


def _turn(q: tuple[float, float, float, float]) -> Floats:
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )

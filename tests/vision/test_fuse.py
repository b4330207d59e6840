"""One place for a track from many pictures: surer than one picture, and never surer than what all of them share."""

import math

import cv2
import numpy as np
import pytest

from edge_agent import geo
from edge_agent.messages import Fix, Track, Tracks
from edge_agent.vision.fuse import Fuser
from edge_agent.vision.lens import by_angle
from edge_agent.vision.locate import Errors, Find, PosedSight, covers, mounted, rotation

LAT, LON = 30.2461, 120.1552
LENS = by_angle(60.0, 16 / 9)
FPS = 5.0


def tracks(at_s: float, *, seen: bool = True, id: int = 1) -> Tracks:
    track = Track(id=id, label="car", score=0.9, box=(0, 0, 9, 9), first_s=0.0, last_s=at_s, hits=3, seen=seen)
    return Tracks(camera="c", seq=1, at_s=at_s, wall_s=at_s, width=1600, height=900, tracks=(track,))


def find(north: float, east: float, *, shared_m: float = 2.0, own_m: float = 1.0) -> Find:
    lat, lon = geo.from_local(north, east, LAT, LON)
    return Find(
        lat=lat, lon=lon, shared=np.eye(2) * shared_m, own=np.eye(2) * own_m, method="pole", ref="home", wide_m=2.0
    )


def off_m(fix: Fix | None, north: float, east: float) -> float:
    assert fix is not None
    return math.dist(geo.to_local(fix.lat, fix.lon, LAT, LON), (north, east))


# --- the ellipse covers -------------------------------------------------------------------------------------------


def flown(rng: np.random.Generator, way: str, walks: bool) -> bool:
    """One flight: errors are drawn once for all of it, the box trembles in every picture."""
    errors = Errors(picture=0.01)
    tilt, heading = math.radians(errors.tilt_deg), math.radians(errors.heading_deg)
    wrong, _ = cv2.Rodrigues(rng.normal(0, 1, 3) * (tilt, tilt, heading))
    place_off, late_s = rng.normal(0, errors.place_m, 2), rng.normal(0, errors.time_s)
    high_off, focal = rng.normal(0, errors.height_m), 1 + rng.normal(0, errors.focal)
    lens = by_angle(60.0, 16 / 9)
    lens = type(lens)(fx=lens.fx * focal, fy=lens.fy * focal)
    alt_m, fuser, fix = 50.0, Fuser(), None
    step = rng.normal(0, 1.0, 2) if walks else np.zeros(2)
    truth = np.zeros(2)
    for n in range(25):
        t = n / FPS
        truth = step * t
        if way == "circle":
            angle = 0.6 * t
            camera, velocity = 40 * np.array((math.cos(angle), math.sin(angle))), np.zeros(2)
            velocity = 24 * np.array((-math.sin(angle), math.cos(angle)))
        else:
            velocity = np.array((6.0 if way == "pass" else 0.0, 0.0))
            camera = np.array((-45.0, 3.0)) + velocity * t
        yaw = math.atan2(*(truth - camera)[::-1])
        turn = rotation(0.0, 0.0, yaw) @ mounted(0.0, -50.0, 0.0)
        lat, lon = geo.from_local(*camera, LAT, LON)
        true = PosedSight(LENS, turn, lat=lat, lon=lon, alt_m=alt_m, errors=errors)
        seen = true.pixel(*geo.from_local(*truth, LAT, LON))
        assert seen is not None
        lat, lon = geo.from_local(*(camera + place_off + late_s * velocity), LAT, LON)
        believed = PosedSight(
            lens, wrong @ turn, lat=lat, lon=lon, alt_m=alt_m + high_off, errors=errors, velocity=(*velocity, 0.0)
        )
        off = rng.normal(0, errors.picture, 2) * (1, 16 / 9)
        [fix] = fuser.update(tracks(t), believed.finds([(seen[0] + off[0], seen[1] + off[1])]))
    assert fix is not None
    return covers(fix, *geo.from_local(*truth, LAT, LON))


@pytest.mark.parametrize(("way", "walks"), [("hover", False), ("pass", True), ("circle", False)])
def test_nineteen_of_twenty_fused_ellipses_hold_the_truth(way: str, walks: bool) -> None:
    rng = np.random.default_rng(len(way))
    held = [flown(rng, way, walks) for _ in range(150)]
    assert np.mean(held) >= 0.91  # of 150 runs at 95 %: two standard deviations below


# --- what many pictures may do, and what they may not -------------------------------------------------------------


def test_what_trembles_averages_out_and_what_all_pictures_share_stays() -> None:
    rng, fuser, fix = np.random.default_rng(1), Fuser(), None
    for n in range(100):
        [fix] = fuser.update(tracks(n / FPS), [find(*rng.normal(0, 1.0, 2))])
    assert fix is not None
    alone = find(0.0, 0.0).fix()
    floor = math.sqrt(5.9915) * 2.0
    assert floor <= fix.minor_m <= fix.major_m < alone.major_m
    assert fix.major_m < 1.1 * floor
    assert off_m(fix, 0.0, 0.0) < 1.0


def test_who_walks_is_where_he_is_not_where_he_was() -> None:
    fuser, fix = Fuser(), None
    for n in range(50):
        [fix] = fuser.update(tracks(n / FPS), [find(1.4 * n / FPS, 0.0, own_m=0.3)])
    assert off_m(fix, 1.4 * 49 / FPS, 0.0) < 0.1


def test_a_place_that_the_object_cannot_have_reached_begins_anew() -> None:
    fuser = Fuser()
    for n in range(20):
        fuser.update(tracks(n / FPS), [find(0.0, 0.0)])
    [fix] = fuser.update(tracks(20 / FPS), [find(60.0, 0.0)])
    assert off_m(fix, 60.0, 0.0) < 1e-6


def test_while_it_is_not_seen_its_place_goes_on_and_grows_less_sure() -> None:
    fuser = Fuser()
    for n in range(20):
        [before] = fuser.update(tracks(n / FPS), [find(n / FPS, 0.0, own_m=0.2)])
    [after] = fuser.update(tracks(5.8, seen=False), [find(500.0, 0.0, own_m=0.2)])  # where a box was guessed to be
    assert before is not None
    assert after is not None
    assert off_m(after, 5.8, 0.0) < 0.3
    assert after.major_m > before.major_m


def test_the_sky_is_no_place_and_a_new_track_of_an_old_number_is_another() -> None:
    fuser = Fuser()
    fuser.update(tracks(0.0), [find(0.0, 0.0)])
    assert fuser.update(tracks(0.2), [None]) == [None]
    [fix] = fuser.update(tracks(0.4), [find(9.0, 0.0)])
    assert off_m(fix, 9.0, 0.0) < 1e-6
    [again] = fuser.update(tracks(0.1), [find(2.0, 0.0)])  # a video that began again
    assert off_m(again, 2.0, 0.0) < 1e-6

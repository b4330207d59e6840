"""Clips: cut around an incident or when asked, playable, named by their hash, and blurred where they leave."""

import asyncio
import hashlib
import itertools
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from msgspec import structs

from edge_agent import config
from edge_agent.messages import Box, Incident, Refusal, Track, Tracks, Video
from edge_agent.runtime import DriverError, Health, SystemClock
from edge_agent.vision.blur import blurred, others, private
from edge_agent.vision.camera import Frame
from edge_agent.vision.clips import Clips, Wanted
from edge_agent.vision.video_file import Encoder, write_video

SIZE = (240, 320)  # height, width
PERSON: Box = (40.0, 20.0, 100.0, 220.0)
CAR: Box = (160.0, 100.0, 300.0, 200.0)
RULE = config.ForbiddenZone(id="r", zone="z", clip_before_s=1.0, clip_after_s=1.0)


def chequered() -> np.ndarray:
    """Fine detail everywhere, of 4 x 4 pixels: what is blurred loses it."""
    rows, columns = np.indices(SIZE) // 4
    return np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def detail(pixels: np.ndarray, box: Box) -> float:
    """The contrast within a box, 0 where nothing can be made out."""
    x1, y1, x2, y2 = (int(side) for side in box)
    part = pixels[y1:y2, x1:x2].astype(float)
    return float(np.abs(np.diff(part.mean(axis=2), axis=1)).mean())


def moment(t: float, people: Iterable[tuple[int, str, Box]] = ()) -> tuple[Frame, Tracks]:
    tracks = tuple(
        Track(id=id, label=label, score=0.9, box=box, first_s=0, last_s=t, hits=3) for id, label, box in people
    )
    frame = Frame("c", int(t * 10), t, 1000 + t, chequered())
    return frame, Tracks(
        camera="c", seq=frame.seq, at_s=t, wall_s=1000 + t, width=SIZE[1], height=SIZE[0], tracks=tracks
    )


BOTH = ((1, "person", PERSON), (2, "car", CAR))
HEAD: Box = (42.0, 22.0, 98.0, 80.0)
PLATE: Box = (165.0, 145.0, 295.0, 198.0)
LEGS: Box = (42.0, 100.0, 98.0, 218.0)


def test_heads_and_plates_cannot_be_made_out_and_the_rest_can() -> None:
    frame, tracks = moment(0.0, BOTH)
    shown = blurred(frame.pixels, others(private(tracks)))
    assert detail(shown, HEAD) < 0.1 * detail(frame.pixels, HEAD)
    assert detail(shown, PLATE) < 0.1 * detail(frame.pixels, PLATE)
    assert detail(shown, LEGS) == detail(frame.pixels, LEGS)
    assert detail(frame.pixels, HEAD) > 50  # the original is as it was


def test_the_head_of_a_rider_who_was_taken_for_his_bicycle_is_hidden() -> None:
    frame, tracks = moment(0.0, ((1, "two-wheeler", PERSON),))
    shown = blurred(frame.pixels, others(private(tracks), 1))
    assert detail(shown, HEAD) < 0.1 * detail(frame.pixels, HEAD)


@pytest.mark.parametrize(
    ("label", "box", "head"),
    [
        ("person", (40.0, 140.0, 120.0, 240.0), (60.0, 142.0, 100.0, 196.0)),  # cut by the lower edge
        ("person", (40.0, 40.0, 140.0, 80.0), (104.0, 42.0, 138.0, 78.0)),  # lies, or is seen from above
        ("two-wheeler", (40.0, 100.0, 120.0, 200.0), (62.0, 30.0, 98.0, 90.0)),  # the box ends below the rider's head
    ],
)
def test_the_head_of_whom_the_box_shows_otherwise_is_hidden_too(label: str, box: Box, head: Box) -> None:
    frame, tracks = moment(0.0, ((1, label, box),))
    shown = blurred(frame.pixels, others(private(tracks), 1))
    assert detail(shown, head) < 0.1 * detail(frame.pixels, head)


@pytest.mark.parametrize("box", [(160.0, 0.0, 300.0, 200.0), (1.0, 60.0, 319.0, 200.0)])
def test_of_a_vehicle_that_the_picture_cuts_the_plate_may_be_anywhere(box: Box) -> None:
    frame, tracks = moment(0.0, ((1, "car", box),))
    shown = blurred(frame.pixels, others(private(tracks)))
    high = (170.0, box[1] + 2, 290.0, box[1] + 40)
    assert detail(shown, high) < 0.1 * detail(frame.pixels, high)


def test_who_is_not_yet_sure_to_be_there_is_hidden_all_the_same() -> None:
    frame, tracks = moment(0.0, BOTH)
    unsure = tuple(structs.replace(track, id=0) for track in tracks.tracks)
    shown = blurred(frame.pixels, others(private(structs.replace(tracks, tracks=(), unsure=unsure)), 2))
    for part in (HEAD, PLATE):
        assert detail(shown, part) < 0.1 * detail(frame.pixels, part)


def test_the_plate_that_a_rule_asked_for_stays_and_the_heads_do_not() -> None:
    frame, tracks = moment(0.0, BOTH)
    shown = blurred(frame.pixels, others(private(tracks), 2))
    assert detail(shown, PLATE) == detail(frame.pixels, PLATE)
    assert detail(shown, HEAD) < 0.1 * detail(frame.pixels, HEAD)
    assert detail(blurred(frame.pixels, others(private(tracks), 1)), HEAD) < 0.1 * detail(frame.pixels, HEAD)


def test_what_a_detector_of_faces_and_plates_found_is_hidden_but_for_the_plate_that_was_asked_for() -> None:
    face, plate = (150.0, 20.0, 180.0, 60.0), (200.0, 110.0, 260.0, 130.0)
    frame, tracks = moment(0.0, ((1, "face", face), (2, "car", CAR), (3, "license_plate", plate)))
    shown = blurred(frame.pixels, others(private(tracks)))
    assert detail(shown, face) < 0.1 * detail(frame.pixels, face)
    assert detail(shown, plate) < 0.1 * detail(frame.pixels, plate)
    for subject in (1, 2):
        shown = blurred(frame.pixels, others(private(tracks), subject))
        assert detail(shown, face) < 0.1 * detail(frame.pixels, face)
    assert detail(shown, plate) == detail(frame.pixels, plate)


def test_a_part_of_the_vehicle_that_was_taken_for_another_hides_nothing_and_one_in_front_of_it_does() -> None:
    """Nets see a small vehicle in a plate now and then: what was asked for would be lost from its own evidence."""
    part, in_front = (170.0, 160.0, 210.0, 180.0), (170.0, 130.0, 240.0, 190.0)
    frame, tracks = moment(0.0, ((2, "car", CAR), (3, "car", part)))
    shown = blurred(frame.pixels, others(private(tracks), 2))
    assert detail(shown, PLATE) == detail(frame.pixels, PLATE)
    frame, tracks = moment(0.0, ((2, "car", CAR), (3, "car", in_front)))
    shown = blurred(frame.pixels, others(private(tracks), 2))
    assert detail(shown, (172.0, 160.0, 238.0, 188.0)) < 0.1 * detail(frame.pixels, PLATE)


@pytest.mark.parametrize("box", [(-50.0, -50.0, 10.0, 10.0), (310.0, 230.0, 900.0, 900.0), (5.0, 5.0, 5.0, 5.0)])
def test_boxes_beyond_the_picture_are_no_trouble(box: Box) -> None:
    assert blurred(chequered(), [box]).shape == (*SIZE, 3)


def coded(count: int, people: Iterable[tuple[int, str, Box]] = ()) -> list:
    encoder, people = Encoder(720), tuple(people)
    found = []
    for n in range(count):
        frame, tracks = moment(n / 8, people)
        one = encoder.encode(frame.pixels, frame.at_s, frame.wall_s, private(tracks))
        assert one
        found.append(one)
    return found


def pictures(file: Path) -> list[np.ndarray]:
    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def test_packets_become_a_file_that_plays_at_the_times_of_the_camera(tmp_path: Path) -> None:
    video = write_video(tmp_path / "x.mp4", coded(24), blur=False)
    data = (tmp_path / "x.mp4").read_bytes()
    assert (video.sha256, video.bytes, video.frames) == (hashlib.sha256(data).hexdigest(), len(data), 24)
    assert (video.began_s, video.lasts_s, video.width, video.height) == (1000.0, 2.875, 320, 240)
    with av.open(str(tmp_path / "x.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([n / 8 for n in range(24)], abs=0.002)
    assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [("x.mp4", 0o600)]


def test_a_blurred_clip_shows_no_head_in_any_picture_and_the_original_does(tmp_path: Path) -> None:
    taken = coded(12, BOTH)
    write_video(tmp_path / "original.mp4", taken, blur=False)
    write_video(tmp_path / "blurred.mp4", taken, blur=True, subjects=(2,))
    before, after = pictures(tmp_path / "original.mp4"), pictures(tmp_path / "blurred.mp4")
    assert len(before) == len(after) == 12
    for one, other in zip(before, after, strict=True):
        assert detail(other, HEAD) < 0.2 * detail(one, HEAD)
        assert detail(other, PLATE) > 0.5 * detail(one, PLATE)


def test_pictures_of_a_size_that_no_encoder_takes_are_a_fault_of_the_clips_alone() -> None:
    with pytest.raises(DriverError, match="pictures of 17000x32 cannot be encoded"):
        Encoder(720).encode(np.zeros((32, 17_000, 3), np.uint8), 1.0, 1.0, ())


def test_pictures_that_are_no_video_are_left_out() -> None:
    encoder = Encoder(720)
    assert encoder.encode(np.zeros((1, 1, 3), np.uint8), 0.0, 0.0, ()) is None
    assert encoder.encode(chequered(), 1.0, 0.0, ()) is not None
    assert encoder.encode(chequered(), 1.0, 0.0, ()) is None  # its time does not go on
    again = encoder.encode(chequered()[:100, :99], 2.0, 0.0, ())
    assert again
    assert (again.width, again.height, again.key) == (98, 100, True)


class World:
    """Clips of one camera, fed by hand."""

    def __init__(self, directory: Path, privacy: config.Privacy | None = None, **section: float) -> None:
        self.found: list[tuple[Wanted, Video | str]] = []
        clock = SystemClock()
        self.health = Health(clock)
        self.clips = Clips(
            directory,
            config.Clips(**section),
            privacy=privacy or config.Privacy(),
            clock=clock,
            health=self.health,
            on_clip=self.on_clip,
        )

    async def on_clip(self, wanted: Wanted, found: Video | str) -> None:
        self.found.append((wanted, found))

    async def feed(self, until_s: float, from_s: float = 0.0) -> None:
        for n in range(round(from_s * 8), round(until_s * 8)):
            self.clips.offer(*moment(n / 8, BOTH))
            busy = self.clips._recorders["c"].busy
            if busy is not None:
                await busy

    async def until_found(self, count: int = 1) -> None:
        async with asyncio.timeout(20):
            running = asyncio.get_running_loop().create_task(self.clips.run())
            while len(self.found) < count:
                await asyncio.sleep(0.02)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def incident(at_s: float) -> Incident:
    return Incident(
        id="01KB0RB5EWTZ0Y8R2N4M6K8J0H",
        kind="forbidden_zone",
        rule="r",
        camera="c",
        zone="z",
        track=2,
        label="car",
        score=0.9,
        box=CAR,
        began_s=1000.0,
        wall_s=1000.0 + at_s,
        at_s=at_s,
        lasted_s=1.0,
        frame=1,
    )


async def test_a_clip_around_an_incident_goes_from_before_to_after(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.feed(3.0)
    world.clips.around(incident(3.0), RULE, blur=True)
    await world.feed(5.0, from_s=3.0)
    await world.until_found()
    [(wanted, video)] = world.found
    assert isinstance(video, Video)
    assert wanted.by is None
    assert (video.began_s, video.lasts_s) == (1002.0, 2.0)
    assert Path(video.path) == tmp_path / "clips" / f"{wanted.id}.mp4"
    assert (tmp_path / "originals" / f"{wanted.id}.mp4").is_file()


async def test_no_picture_of_a_clip_is_encoded_anew_while_somebody_waits_for_other_work(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.feed(3.0)
    world.clips.around(incident(2.0), RULE, blur=True)
    with world.clips.waiting(), world.clips.waiting():
        running = asyncio.create_task(world.clips.run())
        async with asyncio.timeout(20):
            while not (tmp_path / "originals").is_dir():  # written before: its pictures are as they are
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)  # it takes a tenth of that
        assert not (tmp_path / "clips").is_dir()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    [(_, video)] = world.found
    assert isinstance(video, Video) and Path(video.path).is_file()


async def test_of_whom_a_clip_is_about_the_plate_is_shown_under_each_track_that_it_had(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.feed(3.0)
    found = incident(3.0)
    world.clips.around(found, RULE, blur=True)
    world.clips.back("another's", 7)
    world.clips.back(found.id, 9)
    await world.feed(5.0, from_s=3.0)
    await world.until_found()
    assert world.found[0][0].subjects == {2, 9}


async def test_where_no_originals_are_kept_none_is_written(tmp_path: Path) -> None:
    world = World(tmp_path, config.Privacy(max_mib=0))
    await world.feed(3.5)
    world.clips.around(incident(2.0), RULE, blur=True)
    await world.until_found()
    assert isinstance(world.found[0][1], Video)
    assert not (tmp_path / "originals").exists()


async def test_an_agent_that_stops_cuts_what_there_is(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.feed(3.0)
    world.clips.around(incident(2.9), RULE, blur=False)
    running = asyncio.get_running_loop().create_task(world.clips.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    [(_, video)] = world.found
    assert isinstance(video, Video)
    assert video.began_s + video.lasts_s == pytest.approx(1002.875)


async def test_of_a_clip_that_waits_while_another_is_written_no_picture_leaves_with_the_ring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, begun, go_on = World(tmp_path, seconds=3), threading.Event(), threading.Event()
    put = world.clips._put

    def slow(*args: Any) -> Video:
        begun.set()
        assert go_on.wait(60)
        return put(*args)

    monkeypatch.setattr(world.clips, "_put", slow)
    await world.feed(3.0)
    world.clips.around(incident(1.0), RULE, blur=False)
    world.clips.around(structs.replace(incident(1.5), id="01KB0RB5EWTZ0Y8R2N4M6K8J0J"), RULE, blur=False)
    running = asyncio.get_running_loop().create_task(world.until_found(2))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    await world.feed(12.0, from_s=3.0)
    go_on.set()
    await running
    assert [isinstance(found, Video) and found.began_s for _, found in world.found] == [1000.0, 1000.0]


async def test_a_clip_that_is_being_cut_when_the_agent_stops_is_finished_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, go_on = World(tmp_path), threading.Event()
    put = world.clips._put

    def slow(*args: Any) -> Video:
        assert go_on.wait(60)
        return put(*args)

    monkeypatch.setattr(world.clips, "_put", slow)
    await world.feed(3.0)
    world.clips.around(incident(1.0), RULE, blur=False)
    running = asyncio.get_running_loop().create_task(world.clips.run())
    while world.clips._wanted:
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(running, return_exceptions=True)
    [(_, video)] = world.found
    assert isinstance(video, Video)


async def test_the_last_seconds_are_had_when_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    refusal = world.clips.last("id", "c", 2.0, blur=False, by="operator:li")
    assert isinstance(refusal, Refusal)
    assert refusal.limit == "none yet"
    await world.feed(6.0)
    assert world.clips.last("id", "c", 2.0, blur=False, by="operator:li") is None
    await world.until_found()
    [(wanted, video)] = world.found
    assert isinstance(video, Video)
    assert wanted.by == "operator:li"
    assert 2.0 <= video.lasts_s <= 3.0
    assert not (tmp_path / "originals").exists()


async def test_frames_beyond_the_rate_are_left_out_and_memory_is_bounded(tmp_path: Path) -> None:
    world = World(tmp_path, fps=2, seconds=4)
    await world.feed(20.0)
    status = world.clips.status()["c"]
    assert 4.0 <= status["kept_s"] <= 5.5
    world.clips.last("id", "c", 4.0, blur=False, by="x")
    await world.until_found()
    [(_, video)] = world.found
    assert isinstance(video, Video)
    assert video.frames <= 13


async def test_a_camera_that_keeps_nothing_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, seconds=0)
    world.clips.offer(*moment(0.0))
    world.clips.around(incident(0.0), RULE, blur=False)
    assert world.clips.last("id", "c", 2.0, blur=False, by="x") is not None
    assert world.clips.status() == {}


PARKING = config.Dwell(id="p", zone="z", clip_before_s=1.0, clip_after_s=1.0)
STAY = ("p", 1)


async def test_the_clip_of_a_stay_goes_from_before_its_entry_to_after_its_end(tmp_path: Path) -> None:
    world = World(tmp_path, seconds=4)  # a ring that is far shorter than the stay
    await world.feed(4.0)
    world.clips.follow(STAY, "c", 3.0, PARKING)
    await world.feed(12.0, from_s=4.0)
    world.clips.whole(STAY, incident(11.0), PARKING, blur=True)
    await world.feed(20.0, from_s=12.0)
    world.clips.ended(STAY, 17.0, 19.5, PARKING)  # it drove off unseen
    await world.feed(21.0, from_s=20.0)
    await world.until_found()
    [(wanted, video)] = world.found
    assert isinstance(video, Video)
    assert (wanted.id, wanted.incident) == (f"{incident(0).id}.stay", incident(0).id)
    assert (video.began_s, video.lasts_s) == (1002.0, 18.5)
    original = (tmp_path / "originals" / f"{wanted.id}.mp4").read_bytes()
    assert wanted.original == hashlib.sha256(original).hexdigest()  # for the manifest
    for file in ("clips", "originals"):
        with av.open(str(tmp_path / file / f"{wanted.id}.mp4")) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert len(times) == video.frames
        assert times == pytest.approx(sorted(times))
        assert max(b - a for a, b in itertools.pairwise(times)) <= 1.2
    assert video.frames < 80  # of 148: between, a key picture each second


async def test_a_stay_of_which_nothing_came_is_forgotten_and_one_too_many_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, seconds=4)
    await world.feed(4.0)
    world.clips.follow(STAY, "c", 3.0, PARKING)
    await world.feed(8.0, from_s=4.0)
    world.clips.forget(STAY)
    world.clips.whole(STAY, incident(8.0), PARKING, blur=False)
    world.clips.ended(STAY, 8.0, 8.0, PARKING)
    await world.feed(10.0, from_s=8.0)
    await world.until_found()
    assert "clips.max_mib" in str(world.found[0][1])


async def test_an_agent_that_stops_during_a_stay_cuts_what_there_is(tmp_path: Path) -> None:
    world = World(tmp_path, seconds=4)
    await world.feed(4.0)
    world.clips.follow(STAY, "c", 3.0, PARKING)
    await world.feed(12.0, from_s=4.0)
    world.clips.whole(STAY, incident(11.0), PARKING, blur=False)
    running = asyncio.get_running_loop().create_task(world.clips.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    [(_, video)] = world.found
    assert isinstance(video, Video)
    assert (video.began_s, video.lasts_s) == (1002.0, 9.875)

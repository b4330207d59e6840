"""Tracks: ids stay with their objects over gaps, crossings, label flicker and uneven frame rates."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.messages import Box, Detection, Tracks
from edge_agent.vision.track import CONFIRM_S, LOST_S, Moment, Tracker, assign

WIDTH, HEIGHT = 1280, 720
Path = Callable[[float], Box]


def person(x: float, y: float, height: float = 150.0) -> Box:
    return x - 0.18 * height, y - height, x + 0.18 * height, y


def seen(*boxes: Box, label: str = "person", score: float = 0.8) -> list[Detection]:
    return [Detection(label=label, score=score, box=box) for box in boxes]


class Run:
    """A tracker that is fed by time alone."""

    def __init__(self) -> None:
        self.tracker, self.seq = Tracker("cam", 0.3), 0

    def step(self, at_s: float, detections: list[Detection]) -> Tracks:
        self.seq += 1
        return self.tracker.update(detections, Moment(self.seq, at_s, 1e9 + at_s, WIDTH, HEIGHT))


def follow(path: Path, times: Iterable[float], *, drop: float = 0.0, seed: int = 0) -> tuple[set[int], Tracks]:
    """Ids that an object on a path was given, with jitter and detections left out at random."""
    run, rng, ids = Run(), random.Random(seed), set[int]()
    tracks = run.step(-1.0, [])
    for at_s in times:
        box = tuple(side + rng.gauss(0, 2) for side in path(at_s))
        tracks = run.step(at_s, [] if rng.random() < drop else seen((box[0], box[1], box[2], box[3])))
        ids |= {track.id for track in tracks.tracks}
    return ids, tracks


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([5.0, 8.0, 15.0, 30.0]),
    st.floats(-120, 120),
    st.floats(-25, 25),
    st.sampled_from([0.0, 0.2, 0.4]),
)
def test_smooth_motion_keeps_its_id_whatever_the_frame_rate_and_the_drops(
    seed: int, fps: float, vx: float, vy: float, drop: float
) -> None:
    ids, _ = follow(
        lambda t: person(640 + vx * t, 450 + vy * t), [n / fps for n in range(int(5 * fps))], drop=drop, seed=seed
    )
    assert len(ids) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_an_uneven_frame_rate_keeps_the_id(seed: int) -> None:
    rng, at_s, times = random.Random(seed), 0.0, []
    while at_s < 6:
        at_s += rng.choice([0.03, 0.1, 0.3, 0.6])
        times.append(at_s)
    assert len(follow(lambda t: person(300 + 90 * t, 500), times, seed=seed)[0]) == 1


def test_a_track_is_told_only_when_it_was_seen_three_times() -> None:
    run = Run()
    assert [len(run.step(n * 0.1, seen(person(200, 500))).tracks) for n in range(4)] == [0, 0, 1, 1]
    (track,) = run.step(0.4, seen(person(200, 500))).tracks
    assert (track.id, track.first_s, track.last_s, track.hits, track.seen) == (1, 0.0, 0.4, 5, True)


def test_a_flash_of_two_frames_never_becomes_a_track() -> None:
    run = Run()
    told = [run.step(n * 0.1, seen(person(200, 500)) if n in (3, 4) else []) for n in range(40)]
    assert all(not tracks.tracks and not tracks.ended for tracks in told)


@pytest.mark.parametrize("start_score", [0.2, 0.5, 0.8])
def test_the_fainter_it_is_the_longer_it_must_be_seen(start_score: float) -> None:
    told_s = []
    for share in (0.0, 0.1, 0.3, 0.6, 0.9):  # of the way from the start to certainty
        tracker, score = Tracker("cam", start_score), start_score + share * (1 - start_score)
        for n in itertools.count():
            at_s = n / 25
            if tracker.update(seen(person(200, 500), score=score), Moment(n, at_s, 0.0, WIDTH, HEIGHT)).tracks:
                break
        told_s.append(at_s)
    assert told_s == sorted(told_s, reverse=True) and told_s[0] > told_s[-1]
    assert told_s[0] == pytest.approx(CONFIRM_S, abs=0.05), "at the threshold it is told all the same"
    assert told_s[-1] == pytest.approx(2 / 25), "what is sure is told at the third sight"


@pytest.mark.parametrize("step_s", [0.6, 1.0, 1.8])
def test_a_camera_of_one_frame_a_second_has_tracks_too(step_s: float) -> None:
    run = Run()
    ids = {t.id for n in range(8) for t in run.step(n * step_s, seen(person(300, 500))).tracks}
    assert ids == {1}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([5.0, 10.0, 12.5, 25.0]), st.floats(-60, 60), st.floats(0.3, 2.0))
def test_a_gap_keeps_the_id_at_any_frame_rate_while_the_camera_pans(
    seed: int, fps: float, speed: float, gap_s: float
) -> None:
    run, rng, ids, pan = Run(), random.Random(seed), set[int](), 0.0
    for n in range(int((2 + gap_s + 1) * fps)):
        at_s, before = n / fps, pan
        pan = 150 * math.sin(at_s)
        moved = np.array([[1.0, 0, pan - before], [0, 1, 0]])
        x1, y1, x2, y2 = person(600 + pan + speed * at_s, 500)
        shown = [] if 2 <= at_s < 2 + gap_s else seen((x1 + rng.gauss(0, 2), y1, x2 + rng.gauss(0, 2), y2))
        ids |= {t.id for t in run.tracker.update(shown, Moment(n, at_s, 0.0, WIDTH, HEIGHT), moved).tracks}
    assert ids == {1}


def test_who_walks_on_is_taken_before_who_would_have_to_turn_round() -> None:
    run = Run()
    for n in range(20):
        run.step(n * 0.1, seen(person(300 + 10.0 * n, 500)))
    expected = 300 + 10.0 * 20
    nearer_but_back, on = person(expected - 18, 500), person(expected + 20, 500)
    ((left, _, right, _),) = [t.box for t in run.step(2.0, seen(nearer_but_back, on)).tracks]
    assert (left + right) / 2 > expected


def test_one_that_is_missed_does_not_take_the_box_of_a_newcomer_behind_it() -> None:
    run, parked, behind = Run(), (250.0, 330, 440, 430), (240.0, 366, 450, 488)
    for n in range(20):
        run.step(n * 0.1, seen(parked, label="car"))
    run.step(2.0, seen(parked, behind, label="car"))
    run.step(2.1, seen(parked, behind, label="car"))
    run.step(2.2, seen(behind, label="car"))
    tracks = run.step(2.3, seen(parked, behind, label="car")).tracks
    assert {t.id: round(t.box[1], -1) for t in tracks} == {1: 330, 2: 370}


def test_a_clock_that_begins_anew_ends_what_was() -> None:
    run = Run()
    for n in range(10):
        run.step(1000 + n * 0.1, seen(person(300, 500)))
    told = [run.step(n * 0.1, seen(person(300, 500))) for n in range(5)]
    assert [t.id for t in told[0].ended] == [1]
    assert [[t.id for t in tracks.tracks] for tracks in told] == [[], [], [2], [2], [2]]


@pytest.mark.parametrize("step_s", [0.0, -0.05, 1e-9, 1e9])
def test_no_step_of_time_makes_nonsense(step_s: float) -> None:
    run, at_s = Run(), 100.0
    for n in range(12):
        at_s += step_s if n % 4 == 3 else 0.1
        tracks = run.step(at_s, seen(person(300 + 3.0 * n, 500)))
        assert all(math.isfinite(side) for t in tracks.tracks + tracks.unsure for side in t.box)
    assert [t.id for t in tracks.tracks] == ([1] if step_s < 1 else [])


@pytest.mark.parametrize(("gap_s", "same"), [(0.5, True), (2.0, True), (2.6, False)])
def test_an_id_survives_a_gap_of_up_to_two_seconds(gap_s: float, same: bool) -> None:
    run, at_s = Run(), 0.0
    for n in range(20):
        at_s = n * 0.1
        run.step(at_s, seen(person(300 + 40 * at_s, 500)))
    told = []
    while at_s < 2 + gap_s + 1:
        at_s += 0.1
        told.append(run.step(at_s, [] if at_s < 2 + gap_s else seen(person(300 + 40 * at_s, 500))))
    assert [not t.tracks[0].seen for t in told[:3]] == [True, True, True]
    assert told[-1].tracks[0].id == (1 if same else 2)
    assert [track.id for tracks in told for track in tracks.ended] == ([] if same else [1])


def test_an_unseen_track_goes_on_at_its_speed() -> None:
    run = Run()
    for n in range(30):
        run.step(n * 0.1, seen(person(200 + 10.0 * n, 500)))
    (track,) = run.step(3.4, []).tracks
    assert not track.seen and track.last_s == pytest.approx(2.9)
    assert (track.box[0] + track.box[2]) / 2 == pytest.approx(200 + 100 * 3.4, abs=12)


def test_who_walks_out_of_the_picture_ends_at_once() -> None:
    run, ended = Run(), []
    for n in range(40):
        x = 1100 + 15.0 * n
        tracks = run.step(n * 0.1, seen(person(x, 500)) if x < 1290 else [])
        ended += [(n * 0.1, track) for track in tracks.ended]
    ((when, track),) = ended
    assert when - track.last_s < LOST_S / 2


@pytest.mark.parametrize("seed", range(5))
def test_two_who_cross_keep_their_ids(seed: int) -> None:
    run, rng, at_ends = Run(), random.Random(seed), []
    for n in range(60):
        at_s = n / 10
        left, right = person(200 + 130 * at_s, 470), person(980 - 130 * at_s, 520)
        # in front of each other, only the nearer one is detected
        both = abs(left[0] - right[0]) > 30
        tracks = run.step(at_s, seen(*(rng.sample([left, right], 2) if both else [right])))
        if n in (10, 59):
            at_ends.append({t.id: t.box[0] for t in tracks.tracks})
    before, after = at_ends
    assert set(before) == set(after) and len(before) == 2
    assert all((before[i] < 600) == (after[i] > 600) for i in before)


def test_car_truck_flicker_does_not_split_a_track_and_the_better_label_wins() -> None:
    run = Run()
    for n in range(30):
        label = "truck" if n % 3 == 0 else "car"
        tracks = run.step(n * 0.1, seen((100 + 5.0 * n, 300, 400 + 5.0 * n, 500), label=label))
    assert [(t.id, t.label) for t in tracks.tracks] == [(1, "car")]


def test_a_person_and_a_car_at_the_same_place_are_two() -> None:
    run, box = Run(), (100.0, 300.0, 400.0, 500.0)
    for n in range(5):
        tracks = run.step(n * 0.1, seen(box, label="car") + seen(box, label="person"))
    assert sorted(t.label for t in tracks.tracks) == ["car", "person"]


def test_weak_detections_carry_a_track_on_but_start_none() -> None:
    run = Run()
    for n in range(30):
        tracks = run.step(
            n * 0.1, seen(person(300, 500), score=0.8 if n < 5 else 0.15) + seen(person(900, 500), score=0.2)
        )
    (track,) = tracks.tracks
    assert track.id == 1 and track.seen and track.hits == 30


def test_a_track_ends_with_the_box_in_which_it_was_last_seen() -> None:
    run, last = Run(), None
    for n in range(60):
        box = person(640 + 130 * n * 0.2, 500)
        visible = (box[0], box[1], min(box[2], WIDTH), box[3])
        tracks = run.step(n * 0.2, seen(visible) if box[0] < WIDTH - 5 else [])
        last = next((t.box for t in tracks.tracks if t.seen), last)
        if tracks.ended:
            break
    (ended,) = tracks.ended
    assert ended.box == last
    assert 0 <= ended.box[0] < ended.box[2] <= WIDTH


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.floats(-50, 1300), st.floats(-50, 750), st.floats(0, 800), st.floats(0, 800), st.floats(0, 1)),
            max_size=8,
        ),
        max_size=12,
    ),
    st.lists(st.floats(0, 3), min_size=12, max_size=12),
)
def test_nothing_that_a_detector_gives_makes_nonsense(
    frames: list[list[tuple[float, float, float, float, float]]], steps: list[float]
) -> None:
    run, at_s, living = Run(), 0.0, set[int]()
    for frame, step_s in zip(frames, steps, strict=False):
        at_s += step_s
        tracks = run.step(at_s, [Detection(label="car", score=s, box=(x, y, x + w, y + h)) for x, y, w, h, s in frame])
        now = {t.id for t in tracks.tracks}
        ended = {t.id for t in tracks.ended}
        assert len(now) == len(tracks.tracks) and not now & ended
        assert living - now == ended & living  # what disappears has ended, and what ended was there
        living = now
        for track in tracks.tracks + tracks.ended:
            x1, y1, x2, y2 = track.box
            assert all(math.isfinite(side) for side in track.box)
            assert 0 <= x1 <= x2 <= WIDTH and 0 <= y1 <= y2 <= HEIGHT
            assert track.first_s <= track.last_s <= at_s
        assert all(at_s - track.last_s <= LOST_S for track in tracks.tracks)


def test_what_a_still_picture_showed_is_still_there() -> None:
    tracker = Tracker("c", 0.5)
    for n in range(5):
        tracker.update(seen(person(100, 300)), Moment(n, n * 0.1, 0.0, WIDTH, HEIGHT))
    assert not tracker.unsure
    held = [tracker.hold(Moment(5 + n, 0.5 + n * 0.5, 0.0, WIDTH, HEIGHT)) for n in range(20)]
    assert {(t.id, t.seen) for tracks in held for t in tracks.tracks} == {(1, True)}
    assert held[-1].tracks[0].last_s == held[-1].at_s
    assert held[-1].tracks[0].box == held[0].tracks[0].box


def test_an_object_that_is_unseen_or_new_wants_a_look() -> None:
    tracker = Tracker("c", 0.5)
    tracker.update(seen(person(100, 300)), Moment(0, 0.0, 0.0, WIDTH, HEIGHT))
    assert tracker.unsure
    for n in range(1, 5):
        tracker.update(seen(person(100, 300)), Moment(n, n * 0.1, 0.0, WIDTH, HEIGHT))
    tracker.update([], Moment(5, 0.5, 0.0, WIDTH, HEIGHT))
    assert tracker.unsure
    assert not tracker.hold(Moment(6, 9.0, 0.0, WIDTH, HEIGHT)).tracks, "what is unseen is not held for ever"


def test_a_jump_of_the_camera_is_taken_from_the_tracks() -> None:
    ids = {}
    for told in (False, True):
        tracker = Tracker("c", 0.5)
        for n in range(5):
            tracker.update(seen(person(100, 300)), Moment(n, n * 0.1, 0.0, WIDTH, HEIGHT))
        jump = np.array([[1.0, 0, 300], [0, 1, 40]])
        for n in range(5, 12):
            camera = jump if told and n == 5 else None
            tracks = tracker.update(seen(person(400, 340)), Moment(n, n * 0.1, 0.0, WIDTH, HEIGHT), camera)
        ids[told] = [t.id for t in tracks.tracks if t.seen]
    assert ids == {False: [2], True: [1]}


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.3, 0.8]))
def test_pairs_are_the_cheapest_of_all(seed: int, rows: int, columns: int, limit: float) -> None:
    cost = np.random.default_rng(seed).uniform(0, 1, (rows, columns)).round(2)
    pairs = assign(cost, list(range(rows)), list(range(columns)), limit)
    assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
    assert all(cost[pair] <= limit for pair in pairs)
    slots = [*range(columns), *[None] * rows]  # whoever gets none is worth the limit
    cheapest = min(
        sum(limit if c is None else min(limit, float(cost[r, c])) for r, c in enumerate(chosen))
        for chosen in itertools.permutations(slots, rows)
    )
    assert sum(float(cost[pair]) for pair in pairs) + limit * (rows - len(pairs)) == pytest.approx(cheapest)


@pytest.mark.parametrize(("fps", "speed"), [(5.0, 150.0), (5.0, 300.0), (8.0, 300.0)])
def test_who_moves_by_more_than_a_width_between_two_frames_is_followed(fps: float, speed: float) -> None:
    """A person of 28 x 84 who runs: 3 to 6 m/s, where 84 pixels are 1.75 m."""
    tracker, ids, seen = Tracker("c", 0.3), set[int](), 0
    for n in range(int(1200 / speed * fps)):
        x = 40 + speed * n / fps
        found = [Detection(label="person", score=0.9, box=(x - 14, 316, x + 14, 400))]
        tracks = tracker.update(found, Moment(n, n / fps, n / fps, 1280, 720)).tracks
        ids |= {track.id for track in tracks}
        seen += len(tracks)
    assert ids == {1} and seen > int(1200 / speed * fps) - 4


def test_flashes_far_apart_or_of_other_sizes_are_not_one_object() -> None:
    tracker, told = Tracker("c", 0.3), 0
    for n in range(40):
        x, size = 40 + 530 * n % 1300, 30 if n % 2 else 60
        box = (x - size / 2, 400 - 2 * size, x + size / 2, 400)
        found = [Detection(label="person", score=0.9, box=box)]
        told += len(tracker.update(found, Moment(n, n / 10, n / 10, 1280, 720)).tracks)
    assert told == 0

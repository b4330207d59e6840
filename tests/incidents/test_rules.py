"""Rules: who stands in a zone for how long, told once, whatever the camera's frame rate and the tracker's ids."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from edge_agent import config
from edge_agent.incidents.rules import Rules
from edge_agent.messages import Incident, Plate, Track, Tracks

WALL_S = 1_795_354_205.0
WATER = config.Zone(name="water", camera="c", polygon=((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)))
ROAD = config.Zone(name="road", camera="c", polygon=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
Place = Callable[[float], tuple[float, float] | None]


@dataclass
class Object:
    """A track in the world: `at(t)` is where its feet are, or None where nobody sees it."""

    id: int
    at: Place
    label: str = "person"
    score: float = 0.9
    size: tuple[float, float] = (40.0, 100.0)
    seen: Callable[[float], bool] = lambda _t: True
    plate: str | None = None
    first_s: float | None = None

    def track(self, t: float) -> Track | None:
        place = self.at(t)
        if place is None:
            return None
        if self.first_s is None:
            self.first_s = t
        (x, y), (w, h) = place, self.size
        box = (x - w / 2, y - h, x + w / 2, y)
        return Track(
            id=self.id,
            label=self.label,
            score=self.score,
            box=box,
            first_s=self.first_s,
            last_s=t,
            hits=3,
            seen=self.seen(t),
            plate=Plate(text=self.plate, confidence=0.9, box=box) if self.plate else None,
        )


def between(start: float, end: float, x: float = 900.0, y: float = 600.0) -> Place:
    """Stands still from `start` until `end`, and is not there otherwise."""
    return lambda t: (x, y) if start <= t < end else None


def frame(t: float, objects: Iterable[Object], **facts: object) -> Tracks:
    tracks = tuple(track for o in objects if (track := o.track(t)) is not None)
    facts_given = {
        "camera": "c",
        "seq": round(t * 1000),
        "at_s": t,
        "wall_s": WALL_S + t,
        "width": 1280,
        "height": 720,
        "tracks": tracks,
    }
    return Tracks(**(facts_given | facts))


def times(until: float, fps: float = 8.0, start: float = 0.0) -> list[float]:
    return [start + n / fps for n in range(int((until - start) * fps) + 1)]


def play(rules: Rules, at: Iterable[float], *objects: Object) -> list[Incident]:
    """Every incident of the world's objects over the times of frames."""
    return [incident for t in at for incident in rules.update(frame(t, objects))]


def forbidden(**facts: object) -> Rules:
    return Rules([WATER], [config.ForbiddenZone(id="r", zone="water", **facts)], random.Random(1))


def dwell(**facts: object) -> Rules:
    return Rules([ROAD], [config.Dwell(id="r", zone="road", **({"after_s": 20.0} | facts))], random.Random(1))


def car(id: int, at: Place, **facts: object) -> Object:
    return Object(**({"id": id, "at": at, "label": "car", "size": (200.0, 120.0)} | facts))


# --- forbidden_zone -----------------------------------------------------------------------------------------------


def test_a_person_in_the_zone_is_told_once_after_its_time() -> None:
    (found,) = play(forbidden(after_s=1.0), times(30), Object(7, between(2, 25)))
    assert (found.kind, found.rule, found.zone, found.camera, found.track) == ("forbidden_zone", "r", "water", "c", 7)
    assert found.at_s == pytest.approx(3.0)
    assert found.lasted_s == pytest.approx(1.0)
    assert found.began_s == pytest.approx(WALL_S + 2.0)
    assert found.wall_s == pytest.approx(WALL_S + 3.0)
    assert (found.label, found.score, found.frame, found.picture) == ("person", 0.9, 3000, None)


def test_beside_the_zone_nothing_fires() -> None:
    assert play(forbidden(), times(10), Object(1, between(0, 10, x=300.0))) == []


def test_feet_count_not_the_body() -> None:
    zone = config.Zone(name="water", camera="c", polygon=((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5)))
    rules = Rules([zone], [config.ForbiddenZone(id="r", zone="water")], random.Random(1))
    assert play(rules, times(5), Object(1, between(0, 5, y=400.0), size=(40.0, 300.0))) == []


@pytest.mark.parametrize(("label", "fires"), [("car", True), ("bus", True), ("person", False), ("bicycle", False)])
def test_a_class_may_be_a_group(label: str, fires: bool) -> None:
    found = play(forbidden(classes=("vehicle",)), times(5), Object(1, between(0, 5), label=label))
    assert bool(found) == fires


def test_a_score_below_the_rule_is_no_evidence() -> None:
    assert play(forbidden(min_score=0.6), times(5), Object(1, between(0, 5), score=0.59)) == []
    assert play(forbidden(min_score=0.6), times(5), Object(1, between(0, 5), score=0.6))


def test_a_short_look_outside_is_forgiven_and_a_long_one_is_not() -> None:
    def flicker(length_s: float) -> Place:
        return lambda t: (300.0, 600.0) if 1.0 <= t < 1.0 + length_s else (900.0, 600.0)

    (found,) = play(forbidden(after_s=3.0), times(10, fps=20), Object(1, flicker(0.4)))
    assert found.at_s == pytest.approx(3.0)
    (found,) = play(forbidden(after_s=3.0), times(10, fps=20), Object(1, flicker(0.8)))
    assert found.at_s == pytest.approx(4.8)


def test_a_box_that_is_only_predicted_neither_fires_nor_breaks_the_stay() -> None:
    def unseen(t: float) -> bool:
        return not 0.5 <= t < 2.0

    (found,) = play(forbidden(after_s=1.0), times(5), Object(1, between(0, 5), seen=unseen))
    assert found.at_s == pytest.approx(2.0)
    assert play(forbidden(after_s=0.0), times(5), Object(1, between(0, 5), seen=lambda _t: False)) == []


def test_unseen_for_too_long_is_gone() -> None:
    def hidden(t: float) -> tuple[float, float] | None:
        return None if 0.5 <= t < 4.0 else (900.0, 600.0)

    (found,) = play(forbidden(after_s=1.0), times(8), Object(1, hidden))
    assert found.at_s == pytest.approx(5.0)


def test_a_second_person_beside_the_first_is_told_at_once() -> None:
    found = play(forbidden(cool_down_s=600.0), times(20), Object(1, between(0, 20)), Object(2, between(5, 20, x=940.0)))
    assert [(i.track, i.at_s) for i in found] == [(1, 1.0), (2, 6.0)]


def test_the_same_person_under_a_new_id_is_not_told_again() -> None:
    first, again = Object(1, between(0, 5)), Object(2, between(6, 15, x=930.0))
    assert [i.track for i in play(forbidden(cool_down_s=5.0), times(15), first, again)] == [1]


def test_who_may_be_the_first_one_elsewhere_waits_for_the_cool_down_and_no_longer() -> None:
    first, maybe = Object(1, between(0, 5)), Object(2, between(5.5, 30, x=1200.0))
    found = play(forbidden(cool_down_s=15.0), times(30), first, maybe)
    assert [(i.track, i.at_s) for i in found] == [(1, 1.0), (2, 16.0)]


def test_one_who_vanished_holds_back_one_newcomer_not_two() -> None:
    found = play(
        forbidden(cool_down_s=60.0),
        times(30),
        Object(1, between(0, 5)),
        Object(2, between(10, 30, x=700.0)),
        Object(3, between(11, 30, x=1200.0)),
    )
    assert [(i.track, i.at_s) for i in found] == [(1, 1.0), (3, 12.0)]


def test_a_person_who_comes_back_is_told_again_only_after_the_cool_down() -> None:
    def in_and_out(t: float) -> tuple[float, float]:
        return (900.0, 600.0) if t < 5 or 10 <= t < 15 or t >= 70 else (300.0, 600.0)

    found = play(forbidden(cool_down_s=60.0), times(80), Object(1, in_and_out))
    assert [i.at_s for i in found] == [1.0, 71.0]


def test_who_comes_after_the_first_one_was_seen_to_go_is_told_at_once() -> None:
    """Each walks from the left through the zone and out of the picture."""

    def walks(start: float) -> Place:
        return lambda t: (200.0 + 100.0 * (t - start), 600.0) if start <= t < start + 11 else None

    zone = config.Zone(name="water", camera="c", polygon=((0.4, 0.0), (0.7, 0.0), (0.7, 1.0), (0.4, 1.0)))
    rules = Rules([zone], [config.ForbiddenZone(id="r", zone="water", cool_down_s=60.0)], random.Random(1))
    found = play(rules, times(60), Object(1, walks(0.0)), Object(2, walks(15.0)), Object(3, walks(30.0)))
    assert [i.track for i in found] == [1, 2, 3]


def test_who_fired_and_went_is_the_same_where_it_is_found_again_as_a_new_track() -> None:
    goes = Object(1, lambda t: (900.0 - 60.0 * max(0.0, t - 4), 600.0) if t < 12 else None)
    comes = Object(2, lambda t: (420.0 + 60.0 * (t - 13), 600.0) if t >= 13 else None)
    assert [i.track for i in play(forbidden(cool_down_s=60.0), times(18), goes, comes)] == [1]


def test_the_incident_goes_back_to_who_fired_when_it_is_seen_beside_its_heir() -> None:
    rules = forbidden()
    first = Object(1, lambda t: None if 5 <= t < 6.5 else (900.0, 600.0))
    one, other = play(rules, times(12), first, Object(2, between(5.25, 7.5, x=905.0)))
    assert (one.track, other.track) == (1, 2)
    assert [(incident, track) for _, incident, track in rules.resumed()] == [(one.id, 2), (one.id, 1)]


def test_the_incident_goes_on_with_each_track_that_may_be_who_fired() -> None:
    rules = forbidden()
    world = [between(0, 5), between(12, 16, x=1100), between(17, 30, x=1105), between(40, 44)]
    (found,) = play(rules, times(50), *(Object(n, at) for n, at in enumerate(world, 1)))
    assert [(incident, track) for _, incident, track in rules.resumed()] == [(found.id, n) for n in (2, 3, 4)]


def test_one_who_steps_out_from_behind_another_was_somebody_else() -> None:
    """2 appears where 1 was lost and takes over its mark; 1 comes back beside it: 2 has not been told yet."""
    first = Object(1, lambda t: None if 4.0 <= t < 5.5 else (900.0, 600.0))
    second = Object(2, between(4.5, 20, x=920.0))
    found = play(forbidden(cool_down_s=600.0), times(20), first, second)
    assert [i.track for i in found] == [1, 2]


def test_who_stood_in_the_zone_before_being_a_track_was_there_since_then() -> None:
    """Three looks make a track: at five frames a second the first was 0.4 s before."""

    def found(first_x: float) -> list[float]:
        rules, told = forbidden(after_s=1.0), list[Incident]()
        for t in times(5, fps=5, start=0.4):
            track = Object(1, between(0, 9), first_s=0.0).track(t)
            assert track is not None
            first_box = (first_x - 20, 500.0, first_x + 20, 600.0)
            told += rules.update(frame(t, [], tracks=(structs.replace(track, first_box=first_box),)))
        return [i.at_s for i in told]

    assert found(first_x=900.0) == [pytest.approx(1.0)]
    assert found(first_x=300.0) == [pytest.approx(1.4)]  # it was not in the zone yet


def test_inertia_lets_nobody_in_or_out_before_it_has_lasted() -> None:
    def flickers(t: float) -> tuple[float, float]:
        inside = (2 <= t < 2.5 or t >= 4) and not 6 <= t < 6.75
        return (900.0 if inside else 300.0, 600.0)

    def fired(inertia: float) -> list[float]:
        zone = structs.replace(WATER, inertia=inertia)
        rule = config.ForbiddenZone(id="r", zone="water", after_s=3.0)
        return [i.at_s for i in play(Rules([zone], [rule], random.Random(1)), times(12), Object(1, flickers))]

    assert fired(0.0) == [pytest.approx(9.75)]  # out at 6 s: its time began anew
    assert fired(1.0) == [pytest.approx(8.0)]  # in since 4 s, which counted from 5 s on; and never out


def test_a_zone_s_inertia_does_not_tear_the_clock_of_who_is_found_again_as_another_track() -> None:
    zone = structs.replace(ROAD, inertia=6.0)
    rule = config.Loitering(id="r", zone="road", after_s=60.0)
    world = Object(1, between(0, 40)), Object(2, between(42, 90))
    (found,) = play(Rules([zone], [rule], random.Random(1)), times(90), *world)
    assert (found.track, found.at_s) == (2, pytest.approx(66.0))  # in since 0 s, which counted from 6 s on


def test_who_is_too_small_in_the_picture_is_no_evidence() -> None:
    assert play(forbidden(min_size=0.2), times(5), Object(1, between(0, 5), size=(40.0, 140.0))) == []
    assert play(forbidden(min_size=0.2), times(5), Object(1, between(0, 5), size=(40.0, 145.0)))


def test_a_stream_that_changes_its_size_moves_nobody() -> None:
    rules, told = dwell(), list[Incident]()
    for t in times(40):
        stands = car(1, between(0, 60), first_s=0.0).track(t)
        assert stands is not None
        k = 0.5 if t >= 10 else 1.0
        small = structs.replace(stands, box=tuple(k * edge for edge in stands.box))
        told += rules.update(frame(t, [], tracks=(small,), width=int(1280 * k), height=int(720 * k)))
    assert [i.at_s for i in told] == [pytest.approx(20.0)]


# --- dwell --------------------------------------------------------------------------------------------------------


def test_a_parked_vehicle_is_told_once_after_its_time() -> None:
    (found,) = play(dwell(), times(120), car(3, between(5, 120), plate="粤B12389"))
    assert (found.kind, found.track, found.at_s) == ("dwell", 3, 25.0)
    assert found.plate is not None
    assert found.plate.text == "粤B12389"


def test_a_vehicle_that_drives_through_is_not_parked() -> None:
    assert play(dwell(), times(60), car(1, lambda t: (20.0 * t, 400.0))) == []


def test_the_clock_starts_where_the_vehicle_stops() -> None:
    for fps in (4.0, 8.0, 15.0, 25.0):
        for way in range(560, 640, 8):  # it stops anywhere between two of its anchors; at rest from 3 s on
            arrives = car(1, lambda t, way=way: (200.0 + way * min(t / 3, 1.0), 400.0))
            (found,) = play(dwell(), times(30, fps), arrives)
            assert abs(found.began_s - (WALL_S + 3.0)) <= 1 / fps + 0.1


def test_moving_resets_the_clock_and_jitter_does_not() -> None:
    rng = random.Random(4)
    moves = car(1, lambda t: (300.0 if t < 15 else 600.0, 400.0))
    assert [i.at_s for i in play(dwell(), times(60), moves)] == pytest.approx([35.5], abs=0.2)
    shakes = car(1, lambda _t: (300.0 + rng.gauss(0, 5), 400.0 + rng.gauss(0, 5)))
    assert [i.at_s for i in play(dwell(), times(60), shakes)] == pytest.approx([20.0], abs=0.6)


def test_leaving_resets_the_clock() -> None:
    zone = config.Zone(name="road", camera="c", polygon=((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)))
    rules = Rules([zone], [config.Dwell(id="r", zone="road", after_s=20.0, radius=10.0)], random.Random(1))
    found = play(rules, times(60), car(1, lambda t: (300.0 if 10 <= t < 12 else 900.0, 400.0)))
    assert [i.at_s for i in found] == [32.0]


@pytest.mark.parametrize("new_id", [1, 2])
def test_a_passing_bus_does_not_stop_the_clock(new_id: int) -> None:
    before, after = car(1, between(0, 10)), car(new_id, between(12, 40, x=905.0))
    if new_id == 1:
        after.first_s = 0.0  # the tracker kept it
    (found,) = play(dwell(), times(40), before, after)
    assert found.at_s == pytest.approx(20.0)
    assert found.lasted_s == pytest.approx(20.0)
    assert found.track == new_id


def test_the_next_vehicle_in_the_same_place_has_its_own_clock() -> None:
    found = play(dwell(cool_down_s=0.0), times(80), car(1, between(0, 30)), car(2, between(45, 80)))
    assert [(i.track, i.at_s) for i in found] == [(1, 20.0), (2, 65.0)]


@pytest.mark.parametrize("hidden_s", [2.0, 6.0, 10.0])
def test_a_bus_that_halts_before_it_does_not_stop_the_clock_and_the_gap_is_noted(hidden_s: float) -> None:
    (found,) = play(dwell(), times(40), car(1, between(0, 8)), car(2, between(8 + hidden_s, 40, x=910.0)))
    assert (found.track, found.at_s, found.lasted_s) == (2, 20.0, 20.0)
    assert found.gap_s == pytest.approx(hidden_s, abs=0.2)


def test_behind_a_bus_the_incident_goes_on_with_the_track_that_it_has_after_it() -> None:
    rules = dwell()
    (found,) = play(rules, times(50), car(1, between(0, 25)), car(2, between(30, 40, x=905.0)), car(3, between(42, 50)))
    assert [(rule.id, incident, track) for rule, incident, track in rules.resumed()] == [
        (found.rule, found.id, 2),
        (found.rule, found.id, 3),
    ]


@pytest.mark.parametrize("blind_s", [5.0, 12.0, 45.0])
def test_a_stream_that_is_connected_to_anew_does_not_stop_the_clock_of_who_rests(blind_s: float) -> None:
    frames = [*times(8), *times(90, start=8 + blind_s)]
    found = play(dwell(), frames, car(1, between(0, 8.1)), car(2, between(8 + blind_s, 90, x=910.0)))
    assert [(i.track, i.at_s) for i in found] == [(2, max(20.0, 8 + blind_s))]
    assert found[0].gap_s == pytest.approx(blind_s, abs=0.2)


def test_who_was_gone_when_the_stream_came_back_stayed_no_longer() -> None:
    frames = [*times(8), *times(90, start=20)]
    assert play(dwell(), frames, car(1, between(0, 8.1)), car(2, between(33, 50, x=905.0))) == []


@pytest.mark.parametrize("fps", [0.25, 0.5, 0.95, 2.0])
def test_however_rare_the_frames_who_has_left_stayed_no_longer(fps: float) -> None:
    world = car(1, between(0, 60)), car(2, between(300, 390, x=905.0))
    assert play(dwell(after_s=100.0), times(390, fps=fps), *world) == []


def test_a_car_that_drives_up_to_where_another_vanished_has_its_own_clock() -> None:
    arrives = car(2, lambda t: (900.0 - 130.0 * max(0.0, 15.0 - t), 600.0) if t >= 11 else None)
    found = play(dwell(), times(60), car(1, between(0, 10)), arrives)
    assert [(i.track, i.at_s) for i in found] == [(2, pytest.approx(35.0, abs=0.3))]


def test_a_plate_that_is_read_later_tells_two_cars_in_one_place_apart() -> None:
    first, second = car(1, between(0, 10), plate="粤B12389"), car(2, between(12, 60))
    assert [i.at_s for i in play(dwell(), times(60), first, second)] == [20.0]
    rules, second = dwell(), car(2, between(12, 60), first_s=12.0)
    found = []
    for t in times(60):
        second.plate = "粤B00001" if t >= 15 else None
        found += rules.update(frame(t, [car(1, between(0, 10), plate="粤B12389", first_s=0.0), second]))
    assert [i.at_s for i in found] == [32.0]


def test_the_next_vehicle_in_the_place_of_one_that_drove_off_has_its_own_clock() -> None:
    leaves = car(1, lambda t: (900.0 + 100.0 * max(0.0, t - 30), 600.0) if t < 34 else None)
    comes = car(2, lambda t: (300.0 + 100.0 * min(t - 36, 6.0), 600.0) if t >= 36 else None)
    bay = config.Zone(name="road", camera="c", polygon=((0.62, 0.0), (0.78, 0.0), (0.78, 1.0), (0.62, 1.0)))
    rules = Rules([bay], [config.Dwell(id="r", zone="road", after_s=20.0)], random.Random(1))
    found = play(rules, times(80), leaves, comes)
    assert [i.track for i in found] == [1, 2] and found[1].at_s == pytest.approx(62.0, abs=0.3)


def test_another_plate_in_the_same_place_is_another_vehicle() -> None:
    first, second = car(1, between(0, 30), plate="粤B12389"), car(2, between(40, 80), plate="粤B00001")
    assert [i.track for i in play(dwell(), times(80), first, second)] == [1, 2]
    second = car(2, between(40, 80), plate="粤B12389")
    assert [i.track for i in play(dwell(), times(80), car(1, between(0, 30), plate="粤B12389"), second)] == [1]


def test_a_wild_box_never_fires_and_does_not_stop_the_clock() -> None:
    wild = car(1, lambda t: (600.0 if 19.8 < t < 20.2 else 300.0, 400.0))
    (found,) = play(dwell(), times(40, fps=20), wild)
    assert found.at_s == pytest.approx(20.2)
    assert found.lasted_s == pytest.approx(20.2)
    assert found.box[0] == 200.0


def test_a_vehicle_that_parks_elsewhere_is_not_the_one_that_left() -> None:
    found = play(dwell(), times(80), car(1, between(0, 30)), car(2, between(40, 80, x=300.0)))
    assert [(i.track, i.at_s) for i in found] == [(1, 20.0), (2, 60.0)]


# --- who is who ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost_for_s", [0.5, 5.0])
def test_a_person_does_not_take_over_from_a_vehicle(lost_for_s: float) -> None:
    rules = forbidden(classes=("person", "vehicle"), cool_down_s=600.0)
    later = 5 + lost_for_s
    found = play(rules, times(20), Object(1, between(0, 5), label="car"), Object(2, between(later, 20)))
    assert [(i.track, i.at_s) for i in found] == [(1, 1.0), (2, later + 1)]


@pytest.mark.parametrize("lost_for_s", [0.5, 5.0])
def test_who_was_seen_beside_the_first_one_is_never_taken_for_it(lost_for_s: float) -> None:
    beside = Object(2, lambda t: (900.0, 600.0) if t >= 5 + lost_for_s else (600.0, 600.0))
    found = play(forbidden(cool_down_s=600.0), times(20), Object(1, between(0, 5)), beside)
    assert [(i.track, i.at_s) for i in found] == [(1, 1.0), (2, 6.0 + lost_for_s)]


def test_the_heir_of_one_who_fired_frees_the_third() -> None:
    found = play(
        forbidden(cool_down_s=600.0),
        times(30),
        Object(1, between(0, 5)),
        Object(2, between(5.5, 30, x=920.0)),
        Object(3, between(10, 30, x=1200.0)),
    )
    assert [(i.track, i.at_s) for i in found] == [(1, 1.0), (3, 11.0)]


def test_an_heir_that_has_fired_itself_does_not_fire_again() -> None:
    first = Object(1, lambda t: None if 0.5 <= t < 1.5 else (900.0, 600.0))
    found = play(forbidden(cool_down_s=0.0), times(20), first, Object(2, between(0.7, 20, x=920.0)))
    assert sorted(i.track for i in found) == [1, 2]


# --- clocks -------------------------------------------------------------------------------------------------------


def test_a_step_of_the_wall_clock_changes_no_duration() -> None:
    rules, person = forbidden(after_s=1.0), Object(1, between(0, 10))
    wall = {t: 0.0 if t < 0.5 else WALL_S + t for t in times(10)}
    (found,) = [i for t in wall for i in rules.update(frame(t, [person], wall_s=wall[t]))]
    assert found.lasted_s == pytest.approx(1.0)
    assert found.began_s == pytest.approx(WALL_S)


def test_a_video_that_restarts_is_a_new_event() -> None:
    rules = forbidden(after_s=1.0)
    assert len(play(rules, times(5), Object(1, between(0, 5)))) == 1
    assert play(rules, times(0.8), Object(1, between(0, 5))) == []
    assert len(play(rules, times(5, start=0.9), Object(1, between(0, 5)))) == 1


def test_a_frame_out_of_order_changes_nothing() -> None:
    rules, person = forbidden(after_s=1.0), Object(1, between(0, 5))
    late = [0.0, 0.5, 0.4, 0.9, 0.8, 1.0, 0.95, 1.1]
    assert [i.at_s for i in play(rules, late, person)] == [1.0]


def test_a_tracker_that_counts_its_ids_anew_is_not_taken_for_the_old_one() -> None:
    found = play(forbidden(cool_down_s=0.0), times(20), Object(1, between(0, 5)), Object(1, between(10, 20)))
    assert [i.at_s for i in found] == [1.0, 11.0]


def test_a_blind_camera_proves_no_stay() -> None:
    rules, person = forbidden(after_s=20.0), Object(1, between(0, 100))
    assert play(rules, [*times(2), *times(40, start=25.0)], person) == []


def test_a_frame_of_another_camera_or_size_is_judged_by_its_own() -> None:
    rules, person = forbidden(after_s=0.0), Object(1, between(0, 5, x=300.0))
    assert rules.update(frame(0.0, [person], camera="other")) == []
    assert rules.update(frame(0.0, [person])) == []
    assert len(rules.update(frame(0.1, [person], width=500))) == 1  # 300 lies in the right half of 500


def test_ids_are_ulids_of_the_wall_time() -> None:
    (found,) = play(forbidden(), times(2), Object(1, between(0, 5)))
    assert len(found.id) == 26
    assert found.id == play(forbidden(), times(2), Object(1, between(0, 5)))[0].id
    (early,) = forbidden(after_s=0.0).update(frame(0.0, [Object(1, between(0, 5))], wall_s=-5.0))
    assert early.id.startswith("0000000000")


# --- properties ---------------------------------------------------------------------------------------------------

FPS = st.sampled_from([3.0, 5.0, 8.0, 12.5, 25.0])


@given(fps=FPS, phase=st.floats(0, 1), drops=st.sets(st.integers(0, 400)), stay=st.floats(4.0, 12.0))
def test_frame_rate_and_drops_move_an_incident_by_no_more_than_a_frame(
    fps: float, phase: float, drops: set[int], stay: float
) -> None:
    at = [t for n, t in enumerate(times(16.0, fps, start=phase / fps)) if n not in drops]
    inside = [t for t in at if 2.0 <= t < 2.0 + stay]
    gaps = [b - a for a, b in pairwise(at)]
    found = play(forbidden(after_s=2.0), at, Object(1, between(2.0, 2.0 + stay)))
    if inside and inside[-1] - inside[0] >= 2.0 and max(gaps) < 1.9:
        (incident,) = found
        step = max(gaps)
        assert 2.0 - 1e-6 <= incident.lasted_s <= 2.0 + step
        assert 0 <= incident.began_s - (WALL_S + 2.0) <= step + 1e-3
    if stay < 2.0:
        assert found == []
    assert len(found) <= 1


@given(fps=FPS, seed=st.integers(0, 10_000), kind=st.sampled_from(["forbidden", "dwell"]))
def test_one_continuous_stay_is_never_told_twice(fps: float, seed: int, kind: str) -> None:
    """However often the tracker loses it for a moment and gives it a new id, and however the box shakes."""
    rng = random.Random(seed)
    starts, ends = [0.0], [rng.uniform(0.5, 15)]
    while ends[-1] < 60:
        starts.append(ends[-1] + rng.uniform(0, 1.2))
        ends.append(starts[-1] + rng.uniform(0.5, 15))
    objects = [
        car(n, (lambda t, a=a, b=b: (900 + rng.gauss(0, 4), 600 + rng.gauss(0, 4)) if a <= t < b else None))
        for n, (a, b) in enumerate(zip(starts, ends, strict=True))
    ]
    rules = forbidden(classes=("vehicle",), cool_down_s=0.0) if kind == "forbidden" else dwell(cool_down_s=0.0)
    assert len(play(rules, times(60, fps), *objects)) <= 1


@given(seed=st.integers(0, 10_000))
def test_the_order_of_tracks_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    spans = [(rng.uniform(0, 15), rng.uniform(1, 10), rng.uniform(500, 1280)) for _ in range(6)]
    outcomes = []
    for order in (1, -1):
        objects = [Object(n, between(a, a + s, x=x)) for n, (a, s, x) in enumerate(spans)][::order]
        outcomes.append(play(forbidden(cool_down_s=8.0), times(25, 5.0), *objects))
    assert outcomes[0] == outcomes[1]


@given(
    st.lists(
        st.tuples(st.floats(-100, 100), st.integers(0, 3), st.floats(-50, 1400), st.floats(-50, 800), st.booleans()),
        max_size=60,
    )
)
def test_no_sequence_of_frames_breaks_the_rules(frames: list[tuple[float, int, float, float, bool]]) -> None:
    rules = Rules(
        [WATER, ROAD],
        [config.ForbiddenZone(id="a", zone="water", after_s=0.5), config.Dwell(id="b", zone="road", after_s=1.0)],
        random.Random(1),
    )
    for t, id, x, y, seen in frames:
        box = (x - 10, y - 30, x + 10, y)
        label = "car" if id % 2 else "person"
        track = Track(id=id, label=label, score=0.5, box=box, first_s=0.0, last_s=t, hits=1, seen=seen)
        for found in rules.update(frame(t, [], tracks=(track,))):
            assert found.lasted_s >= (0.5 if found.rule == "a" else 1.0) - 1e-6


@pytest.mark.parametrize("fps", [5.0, 12.5, 25.0])
def test_a_camera_that_trembles_in_the_wind_hides_nobody_who_rests(fps: float) -> None:
    def shaken(t: float) -> tuple[float, float]:
        return 900.0 - 130.0 * max(0.0, 5.0 - t) + 30.0 * math.sin(7 * t), 600.0 + 18.0 * math.cos(9 * t)

    (found,) = play(dwell(), times(40, fps), car(1, shaken))
    assert found.at_s == pytest.approx(25.0, abs=1.5)
    assert play(dwell(), times(40, fps), car(1, lambda t: (shaken(t)[0] - 20.0 * t, 600.0))) == []

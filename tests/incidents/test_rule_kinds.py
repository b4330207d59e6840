"""Loitering, crowds and plates that pass: each event told once, whatever the tracker and the detector lose of it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from edge_agent import config
from edge_agent.incidents.recent import Recent
from edge_agent.incidents.rules import Rules
from edge_agent.messages import Incident, Plate, Tally, Track, Tracks

DOC = Path(__file__).resolve().parents[2] / "docs/RULES.md"
SQUARE = config.Zone(name="square", camera="c", polygon=((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
Scene = Callable[[float], list[Track]]


def track(id: int, x: float = 200.0, *, label: str = "person", first_s: float = 0.0, **facts: object) -> Track:
    box = (x - 20, 200.0, x + 20, 300.0)
    return Track(
        **({"id": id, "label": label, "score": 0.9, "box": box, "first_s": first_s, "last_s": 0, "hits": 3} | facts)
    )


def plate(text: str = "浙A12345", votes: int = 5, confidence: float = 0.9) -> Plate:
    return Plate(text=text, confidence=confidence, box=(0, 0, 9, 3), votes=votes)


def play(
    rule: config.Rule, scene: Scene, until: float, start: float = 0.0, rules: Rules | None = None
) -> list[Incident]:
    """Every incident of a scene at four frames a second."""
    rules = rules or Rules([SQUARE], [rule], random.Random(1))
    return [
        incident for n in range(int(start * 4), int(until * 4)) for incident in rules.update(seen(n / 4, scene(n / 4)))
    ]


def seen(t: float, tracks: list[Track], camera: str = "c") -> Tracks:
    return Tracks(camera=camera, seq=int(t * 4), at_s=t, wall_s=1e9 + t, width=1280, height=720, tracks=tuple(tracks))


# --- loitering ----------------------------------------------------------------------------------------------------

LOITERING = config.Loitering(id="r", zone="square", after_s=20, cool_down_s=60)


def pacing(t: float) -> float:
    """Where somebody is who walks up and down the square."""
    return 100 + 40 * abs(t % 10 - 5)


def test_who_walks_about_the_zone_for_the_time_loiters_and_is_told_once() -> None:
    [found] = play(LOITERING, lambda t: [track(1, pacing(t))], until=50)
    assert (found.kind, found.zone, found.lasted_s, found.at_s) == ("loitering", "square", 20.0, 20.0)


def test_who_leaves_the_zone_before_the_time_does_not_loiter() -> None:
    assert play(LOITERING, lambda t: [track(1, 900.0 if 15 < t < 18 else pacing(t))], until=30) == []


def test_a_loiterer_who_comes_out_from_behind_a_tree_as_a_new_track_goes_on() -> None:
    def scene(t: float) -> list[Track]:
        return [track(1, 200)] if t < 10 else [] if t < 13 else [track(2, 300, first_s=13.0)]

    [found] = play(LOITERING, scene, until=30)
    assert (found.track, found.at_s) == (2, 20.0)


# --- crowd --------------------------------------------------------------------------------------------------------

CROWD = config.Crowd(id="r", zone="square", count=3, after_s=5, cool_down_s=60)


def people(count: int) -> list[Track]:
    return [track(n, 100 + 60 * n, first_s=float(-n)) for n in range(count)]


def test_a_crowd_that_stays_is_told_once_with_its_number_and_a_box_around_all() -> None:
    [found] = play(CROWD, lambda t: people(4 if t > 8 else 3), until=100)
    assert (found.kind, found.count, found.lasted_s, found.track) == ("crowd", 3, 5.0, 2)
    assert found.box == (80.0, 200.0, 240.0, 300.0)


def test_too_few_or_too_briefly_is_no_crowd() -> None:
    assert play(CROWD, lambda _: people(2), until=30) == []
    assert play(CROWD, lambda t: people(3 if t % 8 < 4 else 1), until=30) == []


def test_one_hidden_for_a_moment_does_not_begin_the_crowds_time_anew() -> None:
    [found] = play(CROWD, lambda t: people(2 if 2 < t < 3.5 else 3), until=30)
    assert found.at_s == 5.0


def test_people_outside_the_zone_and_other_things_are_not_counted() -> None:
    outside = [track(8, 900.0), track(9, 250.0, label="car"), track(10, 250.0, seen=False)]
    assert play(CROWD, lambda _: people(2) + outside, until=30) == []


def test_a_crowd_that_gathers_anew_is_told_after_the_cool_down() -> None:
    found = play(CROWD, lambda t: people(0 if 10 < t < 20 else 3), until=100)
    assert [one.at_s for one in found] == [5.0, 65.0]


@pytest.mark.parametrize(("area_m2", "fires"), [(5.0, True), (20.0, False)])
def test_so_many_on_so_few_square_metres_are_a_crowd(area_m2: float, fires: bool) -> None:
    dense = config.Crowd(id="r", zone="square", per_m2=0.5, area_m2=area_m2, after_s=5)
    found = play(dense, lambda _: people(3), until=30)
    assert [(one.count, one.per_m2) for one in found] == ([(3, 3 / area_m2)] if fires else [])


def test_one_alone_on_a_small_place_is_no_crowd() -> None:
    dense = config.Crowd(id="r", zone="square", per_m2=0.5, area_m2=1.0, after_s=5)
    assert play(dense, lambda _: people(1), until=30) == []


def test_nobody_knows_of_a_crowd_while_the_camera_was_blind() -> None:
    rules = Rules([SQUARE], [CROWD], random.Random(1))
    assert play(CROWD, lambda _: people(3), until=4, rules=rules) == []
    [found] = play(CROWD, lambda _: people(3), start=30, until=50, rules=rules)
    assert found.at_s == 35.0


# --- plate_seen ---------------------------------------------------------------------------------------------------

SEEN = config.PlateSeen(id="r", min_votes=3, min_confidence=0.6, cool_down_s=30)


def car(id: int, read: Plate | None, **facts: object) -> Track:
    return track(id, label="car", plate=read, **facts)


def test_a_plate_is_told_when_enough_votes_read_it_and_once() -> None:
    [found] = play(SEEN, lambda t: [car(1, plate(votes=1 + int(t)))], until=40)
    assert (found.kind, found.zone, found.at_s) == ("plate_seen", "", 2.0)
    assert found.plate is not None and found.plate.text == "浙A12345"


@pytest.mark.parametrize("read", [None, plate(votes=2), plate(confidence=0.5)])
def test_a_reading_that_is_not_sure_is_not_told(read: Plate | None) -> None:
    assert play(SEEN, lambda _: [car(1, read)], until=10) == []


def test_a_reading_that_changes_after_it_was_told_is_no_second_passage() -> None:
    assert len(play(SEEN, lambda t: [car(1, plate("浙A12345" if t < 5 else "浙A12346"))], until=10)) == 1


def test_two_tracks_with_one_plate_are_one_passage_until_it_was_away_for_the_cool_down() -> None:
    def scene(t: float) -> list[Track]:
        return [car(1, plate())] if t < 5 else [car(2, plate(), first_s=6.0)] if 6 <= t < 20 or t >= 45 else []

    assert len(play(SEEN, scene, until=50)) == 1  # away for 25 s
    assert (
        len(play(config.PlateSeen(id="r", cool_down_s=20), lambda t: [car(int(t), plate(), first_s=t // 1)], 50)) == 1
    )


def test_another_track_with_the_plate_of_a_passage_goes_on_with_its_incident() -> None:
    rules = Rules([], [SEEN], random.Random(1))
    [incident] = play(SEEN, lambda t: [car(1, plate())], until=5, rules=rules)
    assert rules.resumed() == []
    better = plate(votes=7, confidence=0.97)
    assert play(SEEN, lambda t: [car(2, better, first_s=6.0)], start=6.0, until=9, rules=rules) == []
    assert [(id, track) for _, id, track in rules.resumed()] == [(incident.id, 2)]
    [other] = play(SEEN, lambda t: [car(3, plate("浙B00001"), first_s=10.0)], start=10.0, until=12, rules=rules)
    assert other.id != incident.id and rules.resumed() == []


def test_a_plate_that_comes_by_again_is_another_passage() -> None:
    def scene(t: float) -> list[Track]:
        return [car(1, plate())] if t < 5 else [car(2, plate(), first_s=40.0)] if t >= 40 else []

    assert [one.track for one in play(SEEN, scene, until=50)] == [1, 2]


def test_the_same_plate_at_another_camera_is_another_passage() -> None:
    rules = Rules([], [SEEN], random.Random(1))
    found = [rules.update(seen(t, [car(1, plate())], camera=camera)) for t in (1.0, 2.0) for camera in ("a", "b")]
    assert [len(one) for one in found] == [1, 1, 0, 0]


def test_only_plates_in_the_zone_are_told_where_one_is_named() -> None:
    rule = config.PlateSeen(id="r", zone="square")
    assert play(rule, lambda _: [car(1, plate(), x=900.0)], until=5) == []
    assert len(play(rule, lambda _: [car(1, plate())], until=5)) == 1


# --- count --------------------------------------------------------------------------------------------------------

ENTRIES = config.Count(id="r", zone="square", interval_s=20)
LINE = config.Count(id="r", camera="c", line=((0.0, 0.5), (1.0, 0.5)), interval_s=50)


def tallies(rules: Rules, scene: Scene, until: float, start: float = 0.0) -> list[Tally]:
    return [tally for n in range(int(start * 4), int(until * 4)) for tally in rules.count(seen(n / 4, scene(n / 4)))]


def across(id: int, t: float, from_s: float, *, up: bool = False) -> Track:
    """Someone who walks over the middle of the picture within four seconds."""
    done = min(1.0, max(0.0, (t - from_s) / 4))
    y = 300 + 120 * (1 - done if up else done)
    return track(id, box=(300.0, y - 80, 330.0, y))


def test_who_enters_is_counted_once_in_the_interval_in_which_that_was() -> None:
    def scene(t: float) -> list[Track]:
        first, second = track(1, 200.0), track(2, 900.0 if t < 25 else 200.0, label="car")
        return [first, second]

    rules = Rules([SQUARE], [ENTRIES], random.Random(1))
    one, two = tallies(rules, scene, until=41)
    assert (one.total, one.labels, one.zone, one.to_left) == (1, {"person": 1}, "square", None)
    assert (two.total, two.labels) == (1, {"car": 1})
    assert (one.since_s, two.since_s) == (1e9, 1e9 + 20)
    [rest] = rules.close()
    assert (rest.total, rest.since_s, rules.close()) == (0, 1e9 + 40, [])
    assert play(ENTRIES, scene, until=41) == []  # nothing of it is an incident


def test_crossings_are_counted_each_way_whoever_makes_them() -> None:
    def scene(t: float) -> list[Track]:
        return [across(1, t, 2), across(2, t, 5), across(3, t, 9, up=True)]

    [tally] = tallies(Rules([], [LINE], random.Random(1)), scene, until=60)
    assert (tally.total, tally.to_left, tally.to_right, tally.zone) == (3, 1, 2, "")


def test_intervals_begin_with_the_clock_and_a_first_one_is_shorter() -> None:
    found = tallies(Rules([SQUARE], [ENTRIES], random.Random(1)), lambda _: [], start=13, until=61)
    assert [(one.since_s - 1e9, one.lasted_s) for one in found] == [(13.0, 7), (20.0, 20), (40.0, 20)]


def test_an_interval_says_how_long_the_camera_was_blind() -> None:
    rules = Rules([SQUARE], [ENTRIES], random.Random(1))
    assert tallies(rules, lambda _: [], until=5) == []
    [tally] = tallies(rules, lambda _: [], start=15, until=21)
    assert (tally.lasted_s, tally.observed_s) == (20.0, 9.75)


def test_what_a_count_cannot_be_is_refused(tmp_path: Path) -> None:
    count = '[[rule]]\nid = "r"\ntype = "count"\n'
    for rest, fault in (
        ("", "rule[r]: a count wants either `zone`, or `camera` and `line`"),
        ('zone = "square"\nline = [[0, 0], [1, 1]]\n', "rule[r]: a count wants either"),
        ("line = [[0, 0], [1, 1]]\n", "rule[r]: a count wants either"),
        ('camera = "gate"\nline = [[0, 0], [0, 0]]\n', "rule[r].line: its ends are the same place"),
        ('zone = "nowhere"\n', "rule[r].zone: "),
        ('zone = "square"\nsay = [{text = "a"}]\n', "rule[r].speakers: a count is told to the centre alone"),
    ):
        with pytest.raises(config.ConfigError) as refused:
            config.parse(HEAD + count + rest, tmp_path / "a.toml")
        assert fault in str(refused.value)


# --- as they are written ------------------------------------------------------------------------------------------

HEAD = """
data_dir = "s"
[site]
device = "D"
[[detector]]
name = "d"
type = "simulated"
[[camera]]
name = "gate"
type = "simulated"
detector = "d"
[[zone]]
name = "square"
camera = "gate"
polygon = [[0, 0], [1, 0], [1, 1]]
"""


def test_the_rules_of_the_document_are_a_configuration(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOC.read_text(), re.S)
    rules = "".join(block for block in blocks if block.startswith("[[rule]]"))
    found = config.parse(HEAD + "[plates]\nenabled = true\n" + rules, tmp_path / "a.toml").rules
    assert {type(rule) for rule in found} == set(config.Rule.__args__)
    with pytest.raises(config.ConfigError, match=r"plates.enabled: rule\[passing\] needs plates"):
        config.parse(HEAD + '[[rule]]\nid = "passing"\ntype = "plate_seen"\n', tmp_path / "a.toml")


# --- after a restart ----------------------------------------------------------------------------------------------

PARKING = config.Dwell(id="r", zone="square", after_s=10, cool_down_s=120)
PASSING = config.PlateSeen(id="r", zone="square", min_votes=1, cool_down_s=60)
STANDING = config.ForbiddenZone(id="r", zone="square", classes=("vehicle",), after_s=1, cool_down_s=100)
STAYING = config.Loitering(id="r", zone="square", after_s=5, cool_down_s=100)


@pytest.mark.parametrize("rule", [PARKING, PASSING, STANDING, STAYING])
def test_who_still_stands_there_after_a_restart_is_not_told_of_before_the_cool_down_is_over(rule: config.Rule) -> None:
    def parked(t: float) -> list[Track]:
        return [track(1, label="car", plate=plate(), first_s=t // 30 * 30)]

    [first] = play(rule, parked, until=20)
    again = Rules([SQUARE], [rule], random.Random(2))
    again.recall([first])
    found = play(rule, parked, start=30.0, until=160, rules=again)
    known = rule is not PASSING  # as one who is there still; what passed is past
    assert [one.at_s for one in found] == ([first.at_s + rule.cool_down_s] if known else [])
    resumed = [(id, track) for _, id, track in again.resumed()]
    assert resumed[:1] == ([(first.id, 1)] if known else [])
    assert {id for id, _ in resumed[1:]} <= {first.id, *(one.id for one in found)}  # each goes on with further tracks
    assert again.resumed() == []


def test_after_a_restart_a_second_person_is_told_of_at_once_and_a_gathering_is_not() -> None:
    alone, crowd = structs.replace(STANDING, classes=("person",)), config.Crowd(id="r", zone="square", count=2)
    [first] = play(alone, lambda t: [track(1)], until=20)
    again = Rules([SQUARE], [alone], random.Random(2))
    again.recall([first])
    both = [track(1, first_s=30.0), track(2, x=600.0, first_s=30.0)]
    assert len(play(alone, lambda t: both, start=30.0, until=60, rules=again)) == 1
    [first] = play(crowd, lambda t: both, until=20)
    again = Rules([SQUARE], [crowd], random.Random(2))
    again.recall([first])
    [found] = play(crowd, lambda t: both, start=30.0, until=700, rules=again)
    assert found.at_s == first.at_s + crowd.cool_down_s


def test_after_a_restart_another_car_in_another_place_is_told_of(tmp_path: Path) -> None:
    [first] = play(PARKING, lambda t: [track(1, label="car")], until=20)
    again = Rules([SQUARE], [PARKING], random.Random(2))
    again.recall([first])
    assert play(PARKING, lambda t: [track(1, x=500.0, label="car", first_s=30.0)], start=30.0, until=50, rules=again)
    late = Rules([SQUARE], [PARKING], random.Random(2))
    late.recall([first])
    assert play(PARKING, lambda t: [track(1, label="car", first_s=200.0)], start=200.0, until=220, rules=late)
    set_back = Rules([SQUARE], [PARKING], random.Random(2))
    set_back.recall([structs.replace(first, wall_s=2e9)])
    assert play(PARKING, lambda t: [track(1, label="car", first_s=30.0)], start=30.0, until=50, rules=set_back)


def test_what_fired_lately_is_read_again_as_long_as_its_cool_down_lasts(tmp_path: Path) -> None:
    [first] = play(PARKING, lambda t: [track(1, label="car")], until=20)
    file = tmp_path / "recent.json"
    Recent(file).add(first, 120.0)
    assert Recent(file).incidents() == (first,)
    assert file.stat().st_mode & 0o077 == 0  # plates and places
    later = structs.replace(first, id="b", wall_s=first.wall_s + 121)
    Recent(file).add(later, 120.0)
    assert Recent(file).incidents() == (later,)
    for damaged in (b"", b"[{}]", b"\xff"):
        file.write_bytes(damaged)
        assert Recent(file).incidents() == ()

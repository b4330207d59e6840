"""Votes: which vehicle is read when, and what its readings add up to."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import plate_types
from edge_agent.messages import Plate
from edge_agent.vision.votes import Calibration, PlateVotes, Read, nothing, pooled

CN = plate_types.of_countries(("CN",))


def reading(
    text: str, chance: float = 0.95, *, quality: float = 0.8, doubt: str | None = None, color: str | None = "blue"
) -> Read:
    """One whose characters have a chance, and the rest of it where `doubt`, as long as the text, has another."""
    places = [{sign: chance} for sign in text]
    for place, sign, other in zip(places, text, doubt or text, strict=True):
        if other != sign:
            place[other] = 0.97 - chance
    decoded = plate_types.decode(places, CN, color)
    confidence = Calibration().confidence(decoded.log_chance) if decoded else 0.0
    box = (0.0, 0.0, 100 * quality, 30.0)
    return Read(Plate(text=text, confidence=confidence, box=box), tuple(places), color, quality)


def votes(enough: int = 5, least: float = 0.6) -> PlateVotes:
    return PlateVotes(0.5, enough, least, CN, Calibration())


def elected(*reads: Read, least: float = 0.6) -> Plate | None:
    ballots = votes(least=least)
    for n, read in enumerate(reads):
        ballots.add(7, float(n), read)
    return ballots.plate(7)


def test_a_character_that_most_reads_agree_on_wins_though_no_read_was_right() -> None:
    found = elected(reading("京A00007"), reading("京A00B01"), reading("京A0C001"), least=0.1)
    assert found and (found.text, found.votes, found.type) == ("京A00001", 1, "small")


def test_doubtful_reads_that_agree_make_a_plate_that_none_of_them_is_alone() -> None:
    read = reading("京A00001", 0.92)
    assert read.plate.confidence < 0.6
    assert elected(read) is None
    found = elected(*[read] * 5)
    assert found and found.confidence > 0.8 and found.votes == 5


def test_one_sharp_crop_outweighs_three_smeared_ones() -> None:
    smeared = reading("京A00007", 0.7, doubt="京A00001", quality=0.05)
    found = elected(smeared, smeared, smeared, reading("京A00001", 0.98, quality=0.9), least=0.05)
    assert found and found.text == "京A00001"
    assert found.box == (0.0, 0.0, 90.0, 30.0)  # its best shot


def test_a_plate_read_two_ways_is_less_sure_than_one_read_one_way() -> None:
    agreed = elected(*[reading("京A00001")] * 4)
    split = elected(*[reading("京A00001")] * 3, reading("京A00007"))
    assert agreed and split and split.text == "京A00001" and split.confidence < agreed.confidence


def test_a_length_that_one_read_made_up_does_not_spoil_the_others() -> None:
    found = elected(reading("京A00001"), reading("京AD00001", color="green"), reading("京A00001"))
    assert found and (found.text, found.type) == ("京A00001", "small")


@pytest.mark.parametrize(("color", "kind"), [("blue", "small"), ("yellow", "large")])
def test_the_colour_that_most_reads_saw_says_which_kind_it_is(color: str, kind: str) -> None:
    found = elected(*[reading("京A00001", color=color)] * 2, reading("京A00001", color=None))
    assert found and found.type == kind and found.color == color


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(0.3, 0.97)), min_size=1, max_size=6))
def test_the_chances_at_a_place_never_exceed_one_and_one_read_stays_as_it_was(reads: list[tuple[float, float]]) -> None:
    one = reading("京A00001", reads[0][1], quality=reads[0][0])
    for place, again in zip(one.places, pooled([one]), strict=True):
        assert again == pytest.approx(place, abs=1e-6)
    for place in pooled([reading("京A00001", chance, quality=quality) for quality, chance in reads]):
        assert 0 < sum(place.values()) <= 1 + 1e-9


def test_calibration_keeps_the_order_and_bends_towards_what_was_measured() -> None:
    curve = Calibration(0.5, 0.4)
    told = [curve.confidence(log) for log in (-30.0, -5.0, -1.0, -0.1, 0.0)]
    assert told == sorted(told) and told[0] > 0 and told[-1] < 1
    assert Calibration(1.0, 0.0).confidence(-1.0) == pytest.approx(0.36788, abs=1e-4)


def test_reads_come_at_most_every_so_often_until_there_are_enough() -> None:
    ballots, reads = votes(enough=3), []
    for n in range(100):
        if ballots.due(1, n * 0.1):
            reads.append(n)
            ballots.add(1, n * 0.1, reading("京A00001", 0.999))
    assert reads == [0, 5, 10]


def test_a_plate_that_enough_reads_leave_doubtful_is_read_on_ever_less_often_and_the_sharp_crop_counts() -> None:
    ballots, reads = votes(enough=3), []
    for n in range(400):
        if ballots.due(1, n * 0.1):
            sharp = len(reads) >= 4  # the vehicle stands still at last
            reads.append(n)
            blurred = reading("京A00007", 0.9, doubt="京A00001", quality=0.1)
            ballots.add(1, n * 0.1, reading("京A00001", 0.999, quality=0.9) if sharp else blurred)
    assert reads == [0, 5, 10, 20, 40]
    found = ballots.plate(1)
    assert found and found.text == "京A00001" and found.confidence > 0.9


def test_a_plate_that_never_gets_sure_is_left_alone_at_last() -> None:
    ballots, reads = votes(enough=3, least=0.3), []
    for n in range(2000):
        if ballots.due(1, n * 0.1):
            reads.append(n)
            ballots.add(1, n * 0.1, reading("京A00001", 0.85))
    assert reads[:6] == [0, 5, 10, 20, 40, 80] and len(reads) == 9


@given(st.floats(0.0, 1.0))
def test_one_read_s_doubt_that_there_is_a_plate_stays_as_it_was(chance: float) -> None:
    assert nothing([reading("京A00001")._replace(nothing=chance)]) == pytest.approx(chance, abs=1e-5)


def test_reads_that_hardly_see_a_plate_do_not_elect_one() -> None:
    doubted = reading("京A00001", 0.99)._replace(nothing=0.6)
    assert elected(reading("京A00001", 0.99))
    assert elected(doubted, doubted, doubted) is None
    seen = reading("京A00001", 0.99)._replace(nothing=0.02)
    found, sure = elected(seen, seen, doubted), elected(seen, seen, seen)
    assert found and sure and found.confidence < sure.confidence


def test_a_vehicle_that_comes_much_nearer_is_read_again_but_not_for_ever() -> None:
    ballots, reads = votes(enough=2), []
    for n in range(400):
        size = 1000.0 * 1.05**n
        if ballots.due(1, n * 0.1, size):
            reads.append(n)
            ballots.add(1, n * 0.1, reading("京A00001", 0.999), size)
    assert reads[:2] == [0, 5] and len(reads) == 6
    assert all(1.05 ** (b - a) > 1.5 for a, b in pairwise(reads[1:]))


def test_a_plate_that_does_not_read_is_tried_less_and_less_but_never_given_up() -> None:
    ballots, reads = votes(enough=3), []
    for n in range(600):
        if ballots.due(1, n * 0.1):
            reads.append(n)
            ballots.add(1, n * 0.1, None if n % 2 else reading("京A00001", 0.5))
    assert reads[:5] == [0, 5, 15, 35, 75] and max(b - a for a, b in pairwise(reads)) == 80
    assert ballots.plate(1) is None


def test_a_track_that_ended_is_forgotten() -> None:
    ballots = votes(enough=1)
    ballots.add(1, 0.0, reading("京A00001", 0.99))
    assert ballots.plate(1)
    ballots.forget([1, 2])
    assert ballots.plate(1) is None and ballots.due(1, 0.0)

"""Photographs of who stays: entry at rest, when the rule fires, at intervals, at exit or beyond the grace."""

from edge_agent import config
from edge_agent.incidents.rules import Rules
from edge_agent.incidents.shots import MAX_STAYS, Shot
from edge_agent.messages import Track, Tracks

KERB = config.Zone(name="kerb", camera="c", polygon=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
RULE = config.Dwell(
    id="p", zone="kerb", after_s=20.0, evidence=config.PhotoSet(photos=3, every_s=10.0, grace_s=40.0)
)  # fmt: skip


def frame(t: float, *cars: tuple[int, float, float]) -> Tracks:
    """Cars as (id, x, first seen)."""
    found = tuple(
        Track(id=n, label="car", score=0.9, box=(x, 300, x + 100, 360), first_s=first_s, last_s=t, hits=9)
        for n, x, first_s in cars
    )
    return Tracks(camera="c", seq=round(t * 2), at_s=t, wall_s=t, width=1280, height=720, tracks=found)


def play(frames: list[Tracks]) -> list[tuple[float, Shot]]:
    rules, told = Rules([KERB], [RULE]), list[tuple[float, Shot]]()
    for each in frames:
        rules.update(each)
        told += [(each.at_s, shot) for shot in rules.shots()]
    return told


def times(told: list[tuple[float, Shot]]) -> list[tuple[str, float]]:
    return [(shot.role, at_s) for at_s, shot in told]


def test_a_car_that_parks_and_leaves_is_photographed_from_rest_to_exit() -> None:
    parked = [frame(n / 2, (1, 400.0, 0.0)) for n in range(80)]
    told = play(parked + [frame(40.0 + n / 2, (1, 400.0 + 90 * n, 0.0)) for n in range(1, 4)])
    assert times(told) == [("entry", 1.0), ("photo", 20.0), ("photo", 30.0), ("exit", 40.5)]
    entry, first, _, last = (shot for _, shot in told)
    assert entry.incident is None
    assert first.incident is not None
    assert first.incident == last.incident
    assert {shot.stay for _, shot in told} == {("p", 1)}
    assert last.track is not None  # seen as it drives off
    assert last.moved > 0.5


def test_a_car_that_stays_is_photographed_until_its_grace_is_over_and_no_longer() -> None:
    told = play([frame(n / 2, (1, 400.0, 0.0)) for n in range(200)])
    assert times(told) == [
        ("entry", 1.0),
        ("photo", 20.0),
        ("photo", 30.0),
        ("photo", 40.0),
        ("photo", 50.0),
        ("photo", 60.0),
        ("stayed", 60.5),
    ]


def test_after_a_blind_spell_it_is_lost_and_nothing_is_photographed_as_its_exit() -> None:
    told = play([frame(n / 2, (1, 400.0, 0.0)) for n in range(60)] + [frame(100.0, (1, 400.0, 0.0)), frame(100.5)])
    assert times(told) == [("entry", 1.0), ("photo", 20.0), ("lost", 100.0)]


def test_who_leaves_before_the_rule_fires_is_forgotten() -> None:
    told = play([frame(n / 2, (1, 400.0, 0.0)) for n in range(20)] + [frame(10 + n / 2) for n in range(30)])
    assert times(told) == [("entry", 1.0), ("over", 22.0)]


def test_who_drives_through_is_never_photographed() -> None:
    assert play([frame(n / 2, (1, 60.0 * n, 0.0)) for n in range(20)]) == []


def test_a_track_that_is_lost_and_found_is_the_same_stay_and_the_gap_is_noted() -> None:
    before = [frame(n / 2, (1, 400.0, 0.0)) for n in range(50)]
    gap = [frame(25.0 + n / 2) for n in range(6)]
    after = [frame(28.0 + n / 2, (2, 402.0, 28.0)) for n in range(30)]
    gone = [frame(43.0 + n / 2) for n in range(26)]
    told = play(before + gap + after + gone)
    assert times(told) == [("entry", 1.0), ("photo", 20.0), ("photo", 30.0), ("photo", 40.0), ("exit", 55.0)]
    assert len({shot.stay for _, shot in told}) == 1
    assert told[-1][1].gap_s == 3.5
    assert told[-1][1].track is None


def test_a_crowd_of_cars_holds_no_more_entries_than_fit() -> None:
    told = play([frame(n / 2, *((i, 40.0 * i, 0.0) for i in range(MAX_STAYS + 5))) for n in range(10)])
    assert len(told) == MAX_STAYS


def test_of_a_crowd_of_cars_each_that_fires_is_photographed_also_without_its_entry() -> None:
    told = play([frame(n / 2, *((i, 40.0 * i, 0.0) for i in range(MAX_STAYS + 5))) for n in range(45)])
    assert len({shot.stay for _, shot in told if shot.role == "entry"}) == MAX_STAYS
    assert len({shot.incident for _, shot in told if shot.role == "photo"}) == MAX_STAYS + 5


def test_who_stays_beyond_its_grace_takes_no_place_of_who_comes() -> None:
    stayed = [(i, 40.0 * i, 0.0) for i in range(MAX_STAYS)]
    told = play([frame(n / 2, *stayed, *[(99, 1100.0, 80.0)][: n >= 160]) for n in range(210)])
    assert [(role, at_s) for role, at_s in times(told) if at_s > 70] == [("entry", 81.0), ("photo", 100.0)]

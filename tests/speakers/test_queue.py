"""What is said where now: priority, pre-emption, order, expiry and restraint."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.messages import Announcement, Phrase
from edge_agent.speakers.queue import MAX_WAITING, PRIORITY, Queue, Turn

ALL = ("a", "b", "c")


def announcement(id: str, cls: str = "rule", *speakers: str, **facts: object) -> Announcement:
    given_facts = {"phrases": (Phrase(text="危险"),), "at_s": 0.0, "not_after_s": 1000.0, "by": "rule:r"}
    return Announcement(**({"id": id, "cls": cls, "speakers": speakers} | given_facts | facts))


def queue(cool_down_s: float = 60.0) -> Queue:
    return Queue(ALL, cool_down_s)


def started(turn: Turn) -> list[str]:
    return [a.id for a in turn.start]


def end(q: Queue, *speakers: str, now: float = 1.0, heard: bool = True) -> None:
    for name in speakers:
        q.ended(name, heard=heard, now=now)


def test_equals_are_said_in_their_order() -> None:
    q = queue()
    for id in "123":
        assert q.offer(announcement(id, "rule", "a"), 0.0) is None
    said = []
    while turn := started(q.turn(0.0)):
        said += turn
        end(q, "a")
    assert said == ["1", "2", "3"]


def test_a_graver_class_interrupts_and_starts_once_the_speaker_is_free() -> None:
    for grave, light in zip(list(PRIORITY), list(PRIORITY)[1:], strict=False):
        q = queue()
        q.offer(announcement("1", light, "a"), 0.0)
        assert started(q.turn(0.0)) == ["1"]
        q.offer(announcement("2", grave, "a"), 0.0)
        assert q.turn(0.0) == Turn(stop=("a",))
        assert q.turn(0.1) == Turn()  # told once
        end(q, "a")
        assert started(q.turn(0.2)) == ["2"]
        assert q.stopping == set()


def test_a_graver_class_is_said_first_among_those_that_wait() -> None:
    q = queue()
    for id, cls in (("1", "live"), ("2", "test"), ("3", "rule"), ("4", "danger")):
        q.offer(announcement(id, cls, "a"), 0.0)
    said = []
    while turn := started(q.turn(0.0)):
        said += turn
        end(q, "a")
    assert said == ["1", "4", "3", "2"]


def test_only_the_speakers_that_are_needed_are_interrupted() -> None:
    q = queue()
    q.offer(announcement("1", "rule", "a", "b"), 0.0)
    q.turn(0.0)
    q.offer(announcement("2", "danger", "b", "c"), 0.0)
    assert q.turn(0.0).stop == ("b",)
    end(q, "b")
    assert started(q.turn(0.0)) == ["2"]
    assert {name: a.id for name, a in q.playing.items()} == {"a": "1", "b": "2", "c": "2"}


def test_a_group_starts_together_and_is_not_starved_by_later_ones() -> None:
    q = queue()
    q.offer(announcement("1", "rule", "a"), 0.0)
    q.turn(0.0)
    q.offer(announcement("2", "rule", "a", "b"), 0.0)
    q.offer(announcement("3", "rule", "b"), 0.0)
    assert started(q.turn(0.0)) == []  # b is free, and kept for 2
    end(q, "a")
    assert started(q.turn(0.0)) == ["2"]


def test_nothing_is_interrupted_for_a_group_that_must_wait_anyway() -> None:
    q = queue()
    q.offer(announcement("1", "danger", "a"), 0.0)
    q.offer(announcement("2", "test", "b"), 0.0)
    q.turn(0.0)
    q.offer(announcement("3", "danger", "a", "b"), 0.0)
    assert q.turn(0.0) == Turn()
    end(q, "a")
    assert q.turn(0.0) == Turn(stop=("b",))


def test_no_speakers_means_all_of_them_and_none_is_said_twice() -> None:
    q = queue()
    q.offer(announcement("1"), 0.0)
    assert q.turn(0.0).start[0].speakers == ALL
    q = queue()
    q.offer(announcement("1", "rule", "b", "b"), 0.0)
    assert q.turn(0.0).start[0].speakers == ("b",)


def test_what_cannot_be_said_is_refused_at_once() -> None:
    q = queue()
    assert str(q.offer(announcement("1", "rule", "a", "x"), 0.0)) == (
        "speaker: no speaker has this name (value x; limit one of a, b, c)"
    )
    assert q.offer(announcement("2", phrases=(Phrase(text="😀"),)), 0.0).gate == "text"
    assert q.offer(announcement("3", phrases=()), 0.0).gate == "text"
    assert Queue((), 60.0).offer(announcement("4"), 0.0).reason == "no speaker is configured"
    q.offer(announcement("5"), 0.0)
    assert q.offer(announcement("5"), 0.0).gate == "duplicate"
    assert started(q.turn(0.0)) == ["5"]


def test_a_stale_warning_is_not_said() -> None:
    q = queue()
    late = q.offer(announcement("1", at_s=0.0, not_after_s=10.0), 12.5)
    assert (late.gate, late.value, late.limit, late.age_s) == (
        "expired",
        "2.5 s late",
        "10 s after it was asked for",
        12.5,
    )
    q.offer(announcement("2", "live", "a"), 0.0)
    q.offer(announcement("3", "rule", "a", not_after_s=10.0), 0.0)
    q.offer(announcement("4", "rule", "a", not_after_s=20.0), 0.0)
    q.turn(0.0)
    (refused,) = q.turn(15.0).refused
    assert (refused[0].id, refused[1].gate) == ("3", "expired")
    end(q, "a", now=15.0)
    assert started(q.turn(15.0)) == ["4"]


def test_the_same_warning_is_not_queued_twice() -> None:
    q = queue()
    q.offer(announcement("1", track="c/1"), 0.0)
    assert q.offer(announcement("2", track="c/1"), 0.0).gate == "merge"
    q.turn(0.0)
    assert q.offer(announcement("3", track="c/1"), 0.0).gate == "merge"
    assert q.offer(announcement("4", track="c/2"), 0.0) is None
    assert q.offer(announcement("5", track="c/1", by="rule:other"), 0.0) is None


def test_a_track_is_left_alone_for_the_cool_down_but_not_in_graver_danger() -> None:
    q = queue(60.0)
    q.offer(announcement("1", track="c/1"), 0.0)
    q.offer(announcement("2", track="c/1", by="rule:other"), 0.0)
    q.turn(0.0)
    end(q, *ALL, now=5.0)
    (refused,) = q.turn(5.0).refused
    assert (refused[0].id, refused[1].gate) == ("2", "cool-down")
    assert str(q.offer(announcement("3", track="c/1"), 20.0)) == (
        "cool-down: this track has been warned (value 15.0 s ago; limit 60 s)"
    )
    assert q.offer(announcement("4", "danger", track="c/1"), 20.0) is None
    q.turn(20.0)
    end(q, *ALL, now=21.0)
    assert q.offer(announcement("5", "danger", track="c/1"), 80.0).gate == "cool-down"
    assert q.offer(announcement("6", "danger", track="c/1"), 81.0) is None


def test_a_warning_that_nobody_heard_may_be_given_again() -> None:
    q = queue()
    q.offer(announcement("1", track="c/1"), 0.0)
    q.turn(0.0)
    end(q, *ALL, heard=False)
    assert q.offer(announcement("2", track="c/1"), 2.0) is None


def test_hush_stops_all_that_plays_and_refuses_all_that_waits() -> None:
    q = queue()
    q.offer(announcement("1", "rule", "a"), 0.0)
    q.offer(announcement("2", "rule", "b"), 0.0)
    q.offer(announcement("3", "rule", "b"), 0.0)
    q.turn(0.0)
    turn = q.hush("an operator asked")
    assert set(turn.stop) == {"a", "b"}
    assert [(a.id, r.gate, r.reason) for a, r in turn.refused] == [("3", "hush", "an operator asked")]
    end(q, "a", "b")
    assert q.turn(0.0) == Turn()
    assert q.offer(announcement("4"), 0.0) is None


def test_a_full_queue_gives_up_its_least_grave() -> None:
    q = queue()
    for n in range(MAX_WAITING):
        assert q.offer(announcement(f"{n}", "rule", "a"), 0.0) is None
    assert q.offer(announcement("no", "rule", "a"), 0.0).gate == "queue"
    assert q.offer(announcement("yes", "danger", "a"), 0.0) is None
    turn = q.turn(0.0)
    assert started(turn) == ["yes"]
    assert [(a.id, r.gate) for a, r in turn.refused] == [(f"{MAX_WAITING - 1}", "queue")]


Step = st.one_of(
    st.tuples(
        st.just("offer"),
        st.sampled_from(list(PRIORITY)),
        st.frozensets(st.sampled_from(ALL)),
        st.sampled_from([None, "c/1", "c/2"]),
        st.floats(0, 20),
    ),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.floats(0, 30)),
    st.tuples(st.just("hush")),
)


@given(st.lists(Step, max_size=80))
def test_every_announcement_is_settled_once_on_each_speaker_and_never_shares_one(steps: list[tuple]) -> None:
    q, now = queue(10.0), 0.0
    owed: dict[str, set[str]] = {}
    settled: list[tuple[str, str]] = []

    def act(turn: Turn) -> None:
        for a, _ in turn.refused:
            settled.extend((a.id, name) for name in a.speakers)
        for name in turn.stop:
            assert name in q.playing
        for a in turn.start:
            assert now <= a.not_after_s
            for name in a.speakers:
                assert q.playing[name] is a
        for a in turn.start:  # nothing graver on its speakers was left waiting
            assert all(PRIORITY[a.cls] <= PRIORITY[w.cls] for w in q._waiting if set(w.speakers) <= set(a.speakers))

    for n, step in enumerate(steps):
        match step:
            case ("offer", cls, speakers, track, valid_s):
                a = announcement(f"{n}", cls, *sorted(speakers), track=track, at_s=now, not_after_s=now + valid_s)
                if q.offer(a, now) is None:
                    owed[a.id] = set(speakers) or set(ALL)
            case ("end", which) if q.playing:
                name = sorted(q.playing)[which % len(q.playing)]
                settled.append((q.playing[name].id, name))
                q.ended(name, heard=True, now=now)
            case ("wait", seconds):
                now += seconds
            case ("hush",):
                act(q.hush("h"))
        act(q.turn(now))
    for _ in range(200):
        if not q.playing:
            break
        name = sorted(q.playing)[0]
        settled.append((q.playing[name].id, name))
        q.ended(name, heard=True, now=now)
        act(q.turn(now))
    assert sorted(settled) == sorted((id, name) for id, names in owed.items() for name in names)

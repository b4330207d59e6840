"""Whether a live camera is alive: connecting, live, stalled by age, by stamps or by a frozen picture, given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.vision.camera.liveness import Liveness, SenderClock


def alive(frozen_s: float = 0.0) -> Liveness:
    return Liveness(0.0, connect_s=10.0, stall_s=2.0, frozen_s=frozen_s)


def test_a_camera_that_never_shows_a_picture_is_given_up_after_its_time() -> None:
    liveness = alive()
    assert (liveness.look(9.9), liveness.state) == (None, "connecting")
    assert liveness.look(10.0) == "no picture within 10 s"


def test_no_frame_is_a_stall_first_and_then_the_end_and_a_frame_between_saves_it() -> None:
    liveness = alive()
    assert liveness.frame(1.0, 0.0, 1)
    assert (liveness.look(2.9), liveness.state) == (None, "live")
    assert (liveness.look(3.1), liveness.state) == (None, "stalled")
    assert liveness.frame(4.0, 1.0, 2)
    assert liveness.state == "live"
    assert liveness.look(8.1) == "no frame for 2 s"


def test_stamps_that_stand_still_are_a_stall_however_many_frames_come() -> None:
    liveness = alive()
    assert liveness.frame(1.0, 7.0, 1)
    whys = [liveness.frame(1.0 + n / 10, 7.0, n) or liveness.look(1.0 + n / 10) for n in range(1, 60)]
    assert whys[0] is None
    assert whys[-1] == "its timestamps stand still"
    assert liveness.state == "stalled"


def test_a_picture_that_never_changes_is_frozen_and_noise_is_not() -> None:
    frozen, noisy, patient = alive(5.0), alive(5.0), alive(0.0)
    shown = {
        name: [liveness.frame(n / 10, n / 10, n % 7 if name == "noisy" else 1) for n in range(150)]
        for name, liveness in (("frozen", frozen), ("noisy", noisy), ("patient", patient))
    }
    assert shown["frozen"] == [True] * 50 + [False] * 100
    assert str(frozen.look(15.0)).startswith("its picture is frozen: the same for ")
    assert all(shown["noisy"])
    assert all(shown["patient"])


def test_the_time_of_capture_is_that_of_the_stamp_whatever_the_way_took() -> None:
    sender = SenderClock()
    late_s = [0.05, 0.3, 0.02, 0.9, 0.02, 0.02, 0.5]
    taken = [sender.taken(100 + n * 0.1, 1000 + n * 0.1 + late) for n, late in enumerate(late_s)]
    assert taken[4:] == pytest.approx([1000.42, 1000.52, 1000.62])  # late by the least way, which nobody can know


def test_a_sender_that_begins_anew_is_believed_at_once() -> None:
    sender = SenderClock()
    sender.taken(5000.0, 10.0)
    assert sender.taken(0.0, 11.0) == 11.0
    assert sender.taken(0.5, 11.6) == pytest.approx(11.5)


@given(st.lists(st.tuples(st.one_of(st.none(), st.floats(-1e9, 1e9)), st.floats(0, 100)), max_size=60))
def test_times_of_capture_rise_and_are_never_ahead_of_the_clock(steps: list[tuple[float | None, float]]) -> None:
    sender, now, last = SenderClock(), 0.0, float("-inf")
    for stamp_s, step_s in steps:
        now += step_s + 1e-3
        taken = sender.taken(stamp_s, now)
        assert last < taken <= now + 1e-4
        last = taken

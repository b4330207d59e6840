"""The table of phases as a graph, and the order of its steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.flight import phases
from edge_agent.flight.phases import DEADLINES, IN_FLIGHT, LOOKING, OUTWARD, RUN_ENDS, TABLE, Phase, Seen
from edge_agent.flight.refusals import not_now

AIRBORNE = {
    "link": True,
    "run": True,
    "flew": True,
    "ours": True,
    "armed": True,
    "landed": False,
    "seq": 3,
    "leg": "route",
}


def test_every_phase_has_a_row():
    assert set(TABLE) == set(Phase)


@pytest.mark.parametrize("phase", sorted(Phase))
def test_a_refusal_in_any_phase_says_what_to_do_instead(phase):
    assert not_now("resume", phase, {Phase.PAUSED}).remedy


def test_every_phase_can_be_reached_from_boot():
    reached, ahead = {Phase.BOOT}, [Phase.BOOT]
    while ahead:
        phase = ahead.pop()
        targets = {step.to for step in TABLE[phase]} | ({DEADLINES[phase].to} if phase in DEADLINES else set())
        targets |= {Phase.GATING} if phase is Phase.GROUND else set()
        for target in targets - reached:
            reached.add(target)
            ahead.append(target)
    assert reached == set(Phase)


def test_only_a_lockout_has_no_way_on():
    assert [phase for phase, steps in TABLE.items() if not steps] == [Phase.LOCKOUT]


def test_every_phase_of_a_run_can_reach_its_end():
    for start in set(Phase) - LOOKING - {Phase.GROUND, Phase.FOREIGN}:
        reached, ahead = {start}, [start]
        while ahead:
            for step in TABLE[ahead.pop()]:
                if step.to not in reached:
                    reached.add(step.to)
                    ahead.append(step.to)
        assert reached & RUN_ENDS


def test_the_ground_phases_that_wait_for_an_answer_have_a_deadline():
    assert set(DEADLINES) == {Phase.UPLOADING, Phase.VERIFYING, Phase.READYING, Phase.ARMING, Phase.STARTING}


def test_no_deadline_in_the_air_changes_a_phase():
    assert not set(DEADLINES) & IN_FLIGHT


@pytest.mark.parametrize("phase", sorted(set(Phase) - LOOKING - RUN_ENDS))
def test_a_silent_link_takes_every_phase_to_link_down(phase):
    step = phases.step(phase, Seen(link=False, armed=True, landed=False, mode="RTL"))
    assert step is not None
    assert step.to is Phase.LINK_DOWN


@pytest.mark.parametrize("phase", sorted(IN_FLIGHT))
def test_landed_and_disarmed_ends_every_flight(phase):
    step = phases.step(phase, Seen(**{**AIRBORNE, "armed": False, "landed": True, "mode": "STABILIZE"}))
    assert step is not None
    assert step.to is Phase.LANDED


@pytest.mark.parametrize("phase", sorted(IN_FLIGHT))
@pytest.mark.parametrize("mode", ["STABILIZE", "GUIDED", "ALT_HOLD", "POSHOLD", "MODE 99"])
def test_a_foreign_mode_yields_every_flight(phase, mode):
    step = phases.step(phase, Seen(**AIRBORNE, mode=mode, alt_m=20))
    assert step is None if phase is Phase.YIELDED else step is not None and step.to is Phase.YIELDED


@pytest.mark.parametrize("phase", sorted(IN_FLIGHT))
def test_a_disarm_in_the_air_locks_out(phase):
    step = phases.step(phase, Seen(**{**AIRBORNE, "armed": False}, mode="AUTO", alt_m=20))
    assert step is not None
    assert step.to is Phase.LOCKOUT


@pytest.mark.parametrize("phase", [Phase.CLIMB, *sorted(OUTWARD), Phase.PAUSED, Phase.YIELDED])
@pytest.mark.parametrize(
    ("mode", "to"), [("RTL", Phase.RETURNING), ("SMART_RTL", Phase.RETURNING), ("LAND", Phase.LANDING)]
)
def test_a_return_or_landing_is_seen_whoever_ordered_it(phase, mode, to):
    step = phases.step(phase, Seen(**AIRBORNE, mode=mode, alt_m=20))
    assert step is not None
    assert step.to is to


@pytest.mark.parametrize("phase", sorted(IN_FLIGHT - {Phase.YIELDED}))
@pytest.mark.parametrize("mode", ["AUTO", "RTL", "LAND", "BRAKE"])
def test_the_pilots_switch_yields_every_flight_and_holds_it_there(phase, mode):
    seen = Seen(**AIRBORNE, mode=mode, alt_m=20, hands_off=True, resumed=True)
    step = phases.step(phase, seen)
    assert step is not None
    assert (step.to, step.cause) == (Phase.YIELDED, phases.HANDS_OFF)


@pytest.mark.parametrize("mode", ["RTL", "LAND"])
def test_nothing_but_the_switch_itself_ends_hands_off(mode):
    assert phases.step(Phase.YIELDED, Seen(**AIRBORNE, mode=mode, alt_m=20, hands_off=True)) is None


def test_the_pilots_switch_stops_a_start_on_the_ground_only():
    armed = {"run": True, "armed": True, "mode": "AUTO", "hands_off": True}
    step = phases.step(Phase.STARTING, Seen(**armed, landed=True))
    assert step is not None
    assert step.to is Phase.ABORTING
    assert phases.step(Phase.STARTING, Seen(**armed, landed=False)) is None


ATTACHED = [
    (Phase.GROUND, {"landed": True}),
    (Phase.FOREIGN, {"armed": True, "landed": False}),
    (Phase.LANDED, {"run": True, "flew": True, "landed": True}),
    (Phase.FAILED, {"run": True, "landed": True}),
    (Phase.ABORTING, {"run": True, "armed": True, "landed": True, "mode": "GUIDED"}),
    (Phase.LOCKOUT, {**AIRBORNE, "armed": False}),
    (Phase.CLIMB, {**AIRBORNE, "mode": "AUTO", "seq": 1, "leg": "climb"}),
    (Phase.ROUTE, {**AIRBORNE, "mode": "AUTO"}),
    (Phase.TRANSIT, {**AIRBORNE, "mode": "AUTO", "leg": "transit"}),
    (Phase.TRANSIT, {**AIRBORNE, "mode": "AUTO", "leg": "scene"}),
    (Phase.ON_SCENE, {**AIRBORNE, "mode": "AUTO", "leg": "scene", "arrived": True}),
    (Phase.RETURNING, {**AIRBORNE, "mode": "AUTO", "seq": 6, "leg": "home"}),
    (Phase.RETURNING, {**AIRBORNE, "mode": "RTL", "ours": False}),
    (Phase.LANDING, {**AIRBORNE, "mode": "LAND"}),
    (Phase.YIELDED, {**AIRBORNE, "mode": "RTL", "hands_off": True}),
    (Phase.LANDING, {**AIRBORNE, "mode": "AUTO", "seq": 6, "leg": "home", "landing": True}),
    (Phase.PAUSED, {**AIRBORNE, "mode": "BRAKE", "paused": True}),
    (Phase.YIELDED, {**AIRBORNE, "mode": "BRAKE"}),
    (Phase.YIELDED, {**AIRBORNE, "mode": "AUTO", "ours": False}),
    (Phase.YIELDED, {**AIRBORNE, "mode": "STABILIZE"}),
]


@pytest.mark.parametrize(("to", "facts"), ATTACHED)
def test_attaching_decides_what_this_flight_is_and_only_when_enough_was_heard(to, facts):
    step = phases.step(Phase.ATTACHING, Seen(**facts, settled=True))
    assert step is not None
    assert step.to is to
    assert phases.step(Phase.ATTACHING, Seen(**facts, settled=False)) is None


@given(
    st.builds(
        Seen, settled=st.just(True), run=st.booleans(), flew=st.booleans(), paused=st.booleans(), ours=st.booleans(),
        armed=st.booleans(), landed=st.booleans(), landing=st.booleans(), alt_m=st.floats(-5, 100),
        mode=st.sampled_from(["AUTO", "RTL", "LAND", "BRAKE", "GUIDED", "STABILIZE"]), seq=st.integers(0, 7),
        leg=st.sampled_from(["climb", "route", "transit", "scene", "home"]), arrived=st.booleans(),
    )
)  # fmt: skip
def test_attaching_always_decides(seen):
    assert phases.step(Phase.ATTACHING, seen) is not None


def test_a_flight_is_overdue_only_where_it_must_not_stay():
    assert phases.overdue(Phase.PAUSED, 301)
    assert not phases.overdue(Phase.PAUSED, 299)
    assert not phases.overdue(Phase.ROUTE, 1e9)

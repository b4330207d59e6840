"""What is left unsaid, who is meant, what is said next, and where the drone may speak: the pure rules."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge_agent import config
from edge_agent.messages import Announcement, Phrase, Place, Refusal, Telemetry
from edge_agent.speakers.interlock import may_speak
from edge_agent.speakers.ladder import Ladders, Rung
from edge_agent.speakers.restraint import Restraint, volume_pct
from edge_agent.speakers.targets import resolve

NOON = datetime(2026, 11, 22, 12, 0)
WARNING = Announcement(
    id="A", phrases=(Phrase(text="x"),), speakers=(), cls="rule", at_s=0.0, not_after_s=10.0, by="rule:r", track="c/1"
)


# --- restraint ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hour", "minute", "quiet"), [(21, 59, False), (22, 0, True), (3, 0, True), (5, 59, True), (6, 0, False)]
)
def test_quiet_hours_pass_midnight_and_spare_dangers_and_people(hour: int, minute: int, quiet: bool) -> None:
    restraint = Restraint(config.Announcements(quiet=("22:00-06:00",)))
    local = NOON.replace(hour=hour, minute=minute)
    refusal = restraint.refusal("rule", "a", 0.0, local)
    assert (refusal is not None) == quiet
    if refusal:
        assert (refusal.gate, refusal.limit, refusal.value) == ("quiet hours", "22:00-06:00", f"{local:%H:%M}")
    for cls in ("stop_all", "live", "danger"):
        assert restraint.refusal(cls, "a", 0.0, local) is None


@given(st.lists(st.floats(0, 10_000), max_size=60).map(sorted))
def test_no_hour_holds_more_warnings_than_allowed(times: list[float]) -> None:
    restraint = Restraint(config.Announcements(per_hour=3))
    said: list[float] = []
    for now in times:
        refusal = restraint.refusal("rule", "a", now, NOON)
        assert restraint.refusal("danger", "a", now, NOON) is None
        assert restraint.refusal("rule", "b", now, NOON) is None  # each speaker counts for itself
        recent = [at for at in said if now - at < 3600]
        assert (refusal is not None) == (len(recent) >= 3)
        if refusal is None:
            said.append(now)
            restraint.said("rule", "a", now)
            restraint.said("danger", "a", now)


def test_a_limit_of_none_silences_warnings() -> None:
    refusal = Restraint(config.Announcements(per_hour=0)).refusal("rule", "a", 0.0, NOON)
    assert refusal is not None
    assert refusal.gate == "hourly limit"


# --- targets ------------------------------------------------------------------------------------------------------

SPEAKERS = (
    config.AnySpeaker(name="gate", groups=("street",), lat=30.0, lon=120.0),
    config.AnySpeaker(name="bank", groups=("street", "river"), lat=30.01, lon=120.0),
    config.AnySpeaker(name="under", airborne=True),
)


@pytest.mark.parametrize(
    ("names", "near", "meant"),
    [
        ((), None, ("gate", "bank", "under")),
        (("street",), None, ("gate", "bank")),
        (("river", "street"), None, ("bank", "gate")),
        (("drone",), None, ("under",)),
        ((), Place(lat=30.009, lon=120.0), ("bank",)),
        (("gate", "under"), Place(lat=30.009, lon=120.0), ("gate",)),
        (("under",), Place(lat=30.009, lon=120.0), ("under",)),
    ],
)
def test_who_is_meant(names: tuple[str, ...], near: Place | None, meant: tuple[str, ...]) -> None:
    assert resolve(names, near, SPEAKERS) == meant


def test_a_name_that_nobody_has_is_refused_with_those_there_are() -> None:
    refusal = resolve(("strete",), None, SPEAKERS)
    assert isinstance(refusal, Refusal)
    assert (refusal.value, refusal.limit) == ("strete", "one of gate, bank, under, river, street")
    assert isinstance(resolve((), None, ()), Refusal)
    assert isinstance(resolve(("drone",), None, SPEAKERS[:2]), Refusal)


# --- ladders ------------------------------------------------------------------------------------------------------


def test_a_ladder_is_climbed_in_time_and_each_rung_passes_the_one_before() -> None:
    ladders = Ladders()
    firm = replace(WARNING, phrases=(Phrase(text="firm"),))
    alarm = replace(WARNING, phrases=(Phrase(text="alarm"),), cls="danger")
    ladders.begin("c/1", (Rung(30, firm), Rung(60, alarm, every_s=20, times=3)), now=100.0)
    said = [(now, a) for now in range(100, 300, 5) for a in ladders.due(float(now))]
    assert [(now, a.phrases[0].text) for now, a in said] == [
        (130, "firm"),
        (160, "alarm"),
        (180, "alarm"),
        (200, "alarm"),
    ]
    assert [a.rung for _, a in said] == [1, 2, 3, 4]
    assert len({a.id for _, a in said}) == 4
    assert all((a.at_s, a.not_after_s) == (now, now + 10) for now, a in said)
    assert ladders.tracks == ()


def test_who_leaves_is_told_no_more() -> None:
    ladders = Ladders()
    ladders.begin("c/1", (Rung(10, WARNING, every_s=10, times=100),), now=0.0)
    assert len(ladders.due(10.0)) == 1
    ladders.left("c/1")
    ladders.left("c/1")
    assert ladders.due(1000.0) == []


def test_who_is_back_as_another_track_is_told_what_comes_next_and_of_what_it_missed_the_last() -> None:
    ladders, warning = Ladders(), replace(WARNING, incident="01J")
    ladders.begin("c/1", (Rung(10, warning, every_s=10, times=5),), now=0.0)
    ladders.left("c/1")
    ladders.back("another", "c/2", 32.0)
    assert ladders.due(32.0) == []
    ladders.back("01J", "c/2", 32.0)
    assert [len(ladders.due(now)) for now in (32.0, 39.0, 40.0, 49.0, 50.0, 60.0)] == [1, 0, 1, 0, 1, 0]
    ladders.begin("c/3", (Rung(10, warning),), now=0.0)
    ladders.back("01J", "c/4", 1.0)  # it is seen again before the old track has ended
    ladders.left("c/3")
    assert ladders.tracks == ("c/4",)
    ladders.hush()
    ladders.back("01J", "c/5", 2.0)
    assert ladders.due(100.0) == []


# --- the drone ----------------------------------------------------------------------------------------------------

HOVER = Telemetry(at_s=100.0, armed=True, mode="AUTO", landed=False, lat=30.0, lon=120.0, alt_m=20.0, speed_mps=0.5)


def test_a_hovering_drone_may_speak_and_the_record_says_what_was_seen() -> None:
    near = replace(WARNING, near=Place(lat=30.0001, lon=120.0))
    seen = "alt 20.0 m, 0.5 m/s, 0.5 s old, at 30.000000, 120.000000"
    assert may_speak(WARNING, HOVER, config.Announcements(), 100.5) == seen
    assert may_speak(near, HOVER, config.Announcements(), 100.5) == f"{seen}, 11 m away"
    meant = replace(WARNING, place=Place(lat=30.0001, lon=120.0))  # of the incident: every speaker is asked
    assert may_speak(meant, HOVER, config.Announcements(), 100.5) == f"{seen}, 11 m away"


@pytest.mark.parametrize(
    ("telemetry", "near", "reason"),
    [
        (None, None, "nothing is known"),
        (replace(HOVER, at_s=90.0), None, "is old"),
        (replace(HOVER, armed=False), None, "not in the air"),
        (replace(HOVER, landed=True), None, "not in the air"),
        (replace(HOVER, alt_m=3.0), None, "not at a height"),
        (replace(HOVER, alt_m=100.0), None, "not at a height"),
        (replace(HOVER, speed_mps=9.0), None, "too fast"),
        (HOVER, Place(lat=30.01, lon=120.0), "not over those"),
        (replace(HOVER, lat=None, lon=None), Place(lat=30.0, lon=120.0), "where the drone is, is not known"),
    ],
)
def test_anywhere_else_it_is_silent_with_the_reason(telemetry: Telemetry, near: Place | None, reason: str) -> None:
    verdict = may_speak(replace(WARNING, near=near), telemetry, config.Announcements(), 100.5)
    assert isinstance(verdict, Refusal)
    assert verdict.gate == "drone voice"
    assert reason in verdict.reason


def test_a_test_may_sound_on_the_ground() -> None:
    grounded = replace(HOVER, armed=False)
    assert (
        may_speak(replace(WARNING, cls="test"), grounded, config.Announcements(), 100.5) == "on the ground, for a test"
    )


@given(st.floats(0, 100), st.floats(0, 100), st.none() | st.floats(-130, 10), st.floats(0, 100))
def test_no_noise_ever_makes_a_speaker_louder_than_its_limits(
    own: float, most: float, noise: float | None, least: float
) -> None:
    section = config.AnySpeaker(name="x", volume_pct=own, ambient=config.Ambient(least_pct=least))
    percent = volume_pct(section, most, noise)
    limit = min(own, most)
    assert min(least, limit) - 1e-9 <= percent <= limit + 1e-9
    assert volume_pct(section, most, -200.0) <= percent <= volume_pct(section, most, 0.0)
    if noise is None:
        assert percent == limit  # a warning that is not heard is none


def test_between_quiet_and_loud_the_volume_rises_evenly() -> None:
    section = config.AnySpeaker(name="x", ambient=config.Ambient(quiet_dbfs=-60, loud_dbfs=-30, least_pct=40))
    assert [round(volume_pct(section, 100, noise)) for noise in (-70, -60, -45, -30, -10)] == [40, 40, 70, 100, 100]
    assert volume_pct(config.AnySpeaker(name="x", volume_pct=70), 100, -70.0) == 70

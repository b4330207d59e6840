"""Parameters: read, listed with gaps, set with read-back, over a wire that loses; and their names across versions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight import params
from edge_agent.flight.frames import Framer, Sender
from edge_agent.flight.param_server import DEFAULTS, READ_ONLY, ParamServer
from edge_agent.flight.params import Read, ReadAll, Set, float32, safety_value
from tests.flight.conftest import World

TO = (1, 1)


class Wire:
    """A job and a server; every message may be lost."""

    def __init__(self, seed: int = 0, loss: float = 0.0, **more: float) -> None:
        self.rng, self.loss, self.now = random.Random(seed), loss, 0.0
        self.down: list = []
        self.sender, self.framer = Sender(1, 1), Framer([mavlink.MAVLINK_MSG_ID_PARAM_VALUE])
        self.server = ParamServer({**DEFAULTS, **more}, self.down.append)

    def heard(self) -> list:
        """What the server said, as it comes off the wire."""
        data = b"".join(self.sender.encode(message) for message in self.down)
        self.down.clear()
        return [frame.message for frame in self.framer.receive(data)]

    def run(self, job: params.Job, limit_s: float = 300.0) -> str:
        while job.state == "running":
            assert self.now < limit_s
            self.now += 0.05
            job.tick(self.now)
            for message in job.messages():
                if self.rng.random() >= self.loss:
                    self.server.receive(message)
            self.server.tick()
            for message in self.heard():
                if self.rng.random() >= self.loss:
                    job.receive(message, self.now)
        return job.state


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_every_name_is_read_and_what_nobody_answers_for_is_missing(loss):
    for seed in range(20):
        read = Read(TO, [*list(DEFAULTS)[:30], "NO_SUCH_NAME"], 0.0)
        assert Wire(seed, loss).run(read) == "done"
        assert "NO_SUCH_NAME" in read.missing
        assert read.values == {name: float32(DEFAULTS[name]) for name in read.values}
        assert len(read.values) + len(read.missing) == 31
        assert loss or len(read.values) == 30


def test_no_more_is_asked_for_at_a_time_than_the_autopilot_queues():
    read = Read(TO, DEFAULTS, 0.0)
    assert len(read.messages()) == params.WINDOW < 20


@given(st.integers(0, 1000), st.floats(0, 0.5))
@settings(max_examples=30, deadline=None)
def test_a_list_with_gaps_is_filled(seed, loss):
    listed = ReadAll(TO, 0.0)
    if Wire(seed, loss).run(listed) == "done":
        assert listed.values == {name: float32(value) for name, value in DEFAULTS.items()}


def test_a_list_that_changes_its_length_starts_again():
    wire = Wire()
    listed = ReadAll(TO, 0.0)
    wire.server.receive(listed.messages()[0])
    wire.server.tick()
    for message in wire.heard():
        listed.receive(message, 0.1)
    wire.server.values["NEW_NAME"] = 1.0  # an …_ENABLE showed a group
    assert wire.run(listed) == "done"
    assert listed.values["NEW_NAME"] == 1.0
    assert len(listed.values) == len(DEFAULTS) + 1


def test_a_silent_autopilot_fails_a_list():
    listed = ReadAll(TO, 0.0)
    assert Wire(0, 1.0).run(listed) == "failed"
    assert listed.detail == "no parameter came"


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_a_value_is_set_only_when_the_autopilot_says_so(loss):
    good = 0
    for seed in range(50):
        wire = Wire(seed, loss)
        setting = Set(TO, "RALLY_LIMIT_KM", 0.7, 0.0)
        if wire.run(setting) == "done":
            good += 1
            assert wire.server.values["RALLY_LIMIT_KM"] == float32(0.7)
    assert good >= 48


def test_a_value_that_the_autopilot_keeps_otherwise_is_named():
    setting = Set(TO, "FS_OPTIONS", 1.4, 0.0)
    assert Wire().run(setting) == "failed"
    assert setting.detail == "FS_OPTIONS stays 1, 1.4 was sent"


def test_a_read_only_parameter_is_not_set():
    assert "FENCE_TOTAL" in READ_ONLY
    setting = Set(TO, "FENCE_TOTAL", 9, 0.0)
    assert Wire().run(setting) == "failed"


def test_an_unknown_parameter_is_not_set():
    setting = Set(TO, "NO_SUCH_NAME", 9, 0.0)
    assert Wire().run(setting) == "failed"
    assert setting.detail == "NO_SUCH_NAME is not known"


def test_another_ones_value_is_no_answer_to_ours():
    setting = Set(TO, "FS_OPTIONS", 3, 0.0)
    setting.receive(mavlink.MAVLink_param_value_message(b"FS_CRASH_CHECK", 3, 9, 10, 0xFFFF), 0.1)
    assert setting.state == "running"


def test_settings_are_found_under_old_and_new_names_in_si_units():
    assert safety_value({"RTL_ALT": 1500.0}, "rtl_alt_m") == 15.0
    assert safety_value({"RTL_ALT_M": 15.0}, "rtl_alt_m") == 15.0
    assert safety_value({"SYSID_MYGCS": 255.0}, "gcs_system_id") == 255.0
    assert safety_value({"MAV_GCS_SYSID": 254.0}, "gcs_system_id") == 254.0
    assert safety_value({}, "fs_options") is None


def test_every_watched_name_is_one_that_a_parameter_can_have():
    assert all(len(name) <= params.MAX_NAME and name == name.upper() for name in params.WATCHED)
    assert len(set(params.WATCHED)) == len(params.WATCHED)


def test_the_link_knows_what_safety_hangs_on_soon_after_it_is_up():
    world = World()
    link = world.commander.link
    world.until(lambda: link.watched is not None and link.watched.state == "done", 30)
    assert safety_value(link.params, "rtl_alt_m") == 15.0
    assert safety_value(link.params, "system_id") == 1.0
    assert "RTL_ALT_M" in link.watched.missing  # its name from 4.7
    world.autopilot.state.params["FS_OPTIONS"] = 2.0
    world.autopilot._params._say("FS_OPTIONS", -1)  # another ground station changed it
    world.turn()
    assert link.params["FS_OPTIONS"] == 2.0


def test_a_restart_of_the_autopilot_fails_what_was_asked_of_it():
    world = World()
    link = world.commander.link
    world.until("ground")
    setting = link.set_param("FS_OPTIONS", 3, world.now)
    link.forget()
    assert (setting.state, link.params) == ("failed", {})

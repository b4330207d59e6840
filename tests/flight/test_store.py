"""The store on a real disk."""

from __future__ import annotations

import os

import pytest

from edge_agent.flight.logbook import Run, State
from edge_agent.flight.schedule import LedgerState
from edge_agent.flight.store import Store
from edge_agent.messages import FlightEvent
from edge_agent.runtime import DriverError

EVENT = FlightEvent(run="R", route="r", seq=1, phase="gating", previous="ground", cause="c", by="b", wall_s=1.0)
STATE = State(
    run=Run(id="R", route="r", by="b", phase="route", seq=4, digest="d", last=6, flew=True, entered_wall_s=2.0),
    ledger=LedgerState(since={"s": 1.0}, flown={"s": [1.0]}),
    unsent=[EVENT],
)


def test_what_is_saved_is_loaded(tmp_path):
    Store(tmp_path / "flight").save(STATE)
    assert Store(tmp_path / "flight").load() == STATE


def test_without_a_file_the_state_is_empty(tmp_path):
    assert Store(tmp_path / "flight").load() == State()


def test_a_broken_file_is_a_fault_and_never_an_empty_state(tmp_path):
    (tmp_path / "state.json").write_bytes(b'{"run": {"id"')
    with pytest.raises(DriverError, match=r"state\.json.*move the file away"):
        Store(tmp_path).load()


def test_a_save_that_is_killed_half_way_leaves_the_old_state(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.save(STATE)

    def killed(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(DriverError, match="No space left"):
        store.save(State())
    assert store.load() == STATE


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DriverError, match=r"state\.json"):
        Store(tmp_path / "file" / "flight").save(STATE)

"""Originals that were kept long enough go, and each that went stands in the audit log."""

import os
from pathlib import Path

import pytest

from edge_agent import config
from edge_agent.audit import Audit
from edge_agent.runtime import DriverError, Health, SystemClock
from edge_agent.witness import FOLDER, Witness


def test_what_went_before_one_that_cannot_go_stands_in_the_log(tmp_path: Path) -> None:
    clock, originals = SystemClock(), tmp_path / FOLDER
    (originals / "stuck.jpg").mkdir(parents=True)  # what nobody can delete like a file
    (originals / "old.jpg").write_bytes(b"x")
    for at, name in enumerate(("old.jpg", "stuck.jpg")):
        os.utime(originals / name, (at, at))
    witness = Witness(tmp_path, config.Privacy(), audit=Audit(tmp_path), clock=clock, health=Health(clock))
    with pytest.raises(DriverError, match=r"stuck\.jpg: cannot be deleted"):
        witness.tidy()
    assert not (originals / "old.jpg").exists()
    assert [(one["what"], one["facts"]["file"]) for one in Audit(tmp_path).tail(9)] == [("original.deleted", "old.jpg")]


def test_sealed_originals_that_are_uploaded_are_not_the_witness_s_to_delete(tmp_path: Path) -> None:
    clock, originals = SystemClock(), tmp_path / FOLDER
    originals.mkdir()
    for name in ("a.jpg", "b.jpg.age"):
        (originals / name).write_bytes(b"x")
        os.utime(originals / name, (0, 0))
    for leave, due in ((False, {"a.jpg", "b.jpg.age"}), (True, {"a.jpg"})):
        witness = Witness(
            tmp_path,
            config.Privacy(),
            audit=Audit(tmp_path),
            clock=clock,
            health=Health(clock),
            sealed_leave=leave,
        )
        assert {path.name for path, _ in witness.due()} == due

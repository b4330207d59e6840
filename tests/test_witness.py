"""Originals that were kept long enough go, and each that went stands in the audit log."""

import os
from pathlib import Path

import numpy as np
import pytest

from edge_agent import config
from edge_agent.audit import Audit
from edge_agent.messages import Tracks
from edge_agent.runtime import DriverError, Health, SystemClock
from edge_agent.vision.camera import Frame
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


async def test_a_picture_for_whose_original_there_is_no_room_is_reported_all_the_same(tmp_path: Path) -> None:
    clock = SystemClock()
    (tmp_path / FOLDER).write_bytes(b"no directory")
    witness = Witness(tmp_path, config.Privacy(), audit=Audit(tmp_path), clock=clock, health=Health(clock))
    frame = Frame("c", 1, 5.0, 1000.0, np.zeros((100, 400, 3), np.uint8))
    tracks = Tracks(camera="c", seq=1, at_s=5.0, wall_s=1000.0, width=400, height=100, tracks=())
    picture, original = await witness.photograph("01JD.photo1", frame, tracks, None, blur=True)
    assert original is None
    assert Path(picture.path).stat().st_size == picture.bytes

"""Telemetry logs: read by pymavlink's mavutil, bounded, and never in the way."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
from pymavlink import mavutil
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight import tlog as tlog_module
from edge_agent.flight.frames import Sender
from edge_agent.flight.tlog import Tlog
from tests.flight.conftest import World

WALL_S = 1_780_000_000.25


def beats(number: int, component: int = 1) -> list[bytes]:
    sender = Sender(1, component)
    return [sender.encode(mavlink.MAVLink_heartbeat_message(2, 3, 81, n, 3, 3)) for n in range(number)]


def logged(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.tlog"))


def read(file: Path) -> list:
    """The log as every tool of ArduPilot's reads it."""
    log = mavutil.mavlink_connection(str(file))
    messages = []
    while (message := log.recv_match()) is not None:
        messages.append(message)
    log.close()
    return messages


def test_a_log_holds_what_came_before_the_flight_and_both_directions(tmp_path):
    wall = iter([WALL_S + n for n in range(1000)])
    log = Tlog(tmp_path / "tlogs", 10, lambda: next(wall))
    for frame in beats(3):
        log.take(frame)
    log.flying("RUN1", 0.0)
    for frame in beats(2, component=191):
        log.take(frame)
    log.close()
    (file,) = logged(tmp_path / "tlogs")
    assert file.name == "20260528T202643Z-RUN1.tlog"
    messages = read(file)
    assert [(m.get_type(), m.get_srcComponent(), m.custom_mode) for m in messages] == [
        ("HEARTBEAT", 1, 0), ("HEARTBEAT", 1, 1), ("HEARTBEAT", 1, 2), ("HEARTBEAT", 191, 0), ("HEARTBEAT", 191, 1),
    ]  # fmt: skip
    assert [m._timestamp for m in messages] == [WALL_S + n for n in (0, 1, 2, 4, 5)]


def test_a_record_is_eight_bytes_of_time_and_the_frame(tmp_path):
    log = Tlog(tmp_path, 10, lambda: WALL_S)
    frame = beats(1)[0]
    log.flying("R", 0.0)
    log.take(frame)
    log.close()
    assert logged(tmp_path)[0].read_bytes() == (1_780_000_000_250_000).to_bytes(8, "big") + frame


def test_the_log_goes_on_for_a_while_after_landing_and_the_next_flight_has_its_own(tmp_path):
    walls = iter(range(1_780_000_000, 1_780_001_000))
    log = Tlog(tmp_path, 10, lambda: next(walls))
    log.flying("ONE", 0.0)
    log.flying(None, 5.0)
    log.take(beats(1)[0])
    log.flying(None, 10.1)
    log.flying("TWO", 20.0)
    log.close()
    wait_for(lambda: len(logged(tmp_path)) == 2 and logged(tmp_path)[0].stat().st_size > 0)
    assert [file.name.split("-")[1] for file in logged(tmp_path)] == ["ONE.tlog", "TWO.tlog"]


def wait_for(what, within_s: float = 10.0) -> None:
    done = threading.Event()
    for _ in range(int(within_s * 100)):
        if what():
            return
        done.wait(0.01)
    raise AssertionError("not within the time")


def test_old_logs_leave_when_there_are_too_many(tmp_path):
    for n in range(4):
        (tmp_path / f"old{n}.tlog").write_bytes(bytes(300_000))
        os.utime(tmp_path / f"old{n}.tlog", (n, n))
    log = Tlog(tmp_path, 1, lambda: WALL_S)
    log.flying("NEW", 0.0)
    log.close()
    assert [file.name for file in logged(tmp_path)] == ["20260528T202640Z-NEW.tlog", "old3.tlog"]


def test_one_flight_may_not_fill_the_share_of_all(tmp_path, caplog):
    log = Tlog(tmp_path, 1, lambda: WALL_S)
    log.flying("LONG", 0.0)
    frame = beats(1)[0]
    for _ in range(40_000):
        log.take(frame)
    log.close()
    assert 400_000 < logged(tmp_path)[0].stat().st_size <= 524_288
    assert "no more telemetry log" in caplog.text


def test_a_full_disk_costs_the_log_and_nothing_else(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, tlog_module.FREE_BYTES))
    log = Tlog(tmp_path, 10, lambda: WALL_S)
    log.flying("R", 0.0)
    for frame in beats(10):
        log.take(frame)
    log.close()
    assert "no more telemetry log" in caplog.text


def test_a_directory_that_cannot_be_made_costs_the_log_and_nothing_else(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    log = Tlog(tmp_path / "file", 10, lambda: WALL_S)
    log.flying("R", 0.0)
    log.take(beats(1)[0])
    log.close()
    assert "no more telemetry log" in caplog.text


def test_a_disk_that_hangs_keeps_nobody_waiting(tmp_path, monkeypatch):
    hung = threading.Event()
    monkeypatch.setattr(tlog_module._Writer, "_write", lambda _: hung.wait())
    monkeypatch.setattr(tlog_module, "JOIN_S", 0.01)
    monkeypatch.setattr(tlog_module, "PENDING", 10)
    log = Tlog(tmp_path, 10, lambda: WALL_S)
    log.flying("R", 0.0)
    writer = log._writer
    for frame in beats(20):
        log.take(frame)
    log.close()
    assert writer._dropped == 10
    hung.set()
    writer.join()


@pytest.mark.parametrize("keep_mb", [0])
def test_nothing_is_kept_where_nothing_is_asked_for(tmp_path, keep_mb):
    log = Tlog(tmp_path / "tlogs", keep_mb, lambda: WALL_S)
    log.take(beats(1)[0])
    log.flying("R", 0.0)
    log.close()
    assert not (tmp_path / "tlogs").exists()


def test_before_a_flight_only_so_much_is_kept_in_memory(tmp_path):
    log = Tlog(tmp_path, 10, lambda: WALL_S)
    frame = beats(1)[0]
    for _ in range(50_000):
        log.take(frame)
    assert log._before_bytes <= tlog_module.BEFORE_BYTES


def test_a_whole_flight_is_read_back_with_its_commands(tmp_path):
    world = World()
    log = Tlog(tmp_path, 10, lambda: world.wall)
    link = world.commander.link
    link._tap = link._framer.tap = log.take
    world.fly()
    while not world.is_home() or world.commander.logbook.run is not None:
        world.turn()
        log.flying(world.commander.logbook.run.id if world.commander.logbook.run else None, world.now)
    log.close()
    kinds = [message.get_type() for message in read(logged(tmp_path)[0])]
    assert {"MISSION_COUNT", "MISSION_ITEM_INT", "COMMAND_LONG", "COMMAND_ACK", "GLOBAL_POSITION_INT"} <= set(kinds)
    assert "BAD_DATA" not in kinds

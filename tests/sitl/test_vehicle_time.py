"""The shared clock: it is the vehicle's, it never goes back, and it does not stop when the vehicle does."""

from __future__ import annotations

import time

from sitl.vehicle_time import Hand, VehicleClock


def test_the_reader_sees_the_vehicles_time(tmp_path):
    hand = Hand(tmp_path / "clock", 1000.0)
    clock = VehicleClock(tmp_path / "clock")
    hand.hear(500.0)
    assert 500.0 <= clock.monotonic() < 502.0
    assert 1500.0 <= clock.wall() < 1502.0


def test_a_reboot_of_the_vehicle_does_not_turn_it_back(tmp_path):
    hand = Hand(tmp_path / "clock", 0.0)
    clock = VehicleClock(tmp_path / "clock")
    hand.hear(500.0)
    hand.hear(1.0)
    before = clock.monotonic()
    assert before >= 500.0
    hand.hear(11.0)
    assert clock.monotonic() >= before + 9


def test_a_step_of_the_wall_clock_leaves_the_other_alone(tmp_path):
    hand = Hand(tmp_path / "clock", 0.0)
    clock = VehicleClock(tmp_path / "clock")
    hand.hear(100.0)
    hand.step_wall(-7200)
    assert clock.wall() < -7000
    assert clock.monotonic() >= 100.0


async def test_a_sleeper_sleeps_the_vehicles_seconds(tmp_path):
    hand = Hand(tmp_path / "clock", 0.0)
    clock = VehicleClock(tmp_path / "clock")
    began_s = time.monotonic()
    hand.hear(0.0)
    sleeping = clock.sleep(3600)
    hand.hear(3600.0)
    await clock.sleep(0)
    sleeping.close()
    hand.hear(7200.0)
    await clock.sleep(0.01)
    assert time.monotonic() - began_s < 60

"""How full the disk is, and the ballast that makes room on it."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.uplink.disk import MIB, Ballast, Pressure, pressure


@pytest.mark.parametrize(
    ("percent", "level"),
    [(0, 0), (69.9, 0), (70, 70), (79.9, 70), (80, 80), (90, 90), (94.9, 90), (95, 95), (100, 95), (120, 95)],
)
def test_the_fuller_of_quota_and_disk_gives_the_level(percent: float, level: int) -> None:
    assert pressure(used_bytes=round(percent * 10), quota_bytes=1000, disk_used=0.1) == level
    assert pressure(used_bytes=0, quota_bytes=1000, disk_used=percent / 100) == level


@given(st.integers(0, 2000), st.floats(0, 1), st.floats(0, 1))
def test_more_is_never_less_pressure(used: int, disk: float, more: float) -> None:
    low = pressure(used_bytes=used, quota_bytes=1000, disk_used=disk)
    assert low <= pressure(used_bytes=used + 1, quota_bytes=1000, disk_used=min(1.0, disk + more))
    assert pressure(used_bytes=used, quota_bytes=0, disk_used=0) == Pressure.NONE


def test_the_ballast_takes_real_room_and_gives_it_back(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", 2)
    assert ballast.make()
    assert ballast.held
    stat = (tmp_path / "ballast").stat()
    assert (stat.st_size, stat.st_mode & 0o777) == (2 * MIB, 0o600)
    assert stat.st_blocks * 512 >= 2 * MIB  # not a hole
    assert ballast.make()
    assert ballast.drop()
    assert not ballast.drop()
    assert not ballast.held


def test_a_ballast_of_another_size_is_made_anew_and_one_of_none_goes(tmp_path: Path) -> None:
    assert Ballast(tmp_path / "ballast", 3).make()
    assert Ballast(tmp_path / "ballast", 1).make()
    assert (tmp_path / "ballast").stat().st_size == MIB
    assert not Ballast(tmp_path / "ballast", 0).make()
    assert not (tmp_path / "ballast").exists()


def test_a_disk_without_room_to_spare_keeps_what_it_has(tmp_path: Path, monkeypatch: Any) -> None:
    full = os.statvfs_result((4096, 4096, 1000, 300, 300, 0, 0, 0, 0, 255))  # 1.2 MiB free
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert not Ballast(tmp_path / "ballast", 1).make()
    assert not (tmp_path / "ballast").exists()

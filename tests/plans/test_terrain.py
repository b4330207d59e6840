"""Heights of the ground from the two formats, against grids made by their descriptions."""

import binascii
import math
import struct

import pytest

from edge_agent.plans.terrain import Dat, Hgt, Tiles

SIDE = 1201
SCALE = 0.011131884502145034 * 1e7


def slope(north: float, east: float) -> int:
    """A plane: one metre up for each step north, two for each step east, modulo what 16 bits hold."""
    return round(north + 2 * east)


def hgt() -> bytes:
    rows = (slope(SIDE - 1 - row, column) for row in range(SIDE) for column in range(SIDE))
    return struct.pack(f">{SIDE * SIDE}h", *rows)


def block(grid: tuple[int, int], bitmap: int = (1 << 56) - 1, spacing_m: int = 100, spoil: bool = False) -> bytes:
    """AP_Terrain.h, struct grid_block: the block at (north, east) of the degree N30 E120."""
    heights = [slope(grid[0] * 24 + x, grid[1] * 28 + y) for x in range(28) for y in range(32)]
    body = struct.pack("<QiiHHH896hHHhb", bitmap, 0, 0, 0, 1, spacing_m, *heights, *grid, 120, 30)
    crc = binascii.crc_hqx(body, 0) ^ spoil
    return (body[:16] + struct.pack("<H", crc) + body[18:]).ljust(2048, b"\0")


def test_a_tile_of_srtm_is_read_from_the_north_and_between_its_points():
    tile = Hgt("N30E120.hgt", hgt())
    assert tile.height_m(30, 120) == 0
    assert tile.height_m(31, 120) == 1200
    assert tile.height_m(30, 121) == 2400
    assert tile.height_m(30 + 0.5 / 1200, 120 + 1.5 / 1200) == pytest.approx(3.5)
    assert tile.height_m(29.999, 120) is None


def test_southern_and_western_tiles_have_their_corner_in_the_south_west():
    assert Hgt("S01W002.hgt", hgt()).height_m(-1, -2) == 0


def test_a_void_is_not_known():
    data = bytearray(hgt())
    data[:2] = struct.pack(">h", -32768)
    assert Hgt("N30E120.hgt", bytes(data)).height_m(31, 120) is None


def test_the_autopilots_own_file_is_read_block_by_block():
    tile = Dat(block((0, 0)) + block((0, 1)) + block((1, 1)))
    for north_m, east_m in ((150, 250), (50, 2790), (2350, 2850), (2450, 3000)):
        lat = 30 + north_m / SCALE
        lon = 120 + east_m / SCALE / math.cos(math.radians((lat + 30) / 2))
        assert tile.height_m(lat, lon) == pytest.approx(north_m / 100 + 2 * east_m / 100, abs=0.05)
    assert tile.height_m(30.5, 120.5) is None


def test_what_the_autopilot_has_not_got_yet_is_not_known():
    assert Dat(block((0, 0), bitmap=0b10)).height_m(30.0001, 120.0001) is None


@pytest.mark.parametrize("data", [b"", b"x" * 5000, block((0, 0), spoil=True), block((0, 0), bitmap=0)])
def test_a_file_without_an_intact_block_is_refused(data):
    with pytest.raises(ValueError, match="no intact block"):
        Dat(data)


@pytest.mark.parametrize(("name", "data"), [("hill.hgt", hgt()), ("N30E120.hgt", b"12345")])
def test_what_is_no_tile_is_refused(name, data):
    with pytest.raises(ValueError, match=r"corner|no tile"):
        Hgt(name, data)


def test_several_tiles_are_one_ground():
    ground = Tiles([Hgt("N30E121.hgt", hgt()), Hgt("N30E120.hgt", hgt())])
    assert ground.height_m(30, 120) == 0
    assert ground.height_m(40, 120) is None

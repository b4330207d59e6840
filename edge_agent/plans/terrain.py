"""Heights of the ground from SRTM's `.hgt` and from ArduPilot's terrain `.DAT` files: pure, over their bytes."""

from __future__ import annotations

import binascii
import math
import re
import struct
from collections.abc import Iterable
from typing import NamedTuple, Protocol

VOID = -32768
_NAME = re.compile(r"([NS])(\d{2})([EW])(\d{3})", re.IGNORECASE)
_SIDES = (1201, 3601)  # of 3 and 1 arc seconds

# AP_Terrain.h: struct grid_block, packed, in blocks of 2048 bytes; 28 heights to the north by 32 to the east,
# of which 24 by 28 belong to the block and the rest to its neighbours.
_BLOCK = struct.Struct("<QiiHHH896hHHhb")
_BLOCK_BYTES, _VERSION = 2048, 1
_NORTH, _EAST = 28, 32
_STEP_NORTH, _STEP_EAST = 24, 28
_METRES_PER_DEGREE = 0.011131884502145034 * 1e7  # Location.h: LOCATION_SCALING_FACTOR


class Ground(Protocol):
    """The height of the ground above sea level, metres; None where it is not known."""

    def height_m(self, lat: float, lon: float) -> float | None: ...


class Tiles:
    """Several tiles as one ground: the first that knows a place answers."""

    def __init__(self, tiles: Iterable[Ground]) -> None:
        self._tiles = tuple(tiles)

    def height_m(self, lat: float, lon: float) -> float | None:
        return next((h for tile in self._tiles if (h := tile.height_m(lat, lon)) is not None), None)


class Hgt:
    """One degree by one degree of SRTM: big-endian metres, row by row from the north; the name gives the corner."""

    def __init__(self, name: str, data: bytes) -> None:
        """ValueError where name or size are not those of a tile."""
        found, side = _NAME.search(name), math.isqrt(len(data) // 2)
        if found is None:
            raise ValueError(f"{name} does not name its corner, as N30E120.hgt does")
        if side not in _SIDES or side * side * 2 != len(data):
            raise ValueError(f"{len(data)} bytes are no tile of {_SIDES[0]} or {_SIDES[1]} heights a side")
        north, lat, east, lon = found.groups()
        self._lat = int(lat) * (1 if north.upper() == "N" else -1)
        self._lon = int(lon) * (1 if east.upper() == "E" else -1)
        self._side, self._data = side, data

    def height_m(self, lat: float, lon: float) -> float | None:
        north, east = (lat - self._lat) * (self._side - 1), (lon - self._lon) * (self._side - 1)
        if not (0 <= north <= self._side - 1 and 0 <= east <= self._side - 1):
            return None
        row, column = min(int(north), self._side - 2), min(int(east), self._side - 2)
        corners = [self._at(row + n, column + e) for n, e in ((0, 0), (0, 1), (1, 0), (1, 1))]
        return None if VOID in corners else _between(corners, north - row, east - column)

    def _at(self, row: int, column: int) -> int:
        (value,) = struct.unpack_from(">h", self._data, 2 * ((self._side - 1 - row) * self._side + column))
        return int(value)


class _Block(NamedTuple):
    bitmap: int
    heights: tuple[int, ...]


class Dat:
    """What ArduPilot keeps on its card: blocks of a grid that starts at a whole degree."""

    def __init__(self, data: bytes) -> None:
        """ValueError where no block of it is intact."""
        self._blocks: dict[tuple[int, int], _Block] = {}
        self._corner, self._spacing_m = (0, 0), 0
        for start in range(0, len(data) - _BLOCK.size + 1, _BLOCK_BYTES):
            self._take(data[start : start + _BLOCK.size])
        if not self._blocks:
            raise ValueError("no intact block of terrain is in it")

    def _take(self, raw: bytes) -> None:
        bitmap, _lat, _lon, crc, version, spacing_m, *rest = _BLOCK.unpack(raw)
        heights, (north, east, lon_deg, lat_deg) = rest[:-4], rest[-4:]
        sound = version == _VERSION and spacing_m and binascii.crc_hqx(raw[:16] + b"\0\0" + raw[18:], 0) == crc
        if sound and bitmap:
            self._corner, self._spacing_m = (lat_deg, lon_deg), spacing_m
            self._blocks[north, east] = _Block(bitmap, tuple(heights))

    def height_m(self, lat: float, lon: float) -> float | None:
        """As AP_Terrain::calculate_grid_info finds it."""
        lat_deg, lon_deg = self._corner
        if not (lat_deg <= lat < lat_deg + 1 and lon_deg <= lon < lon_deg + 1):
            return None
        scale = max(math.cos(math.radians((lat + lat_deg) / 2)), 0.01)
        north = (lat - lat_deg) * _METRES_PER_DEGREE / self._spacing_m
        east = (lon - lon_deg) * _METRES_PER_DEGREE * scale / self._spacing_m
        row, column = int(north), int(east)
        block = self._blocks.get((row // _STEP_NORTH, column // _STEP_EAST))
        if block is None:
            return None
        corners = []
        for n, e in ((0, 0), (0, 1), (1, 0), (1, 1)):
            x, y = row % _STEP_NORTH + n, column % _STEP_EAST + e
            if not block.bitmap >> (y // 4 + 8 * (x // 4)) & 1:
                return None
            corners.append(block.heights[x * _EAST + y])
        return _between(corners, north - row, east - column)


def _between(corners: list[int], north: float, east: float) -> float:
    """Bilinear, of south-west, south-east, north-west, north-east."""
    south = corners[0] * (1 - east) + corners[1] * east
    return south * (1 - north) + (corners[2] * (1 - east) + corners[3] * east) * north

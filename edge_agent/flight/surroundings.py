"""What the agent looks at beside the vehicle before a flight: its disk, its clock, closed windows, the weather."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, assert_never
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from edge_agent import config
from edge_agent.flight import sky
from edge_agent.flight.facts import Around
from edge_agent.flight.weather import Weather
from edge_agent.runtime import Clock, DriverError
from edge_agent.timequality import time_quality

LONGEST_FLIGHT_S = 1800.0  # a window that opens so soon is closed for a flight that begins now
HTTP_S = 10.0
BYTES_MAX = 65_536

Speed = Annotated[float, Meta(ge=0, le=150)] | None


class Reading(Struct, frozen=True):
    """What a weather source says; everything may be missing. `age_s` is how old it was when it was said."""

    wind_mps: Speed = None
    wind_from_deg: Annotated[float, Meta(ge=0, le=360)] | None = None
    gust_mps: Speed = None
    rain_mm_h: Annotated[float, Meta(ge=0, le=1000)] | None = None
    temp_c: Annotated[float, Meta(ge=-90, le=70)] | None = None
    visibility_m: Annotated[float, Meta(ge=0)] | None = None
    age_s: Annotated[float, Meta(ge=0)] = 0.0


class Source(Protocol):
    """Who knows the weather; raises DriverError."""

    name: str

    async def read(self, clock: Clock) -> Weather: ...


def open_weather(section: config.WeatherSource) -> Source | None:
    """The driver that the configuration names; None where the vehicle itself tells (`weather.from_mavlink`)."""
    match section:
        case config.WeatherFile(path=path):
            return File(path)
        case config.WeatherHttp(url=url):
            return Http(url)
        case config.WeatherVehicle():
            return None
        case _:
            assert_never(section)


class File:
    """A JSON file; how old it is, is how old the weather is."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = str(path), path

    async def read(self, clock: Clock) -> Weather:
        try:
            with self._path.open("rb") as file:
                data, changed = file.read(BYTES_MAX + 1), self._path.stat().st_mtime
        except OSError as error:
            raise DriverError(f"weather: {self.name}: {error.strerror}; is its writer running?") from None
        return _weather(data, self.name, clock, max(0.0, clock.wall() - changed))


class Http:
    """The same object by HTTP; what the server says of its age (`age_s`) is believed."""

    def __init__(self, url: str) -> None:
        self.name = url

    async def read(self, clock: Clock) -> Weather:
        import aiohttp

        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HTTP_S)) as session,
                session.get(self.name) as answer,
            ):
                answer.raise_for_status()
                data = await answer.content.read(BYTES_MAX + 1)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise DriverError(f"weather: {self.name}: {error or type(error).__name__}; is its server up?") from None
        return _weather(data, self.name, clock, 0.0)


def _weather(data: bytes, name: str, clock: Clock, age_s: float) -> Weather:
    if len(data) > BYTES_MAX:
        raise DriverError(f"weather: {name}: more than {BYTES_MAX} bytes; one JSON object is wanted")
    try:
        reading = msgspec.json.decode(data, type=Reading)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DriverError(f"weather: {name}: {error}") from None
    facts: dict[str, Any] = msgspec.structs.asdict(reading)
    return Weather(at_s=clock.monotonic() - age_s - facts.pop("age_s"), source=name, **facts)


class Surroundings:
    """The part that keeps `around` and `weather` fresh."""

    def __init__(
        self,
        folder: Path,
        site: config.Site,
        weather: config.WeatherLimits,
        no_fly: Sequence[config.NoFly],
        clock: Clock,
    ) -> None:
        self._folder, self._no_fly, self._clock = folder, no_fly, clock
        self._zone, self._limits = ZoneInfo(site.time_zone), weather
        self._source = open_weather(weather.source) if weather.source else None
        self.from_vehicle = isinstance(weather.source, config.WeatherVehicle)

    def look(self) -> Around:
        """The machine and the clock, now; quick enough for the control loop."""
        wall = self._clock.wall()
        window = sky.closed(self._no_fly, self._zone, wall, wall + LONGEST_FLIGHT_S)
        return Around(
            at_s=self._clock.monotonic(),
            wall_s=wall,
            disk_free_mib=_free_mib(self._folder),
            clock=time_quality().src,
            closed=f"{window.id}, {window.start} to {window.end}" if window else None,
        )

    async def watch(self, tell: Callable[[Weather], None]) -> None:
        """Ask the source for ever; DriverError where it fails."""
        while self._source is not None:
            tell(await self._source.read(self._clock))
            await self._clock.sleep(self._limits.period_s)
        await asyncio.Event().wait()


def _free_mib(folder: Path) -> float | None:
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free / 2**20
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None

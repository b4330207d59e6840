"""What a scenario can say of dates, schedules and the computer's clock."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sitl.phrases import phrase
from sitl.world import World


def _jump_to(world: World, when: str, *, fold: int = 0) -> None:
    zone = ZoneInfo(world.agent.settings["site"]["time_zone"])
    wanted = datetime.strptime(when, "%Y-%m-%d %H:%M").replace(tzinfo=zone, fold=fold)
    world.clock.step_wall(wanted.timestamp() - world.clock.wall())


@phrase("it is {when} in {zone}")
async def it_is(world: World, when: str, zone: str) -> None:
    world.agent.settings["site"]["time_zone"] = zone
    _jump_to(world, when)


@phrase("it is {when} for the second time")
async def it_is_again(world: World, when: str) -> None:
    _jump_to(world, when, fold=1)


@phrase("the computer's clock is set to {when}")
async def clock_set(world: World, when: str) -> None:
    _jump_to(world, when)


@phrase("a schedule flies the patrol {route} daily at {time}")
async def daily(world: World, route: str, time: str) -> None:
    hour, minute = time.split(":")
    _schedule(world, route, cron=f"{int(minute)} {int(hour)} * * *")


@phrase("a schedule flies the patrol {route} {minutes} minutes after {event}")
async def after_the_sun(world: World, route: str, minutes: float, event: str) -> None:
    _schedule(world, route, sun=event, offset_min=minutes)


def _schedule(world: World, route: str, **when: object) -> None:
    world.agent.settings["schedule"] = [{"id": "round", "route": route, **when}]


@phrase("the agent takes off between {first} and {last}")
async def takes_off_between(world: World, first: str, last: str) -> None:
    """By the clock on the wall of the place; it waits for it as long as the clock says."""
    zone = ZoneInfo(world.agent.settings["site"]["time_zone"])

    def at() -> str:
        return f"{datetime.fromtimestamp(world.clock.wall(), zone):%H:%M}"

    end_s = 60.0 * (_minutes(last) - _minutes(at()) + 1)
    await world.until(lambda: world.phase in ("climb", "route"), end_s, f"a take-off until {last}")
    assert first <= at() <= last, f"it took off at {at()}"


def _minutes(time: str) -> int:
    hour, minute = time.split(":")
    return int(hour) * 60 + int(minute)

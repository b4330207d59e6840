"""Announcements at fixed times: each once, in the site's time, never late, whatever the clock does."""

from __future__ import annotations

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import config
from edge_agent.messages import Announcement, Phrase
from edge_agent.speakers import programme
from edge_agent.speakers.programme import Programme

ZONE = "Asia/Shanghai"
SAY = (Phrase(text="公园将于十八点关闭。"),)


def at(text: str, zone: str = ZONE) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def made(now_s: float, zone: str = ZONE, **when: str) -> Programme:
    one = config.ScheduledAnnouncement(id="closing", say=SAY, **(when or {"cron": "45 17 * * *"}))
    site = config.Site(device="EA-1", time_zone=zone, lat=30.0, lon=120.0)
    return Programme(config.Announcements(scheduled=(one,)), site, 10.0, now_s)


def test_it_is_due_once_a_day_at_the_sites_time() -> None:
    told = made(at("2026-11-22T17:44:58"))
    assert told.due(at("2026-11-22T17:44:59")) == []
    [(section, planned_s)] = told.due(at("2026-11-22T17:45:00.5"))
    assert (section.id, planned_s) == ("closing", at("2026-11-22T17:45"))
    assert told.due(at("2026-11-22T17:45:01")) == []
    assert len(told.due(at("2026-11-23T17:45:01"))) == 1


def test_what_was_missed_is_not_said_later() -> None:
    told = made(at("2026-11-22T17:00"))
    assert told.due(at("2026-11-22T17:45:11")) == []  # a suspended machine: 11 s late, 10 are allowed
    assert made(at("2026-11-22T17:45:01")).due(at("2026-11-22T17:45:02")) == []  # the agent started after it


def test_a_clock_that_is_set_back_says_it_again_only_where_its_time_comes_again() -> None:
    told = made(at("2026-11-22T17:00"))
    assert len(told.due(at("2026-11-22T17:45:01"))) == 1
    assert told.due(at("2026-11-22T17:44:50")) == []
    assert len(told.due(at("2026-11-22T17:45:00"))) == 1


def test_by_the_sun_and_through_a_clock_change() -> None:
    told = made(at("2026-11-22T16:30"), sun="sunset")
    assert sum(len(told.due(at("2026-11-22T16:30") + second)) for second in range(3600)) == 1
    berlin = made(at("2026-03-29T01:00", "Europe/Berlin"), "Europe/Berlin", cron="30 2 * * *")  # 02:30 does not exist
    assert sum(len(berlin.due(at("2026-03-29T01:00", "Europe/Berlin") + second)) for second in range(7200)) == 1


@given(st.lists(st.floats(0, 9), min_size=10, max_size=400))
def test_asked_often_enough_each_is_said_once(steps: list[float]) -> None:
    now_s = begin_s = at("2026-11-22T00:00")
    told, said = made(begin_s, cron="* * * * *"), 0
    for step_s in steps:
        now_s += step_s
        said += len(told.due(now_s))
    assert said == int((now_s - begin_s) // 60)


async def test_what_is_offered_is_scheduled_and_stale_in_time() -> None:
    class Clock:
        wall_s = at("2026-11-22T17:44:58")

        def wall(self) -> float:
            return self.wall_s

        def monotonic(self) -> float:
            return 7.0

        async def sleep(self, seconds: float) -> None:
            self.wall_s += seconds
            await asyncio.sleep(0)

    one = config.ScheduledAnnouncement(id="closing", say=SAY, cron="45 17 * * *", speakers=("street",))
    settings = config.Agent(
        data_dir="d",
        site=config.Site(device="EA-1", time_zone=ZONE),
        announcements=config.Announcements(scheduled=(one,)),
    )
    offered: list[Announcement] = []
    running = asyncio.create_task(programme.run(settings, offered.append, Clock(), lambda: "ID"))
    async with asyncio.timeout(30):
        while not offered:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    [told] = offered
    assert (told.id, told.cls, told.by, told.speakers) == ("ID", "scheduled", "schedule:closing", ("street",))
    assert told.not_after_s == pytest.approx(17.0)

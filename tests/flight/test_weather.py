"""The weather gate, the night, and windows that are closed."""

from __future__ import annotations

import json
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import config, sun
from edge_agent.flight import sky
from edge_agent.flight.surroundings import Surroundings, open_weather
from edge_agent.flight.weather import Judge, Weather, from_mavlink
from edge_agent.runtime import DriverError, SystemClock

NOW = 1000.0
SHANGHAI = ZoneInfo("Asia/Shanghai")


def weather(at_s: float = NOW, **facts) -> Weather:
    return Weather(at_s=at_s, source="test", **{"wind_mps": 3.0, **facts})


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"wind_mps": 10.1}, "wind is out of limits"),
        ({"gust_mps": 13.1}, "gust is out of limits"),
        ({"rain_mm_h": 0.6}, "rain is out of limits"),
        ({"temp_c": -11.0}, "cold is out of limits"),
        ({"temp_c": 46.0}, "heat is out of limits"),
        ({"visibility_m": 400.0}, "visibility is out of limits"),
    ],
)
def test_each_limit_refuses_by_its_name_and_is_no_mere_advice(facts, reason):
    verdict = Judge(config.WeatherLimits()).ask(weather(**facts), NOW)
    assert (verdict.state, verdict.reason, verdict.advice) == ("fail", reason, False)


def test_weather_within_its_limits_passes_and_says_what_it_is():
    verdict = Judge(config.WeatherLimits()).ask(weather(gust_mps=5.0), NOW)
    assert verdict.state == "pass" and verdict.value == "wind 3 m/s, gust 5 m/s"


def test_a_wind_that_was_too_much_must_ease_further_than_the_limit():
    judge = Judge(config.WeatherLimits(max_wind_mps=10))
    states = [judge.ask(weather(wind_mps=wind), NOW).state for wind in (9.9, 10.1, 9.0, 8.6, 8.4, 9.9)]
    assert states == ["pass", "fail", "fail", "fail", "pass", "pass"]


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("sample", [None, weather(at_s=NOW - 601), Weather(at_s=NOW, source="t", temp_c=10.0)])
def test_an_unknown_or_old_weather_stops_the_flight_only_where_it_is_required(sample, required):
    verdict = Judge(config.WeatherLimits(required=required)).ask(sample, NOW)
    assert verdict.state != "pass" and verdict.advice is not required


def test_an_autopilot_that_reports_exactly_no_wind_knows_nothing():
    assert from_mavlink(0.0, -180.0, NOW) is None
    assert from_mavlink(float("nan"), 0.0, NOW) is None
    found = from_mavlink(4.25, -90.0, NOW)
    assert found is not None and (found.wind_mps, found.wind_from_deg) == (4.2, 270.0)


# --- the sky --------------------------------------------------------------------------------------------------------


def unix(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).timestamp()


NIGHT = config.NoFly(id="night", start="22:00", end="06:00")
FRIDAY = config.NoFly(id="school", start="08:00", end="09:00", days=("fri",))


@pytest.mark.parametrize(
    ("window", "begin", "minutes", "closed"),
    [
        (NIGHT, "2026-11-20T21:00", 30, False),
        (NIGHT, "2026-11-20T21:45", 30, True),  # it would still fly when the window opens
        (NIGHT, "2026-11-21T02:00", 30, True),  # it opened yesterday
        (NIGHT, "2026-11-21T06:00", 30, False),
        (FRIDAY, "2026-11-20T08:30", 10, True),
        (FRIDAY, "2026-11-21T08:30", 10, False),
    ],
)
def test_a_window_is_closed_for_all_of_the_flight(window, begin, minutes, closed):
    found = sky.closed([window], SHANGHAI, unix(begin), unix(begin) + minutes * 60)
    assert (found == window) is closed


@pytest.mark.parametrize(
    ("utc", "lat", "lon", "degrees"),
    [
        ("2026-03-20T12:07:30+00:00", 0.0, 0.0, 89.8),  # equinox, noon on the equator
        ("2026-06-21T11:58:00+00:00", 51.5, 0.0, 61.9),  # 90 - 51.5 + 23.4: summer noon in London
        ("2026-12-21T12:00:00+00:00", 70.0, 0.0, -3.4),  # polar night at noon
    ],
)
def test_the_sun_stands_where_geometry_puts_it(utc, lat, lon, degrees):
    assert sun.height_deg(datetime.fromisoformat(utc).timestamp(), lat, lon) == pytest.approx(degrees, abs=0.4)


@given(st.floats(0, 4e9), st.floats(-90, 90), st.floats(-180, 180))
def test_the_sun_is_somewhere(wall_s, lat, lon):
    assert -90 <= sun.height_deg(wall_s, lat, lon) <= 90


# --- who knows it ---------------------------------------------------------------------------------------------------


async def test_a_file_tells_the_weather_and_its_age(tmp_path):
    file = tmp_path / "weather.json"
    file.write_text(json.dumps({"wind_mps": 4, "wind_from_deg": 90, "age_s": 100, "station": "ignored"}))
    source = open_weather(config.WeatherFile(path=file))
    found = await source.read(SystemClock())
    assert (found.wind_mps, found.wind_from_deg) == (4, 90)
    assert 99 < SystemClock().monotonic() - found.at_s < 160


DEEP = '{"x":' + "[" * 1500 + "]" * 1500 + "}"


@pytest.mark.parametrize("text", [DEEP, "", "[1]", '{"wind_mps": "strong"}', '{"wind_mps": -1}', "{" * 3000])
async def test_a_file_that_is_no_weather_is_named(tmp_path, text):
    file = tmp_path / "weather.json"
    file.write_text(text)
    with pytest.raises(DriverError, match="weather"):
        await open_weather(config.WeatherFile(path=file)).read(SystemClock())
    with pytest.raises(DriverError, match="No such file"):
        await open_weather(config.WeatherFile(path=tmp_path / "none.json")).read(SystemClock())


async def test_an_http_server_tells_the_weather_and_its_errors_are_said():
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/good":
            return web.json_response({"wind_mps": 7.5, "gust_mps": 9})
        return web.Response(status=503)

    app = web.Application()
    app.router.add_get("/{name}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        found = await open_weather(config.WeatherHttp(url=f"http://127.0.0.1:{port}/good")).read(SystemClock())
        assert (found.wind_mps, found.gust_mps) == (7.5, 9)
        with pytest.raises(DriverError, match="503"):
            await open_weather(config.WeatherHttp(url=f"http://127.0.0.1:{port}/bad")).read(SystemClock())
    finally:
        await runner.cleanup()


def test_the_machine_is_looked_at_also_where_its_folder_is_not_there_yet(tmp_path):
    site = config.Site(device="d", time_zone="Asia/Shanghai")
    around = Surroundings(tmp_path / "not" / "yet", site, config.WeatherLimits(), [], SystemClock()).look()
    assert around.disk_free_mib > 0 and around.closed is None and around.wall_s > 1e9

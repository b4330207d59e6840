"""What may be set from afar takes effect as a whole or not at all, and the last good document outlives a restart."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from edge_agent import config
from edge_agent.desired import SETTABLE, Wishes, overlay, settings_of
from edge_agent.messages import Corners
from edge_agent.twin import Desired

TEXT = """
data_dir = "state"
[site]
device = "D-1"
lat = 30.25
lon = 120.17
[vehicle]
type = "simulated"
[[route]]
id = "bank"
alt_m = 25
waypoints = [{lat = 30.251, lon = 120.17}]
[[schedule]]
id = "dusk"
route = "bank"
cron = "0 20 * * *"
[[detector]]
name = "d"
type = "simulated"
[[camera]]
name = "gate"
type = "simulated"
detector = "d"
[[zone]]
name = "water"
camera = "gate"
polygon = [[0, 0], [1, 0], [1, 1]]
[[rule]]
id = "bather"
type = "forbidden_zone"
zone = "water"
[[rule]]
id = "parking"
type = "dwell"
zone = "water"
[mqtt]
plain = true
"""
BASE = config.parse(TEXT, Path("agent.toml"))
GOOD: dict[str, Any] = {
    "mqtt": {"telemetry_period_s": 5},
    "rules": {"bather": {"after_s": 3, "cool_down_s": 30.5}},
    "schedules": {"dusk": {"enabled": False}},
}


def desired(version: int, settings: Any = None) -> Desired:
    return Desired(version=version, by="li", settings=GOOD if settings is None else settings)


@pytest.fixture
def wishes(tmp_path: Path) -> Wishes:
    return Wishes(tmp_path / "desired.json", BASE)


def test_a_good_document_changes_what_it_names_and_nothing_else() -> None:
    found, rejected = overlay(BASE, GOOD)
    assert rejected == ()
    before, after = settings_of(BASE), settings_of(found)
    assert after["mqtt"] == {"telemetry_period_s": 5.0}
    assert after["rules"]["bather"] == before["rules"]["bather"] | {"after_s": 3.0, "cool_down_s": 30.5}
    assert after["rules"]["parking"] == before["rules"]["parking"]
    assert after["schedules"] == {"dusk": {"enabled": False}}
    assert structs.replace(found, mqtt=BASE.mqtt, rules=BASE.rules, schedules=BASE.schedules) == BASE


@pytest.mark.parametrize(
    ("settings", "path", "why"),
    [
        ({"rules": {"bather": {"after_s": -1}}}, "rules.bather.after_s", ">= 0"),
        ({"rules": {"parking": {"after_s": 0}}}, "rules.parking.after_s", "> 0"),
        ({"rules": {"bather": {"after_s": "soon"}}}, "rules.bather.after_s", "got 'soon'"),
        ({"rules": {"bather": {"say": "x"}}}, "rules.bather.say", "can be: after_s, cool_down_s, min_score"),
        ({"rules": {"boat": {"after_s": 1}}}, "rules.boat", "there is: bather, parking"),
        ({"rules": []}, "rules", "must be an object, got list"),
        ({"rules": {"bather": 3}}, "rules.bather", "must be an object"),
        ({"schedules": {"dusk": {"enabled": "yes"}}}, "schedules.dusk.enabled", "bool"),
        ({"mqtt": {"telemetry_period_s": 0.01}}, "mqtt.telemetry_period_s", ">= 0.1"),
        ({"mqtt": {"host": "evil.example"}}, "mqtt.host", "cannot be set from afar"),
        ({"limits": {"max_alt_m": 500}}, "limits", "can be: mqtt, rules, schedules"),
        ({"operators": []}, "operators", "cannot be set from afar"),
        ([], "settings", "must be an object"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_path_and_reason(settings: Any, path: str, why: str) -> None:
    found, [rejected] = overlay(BASE, settings)
    assert found is BASE
    assert rejected.path == path
    assert why in rejected.why


def test_one_bad_value_refuses_the_whole_document_and_every_bad_value_is_named(wishes: Wishes) -> None:
    bad = GOOD | {"rules": {"bather": {"after_s": -1, "cool_down_s": -2}, "boat": {}}}
    rejected = wishes.take(desired(1, bad))
    assert [one.path for one in rejected] == ["rules.bather.after_s", "rules.bather.cool_down_s", "rules.boat"]
    assert wishes.effective is BASE
    assert wishes.version == 0


def test_the_last_good_document_stays_and_outlives_a_restart(wishes: Wishes, tmp_path: Path) -> None:
    assert wishes.take(desired(1)) == ()
    assert wishes.take(desired(2, {"rules": {"boat": {}}}))
    again = Wishes(tmp_path / "desired.json", BASE)
    assert (again.version, again.effective) == (1, overlay(BASE, GOOD)[0])
    assert again.known(desired(1))
    assert not again.known(desired(1, {}))


def test_a_version_that_is_not_newer_is_refused(wishes: Wishes) -> None:
    assert wishes.take(desired(5)) == ()
    for version in (5, 4):
        [rejected] = wishes.take(desired(version, {}))
        assert (rejected.path, "which is in effect" in rejected.why) == ("version", True)
    assert wishes.take(desired(6, {})) == ()
    assert wishes.effective == BASE


def test_a_document_that_no_longer_fits_the_config_or_the_disk_is_left_out(wishes: Wishes, tmp_path: Path) -> None:
    wishes.take(desired(1, {"rules": {"parking": {"after_s": 60}}}))
    other = config.parse(TEXT.replace('id = "parking"', 'id = "stopping"'), Path("agent.toml"))
    assert Wishes(tmp_path / "desired.json", other).effective is other
    for damage in (b"", b"\xff", b"{", b'{"version": 0}'):
        (tmp_path / "desired.json").write_bytes(damage)
        assert Wishes(tmp_path / "desired.json", BASE).effective is BASE


def test_a_device_without_mqtt_rules_or_schedules_says_so() -> None:
    bare = config.parse(TEXT[: TEXT.index("[[route]]")], Path("agent.toml"))
    assert [one.why for one in overlay(bare, GOOD)[1]] == [
        "this device has no [mqtt]",
        "there is none (there is: nothing)",
        "there is none (there is: nothing)",
    ]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*SETTABLE, "bather", "dusk", "after_s", "enabled", "zz"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_whatever_is_wished_the_answer_is_a_config_or_reasons(settings: Any) -> None:
    found, rejected = overlay(BASE, settings)
    assert (found is BASE) or not rejected
    for one in rejected:
        assert one.path
        assert one.why
    json.dumps(settings_of(found))


# --- zones ----------------------------------------------------------------------------------------------------------

SQUARE = ((0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.5))
BOW = ((0.1, 0.1), (0.5, 0.5), (0.5, 0.1), (0.1, 0.5))


def corners(polygon: Any, name: str = "water", camera: str = "gate") -> Corners:
    return Corners(name=name, camera=camera, polygon=polygon)


def polygon(wishes: Wishes) -> Any:
    return wishes.effective.zones[0].polygon


def test_a_command_moves_a_zone_and_a_restart_keeps_it_moved(wishes: Wishes, tmp_path: Path) -> None:
    assert wishes.move((corners(SQUARE),), "operator:li", 7.0) == ()
    for found in (wishes, Wishes(tmp_path / "desired.json", BASE)):
        assert polygon(found) == SQUARE
        assert found.zones()["water"]["moved_by"] == "operator:li"
    assert settings_of(wishes.effective)["zones"]["water"]["polygon"] == SQUARE


@pytest.mark.parametrize(
    ("wanted", "path", "why"),
    [
        (corners(BOW), "water.polygon", "its edges cross each other"),
        (corners(((0.1, 0.1), (0.2, 0.2), (0.3, 0.3))), "water.polygon", "nobody could stand in it"),
        (corners(SQUARE, name="lake"), "lake", "there is none (there is: water)"),
        (corners(SQUARE, camera="yard"), "water.camera", "it is in the picture of gate"),
    ],
)
def test_what_is_no_zone_moves_nothing(wishes: Wishes, wanted: Corners, path: str, why: str) -> None:
    [rejected] = wishes.move((wanted,), "li", 7.0)
    assert rejected.path == path
    assert why in rejected.why
    assert wishes.effective is BASE


def test_a_zone_that_crosses_itself_refuses_the_whole_document(wishes: Wishes) -> None:
    [rejected] = wishes.take(desired(1, {"zones": {"water": {"polygon": BOW}}}))
    assert (rejected.path, rejected.why) == ("zones.water.polygon", "its edges cross each other")
    assert wishes.version == 0


def test_of_a_command_and_a_document_that_name_a_zone_the_later_counts(wishes: Wishes, tmp_path: Path) -> None:
    low = ((0.0, 0.6), (1.0, 0.6), (1.0, 1.0))
    wishes.move((corners(SQUARE),), "li", 7.0)
    assert wishes.take(desired(1, {"mqtt": {"telemetry_period_s": 5}})) == ()
    assert polygon(wishes) == SQUARE  # the document names no zone
    assert wishes.take(desired(2, {"zones": {"water": {"polygon": low}}})) == ()
    assert polygon(wishes) == low
    wishes.move((corners(SQUARE),), "li", 8.0)
    for found in (wishes, Wishes(tmp_path / "desired.json", BASE)):
        assert polygon(found) == SQUARE

"""Parameter files: what is read, what is refused by line, and how they stand against a vehicle of another version."""

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.flight import gate_settings, param_file
from edge_agent.flight.param_file import Wish, compare, layered, parse, shown, written
from edge_agent.flight.params import safety_value


def wishes(text: str, file: str = "a.param") -> list[Wish]:
    found, faults = parse(text, file)
    assert faults == []
    return found


def f32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def test_every_common_form_of_a_line_is_read() -> None:
    text = "# Mission Planner's\nFS_OPTIONS,2\n\nRTL_ALT 3000   # higher\r\nFENCE_RADIUS\t1.5e2\nBATT_LOW_VOLT = 10.5\n"
    assert [(w.line, w.name, w.value) for w in wishes(text)] == [
        (2, "FS_OPTIONS", 2), (4, "RTL_ALT", 3000), (5, "FENCE_RADIUS", 150), (6, "BATT_LOW_VOLT", 10.5),
    ]  # fmt: skip


def test_every_fault_is_named_with_its_line() -> None:
    text = (
        "FS_OPTIONS nan\nRTL_ALT high\nrtl_alt 5\nRTL_ALT 1 2\nFENCE_TYPE 7\nFENCE_TYPE 3\nX 1e39\nY 1_0\nZ -inf\nW\n"
    )
    found, faults = parse(text, "a.param")
    assert [w.name for w in found] == ["FENCE_TYPE"]
    assert [fault.split(":")[0] for fault in faults] == [f"line {n}" for n in (1, 2, 3, 4, 6, 7, 8, 9, 10)]
    assert faults[0] == "line 1: FS_OPTIONS: nan is not a finite 32-bit number (at most 3.4e+38)"
    assert faults[1] == "line 2: RTL_ALT: high is no number"
    assert "stands on line 5 already" in faults[4]


def test_ten_thousand_lines_are_no_parameter_file() -> None:
    found, faults = parse("".join(f"P{n} 1\n" for n in range(10_000)), "a.param")
    assert (found, len(faults)) == ([], 1)
    assert faults[0].startswith("10000 lines")


def test_an_empty_file_is_a_mistake() -> None:
    assert parse("# nothing\n\n", "a.param")[1] == ["no parameter stands in it; a line is NAME VALUE"]


def test_a_later_layer_overrides_an_earlier_one() -> None:
    both = layered([wishes("RTL_ALT 1\nFS_OPTIONS 2\n", "a"), wishes("RTL_ALT 3\n", "b")])
    assert [(w.name, w.value, w.file) for w in both] == [("RTL_ALT", 3, "b"), ("FS_OPTIONS", 2, "a")]


def test_equal_as_32_bit_floats_is_equal() -> None:
    plan, unknown = compare(
        wishes("FS_EKF_THRESH 0.8\nRTL_ALT 1500.00001\n"), {"FS_EKF_THRESH": f32(0.8), "RTL_ALT": 1500}
    )
    assert (plan.changes, plan.same, unknown) == ((), 2, [])


def test_what_the_vehicle_does_not_list_is_unknown() -> None:
    plan, unknown = compare(wishes("Q_ENABLE 1\nRTL_ALT 2000\n"), {"RTL_ALT": 1500})
    assert [w.name for w in unknown] == ["Q_ENABLE"]
    assert [(c.name, c.aboard, c.value) for c in plan.changes] == [("RTL_ALT", 1500, 2000)]


def test_centimetres_of_4_6_become_metres_of_4_7_and_back() -> None:
    new, _ = compare(wishes("RTL_ALT 3000\nSYSID_THISMAV 7\nARMING_CHECK 1\n"),
                     {"RTL_ALT_M": 15, "MAV_SYSID": 1, "ARMING_SKIPCHK": 4})  # fmt: skip
    assert [(c.name, c.value) for c in new.changes] == [("RTL_ALT_M", 30), ("ARMING_SKIPCHK", 0), ("MAV_SYSID", 7)]
    old, _ = compare(wishes("WP_SPD 0.7\n"), {"WPNAV_SPEED": 1000})
    assert [(c.name, c.value) for c in old.changes] == [("WPNAV_SPEED", 70)]


def test_what_may_cut_the_link_is_set_last() -> None:
    aboard = {"SERIAL2_BAUD": 57, "RTL_ALT": 1, "FENCE_ENABLE": 0, "SYSID_THISMAV": 1}
    plan, _ = compare(wishes("SERIAL2_BAUD 921\nSYSID_THISMAV 2\nRTL_ALT 2\nFENCE_ENABLE 1\n"), aboard)
    assert [c.name for c in plan.changes] == ["FENCE_ENABLE", "RTL_ALT", "SERIAL2_BAUD", "SYSID_THISMAV"]


def test_only_all_checks_has_a_meaning_in_both_versions() -> None:
    _, unknown = compare(wishes("ARMING_CHECK 64\n"), {"ARMING_SKIPCHK": 0})
    assert [w.name for w in unknown] == ["ARMING_CHECK"]


def test_a_switch_comes_first_and_what_it_reveals_is_not_unknown() -> None:
    text = "BATT_CAPACITY 5200\nRTL_ALT 2000\nBATT_MONITOR 4\n"
    plan, unknown = compare(wishes(text), {"BATT_MONITOR": 0, "RTL_ALT": 1500})
    assert [(c.name, c.aboard) for c in plan.changes] == [
        ("BATT_MONITOR", 0),
        ("RTL_ALT", 1500),
        ("BATT_CAPACITY", None),
    ]
    assert unknown == []
    assert [w.name for w in compare(wishes(text), {"BATT_MONITOR": 4, "RTL_ALT": 1500})[1]] == ["BATT_CAPACITY"]


@pytest.mark.parametrize(
    ("switch", "hidden"),
    [("MNT1_TYPE", "MNT1_YAW_MAX"), ("RELAY1_FUNCTION", "RELAY1_PIN"), ("CAN_P1_DRIVER", "CAN_P1_BITRATE")],
)
def test_a_type_of_0_hides_its_group_as_an_enable_does(switch: str, hidden: str) -> None:
    plan, unknown = compare(wishes(f"{switch} 1\n{hidden} 90\n"), {switch: 0})
    assert ([c.name for c in plan.changes], unknown) == ([switch, hidden], [])


def test_what_the_autopilot_counts_itself_is_left_out() -> None:
    plan, _ = compare(
        wishes("STAT_RUNTIME 5\nMIS_TOTAL 9\nRTL_ALT 1\n"), {"STAT_RUNTIME": 7, "MIS_TOTAL": 0, "RTL_ALT": 1}
    )
    assert (plan.changes, plan.left_out) == ((), ("STAT_RUNTIME", "MIS_TOTAL"))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, max_value=2.0**127, min_value=-(2.0**127)))
def test_a_backup_holds_every_float_exactly(value: float) -> None:
    (wish,) = wishes(written({"ANY": value}, ["of a vehicle"]))
    assert wish.value == value
    assert math.isfinite(float(shown(value)))


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    found, faults = parse(text, "a.param")
    assert found or faults
    assert all(math.isfinite(w.value) for w in found)


def test_the_limit_of_lines_is_above_any_autopilot() -> None:
    assert param_file.MOST_LINES > 2 * 1404  # what ArduCopter 4.6's SITL lists


SETS = Path(__file__).resolve().parents[2] / "firmware_config"


@pytest.mark.parametrize("file", sorted(SETS.glob("*.param")), ids=lambda file: file.name)
def test_every_shipped_setting_is_readable_and_says_why(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for wish in wishes(text, file.name):
        assert "#" in text.splitlines()[wish.line - 1], f"{wish}: no comment"


def test_the_shipped_safety_set_passes_the_gate_of_failsafes() -> None:
    aboard = {w.name: w.value for w in wishes((SETS / "common.param").read_text(encoding="utf-8"))}
    for key, good, lacks in gate_settings.FAILSAFES:
        value = safety_value(aboard, key)
        assert value is not None and good(value), lacks
    assert safety_value(aboard, "rtl_alt_final_m") == 0
    assert (safety_value(aboard, "rtl_alt_m") or 999) < aboard["FENCE_ALT_MAX"]

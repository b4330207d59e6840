"""The values that each version admits, reports that are signed, and drift from them."""

import base64
import json
from pathlib import Path

import msgspec
import pytest

from edge_agent import keys
from edge_agent.flight import param_file, param_ranges, param_shelf
from edge_agent.flight.param_ranges import Ranges
from edge_agent.flight.param_report import Drift, Report, drifted, sealed, unsealed
from edge_agent.runtime import DriverError

TEXT = (Path(param_ranges.__file__).parent / "copter.ranges").read_text(encoding="utf-8")
SETS = Path(__file__).resolve().parents[2] / "firmware_config"


@pytest.mark.parametrize(
    ("minor", "name", "good", "bad"),
    [  # apm.pdef.json of Copter-4.x in ArduPilot/ParameterRepository
        (5, "RTL_ALT", (200, 300000), (199, 300001)),  # Range 200 300000 until 4.5
        (6, "RTL_ALT", (30,), (29,)),  # Range 30 300000 in 4.6
        (6, "FENCE_TYPE", (0, 7, 15), (16, -1, 1.5)),  # Bitmask 0 to 3
        (6, "FS_THR_ENABLE", (0, 7), (8, 0.5)),  # Values 0 to 7
        (6, "FS_EKF_THRESH", (0.6, 0.7, 0.8, 1), (0.5, 1.1)),  # Values that name places on a scale
        (4, "SERIAL3_BAUD", (57, 921), (58,)),
        (7, "BATT2_CAPACITY", (-1, 1e9), ()),  # documented without limits
    ],
)
def test_each_version_has_its_own_ranges(
    minor: int, name: str, good: tuple[float, ...], bad: tuple[float, ...]
) -> None:
    ranges = Ranges(TEXT, minor)
    assert [ranges.fault(name, value) for value in good] == [None] * len(good)
    for value in bad:
        assert f"(ArduCopter 4.{minor})" in (ranges.fault(name, value) or "")


def test_of_a_version_that_is_not_known_only_what_no_version_admits_is_refused() -> None:
    ranges = Ranges(TEXT, None)
    assert ranges.fault("RTL_ALT", 30) is None
    assert ranges.fault("RTL_ALT", 29) is not None
    assert Ranges(TEXT, 9).fault("RTL_ALT", 29) is not None


def test_what_acts_from_the_next_start_on_is_known() -> None:
    ranges = Ranges(TEXT, 6)
    assert ranges.reboots("FRAME_CLASS")
    assert not ranges.reboots("RTL_ALT")


@pytest.mark.parametrize("minor", range(param_ranges.OLDEST, param_ranges.NEWEST + 1))
def test_the_shipped_sets_are_within_the_ranges_of_every_version(minor: int) -> None:
    ranges = Ranges(TEXT, minor)
    for file in SETS.glob("*.param"):
        for wish in param_file.parse(file.read_text(encoding="utf-8"), file.name)[0]:
            assert ranges.fault(wish.name, wish.value) is None, wish


def report(**more: object) -> Report:
    facts = {
        "time": "2026-11-22T10:00:00.000Z", "device": "d", "vehicle": "tcp:", "system_id": 1, "firmware": "4.6.0",
        "files": (), "state": "done", "set": {"RTL_ALT": (1500.0, 3000.0)}, "failed": {}, "backup": None,
        "wanted": {"RTL_ALT": 3000.0, "FS_EKF_THRESH": 0.800000011920929},
    }  # fmt: skip
    return msgspec.convert(facts | more, Report)


def test_a_report_that_was_changed_or_is_of_another_device_is_not_believed(tmp_path: Path) -> None:
    key = keys.device_key(tmp_path)
    public = keys.public_text(key)
    data = sealed(report(), public, lambda message: keys.sign(key, message))
    assert unsealed(data, keys.verify, public) == report()
    with pytest.raises(ValueError, match="was changed since it was signed"):
        unsealed(data.replace(b"3000.0", b"3001.0"), keys.verify)
    with pytest.raises(ValueError, match="another device"):
        unsealed(data, keys.verify, base64.b64encode(bytes(32)).decode())
    for junk in (b"", b"[]", b"{}", json.dumps({"report": {}, "public_key": "", "signature": ""}).encode()):
        with pytest.raises(ValueError, match="is no report"):
            unsealed(junk, keys.verify)


def test_only_an_apply_that_was_done_is_what_drift_is_measured_by(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="nothing was applied yet"):
        param_shelf.applied(tmp_path)
    param_shelf.keep(tmp_path, report(), "1")
    param_shelf.keep(tmp_path, report(state="failed", wanted={}), "2")
    assert param_shelf.applied(tmp_path) == report()
    assert param_shelf.read(tmp_path / "params" / "2.report.json").state == "failed"


def test_drift_is_told_by_name_and_both_values() -> None:
    applied = report().wanted
    assert drifted(applied, {"RTL_ALT": 3000, "FS_EKF_THRESH": 0.8}) == []
    found = drifted(applied, {"RTL_ALT": 1500})
    assert found == [Drift("FS_EKF_THRESH", applied["FS_EKF_THRESH"], None), Drift("RTL_ALT", 3000, 1500)]
    assert [str(one) for one in found] == [
        "FS_EKF_THRESH is gone, 0.8 was applied", "RTL_ALT is 1500, 3000 was applied",
    ]  # fmt: skip

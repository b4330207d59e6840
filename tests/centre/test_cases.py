"""A case is what the device reported and what people did about it, in that order, and nobody's word is lost."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_agent import topics
from edge_agent.centre.cases import Case, Cases, Step
from edge_agent.centre.store import Store
from edge_agent.runtime import DriverError

TIME = "2026-11-22T01:18:03.412Z"
INCIDENT: dict[str, Any] = {
    "kind": "dwell",
    "rule": "no-parking",
    "camera": "cam0",
    "zone": "fire lane",
    "track": 17,
    "label": "car",
    "score": 0.9,
    "box": [1, 2, 3, 4],
    "began_s": 1e9,
    "wall_s": 1e9 + 60,
    "at_s": 5.0,
    "lasted_s": 60.0,
    "frame": 9,
    "plate": {"text": "沪A12345", "confidence": 0.97, "box": [1, 2, 3, 4]},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "centre.db"


def report(file: Path, seq: int, id: str, data: dict[str, Any], thumb: bytes | None = None) -> None:
    raw = msgspec.Raw(msgspec.json.encode(data))
    facts = {"source": "ea/D-1", "type": "ev.det", "time": TIME, "boot": "b", "epoch": 7}
    event = topics.Envelope(id=id, seq=seq, data=raw, **facts)
    store = Store(file)
    with store.commit():
        store.add_event("D-1", event, msgspec.json.encode(event))
        if thumb is not None:
            store.add_thumb("D-1", id, 7, seq + 1000, thumb)
    store.close()


def only(file: Path) -> Case:
    cases = Cases(file)
    [case] = cases.all()
    cases.close()
    return case


def take(file: Path, word: Any, command: str | None = None, **facts: Any) -> None:
    cases = Cases(file)
    [case] = cases.all()
    cases.begin(case, Step(word=word, by="li", time=TIME, command=command, **facts), 1e9 + 100)
    cases.close()


def hear(file: Path, command: str, answer: str, reason: str | None = None) -> None:
    cases = Cases(file)
    cases.answered(command, answer, reason)
    cases.close()


def test_an_incident_is_an_open_case_with_its_facts(file: Path) -> None:
    report(file, 1, "01A", {"id": "01A", **INCIDENT}, thumb=b"\xff\xd8jpeg")
    cases = Cases(file)
    [case] = cases.all()
    assert (case.state, case.plate, case.zone, case.lasted_s) == ("open", "沪A12345", "fire lane", 60.0)
    assert case.began == "2001-09-09T01:46:40.000Z"
    assert cases.thumb(case) == b"\xff\xd8jpeg"
    cases.close()


def test_a_case_goes_from_dispatched_over_acknowledged_to_handled_with_who_and_when(file: Path) -> None:
    report(file, 1, "01A", {"id": "01A", **INCIDENT})
    take(file, "dispatched", assignee="patrol 3")
    assert only(file).state == "dispatched"
    take(file, "acknowledged", "c1")
    hear(file, "c1", "done")
    assert only(file).state == "acknowledged"
    take(file, "handled", "c2", outcome="resolved", note="moved")
    assert only(file).state == "handled", "a person's step is a fact, whether or not the device has heard of it"
    steps = only(file).steps
    assert [(step.word, step.by, step.answer) for step in steps] == [
        ("dispatched", "li", None),
        ("acknowledged", "li", "done"),
        ("handled", "li", None),
    ]
    assert (steps[0].assignee, steps[2].outcome, steps[2].note) == ("patrol 3", "resolved", "moved")
    assert steps[0].time == "2001-09-09T01:48:20.000Z"


def test_what_the_device_refuses_does_not_move_the_case(file: Path) -> None:
    report(file, 1, "01A", {"id": "01A", **INCIDENT})
    take(file, "acknowledged", "c1")
    hear(file, "c1", "rejected", "no incident of this device has this id")
    assert only(file).state == "open"
    assert only(file).steps[0].reason == "no incident of this device has this id"


def test_the_devices_own_report_moves_the_case_and_is_no_incident(file: Path) -> None:
    report(file, 1, "01A", {"id": "01A", **INCIDENT})
    revision = {"id": "01A", "state": "acknowledged", "by": "li", "wall_s": 1e9}
    report(file, 2, "01C", {**revision, "rev": 2, "state": "handled", "outcome": "false_alarm"})
    report(file, 3, "01B", {**revision, "rev": 1})
    case = only(file)
    assert case.state == "handled"
    assert [(r.rev, r.state, r.outcome) for r in case.reports] == [
        (1, "acknowledged", None),
        (2, "handled", "false_alarm"),
    ]


def test_open_cases_are_those_that_nobody_has_handled(file: Path) -> None:
    for seq, id in enumerate(("01A", "01B", "02C"), 1):
        report(file, seq, id, {"id": id, **INCIDENT})
    cases = Cases(file)
    cases.begin(cases.find("02"), Step(word="handled", by="li", time=TIME), 1e9)
    assert {case.id for case in cases.all(only_open=True)} == {"01A", "01B"}
    assert len(cases.all()) == 3
    with pytest.raises(DriverError, match="2 incidents begin with '01'"):
        cases.find("01")
    with pytest.raises(DriverError, match="no incident 'x'"):
        cases.find("x")
    cases.close()


def test_an_event_that_is_no_incident_is_left_alone(file: Path) -> None:
    report(file, 1, "01A", {"id": "01A", "shape": "of a newer device"})
    cases = Cases(file)
    assert cases.all() == []
    cases.close()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="nowhere"):
        Cases(tmp_path / "nowhere.db")

"""The record of a run: what is changed, moved or left out is seen; what a power cut leaves is gone on from."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.flight.plot import draw
from edge_agent.flight.record import Chain, entries, verify
from edge_agent.flight.recorder import Note, Recorder
from edge_agent.runtime import DriverError


def record(count: int = 5) -> list[bytes]:
    chain = Chain()
    return [chain.line("telemetry" if n else "run", {"alt_m": n + 0.5}, 1000.0 + n) for n in range(count)]


def test_a_record_as_written_is_whole():
    assert verify(record()) == (5, False, None)
    chain = Chain()
    assert verify([chain.line("end", {"result": "landed"}, 1.0)]) == (1, True, None)


def test_numbers_that_json_has_no_form_for_are_written_as_nothing():
    line = Chain().line("telemetry", {"alt_m": math.nan, "margin_pct": math.inf, "list": [1.5, math.nan]}, 1.0)
    assert json.loads(line)["data"] == {"alt_m": None, "margin_pct": None, "list": [1.5, None]}
    assert verify([line]).fault is None


@given(st.integers(0, 4), st.sampled_from(["wall_s", "kind", "data", "n", "prev"]))
def test_any_change_is_seen_where_it_was_made(line, key):
    lines = record()
    entry = json.loads(lines[line])
    entry[key] = {"wall_s": 1.0, "kind": "end", "data": {"alt_m": 99.0}, "n": 77, "prev": "1" * 64}[key]
    lines[line] = json.dumps(entry).encode()
    assert str(verify(lines).fault).startswith(f"line {line + 1}: ")


@given(st.integers(0, 3))
def test_what_is_left_out_or_moved_is_seen(line):
    lines = record()
    assert "does not follow" in str(verify([*lines[:line], *lines[line + 1 :]]).fault)
    lines[line], lines[line + 1] = lines[line + 1], lines[line]
    assert "does not follow" in str(verify(lines).fault)


@given(st.binary(max_size=200))
def test_garbage_is_no_entry(garbage):
    assert verify([*record(2), garbage]).fault is not None


# --- on disk --------------------------------------------------------------------------------------------------------


def note(kind: str, run: str = "RUN1", **data) -> Note:
    return Note(run, kind, data, 1000.0)


def test_a_run_goes_on_in_its_file_after_a_restart(tmp_path):
    Recorder(tmp_path).write([note("run"), note("telemetry")])
    Recorder(tmp_path).write([note("telemetry"), note("end")])
    assert verify((tmp_path / "RUN1.jsonl").read_bytes().splitlines()) == (4, True, None)


def test_half_a_line_of_a_power_cut_is_cut_off(tmp_path):
    Recorder(tmp_path).write([note("run"), note("telemetry")])
    with (tmp_path / "RUN1.jsonl").open("ab") as file:
        file.write(b'{"n":2,"wall')
    Recorder(tmp_path).write([note("end")])
    assert verify((tmp_path / "RUN1.jsonl").read_bytes().splitlines()) == (3, True, None)


def test_the_oldest_records_make_room(tmp_path):
    recorder = Recorder(tmp_path, keep=2)
    for number in range(5):
        (tmp_path / f"RUN{number}.png").write_bytes(b"")
        recorder.write([note("run", f"RUN{number}")])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["RUN2.jsonl", "RUN2.png", "RUN3.jsonl", "RUN3.png",
                                                               "RUN4.jsonl", "RUN4.png"]  # fmt: skip


def test_refused_flights_make_room_before_those_that_were_flown(tmp_path):
    recorder = Recorder(tmp_path, keep=2)
    for run in ("A", "B-refused", "C", "D-refused", "E-refused"):
        recorder.write([note("run", run)])
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["A", "C", "E-refused"]


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(DriverError, match="runs"):
        Recorder(tmp_path / "runs").write([note("run")])


def test_entries_of_one_kind_are_found_among_garbage():
    assert [one["alt_m"] for one in entries([*record(3), b"{half"], "telemetry")] == [1.5, 2.5]


# --- drawn ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [0, 1, 40])
def test_the_plot_is_a_picture_whatever_is_known(tmp_path, places):
    chain = Chain()
    lines = [chain.line("run", {"route": "r", "plan": [{"lat": 30.1, "lon": 120.1, "alt_m": 20.0}]}, 0.0)]
    lines += [
        chain.line(
            "telemetry", {"lat": 30.1 + n / 1e5, "lon": 120.1, "alt_m": n, "boot_s": n, "margin_pct": 5.0 - n}, n
        )
        for n in range(places)
    ]
    (tmp_path / "r.jsonl").write_bytes(b"".join(lines))
    draw(tmp_path / "r.jsonl", tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")

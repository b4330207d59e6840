"""A dry run of the agent that lives here, followed by its record to its end."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from edge_agent.cli import following
from edge_agent.flight.record import Chain
from edge_agent.runtime import DriverError

GATES = {
    "checks": [{"gate": "link", "state": "pass", "reason": "up"}, {"gate": "wind", "state": "fail", "reason": "x"}]
}


def record(*phases: tuple[str, str], ended: bool = True) -> bytes:
    chain = Chain()
    lines = [chain.line("run", {"route": "sq"}, 1.0), chain.line("gates", GATES, 1.0)]
    lines += [chain.line("transition", {"phase": phase, "cause": cause}, 2.0) for phase, cause in phases]
    return b"".join(lines + ([chain.line("end", {}, 3.0)] if ended else []))


@pytest.mark.parametrize(("last", "code"), [("checked", 0), ("failed", 1)])
def test_a_dry_run_is_shown_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], last: str, code: int
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "R1.jsonl").write_bytes(record(("gating", "ordered"), (last, "so it is")))
    assert following.rehearsed(tmp_path, "R1", as_json=False) == code
    assert capsys.readouterr().out.splitlines() == [
        "2 gates asked; not passed: wind (x)", "gating: ordered", f"{last}: so it is",
    ]  # fmt: skip
    assert following.rehearsed(tmp_path, "R1", as_json=True) == code
    assert [json.loads(line).get("phase") for line in capsys.readouterr().out.splitlines()] == [
        None, None, "gating", last,
    ]  # fmt: skip


def test_a_record_is_read_as_it_is_written_in_whatever_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_S", 0.01)
    (tmp_path / "runs").mkdir()
    file, whole = tmp_path / "runs" / "R1.jsonl", record(("gating", "ordered"), ("checked", "well"))

    def write() -> None:
        for start in range(0, len(whole), 150):
            with file.open("ab") as log:
                log.write(whole[start : start + 150])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert following.rehearsed(tmp_path, "R1", as_json=False) == 0
    finally:
        writer.join()


def test_an_agent_that_falls_silent_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENT_S", 0.05)
    monkeypatch.setattr(following, "POLL_S", 0.01)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "R1.jsonl").write_bytes(record(("gating", "ordered"), ended=False))
    with pytest.raises(DriverError, match="nothing was written"):
        following.rehearsed(tmp_path, "R1", as_json=False)

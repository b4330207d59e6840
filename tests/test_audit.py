"""The audit log: no record is changed, left out, put in or cut off unseen; a power cut costs its own line."""

import fcntl
import json
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from edge_agent import audit
from edge_agent.audit import HEAD, NAME, Audit
from edge_agent.cli import main


@pytest.fixture
def log(tmp_path: Path) -> Audit:
    log = Audit(tmp_path, lambda: 1_795_310_283.4)
    for number in range(5):
        log.append([("hot_list.look", "rule:x", {"number": number})])
    return log


def lines(directory: Path) -> list[str]:
    return (directory / NAME).read_text().splitlines()


def write(directory: Path, changed: list[str]) -> None:
    (directory / NAME).write_text("".join(line + "\n" for line in changed))


def test_a_whole_log_holds_and_is_for_its_owner_alone(log: Audit, tmp_path: Path) -> None:
    verdict = log.verify()
    assert (verdict.faults, verdict.first, verdict.last, verdict.records) == ((), 1, 5, 5)
    assert [record["facts"]["number"] for record in log.tail(2)] == [3, 4]
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in (NAME, HEAD, "device.key")} == {0o600}


def test_two_writers_make_one_chain(log: Audit, tmp_path: Path) -> None:
    other = Audit(tmp_path)
    other.append([("hot_list.change", "local:li", {})])
    log.append([("hot_list.look", "rule:x", {})])
    assert log.verify().faults == ()
    assert log.verify().last == 7


@pytest.mark.parametrize("where", [0, 2, 4])
def test_a_changed_record_is_named(log: Audit, tmp_path: Path, where: int) -> None:
    changed = lines(tmp_path)
    changed[where] = changed[where].replace(f'"number": {where}', '"number": 9')
    write(tmp_path, changed)
    assert any(f"record {where + 1} was changed" in fault for fault in log.verify().faults)


@pytest.mark.parametrize("where", [0, 2, 4])
def test_a_record_that_was_left_out_is_missed_also_at_the_end(log: Audit, tmp_path: Path, where: int) -> None:
    changed = lines(tmp_path)
    del changed[where]
    write(tmp_path, changed)
    faults = log.verify().faults
    assert faults
    assert log.verify().first == (2 if where == 0 else 1)
    if where == 0:
        assert faults == ("records 1 to 1 are not there, and no record tells that retention dropped them",)


def test_a_record_signed_by_another_key_is_no_record(log: Audit, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Audit(elsewhere).append([("forged", "nobody", {})])
    write(tmp_path, [*lines(tmp_path), *lines(elsewhere)])
    assert any("not signed by this device's key" in fault for fault in log.verify().faults)


def test_a_line_that_a_power_cut_left_half_is_cut_away(log: Audit, tmp_path: Path) -> None:
    with (tmp_path / NAME).open("a") as file:
        file.write('{"seq": 6, "time')
    log.append([("hot_list.look", "rule:x", {})])
    assert log.verify().faults == ()
    assert log.verify().last == 6


def test_a_full_file_is_set_aside_and_the_oldest_go_with_a_record(
    log: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "FILE_BYTES", 1000)
    monkeypatch.setattr(audit, "KEEP_FILES", 2)
    for number in range(20):
        log.append([("hot_list.look", "rule:x", {"number": number})])
    verdict = log.verify()
    assert verdict.faults == ()
    assert verdict.first > 1
    assert any(record["what"] == audit.DROPPED for record in log.tail(100))
    assert len(list(tmp_path.glob("audit-*.jsonl"))) == 2


def test_who_verifies_beside_a_writer_waits_for_its_whole_record(log: Audit, tmp_path: Path) -> None:
    """Between the record and the head that names it the log is not whole for a moment."""
    file = tmp_path / NAME
    whole = file.read_bytes()
    with ThreadPoolExecutor(1) as pool:
        with (tmp_path / audit.LOCK).open("rb") as writer:
            fcntl.flock(writer, fcntl.LOCK_EX)
            write(tmp_path, lines(tmp_path)[:-1])
            verdict = pool.submit(log.verify)
            wait([verdict], timeout=0.2)
            file.write_bytes(whole)
        assert verdict.result().faults == ()


def test_half_a_last_line_is_no_fault_and_a_whole_one_that_was_made_half_is(log: Audit, tmp_path: Path) -> None:
    file = tmp_path / NAME
    whole = file.read_bytes()
    file.write_bytes(whole + whole.splitlines()[-1][:90])
    assert log.verify().faults == ()
    file.write_bytes(whole[:-1])
    assert "records 5 to 5 were written" in log.verify().faults[0]


def test_the_command_line_verifies_and_shows(log: Audit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--data-dir", str(tmp_path), "--json"]
    assert main(["audit", "verify", *where]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert main(["audit", "tail", "-n", "1", *where]) == 0
    assert json.loads(capsys.readouterr().out)["seq"] == 5
    write(tmp_path, lines(tmp_path)[:-1])
    assert main(["audit", "verify", *where]) == 1
    assert "records 5 to 5 were written" in json.loads(capsys.readouterr().out)["faults"][0]
    (tmp_path / NAME).unlink()
    assert main(["audit", "verify", *where]) == 1
    assert "records 1 to 5 were written" in json.loads(capsys.readouterr().out)["faults"][0]
    assert main(["audit", "tail", "--data-dir", str(tmp_path / "none")]) == 69
    with pytest.raises(SystemExit):
        main(["audit", "verify", "--public-key", "abc", *where])
    assert "32 bytes of an Ed25519 key" in capsys.readouterr().err

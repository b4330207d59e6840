"""Wiping: all of it goes, the certificate says so and is signed, and a wipe that was cut off is finished."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent import keys
from edge_agent.agent import take
from edge_agent.cli import main
from edge_agent.device import wipe
from edge_agent.device.identity import Identity
from edge_agent.runtime import DriverError

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "pictures").mkdir(parents=True)
    (folder / "events.db").write_bytes(b"events")
    (folder / "pictures" / "a.jpg").write_bytes(b"jpeg")
    (folder / "away").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("kept")
    keys.device_key(folder)
    return folder


def test_all_goes_and_a_signed_certificate_says_what(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "certificate.json"
    wipe.wipe(data_dir, out, device="D-1", board="B1", now=NOW)
    assert list(data_dir.iterdir()) == []
    assert (tmp_path / "elsewhere" / "kept").exists(), "what a link leads to is not ours"
    told = json.loads(out.read_text())
    assert wipe.verify(told)
    jpeg = next(one for one in told["files"] if one["name"] == "pictures/a.jpg")
    assert jpeg["sha256"] == hashlib.sha256(b"jpeg").hexdigest()
    told["files"].pop()
    assert not wipe.verify(told), "a file that is left out breaks the signature"


def test_a_wipe_that_was_cut_off_is_finished_and_certifies_all(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "certificate.json"
    genuine, gone = Path.unlink, 0

    def dying(path: Path, missing_ok: bool = False) -> None:
        nonlocal gone
        if not path.name.startswith("."):
            gone += 1
            if gone == 2:
                raise KeyboardInterrupt
        genuine(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", dying)
    with pytest.raises(KeyboardInterrupt):
        wipe.wipe(data_dir, out, device="D-1", board="", now=NOW)
    monkeypatch.setattr(Path, "unlink", genuine)
    assert wipe.is_unfinished(data_dir) and not out.exists()
    with pytest.raises(DriverError, match="is being wiped"), Identity(data_dir / "identity").locked():
        pass  # nobody enrols in between
    (data_dir / "later.db").write_bytes(b"of an agent that was started in between")
    told = wipe.wipe(data_dir, out, device="D-1", board="", now=NOW)
    assert {"events.db", "pictures/a.jpg", "away", "later.db", "device.key"} <= {one["name"] for one in told["files"]}
    assert wipe.verify(told) and list(data_dir.iterdir()) == []


def test_nothing_goes_under_a_running_agent_nor_in_a_directory_of_others(data_dir: Path, tmp_path: Path) -> None:
    import os

    fd = take(data_dir)
    with pytest.raises(DriverError, match="an agent runs here"):
        wipe.wipe(data_dir, tmp_path / "c.json", device="", board="", now=NOW)
    os.close(fd)
    with Identity(data_dir / "identity").locked(), pytest.raises(DriverError, match="somebody else is enrolling"):
        wipe.wipe(data_dir, tmp_path / "c.json", device="", board="", now=NOW)
    assert (data_dir / "events.db").exists()
    with pytest.raises(DriverError, match="no agent's data directory"):
        wipe.plan(tmp_path / "elsewhere")
    with pytest.raises(DriverError, match="lies in what is wiped"):
        wipe.wipe(data_dir, data_dir / "c.json", device="", board="", now=NOW)


def test_a_dry_run_lists_and_nobody_there_to_ask_means_no(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wipe", "--data-dir", str(data_dir), "--dry-run", "--json"]) == 0
    assert str(data_dir / "events.db") in json.loads(capsys.readouterr().out)["files"]
    assert main(["wipe", "--data-dir", str(data_dir)]) == 1
    assert (data_dir / "events.db").exists()


def test_secrets_of_the_site_are_not_the_device_s_and_are_named(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "site" / "agent.toml"
    config.parent.mkdir()
    config.write_text(f'data_dir = "{data_dir}"\n[site]\ndevice = "D-1"\n')
    (config.parent / "camera.login").write_text("admin:hunter2")
    (config.parent / "camera.login").chmod(0o600)
    out = ("--out", str(tmp_path / "c.json"), "--root", str(tmp_path))
    assert main(["wipe", "-c", str(config), "--yes", "--json", *out]) == 0
    assert json.loads(capsys.readouterr().out)["stays"] == [str(config.parent / "camera.login")]

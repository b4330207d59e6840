"""What root writes for a service belongs to the service; a link that the service put there gives it nothing more."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.cli import main, probe_link
from edge_agent.files import left_to_owner_of, write_durably

ACCOUNT = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another account")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A service's own directory; pytest's are root's alone, and nobody else may pass through them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Path(folder) / "data"
        made.mkdir(mode=0o700)
        os.chown(made, ACCOUNT, ACCOUNT)
        yield made


def owners(folder: Path) -> dict[str, int]:
    return {path.name: path.lstat().st_uid for path in folder.rglob("*")}


@root_only
def test_what_root_makes_in_a_service_s_directory_is_the_service_s(data_dir: Path) -> None:
    with left_to_owner_of(data_dir):
        (data_dir / "folder").mkdir()
        write_durably(data_dir / "folder" / "file", b"x")
    assert owners(data_dir) == {"folder": ACCOUNT, "file": ACCOUNT}


@root_only
def test_root_s_own_directory_stays_root_s(tmp_path: Path) -> None:
    with left_to_owner_of(tmp_path):
        write_durably(tmp_path / "file", b"x")
    assert owners(tmp_path) == {"file": 0}


@root_only
def test_a_link_of_the_service_gives_it_nothing_of_root_s(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("x")
    (data_dir / "params").symlink_to(tmp_path)
    (data_dir / "events.db").symlink_to(tmp_path / "shadow")
    with left_to_owner_of(data_dir):
        write_durably(data_dir / "params" / "file", b"x")
    assert owners(tmp_path) == {"shadow": 0, "file": 0}


@root_only
def test_a_hot_list_that_root_imports_is_the_agent_s_to_read(data_dir: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.csv"
    wanted.write_text("plate,authority,reason,expires\n浙A12345,police,stolen,2099-01-01T00:00:00+08:00\n")
    assert main(["hotlist", "import", str(wanted), "--data-dir", str(data_dir)]) == 0
    found = owners(data_dir)
    assert "device.key" in found
    assert set(found.values()) == {ACCOUNT}


@root_only
def test_an_outbox_that_root_s_doctor_makes_is_the_agent_s(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker says nothing; the round trip was tried nevertheless."""
    monkeypatch.setattr(probe_link, "ACK_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "agent.toml").write_text(
            f'data_dir = "{data_dir}"\n[site]\ndevice = "D-1"\nlat = 1.0\nlon = 1.0\n[vehicle]\ntype = "simulated"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {taken.getsockname()[1]}\nplain = true\n'
        )
        main(["doctor", "-c", str(tmp_path / "agent.toml"), "--json"])
    found = owners(data_dir)
    assert "events.db" in found
    assert set(found.values()) == {ACCOUNT}


@root_only
def test_an_agent_that_root_starts_by_hand_takes_nothing_from_the_service(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.toml"
    site = 'device = "d"\nlat = 30.2\nlon = 120.1\n'
    file.write_text(f'data_dir = "{data_dir}"\n[site]\n{site}[vehicle]\ntype = "simulated"\n')
    assert main(["run", "-c", str(file)]) == 77
    assert "systemctl start edge-agent" in capsys.readouterr().err
    assert owners(data_dir) == {}


def test_a_disk_that_is_full_keeps_the_old_file_and_gets_its_room_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_durably(tmp_path / "file", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_durably(tmp_path / "file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}

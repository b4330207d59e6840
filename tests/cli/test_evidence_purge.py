"""`edge-agent evidence purge`: all that may go goes, however many files that are."""

from pathlib import Path

import msgspec
import pytest

from edge_agent.cli import main
from edge_agent.cli.evidence import AT_ONCE
from edge_agent.uplink.evidence_store import EvidenceStore, Item, look

CONFIG = """
data_dir = "data"
[site]
device = "d"
lat = 30.25
lon = 120.15
[vehicle]
type = "simulated"
[outbox]
ballast_mib = 0
"""


def test_more_files_than_one_request_may_name_go_in_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.cli.evidence.AT_ONCE", 2)
    (tmp_path / "agent.toml").write_text(CONFIG)
    (tmp_path / "data" / "incidents").mkdir(parents=True, mode=0o700)
    store = EvidenceStore(tmp_path / "data" / "evidence.db")
    for n in range(5):
        facts = {"kind": "picture", "sha256": "0" * 64, "bytes": 1}
        item = Item(id=f"{n}.jpg", incident=str(n), path=f"incidents/{n}.jpg", wall_s=1e9, **facts)  # type: ignore[arg-type]
        store.add(item)
        store.settle(item.id, "received")
        (tmp_path / "data" / item.path).write_bytes(b"x")
    store.close()
    purge = ["evidence", "purge", "-c", str(tmp_path / "agent.toml"), "--json"]
    assert main([*purge, "--dry-run"]) == 0
    assert len(look(tmp_path / "data" / "evidence.db")) == 5
    assert main(purge) == 0
    told = [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["reason"] for one in told] == ["delete: 5 originals"] * 2
    assert look(tmp_path / "data" / "evidence.db") == []
    assert not list((tmp_path / "data" / "incidents").iterdir())
    assert AT_ONCE == 500  # what the message takes

"""A card in another board: the agent reports it, and keeps off the other board's sessions and stream."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent import agent, certificates, config
from edge_agent.device import board
from edge_agent.runtime import Health, SystemClock

CONFIG = """
data_dir = "data"
[site]
device = "D-1"
[[camera]]
type = "simulated"
name = "bank"
detector = "eyes"
[[detector]]
type = "simulated"
name = "eyes"
[mqtt]
host = "127.0.0.1"
port = 1
ca_file = "ca.crt"
cert_file = "device.crt"
key_file = "device.key"
"""


@pytest.mark.parametrize(("here", "clone"), [("B2", True), ("B1", False), ("", False)])
async def test_a_copied_card_speaks_to_no_broker_and_leaves_a_fault(
    here: str, clone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, ca_key, key = datetime.now(UTC), certificates.new_key(), certificates.new_key()
    root = certificates.self_signed(ca_key, "a CA", now, 10)
    held = certificates.issue((root, ca_key), key.public_key(), certificates.subject("D-1", "B1"), now, 10)
    (tmp_path / "ca.crt").write_bytes(certificates.pem([root]))
    (tmp_path / "device.crt").write_bytes(certificates.pem([held]))
    (tmp_path / "device.key").write_bytes(certificates.key_pem(key))
    (tmp_path / "agent.toml").write_text(CONFIG)
    monkeypatch.setattr(board, "serial", lambda: here)
    clock = SystemClock()
    made = agent.Agent(config.load(tmp_path / "agent.toml"), clock=clock, health=Health(clock))
    try:
        assert (made.uplink is None) == clone
        if clone:
            assert made.copied and "another board" in str(made.copied)
    finally:
        await made.evidence.close()
        await made.outbox.close()


@pytest.mark.parametrize(
    ("text", "serial"),
    [("10000000abcdef01\0", "10000000abcdef01"), ("0000000000000000\0", ""), ("To be filled by O.E.M.\n", "")],
)
def test_a_serial_that_all_boards_have_is_none(text: str, serial: str, tmp_path: Path) -> None:
    file = tmp_path / "sys/firmware/devicetree/base/serial-number"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert board.serial(tmp_path) == serial


def test_a_serial_that_root_alone_reads_is_none_so_that_root_enrols_what_the_agent_sees(tmp_path: Path) -> None:
    file = tmp_path / "sys/class/dmi/id/product_serial"
    file.parent.mkdir(parents=True)
    file.write_text("PC-1\n")
    file.chmod(0o400)
    assert board.serial(tmp_path) == ""
    file.chmod(0o444)
    assert board.serial(tmp_path) == "PC-1"

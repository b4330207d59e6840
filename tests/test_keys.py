"""A key is made once, is its owner's alone, and is never overwritten; one that cannot be used is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent import config, keys
from edge_agent.runtime import DriverError

FEW = "data_dir = 's'\n[site]\ndevice = 'D-1'\nlat = 1\nlon = 2\n[vehicle]\ntype = 'simulated'\n"


def test_the_device_key_is_made_at_the_first_start_and_kept_for_ever(tmp_path: Path) -> None:
    first = keys.public_text(keys.device_key(tmp_path / "data"))
    file = tmp_path / "data/device.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["device.key"]
    assert keys.public_text(keys.device_key(tmp_path / "data")) == first


def test_a_umask_that_lets_everyone_in_does_not_apply_to_a_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keys.make(tmp_path / "a.key")
    finally:
        os.umask(before)
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    keys.make(tmp_path / "a.key")
    before = (tmp_path / "a.key").read_bytes()
    with pytest.raises(DriverError, match="never overwritten"):
        keys.make(tmp_path / "a.key")
    assert (tmp_path / "a.key").read_bytes() == before


def test_a_damaged_device_key_is_not_replaced_by_another_identity(tmp_path: Path) -> None:
    (tmp_path / "device.key").write_bytes(b"-----BEGIN PRIVATE KEY-----\nnonsense\n")
    (tmp_path / "device.key").chmod(0o600)
    with pytest.raises(DriverError, match=r"device\.key: is no private key in PEM.*backup"):
        keys.device_key(tmp_path)
    assert b"nonsense" in (tmp_path / "device.key").read_bytes()


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    keys.make(tmp_path / "a.key")
    (tmp_path / "a.key").chmod(0o640)
    with pytest.raises(DriverError, match=r"open to others \(mode 0640\); chmod 600 it"):
        keys.load(tmp_path / "a.key")


def test_a_key_of_another_kind_or_none_is_named(tmp_path: Path) -> None:
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "ec.key").write_bytes(pem)
    (tmp_path / "ec.key").chmod(0o600)
    with pytest.raises(DriverError, match="Ed25519 is wanted"):
        keys.load(tmp_path / "ec.key")
    with pytest.raises(DriverError, match="No such file"):
        keys.load(tmp_path / "none.key")
    with pytest.raises(DriverError, match="cannot be written"):
        keys.make(Path("/proc/none.key"))


def test_a_signature_holds_for_its_message_and_key_alone(tmp_path: Path) -> None:
    key, other = keys.make(tmp_path / "a.key"), keys.make(tmp_path / "b.key")
    signature = keys.sign(key, b"fly")
    assert keys.verify(keys.public_text(key), signature, b"fly")
    assert not keys.verify(keys.public_text(key), signature, b"land")
    assert not keys.verify(keys.public_text(other), signature, b"fly")
    for bad in ("", "x", "é", "A" * 44, signature[:-4]):
        assert not keys.verify(keys.public_text(key), bad, b"fly")
        assert not keys.verify(bad, signature, b"fly")


def test_the_command_line_makes_a_key_and_prints_what_the_config_takes(tmp_path: Path) -> None:
    def centre(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge_agent", "centre", "key", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    file = str(tmp_path / "wang.key")
    made = centre("new", file, "--role", "admin")
    assert made.returncode == 0, made.stderr
    agent = config.parse(FEW + made.stdout, tmp_path / "agent.toml")
    [operator] = agent.operators
    assert (operator.id, operator.role) == ("wang", "admin")
    assert operator.public_key == keys.public_text(keys.load(tmp_path / "wang.key"))
    assert centre("show", file, "--role", "admin").stdout == made.stdout
    again = centre("new", file)
    assert (again.returncode, "never overwritten" in again.stderr) == (69, True)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("public_key = ", "public_key = '' #", "operator[wang].public_key"),
        ("not_after = '2027-01-31'", "not_after = '2027-02-31'", "operator[wang].not_after: day is out of range"),
        ("not_after = '2027-01-31'", "not_after = 'never'", "operator[wang].not_after"),
        ("role = 'pilot'", "role = 'king'", "one of"),
        ("id = 'wang'", "id = 'wa/ng'", "operator"),
        ("[[operator]]", "[[operator]]\nid = 'x'\n[[operator]]", "operator"),
    ],
)
def test_an_operator_that_makes_no_sense_is_refused_by_the_config(
    old: str, new: str, wanted: str, tmp_path: Path
) -> None:
    public = keys.public_text(keys.make(tmp_path / "k"))
    text = FEW + (
        f"[[operator]]\nid = 'wang'\nname = 'wang'\nrole = 'pilot'\npublic_key = '{public}'\nnot_after = '2027-01-31'\n"
    )
    config.parse(text, tmp_path / "agent.toml")
    assert old in text
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text.replace(old, new, 1), tmp_path / "agent.toml")
    assert any(wanted in fault for fault in caught.value.faults), caught.value.faults


def test_two_operators_with_one_id_are_refused(tmp_path: Path) -> None:
    public = keys.public_text(keys.make(tmp_path / "k"))
    one = f"[[operator]]\nid = 'a'\nname = 'a'\nrole = 'admin'\npublic_key = '{public}'\nnot_after = '2027-01-31'\n"
    with pytest.raises(config.ConfigError, match=r"operator\[a\]: the id stands 2 times"):
        config.parse(FEW + one + one, tmp_path / "agent.toml")


@pytest.mark.parametrize(
    "device", ["+", "#", "a/b", "a+", "", "a b", "host", "grp", "a\\n", "é", "$SYS", "-a", "a" * 65]
)
def test_a_device_id_that_would_change_its_topics_is_refused(device: str, tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"site\.device"):
        config.parse(FEW.replace("'D-1'", f'"{device}"'), tmp_path / "agent.toml")

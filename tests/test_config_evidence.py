"""What [evidence] accepts and refuses."""

from pathlib import Path

import pytest

from edge_agent.config import Agent, ConfigError, dump, parse

REST = """
data_dir = "state"
[site]
device = "D-1"
[[detector]]
name = "d"
type = "simulated"
[[camera]]
name = "c"
type = "simulated"
detector = "d"
"""


def load(text: str, directory: Path) -> Agent:
    return parse(f"{REST}\n{text}", directory / "agent.toml")


def faults(text: str, directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(text, directory)
    return refused.value.faults


def test_without_the_section_originals_stay_here_within_limits(tmp_path: Path) -> None:
    section = load("", tmp_path).evidence
    assert (section.upload, section.keep_days, section.max_mib, section.hold) == ("off", 30.0, 4096, False)


def test_a_static_server_with_its_token_is_taken_and_dumped(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("secret")
    (tmp_path / "t").chmod(0o600)
    config = load('[evidence]\nupload = "static"\nurl = "https://c.example/files"\ntoken = "t"', tmp_path)
    assert config.evidence.token == str(tmp_path / "t")
    assert "secret" not in dump(config)
    assert parse(dump(config), tmp_path / "agent.toml") == config


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('upload = "static"', "evidence.url: required"),
        ('upload = "mqtt"', "there is no [mqtt]"),
        ('url = "https://c.example/files"', 'upload = "off" does not use it'),
        ('upload = "static"\nurl = "http://c.example/files"', "`plain = true` in development only"),
        ('upload = "static"\nurl = "ftp://c.example"', "evidence.url"),
        ('upload = "static"\nurl = "https://c.example/files?x=1"', "evidence.url"),
        ('upload = "static"\nurl = "https://c.example"\ntoken = "nowhere"', "evidence.token: No such file"),
        ('cert_file = "nowhere.pem"', "`cert_file` and `key_file` go together"),
        ('ca_file = "nowhere.pem"', "evidence.ca_file: no such file"),
        ('metered = "sometimes"', "evidence.metered"),
        ("max_kib_per_s = 0", "evidence.max_kib_per_s"),
        ("keep_days = -1", "evidence.keep_days"),
        ("max_mb = 3", "did you mean `max_mib`"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_out(tmp_path: Path, text: str, fault: str) -> None:
    assert any(fault in told for told in faults(f"[evidence]\n{text}", tmp_path))


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("secret")
    (tmp_path / "t").chmod(0o644)
    text = '[evidence]\nupload = "static"\nurl = "https://c.example"\ntoken = "t"'
    assert any("chmod 600" in told for told in faults(text, tmp_path))

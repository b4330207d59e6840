"""The README keeps its word: each step from the demo to a device is a configuration that `check` accepts."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from edge_agent import config, keys
from edge_agent.cli import COMMANDS, key
from edge_agent.demo import scenario
from edge_agent.vision.camera.simulated import KERB_ZONE, WATER_ZONE

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def demo_toml() -> dict[str, Any]:
    operator = key.toml("demo", keys.public_text(keys.Ed25519PrivateKey.generate()), "operator")
    text = scenario.agent_toml(
        vehicle_port=14550,
        broker_port=1883,
        began_s=1.0,
        takeoff_s=1.8e9,
        water=WATER_ZONE,
        kerb=KERB_ZONE,
        operator=operator,
    )
    return tomllib.loads(text)


def test_the_readme_has_its_four_steps() -> None:
    assert len(STEPS) == 4


@pytest.mark.parametrize("last", range(1, 5))
def test_each_step_is_a_configuration_that_is_right(last: int, tmp_path: Path) -> None:
    for name in ("ca.pem", "device.pem", "device.key"):
        (tmp_path / name).touch(mode=0o600)
    table = demo_toml()
    for step in STEPS[:last]:
        table |= tomllib.loads(step)
    config.parse(tomli_w.dumps(table), tmp_path / "agent.toml")


def test_every_command_that_the_readme_shows_exists() -> None:
    shown = set(re.findall(r"^edge-agent ([a-z-]+)", README, re.MULTILINE))
    assert shown
    assert shown <= set(COMMANDS)

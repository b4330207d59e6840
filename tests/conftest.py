"""Every message that a test publishes through the pipe is compared with the contract."""

from typing import Any

import pytest
from contract_check import check
from hypothesis import HealthCheck, settings

from edge_agent.pipe import Pipe

# How long a case takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

ANSWER = "ea/1/D/up/res"  # what may go to any topic that its asker named


@pytest.fixture(autouse=True)
def contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Device and centre alike publish through `Pipe`: what is not of the contract fails the test that sent it."""
    publish = Pipe.publish

    def checked(pipe: Pipe, topic: str, payload: bytes, *args: Any, **options: Any) -> int | None:
        if not topic.startswith("thing/"):  # DJI's contract, not ours
            check(topic if topic.startswith("ea/") else ANSWER, payload)
        return publish(pipe, topic, payload, *args, **options)

    monkeypatch.setattr(Pipe, "publish", checked)

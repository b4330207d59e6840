"""Every message that a test publishes through the pipe is compared with the contract."""

from typing import Any

import pytest
from contract_check import check

from edge_agent.pipe import Pipe

ANSWER = "ea/1/D/up/res"  # what may go to any topic that its asker named


@pytest.fixture(autouse=True)
def contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Device and centre alike publish through `Pipe`: what is not of the contract fails the test that sent it."""
    publish = Pipe.publish

    def checked(pipe: Pipe, topic: str, payload: bytes, *args: Any, **options: Any) -> int | None:
        check(topic if topic.startswith("ea/") else ANSWER, payload)
        return publish(pipe, topic, payload, *args, **options)

    monkeypatch.setattr(Pipe, "publish", checked)

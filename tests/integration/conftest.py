"""Real servers on free loopback ports, ended with the test."""

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import MOSQUITTO, BrokerProcess


@pytest.fixture
def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def mosquitto(tmp_path: Path, free_port: int) -> Iterator[Callable[..., BrokerProcess]]:
    """`mosquitto("max_packet_size 4000")` makes a broker with these lines of configuration, not yet started."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    made: list[BrokerProcess] = []

    def make(*lines: str) -> BrokerProcess:
        config = tmp_path / "mosquitto.conf"
        auth = () if any(line.startswith("allow_anonymous") for line in lines) else ("allow_anonymous true",)
        config.write_text("\n".join((f"listener {free_port} 127.0.0.1", "user root", *auth, *lines)) + "\n")
        assert MOSQUITTO is not None
        made.append(BrokerProcess([MOSQUITTO, "-c", str(config)], free_port))
        return made[-1]

    yield make
    for broker in made:
        broker.kill()


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request: pytest.FixtureRequest, free_port: int) -> Iterator[BrokerProcess]:
    """Each of the brokers that the agent's own helper runs, not yet started."""
    command = [sys.executable, "-m", "edge_agent.centre.broker", "--port", str(free_port)]
    if request.param == "amqtt":
        pytest.importorskip("amqtt", reason="amqtt is not installed")
        command.append("--embedded")
    elif MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    process = BrokerProcess(command, free_port)
    yield process
    process.kill(signal.SIGTERM)

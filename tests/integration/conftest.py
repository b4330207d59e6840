"""Real servers on free loopback ports, ended with the test."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class BrokerProcess:
    """An MQTT broker that can be started, killed and started again on the same port."""

    def __init__(self, command: list[str], port: int) -> None:
        self.command, self.port = command, port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, f"{self.command[0]} ended with {self._process.returncode}"
            time.sleep(0.02)
        raise TimeoutError(f"{self.command[0]} does not listen on port {self.port}")

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
            self._process.wait(10)
            self._process = None


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

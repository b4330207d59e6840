"""deploy/mosquitto as it is shipped: who gets in, who may say what, and that reporting works over it."""

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
import pytest
from conftest import MOSQUITTO, BrokerProcess

from edge_agent.centre.store import events
from edge_agent.config import Mqtt
from edge_agent.messages import Reply, Request
from edge_agent.runtime import Health, SystemClock, supervise
from edge_agent.uplink.mqtt import Uplink
from edge_agent.uplink.outbox import Outbox

DEPLOY = Path(__file__).parents[2] / "deploy" / "mosquitto"
NOT_AUTHORISED = 0x87
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


class Site:
    """The shipped files with other paths and ports, and certificates by the shipped script."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.pki = directory, directory / "pki"
        self.issue("init")
        for name in ("D-1", "D-2", "centre", "dashboard", "node-red"):
            self.issue("client", name)
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            self.port, self.inner = int(one.getsockname()[1]), int(two.getsockname()[1])
        text = (DEPLOY / "mosquitto.conf").read_text()
        changes = {
            "listener 8883": f"listener {self.port} 127.0.0.1",
            "listener 8884": f"listener {self.inner} 127.0.0.1",
            "/etc/mosquitto/pki": str(self.pki),
            "/etc/mosquitto/acl": str(directory / "acl"),
            "/var/lib/mosquitto": str(directory),
            "log_dest syslog": f"log_dest file {directory}/log",
        }
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (directory / "mosquitto.conf").write_text(text + ("user root\n" if os.getuid() == 0 else ""))
        shutil.copy(DEPLOY / "acl", directory / "acl")
        assert MOSQUITTO is not None
        self.broker = BrokerProcess([MOSQUITTO, "-c", str(directory / "mosquitto.conf")], self.port)

    def issue(self, *arguments: str) -> None:
        subprocess.run([DEPLOY / "pki.sh", self.pki, *arguments], check=True, capture_output=True)

    def forge(self, subject: str, name: str) -> None:
        """A certificate that our script would not issue."""
        request = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        request += ["-subj", subject, "-keyout", f"{name}.key", "-out", "f.csr"]
        subprocess.run(request, check=True, capture_output=True, cwd=self.pki)
        sign = ["openssl", "x509", "-req", "-in", "f.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "9"]
        sign += ["-set_serial", "77", "-out", f"{name}.crt"]
        subprocess.run(sign, check=True, capture_output=True, cwd=self.pki)

    def tls(self, name: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        if name is not None:
            context.load_cert_chain(self.pki / f"{name}.crt", self.pki / f"{name}.key")
        return context

    def mqtt(self, name: str, port: int) -> Mqtt:
        files = {"cert_file": self.pki / f"{name}.crt", "key_file": self.pki / f"{name}.key"}
        return Mqtt(port=port, ca_file=self.pki / "ca.crt", **files)


class Client:
    """A client that writes down what becomes of what it does."""

    def __init__(self, port: int, context: ssl.SSLContext | None, client_id: str) -> None:
        self.inbox: list[tuple[str, bytes]] = []
        self.answers: dict[int, int] = {}
        self.connected = threading.Event()
        self.over = threading.Event()
        self._news = threading.Condition()
        self.paho = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
        )
        if context is not None:
            self.paho.tls_set_context(context)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = lambda *_: self.over.set()
        self.paho.on_publish = lambda _, __, mid, code, ___: self._tell(mid, code.value)
        self.paho.on_subscribe = lambda _, __, mid, codes, ___: self._tell(mid, codes[0].value)
        self.paho.on_message = lambda _, __, message: self.inbox.append((message.topic, message.payload))
        self.paho.connect("127.0.0.1", port)
        self.paho.loop_start()

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def publish(self, topic: str, payload: bytes = b"{}", **options: Any) -> int:
        """The broker's reason code."""
        return self._answer(self.paho.publish(topic, payload, qos=1, **options).mid)

    def subscribe(self, topic: str) -> int:
        return self._answer(self.paho.subscribe(topic, qos=1)[1] or 0)

    def heard(self, topic: str, deadline_s: float = 5.0) -> bool:
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            if any(known == topic for known, _ in self.inbox):
                return True
            time.sleep(0.02)
        return False

    def _on_connect(self, _: Any, __: Any, ___: Any, code: Any, ____: Any) -> None:
        (self.over if code.is_failure else self.connected).set()

    def _tell(self, mid: int, code: int) -> None:
        with self._news:
            self.answers[mid] = code
            self._news.notify()

    def _answer(self, mid: int) -> int:
        with self._news:
            assert self._news.wait_for(lambda: mid in self.answers, 5), "the broker did not answer"
            return self.answers.pop(mid)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    made.broker.start()
    yield made
    made.broker.kill(signal.SIGTERM)


@pytest.fixture
def clients() -> Iterator[list[Client]]:
    made: list[Client] = []
    yield made
    for client in made:
        client.close()


def enter(site: Site, clients: list[Client], name: str, *, inner: bool = False, client_id: str | None = None) -> Client:
    client = Client(site.inner if inner else site.port, site.tls(name), client_id or name)
    clients.append(client)
    assert client.connected.wait(5), f"{name} is not let in"
    return client


def test_a_device_speaks_for_itself_alone(site: Site, clients: list[Client]) -> None:
    one, two = enter(site, clients, "D-1"), enter(site, clients, "D-2")
    centre = enter(site, clients, "centre", inner=True)
    assert centre.subscribe("ea/1/+/up/#") < 0x80
    assert one.publish("ea/1/D-1/up/ev/det") < 0x80
    for topic in ("ea/1/D-2/up/ev/det", "ea/1/D-2/down/cmd/land", "ea/1/D-1/down/ack", "ea/1/host/centre/state", "x"):
        assert one.publish(topic) == NOT_AUTHORISED, topic
    assert centre.heard("ea/1/D-1/up/ev/det")
    one.subscribe("ea/1/#")
    two.subscribe("ea/1/+/down/#")
    assert centre.publish("ea/1/D-2/down/cmd/land") == 0
    assert two.heard("ea/1/D-2/down/cmd/land")
    assert centre.publish("ea/1/host/centre/state") == 0
    assert one.heard("ea/1/host/centre/state")
    assert {topic for topic, _ in one.inbox} == {"ea/1/host/centre/state"}, "it heard what is not its own"


def test_the_tools_of_the_centre_may_do_what_they_need_and_no_more(site: Site, clients: list[Client]) -> None:
    dashboard = enter(site, clients, "dashboard", inner=True)
    flows = enter(site, clients, "node-red", inner=True)
    device = enter(site, clients, "D-1")
    dashboard.subscribe("ea/1/+/up/tele/+")
    assert device.publish("ea/1/D-1/up/tele/pos") < 0x80
    assert dashboard.heard("ea/1/D-1/up/tele/pos")
    assert dashboard.publish("ea/1/D-1/down/cmd/land") == NOT_AUTHORISED
    assert flows.publish("ea/1/D-1/down/cmd/say") < 0x80
    assert flows.publish("ea/1/D-1/down/ack") == NOT_AUTHORISED, "only the centre confirms"


def test_a_name_with_wildcards_opens_nothing(site: Site, clients: list[Client]) -> None:
    device = enter(site, clients, "D-1")
    for subject, name in (("/CN=\\+", "plus"), ("/CN=#", "hash")):
        site.forge(subject, name)
        client = Client(site.port, site.tls(name), name)
        clients.append(client)
        if client.connected.wait(2):
            client.paho.subscribe("ea/1/+/up/#", qos=1)
            assert client.publish("ea/1/D-1/up/ev/det") == NOT_AUTHORISED
            device.publish("ea/1/D-1/up/state/mode")
            assert not client.heard("ea/1/D-1/up/state/mode", 0.5)
    done = subprocess.run([DEPLOY / "pki.sh", site.pki, "client", "+"], check=False, capture_output=True, text=True)
    assert done.returncode == 64
    assert "letters, digits" in done.stderr


def test_a_session_cannot_be_taken_over(site: Site, clients: list[Client]) -> None:
    victim = enter(site, clients, "D-1")
    enter(site, clients, "D-2", client_id="D-1")
    assert victim.publish("ea/1/D-1/up/ev/det") < 0x80
    assert not victim.over.is_set()


def test_too_large_a_message_is_refused(site: Site, clients: list[Client]) -> None:
    device = enter(site, clients, "D-1")
    device.paho.publish("ea/1/D-1/up/ev/det", bytes(300_000), qos=1)
    assert device.over.wait(5)


@pytest.mark.parametrize("how", ["no certificate", "another CA", "revoked", "TLS 1.2"])
def test_a_stranger_is_not_let_in(site: Site, tmp_path: Path, clients: list[Client], how: str) -> None:
    context = site.tls(None if how == "no certificate" else "D-1")
    match how:
        case "another CA":
            pki = tmp_path / "pki"
            for arguments in (["init"], ["client", "D-1"]):
                subprocess.run([DEPLOY / "pki.sh", pki, *arguments], check=True, capture_output=True)
            context.load_cert_chain(pki / "D-1.crt", pki / "D-1.key")
        case "revoked":
            site.issue("client", "D-9")
            context = site.tls("D-9")
            site.issue("revoke", "D-9")
            site.broker.kill(signal.SIGTERM)
            site.broker.start()
        case "TLS 1.2":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        client = Client(site.port, context, "D-1")
    except (ssl.SSLError, ConnectionError):
        return
    clients.append(client)
    assert client.over.wait(5)
    assert not client.connected.is_set()


def test_plain_is_refused(site: Site, clients: list[Client]) -> None:
    for port in (site.port, site.inner):
        client = Client(port, None, "D-1")
        clients.append(client)
        assert client.over.wait(5)
        assert not client.connected.is_set()


def test_a_retained_birth_survives_the_broker(site: Site, clients: list[Client]) -> None:
    device = enter(site, clients, "D-1")
    assert device.publish("ea/1/D-1/up/status", b'{"state":"online"}', retain=True) < 0x80
    device.close()
    site.broker.kill(signal.SIGTERM)
    site.broker.start()
    centre = enter(site, clients, "centre", inner=True)
    centre.subscribe("ea/1/+/up/status")
    assert centre.heard("ea/1/D-1/up/status")


class Seen(msgspec.Struct):
    n: int


async def _obey(request: Request, by: str) -> Reply:
    return Reply(state="done")


async def test_an_outbox_empties_over_it_into_a_group_of_centres(site: Site, tmp_path: Path) -> None:
    files = ["--ca-file", site.pki / "ca.crt", "--cert-file", site.pki / "centre.crt"]
    files += ["--key-file", site.pki / "centre.key"]
    command = [sys.executable, "-m", "edge_agent", "centre", "run", "--port", site.inner, "--db", tmp_path / "c.db"]
    command += ["--group", "g", *files]
    members = [
        subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    clock = SystemClock()
    health = Health(clock)
    outbox = Outbox(tmp_path / "events.db", device="D-1", max_mib=16, clock=clock)
    uplink = Uplink(
        site.mqtt("D-1", site.port), "D-1", outbox, clock=clock, health=health, on_command=_obey, will_delay_s=1
    )
    task = asyncio.create_task(supervise("uplink", uplink.run, health=health, clock=clock))
    try:
        for member in members:
            assert member.stdout
            assert await asyncio.to_thread(member.stdout.readline) == "ready\n"
        for n in range(200):
            await outbox.event("det", Seen(n), id=f"e{n}")
        deadline = time.monotonic() + 20
        while (await outbox.measure()).depth:
            assert time.monotonic() < deadline, health.state
            await asyncio.sleep(0.05)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await outbox.close()
        for member in members:
            member.kill()
            member.wait(10)
            assert member.stdout
            member.stdout.close()
    assert {event["id"] for event in events(tmp_path / "c.db", limit=1000)} == {f"e{n}" for n in range(200)}
    assert health.state["uplink"] == "running"

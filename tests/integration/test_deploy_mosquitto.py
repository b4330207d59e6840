"""deploy/mosquitto as it is shipped: who gets in, who may say what, and that reporting works over it."""

import asyncio
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import MOSQUITTO
from deploy_site import DEPLOY, Client, Site

from edge_agent import topics
from edge_agent.centre.audit import verify
from edge_agent.centre.store import events
from edge_agent.messages import Reply, Request
from edge_agent.runtime import Health, SystemClock, supervise
from edge_agent.uplink.mqtt import Uplink
from edge_agent.uplink.outbox import Outbox

NOT_AUTHORISED = 0x87
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


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
    assert client.connected.wait(30), f"{name} is not let in"
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
    assert device.over.wait(30)


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
    assert client.over.wait(30)
    assert not client.connected.is_set()


def test_plain_is_refused(site: Site, clients: list[Client]) -> None:
    for port in (site.port, site.inner):
        client = Client(port, None, "D-1")
        clients.append(client)
        assert client.over.wait(30)
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
            await outbox.event("fault", topics.Fault(part="camera", reason=f"cause {n}"), id=f"e{n}")
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
    [verdict] = verify(tmp_path / "c.db", "D-1")
    assert verdict.whole
    assert verdict.epochs[0].linked == 199, "device and centre compute the same chain"

"""What the doctor tries out on the way to the centre: each step by itself, up to the centre's acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import urllib.parse
from pathlib import Path
from typing import Any

from edge_agent import config, topics
from edge_agent.device import board, clocks
from edge_agent.device.doctor.facts import Link
from edge_agent.device.identity import Identity
from edge_agent.pipe import Broker
from edge_agent.runtime import DriverError, Health, SystemClock
from edge_agent.topics import Context

CONNECT_S, ACK_S = 5.0, 20.0
RUNNING = "running"
NOT_AUTHORISED = 0x87  # MQTT 5, section 3.4.2.1


def link(settings: config.Agent | None, told: dict[str, Any] | None, data_dir: Path, quick: bool) -> Link:
    """The identity, then each step of the way; a step that fails leaves those behind it unknown."""
    found = Link(routed=_routed())
    mqtt = settings.mqtt if settings is not None else None
    _identity(found, mqtt, data_dir)
    if settings is None or mqtt is None:
        return found
    found.configured, found.plain, found.unsigned, found.ack = True, mqtt.plain, mqtt.unsigned_commands, mqtt.ack
    found.upload = settings.evidence.upload
    if quick:
        return found
    found.asked = True
    if found.upload == "static" and settings.evidence.url is not None:
        found.upload_fault, found.upload_resumes = _ask_upload(settings.evidence)
    if found.clone is None:
        _walk(found, settings, mqtt, told)
    return found


def _walk(found: Link, settings: config.Agent, mqtt: config.Mqtt, told: dict[str, Any] | None) -> None:
    """Step by step; what lies behind a step that failed is not known (an empty word)."""
    found.tcp = found.tls = found.mqtt = found.acked = ""
    found.dns = _dns(mqtt)
    if found.dns is None:
        found.tcp = _tcp(mqtt)
    if found.tcp is None:
        found.tls = _tls(mqtt)
    if found.tls is None:
        found.mqtt = _through_agent(told) if told is not None else _through(found, settings)
    if found.mqtt is None and mqtt.ack == "centre":
        found.acked = _acked(found, told)
    if found.mqtt is None and told is None:
        found.acl_open = asyncio.run(_speaks_for_others(mqtt, settings.site.device))


def _identity(found: Link, mqtt: config.Mqtt | None, data_dir: Path) -> None:
    folder = data_dir / "identity"
    if mqtt is not None and mqtt.cert_file is not None:
        folder = mqtt.cert_file.parent
    elif mqtt is None and not folder.is_dir():
        return
    if mqtt is not None and mqtt.cert_file is None:
        return
    from edge_agent import certificates

    identity, serial, now = Identity(folder), board.serial(), clocks.now(data_dir)
    if mqtt is not None and mqtt.cert_file is not None and mqtt.key_file is not None and mqtt.ca_file is not None:
        identity.cert_file, identity.key_file, identity.ca_file = mqtt.cert_file, mqtt.key_file, mqtt.ca_file
    try:
        held = identity.certificate()
        found.enrolled = held is not None
        if held is None:
            return
        life = held.not_valid_after_utc - held.not_valid_before_utc
        found.life_days = life.total_seconds() / 86_400
        found.days_left = (held.not_valid_after_utc - now).total_seconds() / 86_400
        fault = identity.fault(serial, now)
    except DriverError as error:
        found.enrolled, found.identity_fault = True, str(error)
        return
    if fault is not None and not isinstance(fault, str):
        found.clone = str(fault)
    elif fault is not None and certificates.lifetime_fault(held, now) is None:
        found.identity_fault = fault


def _routed() -> bool | None:
    """A default route in proc_net_route(5): destination and mask are zero."""
    try:
        lines = Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
        six = Path("/proc/net/ipv6_route").read_text(encoding="ascii") if Path("/proc/net/ipv6_route").exists() else ""
    except OSError:
        return None
    over_six = re.search(r"^0{32} 00 (?!.* lo$)", six, re.MULTILINE) is not None
    return over_six or any(line.split()[1] == "00000000" and line.split()[7] == "00000000" for line in lines)


def _dns(mqtt: config.Mqtt) -> str | None:
    try:
        socket.getaddrinfo(mqtt.host, mqtt.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"{mqtt.host}: {error.strerror}"
    return None


def _tcp(mqtt: config.Mqtt) -> str | None:
    try:
        socket.create_connection((mqtt.host, mqtt.port), CONNECT_S).close()
    except OSError as error:
        return f"{mqtt.host}:{mqtt.port}: {error}"
    return None


def _tls(mqtt: config.Mqtt) -> str | None:
    if mqtt.ca_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(mqtt.ca_file))
        if mqtt.cert_file is not None:
            context.load_cert_chain(mqtt.cert_file, mqtt.key_file)
        with socket.create_connection((mqtt.host, mqtt.port), CONNECT_S) as raw:
            context.wrap_socket(raw, server_hostname=mqtt.host).close()
    except OSError as error:
        return f"{mqtt.host}:{mqtt.port}: {error}"
    return None


def _through_agent(told: dict[str, Any]) -> str | None:
    """What the running agent says of its uplink."""
    how: str = told["parts"].get("uplink", "not started")
    return None if how == RUNNING else how


def _through(found: Link, settings: config.Agent) -> str | None:
    """A round trip of our own, as the device itself."""
    try:
        connected, found.round_trip_s = asyncio.run(_round_trip(settings))
    except DriverError as error:
        return str(error)
    return None if connected else f"it does not let this device in, within {ACK_S:g} s"


def _acked(found: Link, told: dict[str, Any] | None) -> str | None:
    if told is not None:
        waits = told["outbox"]
        late = waits["depth"] > 0 and waits["oldest_s"] > ACK_S
        return f"{waits['depth']} events are unconfirmed, the oldest for {waits['oldest_s']:.0f} s" if late else None
    return None if found.round_trip_s is not None else f"no centre confirmed an event within {ACK_S:g} s"


async def _round_trip(settings: config.Agent) -> tuple[bool, float | None]:
    """Put an event into the device's own outbox and wait for the centre's word: (let in, seconds until confirmed)."""
    from edge_agent.agent import take
    from edge_agent.desired import Wishes
    from edge_agent.messages import Reply, Request
    from edge_agent.topics import Answered
    from edge_agent.uplink.mqtt import Uplink
    from edge_agent.uplink.outbox import Outbox

    assert settings.mqtt is not None
    site, clock = settings.site, SystemClock()
    lock = take(settings.data_dir)
    outbox = Outbox(settings.data_dir / "events.db", device=site.device, max_mib=settings.outbox.max_mib, clock=clock)

    async def nothing(_: Request, by: str) -> Reply:
        return Reply(state="rejected", reason=f"the doctor is looking this device over ({by})")

    wishes = Wishes(settings.data_dir / "desired.json", settings)
    uplink = Uplink(
        settings.mqtt, site.device, outbox, operators=settings.operators, wishes=wishes,
        context=Context(site=site.name, org=site.org, purpose=site.purpose),
        clock=clock, health=Health(clock), on_command=nothing,
    )  # fmt: skip
    began_s, connected = clock.monotonic(), False
    try:
        said = Answered(command="doctor", name="doctor", by="local", reply=Reply(state="done"))
        await outbox.event("audit", said)
        waiting = (await outbox.measure()).depth
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_until_it_fails(uplink))
            while clock.monotonic() - began_s < ACK_S and not task.done():
                connected = connected or uplink.connected
                if connected and (await outbox.measure()).depth < waiting:
                    task.cancel()
                    return True, clock.monotonic() - began_s
                await clock.sleep(0.05)
            task.cancel()
    finally:
        await outbox.close()
        os.close(lock)
    return connected, None


async def _until_it_fails(uplink: Any) -> None:
    """A broker that refuses is told by the step before this one."""
    with contextlib.suppress(DriverError):
        await uplink.run()


async def _speaks_for_others(mqtt: config.Mqtt, device: str) -> bool | None:
    """Whether the broker takes a message under another device's name; None where it would not say (MQTT 3.1.1)."""
    wake = asyncio.Event()
    try:
        async with asyncio.timeout(CONNECT_S):
            pipe = await Broker(mqtt).connect(device, [topics.ack(device)], wake, keep_session=True)
            try:
                if not pipe.five:
                    return None
                pipe.publish(topics.tele(f"{device}-doctor", "pos"), b"", {})
                while not pipe.pubacks and pipe.ended is None:
                    await wake.wait()
                    wake.clear()
                return bool(pipe.pubacks) and pipe.pubacks[0][1] != NOT_AUTHORISED
            finally:
                await pipe.close()
    except (DriverError, TimeoutError):
        return None


def _ask_upload(section: config.Evidence) -> tuple[str | None, bool | None]:
    """OPTIONS to the tus server (https://tus.io/protocols/resumable-upload): does it answer, does it resume?"""
    import http.client

    assert section.url is not None
    url = urllib.parse.urlsplit(section.url)
    host, port = url.hostname or "", url.port
    try:
        connection: http.client.HTTPConnection
        if url.scheme == "https":
            context = ssl.create_default_context(cafile=None if section.ca_file is None else str(section.ca_file))
            connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_S)
        with contextlib.closing(connection):
            connection.request("OPTIONS", url.path or "/")
            answer = connection.getresponse()
            resumes = (
                "creation" in answer.getheader("Tus-Extension", "") and answer.getheader("Tus-Version") is not None
            )
            return (None, resumes) if answer.status < 400 else (f"{section.url}: {answer.status} {answer.reason}", None)
    except (OSError, http.client.HTTPException) as error:
        return f"{section.url}: {error}", None

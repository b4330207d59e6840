"""The pipe against a broker that is bytes on a socket: nothing gets stuck, whatever it sends."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import structs

from edge_agent.config import Mqtt
from edge_agent.pipe import INBOX, Broker, Pipe, certificate_fault
from edge_agent.runtime import DriverError

CONNACK = b"\x20\x03\x00\x00\x00"  # MQTT 5, 3.2: no session, success, no properties
SUBACK = b"\x90\x04\x00\x01\x00\x01"  # 3.9: packet 1, no properties, granted QoS 1
PUBLISH = b"\x30\x07\x00\x03a/b\x00x"  # 3.3: QoS 0, topic a/b, no properties, payload x


async def connected(section: Mqtt, wake: asyncio.Event) -> Pipe:
    return await Broker(section).connect("me", ["a/b"], wake)


async def serve(answer: bytes, tls: ssl.SSLContext | None = None, *, stays: bool = True) -> tuple[asyncio.Server, int]:
    """A broker that lets everyone in, agrees to one SUBSCRIBE, and says `answer` with the same breath."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(4096)
            writer.write(CONNACK)
            await reader.read(4096)
            writer.write(SUBACK + answer)
            if stays:
                await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    return server, server.sockets[0].getsockname()[1]


async def until(there: Callable[[], bool], wake: asyncio.Event) -> None:
    async with asyncio.timeout(30):
        while not there():
            wake.clear()
            await wake.wait()


@pytest.mark.parametrize("host", ["10.0.0..5", ""])
async def test_a_host_that_can_be_no_name_is_an_error_of_this_broker(host: str) -> None:
    with pytest.raises(DriverError, match=f"broker {host}:1883: "):
        await connected(Mqtt(host=host, plain=True, version="5"), asyncio.Event())


@pytest.mark.parametrize(
    "garbage",
    [b"\x30\x04\x00\xff\xffa", b"\x40\x01\x00", b"\xf0\x00", b"\x30\x06\x00\x03a/b\x7f", b"\x3f\xff\xff\xff\xff\xff"],
)
async def test_bytes_that_are_no_mqtt_end_the_connection_and_not_the_loop(garbage: bytes) -> None:
    server, port = await serve(garbage)
    wake = asyncio.Event()
    async with server:
        pipe = await connected(Mqtt(host="127.0.0.1", port=port, plain=True, version="5"), wake)
        await until(lambda: pipe.ended is not None, wake)
        with pytest.raises(DriverError, match="connection lost"):
            pipe.check()
        await pipe.close()


async def test_a_burst_within_one_tls_record_is_read_to_its_end(tmp_path: Path) -> None:
    """The system announces a record once; what TLS has decrypted already it announces no more."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*_certificate(tmp_path))
    server, port = await serve(PUBLISH * 1000, tls)
    wake = asyncio.Event()
    async with server:
        section = Mqtt(host="127.0.0.1", port=port, version="5", ca_file=tmp_path / "cert.pem")
        pipe = await connected(section, wake)
        await until(lambda: len(pipe.messages) == 1000, wake)
        await pipe.close()


async def test_a_flood_does_not_fill_the_inbox_of_what_goes_first() -> None:
    home = b"\x30\x05\x00\x01h\x00x"  # as PUBLISH, on topic h
    server, port = await serve(PUBLISH * (INBOX + 100) + home)
    wake = asyncio.Event()
    async with server:
        broker = Broker(Mqtt(host="127.0.0.1", port=port, plain=True, version="5"))
        pipe = await broker.connect("me", ["a/b"], wake, first=["h"])
        await until(lambda: len(pipe.first) == 1, wake)
        assert (len(pipe.messages), pipe.dropped) == (INBOX, 100)
        await pipe.close()


async def test_a_broker_that_goes_without_a_word_is_told_of() -> None:
    server, port = await serve(b"", stays=False)
    wake = asyncio.Event()
    async with server:
        pipe = await connected(Mqtt(host="127.0.0.1", port=port, plain=True, version="5"), wake)
        await until(lambda: pipe.ended is not None, wake)
        await pipe.close()


def test_a_certificate_says_itself_why_it_is_refused(tmp_path: Path) -> None:
    pem, now = _certificate(tmp_path)[0].read_bytes(), datetime.now(UTC)
    assert certificate_fault(pem, now) is None
    late = certificate_fault(pem, now + timedelta(days=11))
    assert late is not None and f"expired on {now + timedelta(days=1):%Y-%m-%d}" in late and "10 days ago" in late
    early = certificate_fault(pem, datetime(1970, 1, 1, tzinfo=UTC))
    assert early is not None and "1970-01-01 00:00" in early and "set the clock" in early
    assert "no certificate" in str(certificate_fault(b"-----BEGIN", now))


async def test_an_expired_certificate_is_told_of_by_its_file_and_a_renewed_one_taken(tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*_certificate(tmp_path))
    server, port = await serve(b"", tls)
    section = Mqtt(host="127.0.0.1", port=port, version="5", ca_file=tmp_path / "cert.pem")
    ours = tmp_path / "ours"
    ours.mkdir()
    cert, key = _certificate(ours, days=-2)
    broker = Broker(structs.replace(section, cert_file=cert, key_file=key))
    async with server:
        with pytest.raises(DriverError, match=r"ours/cert.pem: the certificate expired on .* renew it"):
            await broker.connect("me", ["a/b"], asyncio.Event())
        _certificate(ours)
        pipe = await broker.connect("me", ["a/b"], asyncio.Event())
        await pipe.close()


def _certificate(directory: Path, days: int = 1) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(key.private_bytes(*form))
    return directory / "cert.pem", directory / "key.pem"

"""The whole way of an original: an incident, MQTT and HTTPS with one certificate, the centre's disk, a receipt."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

AGENT = """
data_dir = "state"
[site]
device = "EA-1"
[mqtt]
host = "localhost"
port = {mqtt}
ca_file = "ca.pem"
cert_file = "EA-1.pem"
key_file = "EA-1.key"
[evidence]
upload = "mqtt"
keep_days = {keep_days}
{more}
[[detector]]
name = "d"
type = "simulated"
[[camera]]
name = "bank"
type = "simulated"
detector = "d"
[[zone]]
name = "all"
camera = "bank"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
[[rule]]
type = "forbidden_zone"
id = "r"
zone = "all"
"""
BROKER = ("allow_anonymous false", "cafile {d}/ca.pem", "certfile {d}/server.pem", "keyfile {d}/server.key",
          "require_certificate true", "use_identity_as_username true")  # fmt: skip


def pki(directory: Path, *names: str) -> None:
    """A throw-away CA and certificates signed by it."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    for name in names:
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (directory / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", "ext")  # fmt: skip
        (directory / f"{name}.key").chmod(0o600)


def port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(directory: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "edge_agent", *words], cwd=directory, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def wait(what: Callable[[], Any], log: Path, within_s: float = 40.0) -> Any:
    end = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(0.1)
    return found


def centre(directory: Path, mqtt: int, https: int) -> tuple[str, ...]:
    tls = ("--ca-file", "ca.pem", "--cert-file", "centre.pem", "--key-file", "centre.key")
    ours = ("--evidence-dir", "evidence", "--evidence-listen", f"127.0.0.1:{https}")
    server = ("--evidence-cert-file", "server.pem", "--evidence-key-file", "server.key")
    client = ("--evidence-client-ca", "ca.pem", "--evidence-url", f"https://localhost:{https}")
    where = ("--host", "localhost", "--port", str(mqtt), "--db", "centre.db")
    return ("centre", "run", *where, *tls, *ours, *server, *client)


def told(directory: Path, kind: str) -> list[dict[str, Any]]:
    words = ("centre", "list", "--db", "centre.db", "--json", "--kind", kind)
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", *words], cwd=directory, capture_output=True, text=True, check=False
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def status(directory: Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "edge_agent", "status", "--json", "-c", "agent.toml"]
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout)) if done.stdout else {}


def test_an_incidents_original_reaches_the_centre_over_https_with_the_certificate_of_mqtt(
    tmp_path: Path, mosquitto: Callable[..., Any], free_port: int
) -> None:
    pki(tmp_path, "server", "centre", "EA-1", "EA-2")
    https, log = port(), tmp_path / "log"
    broker = mosquitto(*(line.format(d=tmp_path) for line in BROKER))
    broker.start()
    (tmp_path / "agent.toml").write_text(AGENT.format(mqtt=free_port, keep_days=30, more=""))
    with running(tmp_path, *centre(tmp_path, free_port, https)):
        with running(tmp_path, "run", "-c", "agent.toml") as agent:
            wait(lambda: told(tmp_path, "evidence"), log)
            wait(lambda: status(tmp_path).get("evidence", {}).get("received"), log)
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(20) == 0
        [event, *_] = told(tmp_path, "evidence")
        facts = event["data"]
        incident = next(d for d in told(tmp_path, "det") if d["id"] == facts["incident"])
        assert facts["state"] == "received"
        assert facts["sha256"] == incident["data"]["picture"]["sha256"]
        stored = tmp_path / "evidence" / "EA-1" / f"{facts['sha256']}.jpg"
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == facts["sha256"]
        assert facts["url"].startswith(f"https://localhost:{https}/files/EA-1/")
        for who, status_code in (("EA-1", "401"), ("EA-2", "403"), (None, None)):
            identity = ["--cert", f"{who}.pem", "--key", f"{who}.key"] if who else []
            words = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--cacert", "ca.pem", *identity]
            asked = subprocess.run([*words, facts["url"]], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert (asked.stdout == status_code) if who else asked.returncode != 0


def test_received_originals_go_by_retention_and_the_others_wait_for_a_centre_that_is_not_there(
    tmp_path: Path, mosquitto: Callable[..., Any], free_port: int
) -> None:
    pki(tmp_path, "server", "centre", "EA-1")
    https, log = port(), tmp_path / "log"
    broker = mosquitto(*(line.format(d=tmp_path) for line in BROKER))
    broker.start()
    (tmp_path / "agent.toml").write_text(AGENT.format(mqtt=free_port, keep_days=0, more=""))
    incidents = tmp_path / "state" / "incidents"
    with running(tmp_path, "run", "-c", "agent.toml"):
        wait(lambda: list(incidents.glob("*.jpg")), log)
        wait(lambda: "grant" in status(tmp_path).get("parts", {}).get("evidence.upload", ""), log)
        before = {path.name for path in incidents.glob("*.jpg")}
    assert before
    assert before <= {path.name for path in incidents.glob("*.jpg")}
    with (
        running(tmp_path, *centre(tmp_path, free_port, https)),
        running(tmp_path, "run", "-c", "agent.toml"),
    ):
        # It is tidied every 30 s; what the centre has by then may go, for keep_days is 0.
        wait(lambda: before.isdisjoint(path.name for path in incidents.glob("*.jpg")), log, 80)
    assert before <= {event["data"]["id"] for event in told(tmp_path, "evidence")}
    assert not told(tmp_path, "gap")


def test_an_incident_is_reported_and_spoken_where_its_picture_cannot_be_written(tmp_path: Path) -> None:
    text = AGENT.format(mqtt=1, keep_days=30, more="")
    mqtt, rest = text.index("[mqtt]"), text.index("[[detector]]")
    speaker = 'speakers = ["horn"]\nsay = [{text = "x", lang = "en"}]\n[[speaker]]\nname = "horn"\ntype = "simulated"\n'
    (tmp_path / "agent.toml").write_text(text[:mqtt] + text[rest:] + speaker)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "incidents").write_text("a file where a directory should be")
    with running(tmp_path, "run", "-c", "agent.toml"):
        log = tmp_path / "log"
        wait(lambda: status(tmp_path).get("evidence", {}).get("lost"), log)
        # The incident, and the gap that says why it has no picture.
        wait(lambda: status(tmp_path)["outbox"]["depth"] >= 2, log)
        wait(lambda: list((tmp_path / "state" / "speakers" / "horn").glob("*.wav")), log)
    assert "incidents" in next(line for line in log.read_text().splitlines() if "is lost" in line)

"""A whole site of real processes: CA, mosquitto with its certificates, centre, and a device that enrols into it."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import MOSQUITTO, BrokerProcess

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]
ACL = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto" / "acl"
PATIENCE_S = 60.0


def agent(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_agent", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Site:
    """CA, broker and centre below one directory."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ca = folder, folder / "ca"
        self.broker_port, self.ca_port = free_port(), free_port()
        assert agent("centre", "ca", "init", "--dir", self.ca).returncode == 0
        made = agent("centre", "ca", "server", "127.0.0.1", "localhost", "-o", folder / "broker", "--dir", self.ca)
        assert made.returncode == 0, made.stderr
        lines = (
            f"listener {self.broker_port} 127.0.0.1",
            *("user root", f"acl_file {folder / 'acl'}", f"cafile {self.ca / 'ca.crt'}"),
            *(f"certfile {folder / 'broker/server.crt'}", f"keyfile {folder / 'broker/server.key'}"),
            *("require_certificate true", "use_identity_as_username true", "tls_version tlsv1.3"),
        )
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        shutil.copy(ACL, folder / "acl")
        (folder / "acl").chmod(0o600)
        assert MOSQUITTO is not None
        self.broker = BrokerProcess([MOSQUITTO, "-c", str(folder / "mosquitto.conf")], self.broker_port)
        self.processes: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        where = ("--listen", f"127.0.0.1:{self.ca_port}", "--broker", f"127.0.0.1:{self.broker_port}")
        self.run("centre", "ca", "run", "--dir", self.ca, *where)
        self.broker.start()
        done = self.enrol("centre", self.folder / "centre")
        assert done.returncode == 0, done.stderr
        identity = self.folder / "centre" / "identity"
        self.run(
            *("centre", "run", "--host", "127.0.0.1", "--port", self.broker_port, "--db", self.folder / "centre.db"),
            *("--ca-file", identity / "ca.crt", "--cert-file", identity / "device.crt"),
            *("--key-file", identity / "device.key"),
        )

    def run(self, *args: object) -> None:
        """A process that prints `ready`."""
        command = [sys.executable, "-m", "edge_agent", *map(str, args)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.processes.append(process)
        assert process.stdout is not None and process.stdout.readline().startswith("ready")

    def claim(self, device: str) -> str:
        done = agent(
            "centre", "ca", "claim", device, "--dir", self.ca, "--server", f"127.0.0.1:{self.ca_port}", "--json"
        )
        return str(json.loads(done.stdout)["claim"])

    def enrol(self, device: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
        return agent("enrol", "--claim", self.claim(device), "--data-dir", data_dir, "--json")

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)
            if process.stdout is not None:
                process.stdout.close()
        self.broker.kill(signal.SIGTERM)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def configure(folder: Path, site: Site) -> Path:
    identity = folder / "data" / "identity"
    (folder / "agent.toml").write_text(
        f"""data_dir = "data"
[site]
device = "D-1"
[[camera]]
type = "simulated"
name = "bank"
detector = "eyes"
[[detector]]
type = "simulated"
name = "eyes"
[mqtt]
host = "127.0.0.1"
port = {site.broker_port}
ca_file = "{identity}/ca.crt"
cert_file = "{identity}/device.crt"
key_file = "{identity}/device.key"
"""
    )
    return folder / "agent.toml"


def test_mosquitto_takes_the_very_certificate_and_the_doctor_hears_the_centre_s_ack(site: Site, tmp_path: Path) -> None:
    done = site.enrol("D-1", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["device"] == "D-1" and told["brokers"] == [f"127.0.0.1:{site.broker_port}"]
    renewed = agent("enrol", "--renew", "--force", "--data-dir", tmp_path / "data", "--json")
    assert json.loads(renewed.stdout)["state"] == "renewed", renewed.stderr
    looked = agent("doctor", "-c", configure(tmp_path, site), "--json")
    found = {one["id"]: one for one in json.loads(looked.stdout)["findings"]}
    for step in ("enrolled", "certificate_days", "dns", "tcp", "tls", "mqtt", "acl", "round_trip"):
        assert found[f"link.{step}"]["state"] == "ok", found[f"link.{step}"]
    listed = agent("centre", "list", "--db", site.folder / "centre.db", "--device", "D-1", "--json").stdout
    assert '"doctor"' in listed, "the centre has it on its disk"


def test_another_ca_s_device_is_not_let_in_and_the_doctor_says_where_it_ends(site: Site, tmp_path: Path) -> None:
    assert site.enrol("D-1", tmp_path / "data").returncode == 0
    file = configure(tmp_path, site)
    assert agent("centre", "ca", "init", "--dir", tmp_path / "other").returncode == 0
    shutil.copy(tmp_path / "other" / "ca.crt", tmp_path / "data" / "identity" / "ca.crt")
    looked = agent("doctor", "-c", file, "--json")
    found = {one["id"]: one["state"] for one in json.loads(looked.stdout)["findings"]}
    assert (found["link.tcp"], found["link.tls"], found["link.mqtt"]) == ("ok", "failure", "unknown")
    assert looked.returncode == 2


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("openssl") is None, reason="curl, openssl are missing")
def test_a_client_of_others_enrols_by_the_standard(site: Site, tmp_path: Path) -> None:
    """curl and openssl, as RFC 7030 section 4.2 has it."""

    def run(*command: str, **options: Any) -> bytes:
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60, **options).stdout

    _, _, port, _, code = site.claim("D-curl").split(":")
    run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", "k.pem", "-subj", "/CN=D-curl", "-outform", "DER", "-out", "r.der")  # fmt: skip
    (tmp_path / "r.b64").write_bytes(base64.encodebytes((tmp_path / "r.der").read_bytes()))
    est = f"https://127.0.0.1:{port}/.well-known/est"
    trust = ("curl", "-sS", "--fail", "--cacert", str(site.ca / "ca.crt"))
    answer = run(*trust, "-u", f"D-curl:{code}", "-H", "Content-Type: application/pkcs10",
                 "--data-binary", "@r.b64", f"{est}/simpleenroll")  # fmt: skip
    (tmp_path / "p7.der").write_bytes(base64.b64decode(answer))
    (tmp_path / "c.pem").write_bytes(run("openssl", "pkcs7", "-inform", "DER", "-in", "p7.der", "-print_certs"))
    assert b"c.pem: OK" in run(
        "openssl", "verify", "-CAfile", str(site.ca / "ca.crt"), "-purpose", "sslclient", "c.pem"
    )
    assert run(*trust, "--cert", "c.pem", "--key", "k.pem", "-H", "Content-Type: application/pkcs10",
               "--data-binary", "@r.b64", f"{est}/simplereenroll")  # fmt: skip


def test_a_device_killed_while_it_enrols_is_enrolled_by_the_next_run(site: Site, tmp_path: Path) -> None:
    """kill -9 of the process, at whatever it was doing when its first, second and third file appeared."""
    claim = site.claim("D-killed")
    command = [sys.executable, "-m", "edge_agent", "enrol", "--claim", claim, "--data-dir", str(tmp_path / "d")]
    for file in ("device.key", "ca.crt", "home.json"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until_s = time.monotonic() + PATIENCE_S
        while not (tmp_path / "d" / "identity" / file).exists() and process.poll() is None:
            assert time.monotonic() < until_s
            time.sleep(0.001)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
    done = agent("enrol", "--claim", claim, "--data-dir", tmp_path / "d", "--json")
    assert done.returncode == 0, done.stderr
    assert agent("enrol", "--status", "--data-dir", tmp_path / "d").returncode == 0

"""The broker of deploy/mosquitto as it is shipped, with certificates by its own script, and clients that watch it."""

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from brokers import MOSQUITTO, BrokerProcess

from edge_agent.config import Mqtt

ROOT = Path(__file__).parents[2] / "deploy"
DEPLOY = ROOT / "mosquitto"


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
        self._connect(port)
        self.paho.loop_start()

    def _connect(self, port: int) -> None:
        """A broker that has just started listens on one of its ports before it listens on the other."""
        deadline = time.monotonic() + 15
        while True:
            try:
                self.paho.connect("127.0.0.1", port)
                return
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def publish(self, topic: str, payload: bytes = b"{}", **options: Any) -> int:
        """The broker's reason code."""
        return self._answer(self.paho.publish(topic, payload, qos=1, **options).mid)

    def subscribe(self, topic: str) -> int:
        return self._answer(self.paho.subscribe(topic, qos=1)[1] or 0)

    def heard(self, topic: str, deadline_s: float = 30.0) -> bool:
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
            assert self._news.wait_for(lambda: mid in self.answers, 30), "the broker did not answer"
            return self.answers.pop(mid)

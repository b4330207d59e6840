"""Downloads from servers that cut, lie and stall: what arrives is the pinned file, or nothing."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.catalogue import download as downloading
from edge_agent.catalogue.download import CHUNK, download
from edge_agent.runtime import DriverError

BODY = bytes(range(256)) * 1200  # 300 KiB
SHA256 = hashlib.sha256(BODY).hexdigest()
Answer = Callable[[int], tuple[str, dict[str, str], bytes]]  # from where on: status, headers, body that is really sent


class Server:
    """One answer a request, then the connection is closed; with X-Hold it stays open and silent, with X-Trickle: N
    that many further bytes come one by one.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[int] = []  # from which byte on
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/model.onnx"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    got = connection.recv(4096)
                    if not got:
                        break
                    request += got
                if not request:
                    return
                ranged = re.search(rb"Range: bytes=(\d+)-", request)
                start = int(ranged[1]) if ranged else 0
                self.asked.append(start)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                status, headers, body = answer(start)
                lines = [f"HTTP/1.1 {status}", *(f"{k}: {v}" for k, v in headers.items()), "Connection: close", "", ""]
                try:
                    connection.sendall("\r\n".join(lines).encode() + body)
                    for byte in range(int(headers.get("X-Trickle", "0"))):
                        time.sleep(0.05)
                        connection.sendall(BODY[len(body) + byte :][:1])
                    while headers.get("X-Hold") and connection.recv(4096):  # until the other side hangs up
                        pass
                except OSError:
                    pass

    def close(self) -> None:
        with socket.create_connection(self._socket.getsockname()):
            pass
        self._thread.join(20)
        self._socket.close()


def whole(start: int) -> tuple[str, dict[str, str], bytes]:
    """As a good server answers."""
    if not start:
        return "200 OK", {"Content-Length": str(len(BODY))}, BODY
    rest = BODY[start:]
    headers = {"Content-Length": str(len(rest)), "Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"}
    return "206 Partial Content", headers, rest


def cut(count: int) -> Answer:
    """A good answer that ends after `count` bytes."""

    def answer(start: int) -> tuple[str, dict[str, str], bytes]:
        status, headers, body = whole(start)
        return status, headers, body[:count]

    return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloading, "WAIT_S", 0.001)
    one = Server()
    yield one
    one.close()


def fetch(server: Server, part: Path) -> list[int]:
    """Download, and give how many bytes were there each time."""
    told: list[int] = []
    download(server.url, part, len(BODY), SHA256, lambda there, _: told.append(there))
    return told


def test_a_download_that_is_cut_again_and_again_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.answers = [cut(100_000), cut(90_000), cut(0), whole]
    told = fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == BODY
    assert server.asked == [0, 100_000, 190_000, 190_000]
    assert told == sorted(told) and told[-1] == len(BODY)


def test_what_an_earlier_command_left_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(BODY[:250_000])
    server.answers = [whole]
    fetch(server, tmp_path / "part")
    assert server.asked == [250_000]
    assert (tmp_path / "part").read_bytes() == BODY


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(BODY[:250_000])
    server.answers = [lambda _: whole(0)]
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == BODY


def test_a_part_that_is_of_another_file_is_thrown_away_once(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"x" * 1000)
    server.answers = [whole]
    fetch(server, tmp_path / "part")
    assert server.asked == [1000, 0]
    assert (tmp_path / "part").read_bytes() == BODY


def test_a_server_that_lies_about_the_range_is_not_believed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(BODY[:1000])
    lie = {"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}
    server.answers = [lambda _: ("206 Partial Content", lie, BODY)]
    fetch(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == BODY


def test_a_server_that_stalls_is_left_and_asked_for_the_rest(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "SILENCE_S", 1.0)
    silent = {"Content-Length": str(len(BODY)), "X-Hold": "1"}
    server.answers = [lambda _: ("200 OK", silent, BODY[:CHUNK]), whole]
    fetch(server, tmp_path / "part")
    assert server.asked == [0, CHUNK]
    assert (tmp_path / "part").read_bytes() == BODY


def test_a_server_that_trickles_is_left_as_a_silent_one_is(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "SILENCE_S", 0.5)
    slow = {"Content-Length": str(len(BODY)), "X-Trickle": str(CHUNK)}
    server.answers = [lambda _: ("200 OK", slow, BODY[:CHUNK]), whole]
    fetch(server, tmp_path / "part")
    assert server.asked[0] == 0 and CHUNK < server.asked[1] < 2 * CHUNK
    assert (tmp_path / "part").read_bytes() == BODY


@pytest.mark.parametrize("leads", ["http://[::1/x", "http://a..b/x", "http://127.0.0.1:port/x"])
def test_a_server_that_leads_nowhere_is_not_followed(server: Server, tmp_path: Path, leads: str) -> None:
    server.answers = [lambda _: ("302 Found", {"Location": leads}, b"")]
    with pytest.raises(DriverError, match="is no address, or leads to none"):
        fetch(server, tmp_path / "part")
    assert server.asked == [0]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda _: ("200 OK", {"Content-Length": str(len(BODY))}, BODY[::-1]), "its SHA-256 differs"),
        (lambda _: ("200 OK", {}, BODY + b"more"), "is larger than the 307200 bytes"),
        (lambda _: ("200 OK", {"Content-Length": "5"}, b"<html"), "gives 5 bytes where 307200 are pinned"),
        (lambda _: ("404 Not Found", {}, b""), "the server answers 404 Not Found"),
        (lambda _: ("503 Busy", {}, b""), "the server answers 503 Busy; 0 of 307200 bytes are kept"),
        (lambda _: ("416 No", {}, b""), "has less than was promised"),
        (lambda _: ("nonsense", {}, b""), "the connection was cut"),
        (lambda start: ("200 OK", {"Content-Length": str(len(BODY))}, b""), "0 of 307200 bytes are kept"),
    ],
)
def test_a_server_that_lies_installs_nothing(server: Server, tmp_path: Path, answer: Answer, says: str) -> None:
    server.answers = [answer]
    with pytest.raises(DriverError, match=re.escape(says)):
        fetch(server, tmp_path / "part")
    assert not (tmp_path / "part").exists() or (tmp_path / "part").read_bytes() in (b"", BODY[:0])


def test_nobody_there_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "WAIT_S", 0.001)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DriverError, match=r"cannot be reached: .*refused"):
        download(f"http://127.0.0.1:{port}/x", tmp_path / "part", 5, SHA256, lambda *_: None)

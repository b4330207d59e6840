"""`sitl/get-arducopter` against a server on loopback that serves, lies, cuts, changes its mind, or is not there."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "sitl" / "get-arducopter"
PROGRAM = b"\x7fELF" + bytes(600_000)


class Server(http.server.ThreadingHTTPServer):
    body, length, status = PROGRAM, None, 200


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        self.send_response(
            server.status if self.path == "/Copter/stable-4.6.3/SITL_x86_64_linux_gnu/arducopter" else 404
        )
        self.send_header("Content-Length", str(server.length or len(server.body)))
        self.end_headers()
        self.wfile.write(server.body)

    def log_message(self, *_args) -> None:
        pass


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def get(folder: Path, server: Server | None, *args: str, machine: str = "x86_64") -> subprocess.CompletedProcess:
    port = server.server_address[1] if server else 9
    start = (
        f"import platform, runpy, sys; platform.machine = lambda: {machine!r}; del sys.argv[0];"
        " runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", start, str(SCRIPT), str(folder / "arducopter"), "--record", str(folder / "sums"),
         "--server", f"http://127.0.0.1:{port}", *args],
        check=False, capture_output=True, text=True, timeout=60, env={"no_proxy": "127.0.0.1"},
    )  # fmt: skip


def test_the_first_download_is_recorded_and_a_second_one_is_none(tmp_path, server):
    assert get(tmp_path, server).returncode == 0
    program = tmp_path / "arducopter"
    assert program.read_bytes() == PROGRAM
    assert program.stat().st_mode & 0o111
    assert "4.6.3/SITL_x86_64_linux_gnu" in (tmp_path / "sums").read_text()
    server.status = 500
    again = get(tmp_path, server)
    assert (again.returncode, "already" in again.stdout) == (0, True)


def test_another_file_under_the_same_version_is_refused_and_the_old_one_stays(tmp_path, server):
    get(tmp_path, server)
    (tmp_path / "arducopter").write_bytes(b"mine")
    server.body = PROGRAM + b"x"
    refused = get(tmp_path, server)
    assert refused.returncode == 1
    assert "sha256" in refused.stderr
    assert (tmp_path / "arducopter").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("body", "length", "status", "word"),
    [
        (PROGRAM, len(PROGRAM) + 1000, 200, "cut off"),
        (b"<html>" + bytes(600_000), None, 200, "no Linux program"),
        (b"\x7fELF", None, 200, "no ArduCopter"),
        (b"", 10**12, 200, "no ArduCopter"),
        (PROGRAM, None, 404, "is --version 4.6.3 a release"),
    ],
)
def test_a_server_that_cuts_or_lies_leaves_nothing_behind(tmp_path, server, body, length, status, word):
    server.body, server.length, server.status = body, length, status
    refused = get(tmp_path, server)
    assert (refused.returncode, word in refused.stderr) == (1, True), refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_or_a_build_for_this_machine_it_says_how_to_build_one(tmp_path, server):
    for refused in (get(tmp_path, None), get(tmp_path, server, machine="aarch64")):
        assert (refused.returncode, "./waf copter" in refused.stderr) == (1, True)

"""A broker on 127.0.0.1 for the demo and for tests: mosquitto where it is installed, else amqtt inside this process.

`python -m edge_agent.centre.broker --port N` prints "ready" once it serves, and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import shutil
import signal
import socket
import subprocess
import sys
import time

START_S = 5.0
_PR_SET_PDEATHSIG = 1  # prctl(2): the kernel ends the child when we die, however we die


def mosquitto() -> str | None:
    """The path of mosquitto; Debian keeps it in /usr/sbin, which is not on everyone's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edge_agent.centre.broker", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--embedded", action="store_true", help="use amqtt even where mosquitto is installed")
    args = parser.parse_args()
    program = None if args.embedded else mosquitto()
    if program is not None:
        return _run_mosquitto(program, args.port)
    try:
        from edge_agent.centre import embedded
    except ImportError:
        sys.exit("no broker: install mosquitto, or amqtt (pip install 'edge-agent[demo]')")
    asyncio.run(embedded.run(args.port))
    return 0


def _run_mosquitto(program: str, port: int) -> int:
    config = f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type error\n"
    libc = ctypes.CDLL(None)
    child = subprocess.Popen(
        [program, "-c", "/dev/stdin"],
        stdin=subprocess.PIPE,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509  # one thread, one call
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: child.terminate())
    assert child.stdin
    with child.stdin as pipe:
        pipe.write(config.encode())
    deadline = time.monotonic() + START_S
    while child.poll() is None and not _answers(port):
        if time.monotonic() > deadline:
            child.kill()
        time.sleep(0.02)
    if child.poll() is None:
        sys.stdout.write("ready\n")  # whoever started us waits for this line
        sys.stdout.flush()
    return max(0, child.wait())


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())

"""A broker on 127.0.0.1 for the demo and for tests: mosquitto where it is installed, else amqtt inside this process.

`python -m edge_agent.centre.broker --port N` prints "ready" once it serves, and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import socket
import sys
import time
from typing import NoReturn

START_S = 5.0


def mosquitto() -> str | None:
    """The path of mosquitto; Debian keeps it in /usr/sbin, which is not on everyone's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edge_agent.centre.broker", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--embedded", action="store_true", help="use amqtt even where mosquitto is installed")
    args = parser.parse_args()
    if _answers(args.port):
        sys.exit(f"port {args.port} of 127.0.0.1 is taken")
    program = None if args.embedded else mosquitto()
    if program is not None:
        _become_mosquitto(program, args.port)
    try:
        from edge_agent.centre import embedded
    except ImportError:
        sys.exit("no broker: install mosquitto, or amqtt (pip install 'edge-agent[demo]')")
    asyncio.run(embedded.run(args.port))
    return 0


def _become_mosquitto(program: str, port: int) -> NoReturn:
    """Become mosquitto, so that whatever ends this process ends the broker; a child waits to say "ready"."""
    config = os.memfd_create("mosquitto.conf", 0)
    os.write(config, f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type error\n".encode())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes the child away, as mosquitto would not
    broker = os.getpid()
    if os.fork():
        os.execv(program, [program, "-c", f"/proc/self/fd/{config}"])  # noqa: S606  # a path we looked up ourselves
    deadline = time.monotonic() + START_S
    while os.getppid() == broker and time.monotonic() < deadline:
        if _answers(port):
            sys.stdout.write("ready\n")  # whoever started us waits for this line
            sys.stdout.flush()
            break
        time.sleep(0.02)
    os._exit(0)


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())

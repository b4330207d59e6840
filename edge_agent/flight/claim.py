"""One command or agent a connection: a name in the kernel that goes with its process, whatever becomes of it."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager

from edge_agent.runtime import DriverError


class TakenError(DriverError):
    """Somebody else holds this connection."""


@contextmanager
def claim(url: str) -> Generator[None, None, None]:
    """Hold `url` (an abstract socket, so within this network namespace, as its port is); raises TakenError."""
    with socket.socket(socket.AF_UNIX) as holder:
        try:
            holder.bind(f"\0edge-agent/vehicle/{url.replace('localhost', '127.0.0.1')}")
        except OSError:
            raise TakenError(f"{url}: another agent or command holds this connection; stop it, or wait") from None
        yield

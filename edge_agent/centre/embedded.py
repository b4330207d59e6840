"""amqtt as a broker inside a process of ours: MQTT 3.1.1, loopback only, for the demo and for tests."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session


class Everyone(BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no types
    """Lets everyone in; unlike the plug-in that amqtt brings, it lets the session of someone offline be kept."""

    async def authenticate(self, *, session: Session) -> bool:
        del session
        return True


async def run(port: int) -> None:
    """Serve 127.0.0.1 until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    for noisy in ("amqtt", "transitions", "asyncio"):  # it lets exceptions of lost connections fall through to asyncio
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {f"{__name__}.{Everyone.__name__}": {}},
        }
    )
    await broker.start()
    sys.stdout.write("ready\n")  # whoever started us waits for this line
    sys.stdout.flush()
    await stop.wait()
    await broker.shutdown()

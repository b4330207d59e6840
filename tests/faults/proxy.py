"""A TCP proxy whose link can be slow, narrow, cut, or open at one end only; no kernel module and no root is needed."""

from __future__ import annotations

import asyncio
from collections import deque


class Proxy:
    """Listens on a loopback port of its own; each attribute may be changed while connections run.

    `delay_s` is added in each direction, `bytes_per_s` limits each of them. While `swallow` is set, whatever comes is
    taken and never passed on, also what comes later on the connections that met it: a link that is open at one end.
    While `refuse` is set, a connection is closed as soon as it is made.
    """

    def __init__(self, target: int, *, delay_s: float = 0.0, bytes_per_s: float = float("inf")) -> None:
        self.port = 0
        self.delay_s, self.bytes_per_s = delay_s, bytes_per_s
        self.swallow = self.refuse = False
        self.passed_bytes = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Close every connection now."""
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._links.add(task)
        ends = [writer]
        try:
            if self.refuse:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            ends.append(far_writer)
            link = _Link()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(link, reader, far_writer))
                group.create_task(self._pump(link, far_reader, writer))
        except (asyncio.CancelledError, OSError, ExceptionGroup):
            pass  # the end of a link is what this is for
        finally:
            self._links.discard(task)
            for end in ends:
                end.transport.abort()

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, each chunk when it is due; the end of one direction is the end of both."""
        loop = asyncio.get_running_loop()
        late: deque[tuple[float, bytes]] = deque()
        fresh = asyncio.Event()

        async def deliver() -> None:
            while True:
                while not late:
                    fresh.clear()
                    await fresh.wait()
                due_s, data = late.popleft()
                if (wait_s := due_s - loop.time()) > 0:
                    await asyncio.sleep(wait_s)
                if not data:
                    raise ConnectionResetError
                writer.write(data)
                self.passed_bytes += len(data)
                await writer.drain()

        async def take() -> None:
            free_s = 0.0
            while True:
                data = await reader.read(65536)
                link.dead = link.dead or self.swallow
                if link.dead and data:
                    continue
                free_s = max(loop.time(), free_s) + len(data) / self.bytes_per_s
                late.append((free_s + self.delay_s, data))
                fresh.set()
                if not data:
                    return

        async with asyncio.TaskGroup() as group:
            group.create_task(deliver())
            group.create_task(take())


class _Link:
    """What the two directions of a connection share."""

    dead = False

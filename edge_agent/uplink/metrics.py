"""What Prometheus scrapes: one GET on a local port or unix socket, answered from last values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from edge_agent.runtime import DriverError
from edge_agent.uplink.outbox import Stats

MAX_REQUEST = 8192
PATIENCE_S = 5.0

OUTBOX_TOTALS = {
    "put": "Events that were kept on disk.",
    "acked": "Events that the centre has confirmed; they are deleted.",
    "quarantined": "Events set aside because the other side can never take them.",
    "shed": "Events that gave way to more urgent ones on a full disk; gap records name them.",
    "refused": "Events that found no room.",
    "thumbs_refused": "Pictures that found no room.",
}
UPLINK_TOTALS = {
    "published": "Events handed to the broker, repeats included.",
    "repeated": "Events sent again because no acknowledgement came in time.",
    "connects": "Connections to the broker that were made.",
}


class Snapshot(Struct, frozen=True, kw_only=True):
    """The last values of everything; costs the agent nothing to take."""

    version: str
    device: str
    outbox: Stats
    outbox_totals: dict[str, int]
    ballast: str
    pressure: int
    counts: dict[str, int]  # of Health: "uplink.published", "camera.gate.frames", ...
    parts: dict[str, str]  # of Health
    stuck: int
    watched: bool
    lag_p99_s: float
    connected: bool
    window: int = 0
    in_flight: int = 0


class Exporter:
    """A part: serves `GET /metrics` on `listen` ("127.0.0.1:9464", "[::1]:9464" or "unix:PATH") until cancelled."""

    def __init__(self, listen: str, snapshot: Callable[[], Snapshot]) -> None:
        self.listen = listen
        self.port = 0  # the one that was bound
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Values(snapshot))

    async def run(self) -> None:
        try:
            server = await self._open()
        except OSError as error:
            raise DriverError(f"metrics.listen = {self.listen!r}: {error.strerror or error}") from None
        async with server:
            await server.serve_forever()

    async def _open(self) -> asyncio.Server:
        if (path := address(self.listen)[0]) is not None:
            path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._serve, path, limit=MAX_REQUEST)
            path.chmod(0o660)
            return server
        _, host, port = address(self.listen)
        server = await asyncio.start_server(self._serve, host, port, limit=MAX_REQUEST)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(request))
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has left, or asks for nothing that HTTP knows
        except asyncio.CancelledError:
            pass  # we stop; asyncio 3.11 logs a traceback for a connection that ends as cancelled
        finally:
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        match request.split(b"\r\n", 1)[0].split(b" "):
            case [b"GET" | b"HEAD" as method, target, _] if target.split(b"?")[0] in (b"/metrics", b"/"):
                body = generate_latest(self._registry)
                return _response("200 OK", CONTENT_TYPE_LATEST, body, with_body=method == b"GET")
            case [b"GET" | b"HEAD", _, _]:
                return _response("404 Not Found", "text/plain", b"there is /metrics\n")
            case _:
                return _response("405 Method Not Allowed", "text/plain", b"GET /metrics\n")


def address(listen: str) -> tuple[Path | None, str, int]:
    """`(path, "", 0)` for a unix socket, else `(None, host, port)`."""
    if listen.startswith("unix:"):
        return Path(listen.removeprefix("unix:")), "", 0
    host, _, port = listen.rpartition(":")
    return None, host.strip("[]"), int(port)


class _Values(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        return families(self._snapshot())


def families(now: Snapshot) -> Iterator[Metric]:
    """Every metric, as prometheus-client writes it."""
    about = GaugeMetricFamily("edge_agent", "The agent.", labels=["version", "device"])
    about.add_metric([now.version, now.device], 1)
    yield about
    yield from _outbox(now)
    for name, text in UPLINK_TOTALS.items():
        yield CounterMetricFamily(f"edge_uplink_{name}", text, value=now.counts.get(f"uplink.{name}", 0))
    yield GaugeMetricFamily("edge_uplink_connected", "Whether the broker is connected.", value=int(now.connected))
    yield GaugeMetricFamily("edge_uplink_window", "Events that may be unconfirmed at present.", value=now.window)
    yield GaugeMetricFamily("edge_uplink_in_flight", "Events sent and not confirmed.", value=now.in_flight)
    yield GaugeMetricFamily(
        "edge_loop_lag_p99_seconds", "How late the event loop wakes, of the last minute.", value=now.lag_p99_s
    )
    yield GaugeMetricFamily("edge_watchdog_stuck_loops", "Loops that owe the watchdog a beat.", value=now.stuck)
    yield GaugeMetricFamily("edge_watchdog_enabled", "Whether systemd watches this process.", value=int(now.watched))
    yield from _parts(now)


def _outbox(now: Snapshot) -> Iterator[Metric]:
    stats = now.outbox
    for name, text in OUTBOX_TOTALS.items():
        yield CounterMetricFamily(f"edge_outbox_{name}", text, value=now.outbox_totals.get(name, 0))
    depth = GaugeMetricFamily("edge_outbox_depth", "Events that wait for the centre, by lane.", labels=["lane"])
    for lane, count in enumerate(stats.lanes):
        depth.add_metric([str(lane)], count)
    yield depth
    gauges: dict[str, tuple[str, float]] = {
        "oldest_seconds": ("Age of the oldest event that waits.", stats.oldest_s),
        "bytes": ("What the outbox uses of its quota.", stats.bytes),
        "quota_bytes": ("The quota: outbox.max_mib.", stats.quota_bytes),
        "set_aside": ("Events in quarantine: see `edge-agent outbox tail --quarantined`.", stats.quarantined),
        "pressure_percent": ("0, 70, 80, 90 or 95: how full outbox or disk are.", now.pressure),
        "ballast_held": ("0 while the ballast is given up: the disk is full.", int(now.ballast != "gone")),
    }
    for name, (text, value) in gauges.items():
        yield GaugeMetricFamily(f"edge_outbox_{name}", text, value=value)


def _parts(now: Snapshot) -> Iterator[Metric]:
    up = GaugeMetricFamily("edge_part_up", "1 while a part of the agent runs, 0 while it fails.", labels=["part"])
    for part, state in now.parts.items():
        up.add_metric([part], int(state in ("running", "stopped")))
    yield up
    restarts = CounterMetricFamily("edge_part_restarts", "How often a part was started again.", labels=["part"])
    frames = CounterMetricFamily("edge_detector_frames", "Frames that a detector has seen.", labels=["detector"])
    drops = CounterMetricFamily("edge_camera_dropped", "Frames that no one saw, and why.", labels=["camera", "cause"])
    others = CounterMetricFamily("edge_count", "Everything else that the agent counts.", labels=["name"])
    for name, count in now.counts.items():
        match name.split("."):
            case ["uplink", what] if what in UPLINK_TOTALS:
                pass
            case ["camera", camera, "dropped", cause]:
                drops.add_metric([camera, cause], count)
            case [*words, "frames"]:
                frames.add_metric([".".join(words).removeprefix("detector.")], count)
            case [*words, "restarts"]:
                restarts.add_metric([".".join(words)], count)
            case _:
                others.add_metric([name], count)
    yield from (restarts, frames, drops, others)


def _response(status: str, content_type: str, body: bytes, *, with_body: bool = True) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return f"{head}\r\n".encode() + (body if with_body else b"")

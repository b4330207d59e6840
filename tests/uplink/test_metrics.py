"""What Prometheus scrapes is HTTP and its text format, and says what the agent counts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.runtime import DriverError
from edge_agent.uplink.metrics import Exporter, Snapshot
from edge_agent.uplink.rows import Stats

NOW = Snapshot(
    version="1.2",
    device='D "1"\n',
    outbox=Stats(
        epoch=7,
        next=120,
        acked=9,
        depth=44,
        oldest_s=12.5,
        quarantined=2,
        bytes=4096,
        quota_bytes=8192,
        lanes=(1, 40, 3, 0),
    ),
    outbox_totals={"put": 119, "acked": 75},
    ballast="gone",
    pressure=90,
    counts={
        "uplink.published": 80,
        "uplink.repeated": 5,
        "uplink.connects": 3,
        "uplink.restarts": 2,
        "camera.gate.dropped.busy": 11,
        "detector.street.frames": 600,
        "commands.refused": 4,
    },
    parts={"loop": "running", "uplink": "failed: broker 127.0.0.1:1883: refused"},
    stuck=1,
    watched=True,
    lag_p99_s=0.004,
    connected=True,
    window=200,
    in_flight=17,
)


@contextlib.asynccontextmanager
async def serving(listen: str, snapshot: Snapshot = NOW) -> AsyncIterator[Exporter]:
    exporter = Exporter(listen, lambda: snapshot)
    task = asyncio.create_task(exporter.run())
    path = Path(listen.removeprefix("unix:"))
    while not (
        exporter.port or (listen.startswith("unix:") and path.exists() and path.stat().st_mode & 0o777 == 0o660)
    ):
        assert not task.done(), task.result()
        await asyncio.sleep(0.01)
    try:
        yield exporter
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def asked(exporter: Exporter, request: bytes) -> bytes:
    if exporter.listen.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(exporter.listen.removeprefix("unix:"))
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", exporter.port)
    try:
        writer.write(request)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def samples(response: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain"), head
    assert int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]) == len(body)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_a_scrape_tells_what_the_agent_counts(kind: str, tmp_path: Path) -> None:
    async with serving("127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path}/m.sock") as exporter:
        found = samples(await asked(exporter, GET))
    expected = {
        ("edge_agent", ('D "1"\n', "1.2")): 1,
        ("edge_outbox_put_total", ()): 119,
        ("edge_outbox_acked_total", ()): 75,
        ("edge_outbox_depth", ("1",)): 40,
        ("edge_outbox_oldest_seconds", ()): 12.5,
        ("edge_outbox_bytes", ()): 4096,
        ("edge_outbox_set_aside", ()): 2,
        ("edge_outbox_ballast_held", ()): 0,
        ("edge_outbox_pressure_percent", ()): 90,
        ("edge_uplink_published_total", ()): 80,
        ("edge_uplink_repeated_total", ()): 5,
        ("edge_uplink_connects_total", ()): 3,
        ("edge_uplink_connected", ()): 1,
        ("edge_uplink_in_flight", ()): 17,
        ("edge_loop_lag_p99_seconds", ()): 0.004,
        ("edge_watchdog_stuck_loops", ()): 1,
        ("edge_part_up", ("loop",)): 1,
        ("edge_part_up", ("uplink",)): 0,
        ("edge_part_restarts_total", ("uplink",)): 2,
        ("edge_camera_dropped_total", ("gate", "busy")): 11,
        ("edge_detector_frames_total", ("street",)): 600,
        ("edge_count_total", ("commands.refused",)): 4,
    }
    assert {name: found.get(name) for name in expected} == expected


async def test_a_socket_that_a_killed_agent_left_is_taken_over(tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/m.sock"
    (tmp_path / "m.sock").touch()
    (tmp_path / "m.sock").chmod(0o600)
    async with serving(listen) as exporter:
        assert samples(await asked(exporter, GET))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /other HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"\xff\xfe\r\n\r\n", b"405"),
        (b"x" * 20_000, b""),
        (b"GET /metrics", b""),
    ],
)
async def test_whatever_is_asked_is_answered_or_dropped(request_: bytes, status: bytes) -> None:
    async with serving("127.0.0.1:0") as exporter:
        with contextlib.suppress(ConnectionError):
            answer = await asked(exporter, request_)
            assert answer[9:12] == status
        assert samples(await asked(exporter, GET))


async def test_a_head_has_no_body() -> None:
    async with serving("127.0.0.1:0") as exporter:
        answer = await asked(exporter, GET.replace(b"GET", b"HEAD"))
    assert answer.endswith(b"\r\n\r\n")
    assert b"200 OK" in answer


async def test_an_address_that_cannot_be_had_is_named() -> None:
    async with serving("127.0.0.1:0") as exporter:
        taken = Exporter(f"127.0.0.1:{exporter.port}", lambda: NOW)
        with pytest.raises(DriverError, match=r"metrics\.listen = '127\.0\.0\.1:\d+': .*in use"):
            await taken.run()


async def test_a_device_without_uplink_and_camera_is_scraped_too() -> None:
    bare = msgspec.structs.replace(NOW, counts={}, parts={}, connected=False, outbox_totals={})
    async with serving("127.0.0.1:0", bare) as exporter:
        found = samples(await asked(exporter, GET))
    assert found["edge_uplink_connected", ()] == 0
    assert found["edge_outbox_put_total", ()] == 0

"""Originals on their way to S3 (moto): parts that are there are not sent again, 200 is no success, a receipt is."""

import asyncio
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import evidence_peers as peers
import msgspec
import pytest
from evidence_device import Device, another_port, device, some, until

from edge_agent import topics
from edge_agent.config import Evidence as Section

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(90),
    pytest.mark.skipif(not peers.MOTO.exists(), reason="moto is not in build/moto: run `make test-packages`"),
]
MIB = 1024 * 1024
PART = 5 * MIB  # S3 takes no smaller one, but for the last
SECTION = Section(upload="mqtt", plain=True)


class Centre:
    """Grants of the peer; `through` a wire, so that the test can cut and count."""

    def __init__(self, port: int) -> None:
        self.url, self.through = f"http://127.0.0.1:{port}", ""
        self.asked: list[topics.GrantRequest] = []
        self.s3 = ""

    async def grant(self, ask: topics.GrantRequest, /) -> topics.Grant:
        self.asked.append(ask)
        question = msgspec.json.encode(ask)
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/grant", data=question) as answer:
            body = await answer.read()
        return msgspec.json.decode(body.replace(self.s3.encode(), self.through.encode()), type=topics.Grant)

    async def look(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/objects") as answer:
            return dict(msgspec.json.decode(await answer.read()))


@pytest.fixture
def centre(free_port: int) -> Iterator[Centre]:
    script = str(Path(__file__).with_name("evidence_s3_peer.py"))
    process = peers.Process([str(peers.MOTO), script, str(free_port), str(PART)], free_port)
    process.start()
    yield Centre(free_port)
    process.kill()


async def wired(centre: Centre) -> tuple[peers.Wire, int]:
    centre.s3 = (await centre.look())["s3"].removeprefix("http://")
    far = another_port()
    centre.through = f"127.0.0.1:{far}"
    return peers.Wire(int(centre.s3.rpartition(":")[2])), far


async def arrived(dev: Device, centre: Centre, data: bytes) -> None:
    await until(lambda: dev.states("received"), 60)
    assert (await centre.look())["objects"] == [f"D-1/{hashlib.sha256(data).hexdigest()}"]


@pytest.mark.parametrize("size", [0, 1000, PART, 50 * MIB])
async def test_files_of_any_size_arrive_whole_and_only_a_receipt_counts(
    tmp_path: Path, centre: Centre, size: int
) -> None:
    wire, far = await wired(centre)
    async with wire.serve(far), device(tmp_path, SECTION, centre) as dev:
        data = some(size)
        await dev.picture("a.jpg", data)
        await arrived(dev, centre, data)
    assert len(centre.asked) == 2  # the second answer is the receipt


async def test_cuts_cost_no_more_than_the_part_under_way(tmp_path: Path, centre: Centre) -> None:
    wire, far = await wired(centre)
    size = 6 * PART
    wire.cut_at = [PART // 2, 2 * PART, 4 * PART]
    async with wire.serve(far), device(tmp_path, SECTION, centre) as dev:
        data = some(size)
        await dev.picture("a.jpg", data)
        await arrived(dev, centre, data)
    assert wire.cuts == 3
    assert wire.up < size + 3 * PART + 100_000
    assert len({ask.upload for ask in centre.asked} - {None}) == 1  # one multipart upload, gone on with


async def test_after_a_restart_the_parts_that_are_there_stay(tmp_path: Path, centre: Centre) -> None:
    wire, far = await wired(centre)
    data = some(4 * PART)
    async with wire.serve(far):
        async with device(tmp_path, Section(upload="mqtt", plain=True, max_kib_per_s=8192), centre) as dev:
            await dev.picture("a.jpg", data)
            await until(lambda: wire.up > 2.5 * PART)
        async with device(tmp_path, SECTION, centre) as dev:
            await arrived(dev, centre, data)
    assert wire.up < 5 * PART + 200_000


async def test_an_upload_that_is_gone_is_begun_anew(tmp_path: Path, centre: Centre) -> None:
    wire, far = await wired(centre)
    grant = centre.grant

    async def stale(ask: topics.GrantRequest, /) -> topics.Grant:
        given = await grant(ask)
        if len(centre.asked) == 1 and isinstance(given, topics.S3Grant):
            async with aiohttp.ClientSession() as session:
                url = given.list_url.split("?")[0]
                await (await session.delete(f"{url}?uploadId={given.upload}")).read()
        return given

    centre.grant = stale  # type: ignore[method-assign]
    async with wire.serve(far), device(tmp_path, SECTION, centre) as dev:
        data = some(1000)
        began = time.monotonic()
        await dev.picture("a.jpg", data)
        await arrived(dev, centre, data)
        assert time.monotonic() - began < 20


async def test_too_many_parts_are_refused_with_the_way_out(tmp_path: Path) -> None:
    class Short:
        async def grant(self, _ask: topics.GrantRequest, /) -> topics.Grant:
            there = "http://127.0.0.1:1/x"
            return topics.S3Grant(upload="u", part_bytes=100, parts=(there,), list_url=there, complete_url=there)

    async with device(tmp_path, SECTION, Short()) as dev:
        await dev.picture("a.jpg", some(1000))
        await until(lambda: dev.states("refused"))
        [(_, refused)] = dev.told
        assert "grant larger parts" in refused.reason
        await asyncio.sleep(0)

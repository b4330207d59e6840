import asyncio
import base64
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from edge_agent.centre import evidence as module
from edge_agent.centre.evidence import EXPIRE_S, GRANT_S, MAX_BYTES, EvidenceServer
from edge_agent.topics import GrantRequest, Receipt, TusGrant, Unwanted

DATA = b"a picture, more or less" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()


class Clock:
    def __init__(self) -> None:
        self.wall_s = time.time()

    def monotonic(self) -> float:
        return self.wall_s

    def wall(self) -> float:
        return self.wall_s

    async def sleep(self, seconds: float) -> None:
        self.wall_s += seconds


class Centre:
    """The server on a directory of the test, and a device that speaks to it."""

    def __init__(self, directory: Path, clock: Clock, token: str | None) -> None:
        self.directory, self.clock = directory, clock
        self.server = EvidenceServer(directory, "127.0.0.1", 0, token=token, clock=clock)
        self.client = TestClient(TestServer(self.server.application()))

    async def ticket(self, device: str = "D-1", data: bytes = DATA) -> str:
        grant = await self.server.grant(device, ask(data))
        assert isinstance(grant, TusGrant)
        assert grant.token is not None
        return grant.token

    async def create(self, token: str, *, device: str = "D-1", data: bytes = DATA, **facts: str) -> ClientResponse:
        given = {"device": device, "sha256": sha(data), "filename": "a.jpg", "incident": "i", "kind": "picture"} | facts
        pairs = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in given.items())
        headers = {"Upload-Length": str(len(data)), "Upload-Metadata": pairs}
        return await self.client.post("/files", headers=headers | bearer(token))

    async def patch(self, token: str, offset: int, body: bytes, *, data: bytes = DATA, **more: str) -> ClientResponse:
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        named = {name.replace("_", "-"): value for name, value in more.items()}
        where = f"/files/D-1/{sha(data)}"
        return await self.client.patch(where, data=body, headers=headers | bearer(token) | named)

    async def head(self, token: str) -> ClientResponse:
        return await self.client.head(f"/files/D-1/{SHA256}", headers=bearer(token))

    def files(self) -> list[str]:
        return sorted(path.name.replace(SHA256, "S") for path in (self.directory / "D-1").iterdir())


@pytest.fixture
async def centre(tmp_path: Path) -> AsyncIterator[Centre]:
    made = Centre(tmp_path / "evidence", Clock(), None)
    async with made.client:
        yield made


def ask(data: bytes = DATA, **facts: Any) -> GrantRequest:
    given: dict[str, Any] = {"id": "a.jpg", "incident": "i", "kind": "picture", "sha256": sha(data), "bytes": len(data)}
    return GrantRequest(**(given | facts))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_file_in_two_chunks_becomes_one_with_a_receipt(centre: Centre) -> None:
    token = await centre.ticket()
    made = await centre.create(token)
    assert made.status == 201
    assert made.headers["Location"].endswith(f"/files/D-1/{SHA256}")
    assert made.headers["Tus-Resumable"] == "1.0.0"
    first = await centre.patch(token, 0, DATA[:100])
    assert (first.status, first.headers["Upload-Offset"]) == (204, "100")
    there = await centre.head(token)
    assert (there.headers["Upload-Offset"], there.headers["Upload-Length"]) == ("100", str(len(DATA)))
    last = await centre.patch(token, 100, DATA[100:])
    receipt = msgspec.json.decode(await last.read(), type=Receipt)
    assert (receipt.id, receipt.sha256, receipt.bytes) == ("a.jpg", SHA256, len(DATA))
    assert centre.files() == ["S.info", "S.jpg", "S.json"]
    assert (centre.directory / "D-1" / f"{SHA256}.jpg").read_bytes() == DATA
    again = await centre.client.get(f"/files/D-1/{SHA256}", headers=bearer(token))
    assert msgspec.json.decode(await again.read(), type=Receipt) == receipt
    assert await centre.server.grant("D-1", ask()) == receipt  # it need not be sent a second time


async def test_a_wrong_hash_at_the_end_is_460_and_nothing_of_it_stays(centre: Centre) -> None:
    token = await centre.ticket()
    await centre.create(token)
    last = await centre.patch(token, 0, b"X" + DATA[1:])
    assert last.status == 460
    assert centre.files() == []
    assert (await centre.head(token)).status == 404


async def test_a_damaged_chunk_is_460_and_is_not_kept(centre: Centre) -> None:
    token = await centre.ticket()
    await centre.create(token)
    right = base64.b64encode(hashlib.sha256(DATA[:9]).digest()).decode()
    assert (await centre.patch(token, 0, b"damaged!!", Upload_Checksum=f"sha256 {right}")).status == 460
    assert (await centre.patch(token, 0, DATA[:9], Upload_Checksum=f"md5 {right}")).status == 400
    assert (await centre.head(token)).headers["Upload-Offset"] == "0"
    assert (await centre.patch(token, 0, DATA[:9], Upload_Checksum=f"sha256 {right}")).status == 204


async def test_only_the_next_byte_is_taken(centre: Centre) -> None:
    token = await centre.ticket()
    await centre.create(token)
    assert (await centre.patch(token, 5, DATA[5:])).status == 409
    assert (await centre.patch(token, 0, DATA + b"and more")).status == 413
    assert (await centre.head(token)).headers["Upload-Offset"] == "0"
    assert (await centre.patch(token, 0, DATA[:5], Content_Type="image/jpeg")).status == 415


async def test_two_that_write_at_once_leave_one_right_file(centre: Centre) -> None:
    token = await centre.ticket()
    await centre.create(token)
    answers = await asyncio.gather(*(centre.patch(token, 0, DATA) for _ in range(8)))
    assert 200 in {answer.status for answer in answers}
    assert {answer.status for answer in answers} <= {200, 409, 413}
    assert (centre.directory / "D-1" / f"{SHA256}.jpg").read_bytes() == DATA


async def test_a_grant_is_for_one_device_one_file_and_one_hour(centre: Centre) -> None:
    token, other = await centre.ticket(), await centre.ticket(data=b"other")
    assert (await centre.create("")).status == 401
    assert (await centre.create(token[:-4] + "AAAA")).status == 401
    assert (await centre.create("%%%")).status == 401
    assert (await centre.create(other)).status == 403
    assert (await centre.create(token, device="D-2")).status == 403
    assert (await centre.create(token, data=DATA + b"!", sha256=SHA256)).status == 403
    assert (await centre.create(token)).status == 201
    assert (await centre.patch(other, 0, DATA)).status == 403
    centre.clock.wall_s += GRANT_S + 1
    assert (await centre.patch(token, 0, DATA)).status == 401
    assert (await centre.head(token)).status == 401
    assert (await centre.patch(await centre.ticket(), 0, DATA)).status == 200


async def test_a_grant_of_another_centre_opens_nothing(centre: Centre, tmp_path: Path) -> None:
    stranger = Centre(tmp_path / "stranger", centre.clock, None)
    assert (await centre.create(await stranger.ticket())).status == 401
    await stranger.client.close()
    again = Centre(tmp_path / "evidence", centre.clock, None)  # the same directory keeps its key
    async with again.client:
        assert (await again.create(await centre.ticket())).status == 201
    assert (tmp_path / "evidence" / "grant.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "facts",
    [
        {"device": "../../etc"},
        {"device": ""},
        {"sha256": "../x"},
        {"sha256": SHA256.upper()},
        {"filename": ""},
    ],
)
async def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, facts: dict[str, str]) -> None:
    centre = Centre(tmp_path / "evidence", Clock(), "any")
    async with centre.client:
        assert (await centre.create("any", **facts)).status == 400
        for path in ("/files/..%2f..%2fetc/passwd", f"/files/D-1/{'0' * 63}", f"/files/%2e%2e/{SHA256}"):
            assert (await centre.client.head(path, headers=bearer("any"))).status == 404
    assert [path.name for path in centre.directory.iterdir()] == ["grant.key"]


@pytest.mark.parametrize("header", ["sha256", "sha256 %%%", ",,,", "\x00", "device " + "A" * 5000])
async def test_metadata_that_cannot_be_read_is_400(tmp_path: Path, header: str) -> None:
    centre = Centre(tmp_path / "evidence", Clock(), "any")
    async with centre.client:
        headers = {"Upload-Length": "1", "Upload-Metadata": header.replace("\x00", " x")} | bearer("any")
        assert (await centre.client.post("/files", headers=headers)).status == 400


@pytest.mark.parametrize("name", ["a.json", "a.info", "a.part", "a", "a.JPG", "../../a.jpg"])
async def test_the_name_that_a_device_gives_a_file_chooses_no_more_than_a_known_suffix(
    tmp_path: Path, name: str
) -> None:
    centre = Centre(tmp_path / "evidence", Clock(), "any")
    async with centre.client:
        await centre.create("any", filename=name)
        assert (await centre.patch("any", 0, DATA)).status == 200
        suffix = ".jpg" if name.lower().endswith(".jpg") else ".bin"
        assert centre.files() == sorted(["S.info", f"S{suffix}", "S.json"])


async def test_what_is_too_large_is_unwanted_before_a_byte_is_sent(centre: Centre) -> None:
    assert isinstance(await centre.server.grant("D-1", ask(bytes=MAX_BYTES + 1)), Unwanted)
    assert isinstance(await centre.server.grant("D-1", ask(sha256="x")), Unwanted)
    assert isinstance(await centre.server.grant("../D", ask()), Unwanted)


async def test_a_stop_between_the_name_and_the_receipt_is_made_good(centre: Centre) -> None:
    token = await centre.ticket()
    await centre.create(token)
    await centre.patch(token, 0, DATA)
    (centre.directory / "D-1" / f"{SHA256}.json").unlink()
    assert (await centre.head(token)).headers["Upload-Offset"] == str(len(DATA))
    again = await centre.client.get(f"/files/D-1/{SHA256}", headers=bearer(token))
    assert again.status == 200
    assert (centre.directory / "D-1" / f"{SHA256}.json").exists()


async def test_a_full_disk_is_507_and_the_device_comes_again(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await centre.ticket()
    await centre.create(token)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", full)
        answer = await centre.patch(token, 0, DATA[:5])
        assert answer.status == 507
        assert "No space left" in await answer.text()


async def test_an_upload_that_nobody_went_on_with_is_forgotten(centre: Centre) -> None:
    token = await centre.ticket()
    await centre.create(token)
    await centre.patch(token, 0, DATA[:5])
    part = centre.directory / "D-1" / f"{SHA256}.part"
    centre.server._sweep()
    assert part.exists()
    old = centre.clock.wall_s - EXPIRE_S - 1
    os.utime(part, (old, old))
    centre.server._sweep()
    assert centre.files() == []

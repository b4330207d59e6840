"""Originals on their way to real servers: whatever is cut or refused, none is lost, none deleted too early."""

import asyncio
import hashlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import evidence_peers as peers
import msgspec
import pytest
from aiohttp import web
from evidence_device import another_port, centre, device, reference_server, secret, section, some, stored_hashes, until

from edge_agent import topics
from edge_agent.sealing import new_key, seal, unseal
from edge_agent.twin import Answer
from edge_agent.uplink.evidence_upload import CentreGrants
from edge_agent.uplink.pace import CHUNK_MAX

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
MIB = 1024 * 1024


# --- whole ways -----------------------------------------------------------------------------------------------------


async def test_a_picture_reaches_the_reference_centre_and_a_receipt_comes_back(tmp_path: Path, free_port: int) -> None:
    data = some(300_000)
    async with centre(tmp_path / "centre", free_port) as server:

        async def ask(what: str, request: topics.GrantRequest, timeout_s: float) -> Answer:
            assert what == "grant"
            return Answer(id="q", state="ok", data=msgspec.to_builtins(await server.grant("D-1", request)))

        options = section(free_port, upload="mqtt", url=None)
        async with device(tmp_path / "device", options, CentreGrants(ask)) as dev:
            path = await dev.picture("01J.jpg", data)
            await until(lambda: dev.states("received"))
            assert path.exists()  # retention has not let it go yet
        stored = tmp_path / "centre" / "D-1" / f"{hashlib.sha256(data).hexdigest()}.jpg"
        assert stored.read_bytes() == data
        assert not list(stored.parent.glob("*.part"))


async def test_a_sealed_original_goes_to_the_centre_as_ciphertext_and_a_plain_one_stays(
    tmp_path: Path, free_port: int
) -> None:
    secret_key, recipient = new_key()
    folder = tmp_path / "device" / "originals"
    folder.mkdir(parents=True)
    (folder / "01J.jpg.age").write_bytes(seal(b"\xff\xd8 a face", recipient))
    (folder / "01K.jpg").write_bytes(b"\xff\xd8 a face in plain")
    options = section(free_port, token=secret(tmp_path, "t"))
    async with (
        centre(tmp_path / "centre", free_port, token="t"),
        device(tmp_path / "device", options, sealed=True) as dev,
    ):
        await dev.picture("01J.jpg", b"a blurred picture")
        await until(lambda: len(dev.states("received")) == 2)
    assert set(dev.states("received")) == {"01J.jpg", "01J.jpg.age"}
    [stored] = (tmp_path / "centre" / "D-1").glob("*.jpg.age")
    assert unseal(stored.read_bytes(), secret_key) == b"\xff\xd8 a face"


@pytest.mark.parametrize("size", [0, 1, 50 * MIB])
async def test_files_of_any_size_arrive_whole(tmp_path: Path, free_port: int, size: int) -> None:
    data = some(size)
    token = tmp_path / "token"
    token.write_text("t0k\n")
    async with (
        centre(tmp_path / "centre", free_port, token="t0k"),
        device(tmp_path / "device", section(free_port, token=str(token))) as dev,
    ):
        await dev.picture("clip.mp4", data)
        await until(lambda: dev.states("received"), 60)
    stored = tmp_path / "centre" / "D-1" / f"{hashlib.sha256(data).hexdigest()}.mp4"
    assert stored.read_bytes() == data


# --- cuts -----------------------------------------------------------------------------------------------------------


async def test_a_connection_cut_at_every_tenth_goes_on_from_the_stored_offset(tmp_path: Path, free_port: int) -> None:
    size = 8 * MIB
    wire, far = peers.Wire(free_port), another_port()
    wire.cut_at = [size * tenth // 10 for tenth in range(1, 10)]
    async with (
        centre(tmp_path / "centre", free_port, token="t", url=f"http://127.0.0.1:{far}"),
        wire.serve(far),
        device(tmp_path / "device", section(far, token=secret(tmp_path, "t"))) as dev,
    ):
        data = some(size)
        await dev.picture("a.jpg", data)
        await until(lambda: dev.states("received"), 60)
    assert wire.cuts == 9
    assert wire.up < size + 9 * CHUNK_MAX + 200_000  # a cut costs at most the chunk that was under way
    assert stored_hashes(tmp_path / "centre") == {hashlib.sha256(data).hexdigest()}


async def test_a_server_killed_at_every_tenth_and_started_again_gets_the_file_whole(
    tmp_path: Path, free_port: int
) -> None:
    size, wire, far = 2 * MIB, peers.Wire(free_port), another_port()
    server = reference_server(tmp_path / "centre", free_port, f"http://127.0.0.1:{far}", secret(tmp_path, "t"))
    server.start()
    try:
        options = section(far, token=secret(tmp_path, "t"), max_kib_per_s=2048)
        async with wire.serve(far), device(tmp_path / "device", options) as dev:
            data = some(size)
            await dev.picture("a.jpg", data)
            for tenth in range(1, 10):
                await until(lambda tenth=tenth: wire.up > size * tenth // 10 or dev.states("received"))
                server.kill()
                await asyncio.to_thread(server.start)
            await until(lambda: dev.states("received"), 60)
    finally:
        server.kill()
    assert stored_hashes(tmp_path / "centre") == {hashlib.sha256(data).hexdigest()}
    assert wire.up < size + 9 * CHUNK_MAX + 200_000


AGENT = """
import asyncio, sys
from pathlib import Path
import evidence_device as t
async def main(directory, port, token):
    options = t.section(int(port), token=token, max_kib_per_s=1024)
    async with t.device(Path(directory), options) as dev:
        await t.until(lambda: dev.states("received"), 60)
asyncio.run(main(*sys.argv[1:]))
"""


async def test_an_agent_killed_at_every_tenth_goes_on_after_its_restart(tmp_path: Path, free_port: int) -> None:
    size, wire, far = 2 * MIB, peers.Wire(free_port), another_port()
    data = some(size)
    (tmp_path / "device" / "incidents").mkdir(parents=True)
    (tmp_path / "device" / "incidents" / "a.jpg").write_bytes(data)
    command = [sys.executable, "-c", AGENT, str(tmp_path / "device"), str(far), secret(tmp_path, "t")]
    async with (
        centre(tmp_path / "centre", free_port, token="t", url=f"http://127.0.0.1:{far}"),
        wire.serve(far),
    ):
        for tenth in range(1, 11):
            process = subprocess.Popen(command, cwd=Path(__file__).parent, start_new_session=True)
            try:
                await until(
                    lambda process=process, tenth=tenth: process.poll() is not None or wire.up > size * tenth // 10
                )
                if tenth == 10:
                    await until(lambda process=process: process.poll() is not None)
            finally:
                process.kill()
                code = process.wait()
        assert code == 0
    assert stored_hashes(tmp_path / "centre") == {hashlib.sha256(data).hexdigest()}
    assert wire.up < size + 10 * CHUNK_MAX


async def test_an_upload_begun_before_a_restart_is_gone_on_with_and_not_begun_again(
    tmp_path: Path, free_port: int
) -> None:
    server, data = peers.FaultyTus(), some(400_000)
    async with server.serve(free_port):
        async with device(tmp_path, section(free_port, max_kib_per_s=256)) as dev:
            await dev.picture("a.jpg", data)
            await until(lambda: server.uploads and len(server.uploads["u0"]) > 100_000)
        async with device(tmp_path, section(free_port)) as dev:
            await until(lambda: dev.states("received"))
    assert list(server.uploads) == ["u0"]
    assert server.received < len(data) + CHUNK_MAX


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def tus(free_port: int) -> AsyncIterator[peers.FaultyTus]:
    server = peers.FaultyTus()
    async with server.serve(free_port):
        yield server


def once(
    status: int, method: str = "PATCH", times: int = 1
) -> Callable[[str, int | None, str | None], web.Response | None]:
    """Answer so to the first requests of that method."""
    left = [times]

    def fault(seen: str, offset: int | None, id: str | None) -> web.Response | None:
        if seen != method or not left[0]:
            return None
        left[0] -= 1
        return web.Response(status=status)

    return fault


@pytest.mark.parametrize(
    ("status", "method"),
    [
        *((status, "PATCH") for status in (401, 403, 404, 409, 410, 423, 429, 460, 500, 502, 503, 302)),
        *((status, "POST") for status in (401, 403, 404, 429, 500, 503)),
        *((status, "OPTIONS") for status in (404, 405)),
    ],
)
async def test_each_refusal_is_answered_by_the_protocol_and_the_file_arrives(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus, status: int, method: str
) -> None:
    tus.fault = once(status, method)
    data = some(200_000)
    async with device(tmp_path, section(free_port)) as dev:
        await dev.picture("a.jpg", data)
        await until(lambda: dev.states("received"))
    assert data in map(bytes, tus.uploads.values())
    assert len(tus.uploads) == (2 if status in (404, 410) and method == "PATCH" else 1)
    assert tus.received < 2 * len(data) + 70_000


async def test_an_offset_conflict_is_settled_by_asking_and_nothing_is_sent_anew(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus
) -> None:
    data = some(500_000)

    def behind_its_back(method: str, offset: int | None, id: str | None) -> web.Response | None:
        if method == "PATCH" and offset == 0:
            tus.uploads["u0"].extend(data[:100_000])  # an earlier request did arrive, only its answer was lost
        return None

    tus.fault = behind_its_back
    async with device(tmp_path, section(free_port)) as dev:
        await dev.picture("a.jpg", data)
        await until(lambda: dev.states("received"))
    assert tus.uploads["u0"] == data
    assert tus.seen[2:5] == [("PATCH", 0), ("HEAD", None), ("PATCH", 100_000)]


async def test_what_is_too_large_is_set_aside_with_the_reason_and_stays_on_the_disk(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus
) -> None:
    tus.fault = once(413, "POST")
    async with device(tmp_path, section(free_port, keep_days=0)) as dev:
        path = await dev.picture("large.jpg", some(1000, 1))
        await until(lambda: dev.states("refused"))
        other = await dev.picture("small.jpg", some(1000, 2))
        await until(lambda: dev.states("received"))
        await dev.evidence.tidy()
        assert path.exists()
        assert not other.exists()
        [(_, refused)] = [told for told in dev.told if told[0] == "evidence" and told[1].state == "refused"]
        assert "413" in refused.reason
        tus.max_size = 500
    async with device(tmp_path, section(free_port)) as dev:
        await dev.picture("third.jpg", some(1000, 3))
        await until(lambda: dev.states("refused"))
    assert tus.counts()["POST"] == 2  # the limit that the server tells is obeyed without trying


async def test_a_token_that_is_refused_for_good_is_a_fault_and_never_success(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus
) -> None:
    tus.tokens = {"right"}
    token = secret(tmp_path, "wrong")
    async with device(tmp_path, section(free_port, token=token, keep_days=0)) as dev:
        path = await dev.picture("a.jpg", some(1000))
        await until(lambda: "refused" in dev.health.state.get("evidence.upload", ""))
        assert "401" in dev.health.state["evidence.upload"]
        await dev.evidence.tidy()
        assert path.exists()
        assert not dev.states("received")
        secret(tmp_path, "right")  # renewed in place: no restart is needed
        await until(lambda: dev.states("received"))


async def test_an_expired_grant_is_asked_for_anew_and_the_upload_goes_on(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus
) -> None:
    asked: list[topics.GrantRequest] = []

    class Expiring:
        async def grant(self, ask: topics.GrantRequest, /) -> topics.Grant:
            asked.append(ask)
            return topics.TusGrant(url=f"http://127.0.0.1:{free_port}/files", token=f"g{len(asked)}")

    def expire(method: str, offset: int | None, id: str | None) -> web.Response | None:
        if method == "PATCH" and offset:
            tus.tokens = {"g2"}
        return None

    tus.fault = expire
    data = some(300_000)
    async with device(tmp_path, section(free_port), Expiring()) as dev:
        await dev.picture("a.jpg", data)
        await until(lambda: dev.states("received"))
    assert len(asked) == 2
    assert len(tus.uploads) == 1
    assert tus.uploads["u0"] == data
    assert asked[0].sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("checksum", [True, False])
async def test_a_wrong_hash_at_the_end_never_deletes_and_is_told(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus, checksum: bool
) -> None:
    tus.damage, tus.extensions = True, "creation,checksum" if checksum else "creation"
    async with device(tmp_path, section(free_port, keep_days=0)) as dev:
        path = await dev.picture("a.jpg", some(1000))
        await until(lambda: dev.states("refused"))
        await dev.evidence.tidy()
        assert path.exists()
        assert not dev.states("received")
    assert len(tus.uploads) == 3  # sent anew twice, then set aside for a person


async def test_a_chunk_that_is_damaged_on_the_way_is_repeated(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus
) -> None:
    tus.fault = once(460, times=3)
    async with device(tmp_path, section(free_port)) as dev:
        await dev.picture("a.jpg", some(1000))
        await until(lambda: dev.states("received"))
    assert tus.seen.count(("PATCH", 0)) == 4
    assert len(tus.uploads) == 1


async def test_a_server_that_gives_no_receipt_never_lets_a_file_go(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus
) -> None:
    tus.receipts = False
    async with device(tmp_path, section(free_port, keep_days=0)) as dev:
        path = await dev.picture("a.jpg", some(1000))
        await until(lambda: tus.uploads and len(tus.uploads["u0"]) == 1000)
        await until(lambda: tus.counts()["GET"] >= 1)
        await dev.evidence.tidy()
        assert path.exists()
        assert not dev.states("received")


async def test_a_broken_file_of_one_incident_does_not_keep_the_others(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus
) -> None:
    bad = hashlib.sha256(some(1000, 1)).hexdigest()

    def fault(method: str, offset: int | None, id: str | None) -> web.Response | None:
        sick = method == "PATCH" and tus.hashes[str(id)] == bad
        return web.Response(status=500) if sick else None

    tus.fault = fault
    async with device(tmp_path, section(free_port)) as dev:
        await dev.picture("old.jpg", some(1000, 2), wall_s=1.0)
        await dev.picture("sick.jpg", some(1000, 1))
        await until(lambda: dev.states("received") == ["old.jpg"])


# --- order, pace, the local disk ------------------------------------------------------------------------------------


async def test_the_newest_incident_goes_first_even_past_an_upload_under_way(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus
) -> None:
    async with device(tmp_path, section(free_port, max_kib_per_s=512)) as dev:
        await dev.picture("old.jpg", some(800_000, 1), wall_s=1.0)
        await until(lambda: tus.uploads and len(tus.uploads["u0"]) > 100_000)
        await dev.picture("new.jpg", some(1000, 2))
        await until(lambda: len(dev.states("received")) == 2)
    assert dev.states("received") == ["new.jpg", "old.jpg"]
    assert tus.received < 801_000 + 70_000  # the old one went on from where it was


async def test_the_rate_limit_holds_within_a_tenth(tmp_path: Path, free_port: int, tus: peers.FaultyTus) -> None:
    async with device(tmp_path, section(free_port, max_kib_per_s=400)) as dev:
        began = time.monotonic()
        await dev.picture("a.jpg", some(1200 * 1024))
        await until(lambda: dev.states("received"))
        took_s = time.monotonic() - began
    assert 0.9 < 1200 / took_s / 400 < 1.1


async def test_nothing_goes_over_a_metered_link_until_it_is_free_again(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.uplink.evidence_upload.LOOK_S", 0.05)
    monkeypatch.setattr("edge_agent.uplink.evidence_upload.IDLE_S", 0.1)
    hint = tmp_path / "metered"
    hint.write_text("yes")
    options = section(free_port, metered_file=hint, max_kib_per_s=512)
    async with device(tmp_path, options) as dev:
        await dev.picture("a.jpg", some(600_000))
        await asyncio.sleep(0.5)
        assert not tus.seen
        assert dev.uploader.sends_thumbs()
        hint.write_text("no")
        await until(lambda: tus.uploads and tus.uploads["u0"])
        hint.write_text("yes")  # in the midst of it: it stops after the chunk under way
        await until(lambda: dev.uploader.status()["metered"] and not dev.uploader.status()["sending"])
        there = len(tus.uploads["u0"])
        await asyncio.sleep(0.5)
        assert len(tus.uploads["u0"]) == there < 600_000
        hint.write_text("no")
        await until(lambda: dev.states("received"))
    assert tus.received < 600_000 + 70_000


async def test_a_file_that_vanishes_leaves_a_gap_record_and_the_others_go_on(
    tmp_path: Path, free_port: int, tus: peers.FaultyTus
) -> None:
    async with device(tmp_path, section(free_port, max_kib_per_s=256)) as dev:
        path = await dev.picture("a.jpg", some(500_000, 1))
        await until(lambda: tus.uploads and tus.uploads["u0"])
        path.unlink()
        await until(dev.gaps)
        gone = await dev.picture("b.jpg", some(1000, 2))
        gone.write_bytes(b"overwritten")
        await until(lambda: len(dev.gaps()) == 2)
        await dev.picture("c.jpg", some(1000, 3))
        await until(lambda: dev.states("received"))
    assert [gap.evidence and gap.evidence.id for gap in dev.gaps()] == ["a.jpg", "b.jpg"]
    assert "vanished" in dev.gaps()[0].reason
    assert "changed" in dev.gaps()[1].reason


async def test_packets_are_marked_as_low_priority(tmp_path: Path, free_port: int, tus: peers.FaultyTus) -> None:
    from edge_agent.uplink.transfer import _low_priority

    for family, level, option in (
        (socket.AF_INET, socket.IPPROTO_IP, socket.IP_TOS),
        (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
    ):
        with _low_priority((family, socket.SOCK_STREAM, 6, "", ())) as sock:
            assert sock.getsockopt(level, option) == 0x20  # RFC 4594: CS1 is 001000, the upper six bits


# --- other servers --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(peers.NODE is None, reason="node is not installed")
@pytest.mark.skipif(not peers.TUS_MODULES.is_dir(), reason="@tus/server is not in build/npm: run `make test-packages`")
async def test_the_tus_projects_own_server_takes_it_up_after_being_killed_at_every_tenth(
    tmp_path: Path, free_port: int
) -> None:
    size, wire, far = 4 * MIB, peers.Wire(free_port), another_port()
    server = peers.tus_server(tmp_path / "store", free_port)
    await asyncio.to_thread(server.start)
    try:
        async with wire.serve(far), device(tmp_path / "device", section(far, max_kib_per_s=2048)) as dev:
            data = some(size)
            await dev.picture("a.jpg", data)
            for tenth in range(1, 10):
                await until(lambda tenth=tenth: wire.up > size * tenth // 10 or dev.states("received"))
                server.kill()
                await asyncio.to_thread(server.start)
            await until(lambda: dev.states("received"), 60)
    finally:
        server.kill()
    assert hashlib.sha256(data).hexdigest() in peers.stored_by_tus_server(tmp_path / "store")
    assert wire.up < size + 9 * CHUNK_MAX + 200_000

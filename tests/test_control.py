"""control: one line in, one line out, whatever the line; long paths and absent agents included."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_agent import control
from edge_agent.messages import Fly, Originals, Recall, Reply, Request, Say, Spoken
from edge_agent.runtime import DriverError

SPOKEN = Spoken(announcement="R1", speaker="horn", outcome="delivered", proof="heard", text="x", by="y", wall_s=1.0)


@contextlib.asynccontextmanager
async def serving(directory: Path, asked: list[tuple[Request, str]]) -> AsyncIterator[None]:
    async def execute(request: Request, by: str) -> Reply:
        asked.append((request, by))
        return Reply(state="accepted", run="R1")

    async def retry(ids: tuple[str, ...] | None) -> int:
        if ids == ("full",):
            raise DriverError("the disk is full")
        return len(ids or "abc")

    async def became(run: str, wait_s: float) -> tuple[Spoken, ...] | None:
        return (SPOKEN,) if (run, wait_s) == ("R1", 2.0) else None

    async def originals(asked: Originals, by: str) -> Reply:
        if asked.dry_run:
            raise DriverError("the disk is full")
        return Reply(state="done", reason=f"{asked.verb} {asked.ids} by {by.split(':')[0]}")

    part = control.Control(directory, execute, lambda: {"device": "EA-1"}, retry, became)
    part.originals = originals
    task = asyncio.get_running_loop().create_task(part.run())
    while not (directory / control.SOCKET).exists():
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ask(directory: Path, question: control.Question) -> dict[str, Any]:
    return await asyncio.to_thread(control.ask, directory, question)


async def test_a_request_is_executed_and_its_asker_is_named(tmp_path: Path) -> None:
    asked: list[tuple[Request, str]] = []
    async with serving(tmp_path, asked):
        assert (await ask(tmp_path, Fly(route="bank")))["state"] == "accepted"
        assert (await ask(tmp_path, control.Status())) == {"device": "EA-1"}
        assert (await ask(tmp_path, control.RetryEvents(ids=("a", "b")))) == {"retried": 2}
        assert (await ask(tmp_path, control.RetryEvents(ids=("full",))))["reason"] == "the disk is full"
        await ask(tmp_path, Say(text="你好"))
    assert asked == [(Fly(route="bank"), f"local:{os.getuid()}"), (Say(text="你好"), f"local:{os.getuid()}")]


async def test_what_became_of_an_announcement_can_be_asked(tmp_path: Path) -> None:
    async with serving(tmp_path, []):
        (spoken,) = (await ask(tmp_path, control.Became(run="R1", wait_s=2.0)))["spoken"]
        assert (spoken["speaker"], spoken["outcome"], spoken["proof"]) == ("horn", "delivered", "heard")
        assert (await ask(tmp_path, control.Became(run="R2"))) == {"spoken": None}


async def test_the_socket_is_ours_alone_and_goes_with_the_agent(tmp_path: Path) -> None:
    async with serving(tmp_path, []):
        assert (tmp_path / control.SOCKET).stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / control.SOCKET).exists()


async def test_a_data_directory_may_be_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    async with serving(deep, []):
        assert (await ask(deep, Recall()))["state"] == "accepted"


async def test_a_socket_left_by_a_killed_agent_is_no_hindrance(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left, control.address(tmp_path) as path:
        left.bind(path)
    (tmp_path / control.SOCKET).rename(tmp_path / "was")
    (tmp_path / "was").rename(tmp_path / control.SOCKET)
    asked: list[tuple[Request, str]] = []
    async with serving(tmp_path, asked):
        await asyncio.sleep(0.05)
        assert (await ask(tmp_path, Recall()))["state"] == "accepted"


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"name": "explode"}\n',
        b'{"name": "fly"}\n',
        b'{"name": "fly", "route": 1}\n',
        b"[]\n",
        b'{"name": "fly", "route": "\xff"}\n',
        b'{"name": "status", "x":' + b"[" * 9000 + b"]" * 9000 + b"}\n",
    ],
)
async def test_a_line_that_makes_no_sense_is_refused_and_the_next_is_served(tmp_path: Path, line: bytes) -> None:
    asked: list[tuple[Request, str]] = []
    async with serving(tmp_path, asked):
        with control.address(tmp_path) as path:
            reader, writer = await asyncio.open_unix_connection(path)
        writer.write(line + msgspec.json.encode(Recall()) + b"\n")
        assert msgspec.json.decode(await reader.readline())["state"] == "rejected"
        assert msgspec.json.decode(await reader.readline())["state"] == "accepted"
        writer.close()
        await writer.wait_closed()
    assert len(asked) == 1


async def test_an_endless_line_ends_only_its_own_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, []):
        with control.address(tmp_path) as path:
            reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"x" * (control.MAX_LINE * 3))
        with contextlib.suppress(ConnectionError):
            assert control.TOO_LONG.encode() in await reader.read()
        writer.close()
        assert (await ask(tmp_path, Recall()))["state"] == "accepted"


def test_bytes_of_the_shell_that_are_no_text_are_refused_before_they_are_sent(tmp_path: Path) -> None:
    answer = control.ask(tmp_path, Fly(route="\udcff\udcfe"))
    assert (answer["state"], answer["reason"]) == ("rejected", "not understood: not UTF-8")


def test_a_request_that_is_too_long_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="this one has"):
        control.ask(tmp_path, Fly(route="r" * control.MAX_LINE))


def test_an_absent_agent_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="is `edge-agent run` up"):
        control.ask(tmp_path, control.Status())


async def test_who_asks_for_originals_is_told_of_by_the_kernel(tmp_path: Path) -> None:
    async with serving(tmp_path, []):
        asked = Originals(verb="hold", ids=("a.jpg",))
        answer = await asyncio.to_thread(control.ask, tmp_path, asked)
        assert (answer["state"], answer["reason"]) == ("done", "hold ('a.jpg',) by local")
        full = await asyncio.to_thread(control.ask, tmp_path, Originals(verb="delete", ids=("a.jpg",), dry_run=True))
        assert (full["state"], full["reason"]) == ("failed", "the disk is full")


def test_stopping_while_somebody_is_connected_leaves_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def stop_during_a_conversation() -> None:
        stack = contextlib.AsyncExitStack()
        await stack.enter_async_context(serving(tmp_path, []))
        reader, writer = await asyncio.open_unix_connection(tmp_path / control.SOCKET)
        writer.write(b'{"name":"status"}\n')
        assert b"EA-1" in await reader.readline()
        await stack.aclose()
        writer.close()

    asyncio.run(stop_during_a_conversation())
    assert not caplog.records

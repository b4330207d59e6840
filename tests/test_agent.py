"""agent: what no part catches ends the agent, and only that."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from edge_agent import agent, config, control
from edge_agent.messages import Recall, Reply, Request
from edge_agent.runtime import DriverError

TEXT = 'data_dir = "s"\n[site]\ndevice = "EA-1"\nlat = 30.25\nlon = 120.17\n[vehicle]\ntype = "simulated"\n'


async def asked(directory: Path) -> Reply | str:
    """What the agent answers to a recall, once it listens."""
    while not (directory / "s" / control.SOCKET).exists():
        await asyncio.sleep(0.02)
    try:
        return str(await asyncio.to_thread(control.ask, directory / "s", Recall()))
    except DriverError as error:
        return str(error)


async def test_a_bug_in_a_handler_ends_the_agent_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: object, request: Request, by: str) -> Reply:
        raise KeyError("a bug")

    monkeypatch.setattr(agent.Agent, "execute", broken)
    settings = config.parse(TEXT, tmp_path / "agent.toml")
    with pytest.raises(KeyError, match="a bug"):
        await asyncio.gather(agent.run(settings), asked(tmp_path))
    assert "Traceback" in caplog.text


async def test_a_stop_is_no_bug(tmp_path: Path) -> None:
    settings = config.parse(TEXT, tmp_path / "agent.toml")
    running = asyncio.get_running_loop().create_task(agent.run(settings))
    await asked(tmp_path)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 20)

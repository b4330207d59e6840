import os
from pathlib import Path

import pytest

from edge_agent.uplink import metered
from edge_agent.uplink.metered import default_interface, is_metered, yes_or_no

# Columns of /proc/net/route as route(8) and the kernel's fib_trie.c give them.
ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wwan0\t00000000\t0101A8C0\t0003\t0\t0\t700\t00000000\t0\t0\t0
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""


def test_the_default_route_of_the_lowest_metric_counts() -> None:
    assert default_interface(ROUTES) == "eth0"
    assert default_interface(ROUTES.splitlines()[0]) is None
    assert default_interface("") is None


# nmcli(1): GENERAL.METERED is one of these.
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("GENERAL.METERED:yes", True),
        ("GENERAL.METERED:yes (guessed)\n", True),
        ("GENERAL.METERED:no (guessed)", False),
        ("GENERAL.METERED:unknown", None),
        ("", None),
        ("yes\n", True),
        ("0", False),
    ],
)
def test_the_words_of_nmcli_and_of_a_hint_file(text: str, said: bool | None) -> None:
    assert yes_or_no(text) is said


async def test_a_hint_file_comes_before_network_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nmcli(tmp_path, monkeypatch, "GENERAL.METERED:yes (guessed)")
    hint = tmp_path / "metered"
    assert await is_metered(hint)  # there is no such file: NetworkManager is asked
    hint.write_text("no\n")
    assert not await is_metered(hint)
    hint.write_bytes(b"\xff\xfe")
    assert await is_metered(hint)


async def test_the_interface_of_the_default_route_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nmcli(tmp_path, monkeypatch, "GENERAL.METERED:yes", only="eth0")
    assert await is_metered(None)
    nmcli(tmp_path, monkeypatch, "GENERAL.METERED:yes", only="wwan0")
    assert not await is_metered(None)


async def test_where_nobody_knows_the_link_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not await is_metered(None)


async def test_a_network_manager_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nmcli(tmp_path, monkeypatch, "GENERAL.METERED:yes", first="exec sleep 60")
    monkeypatch.setattr(metered, "NMCLI_S", 0.2)
    assert not await is_metered(None)


def nmcli(
    directory: Path, monkeypatch: pytest.MonkeyPatch, answer: str, *, only: str | None = None, first: str = ""
) -> None:
    """A NetworkManager that answers so, for one interface or for all."""
    script = directory / "nmcli"
    check = f'[ "$6" = "{only}" ] || exit 10' if only else ""  # nmcli -t -f FIELD device show INTERFACE
    script.write_text(f"#!/bin/sh\n{first}\n{check}\necho '{answer}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    (directory / "route").write_text(ROUTES)
    monkeypatch.setattr(metered, "ROUTES", directory / "route")

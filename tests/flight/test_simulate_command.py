"""`edge-agent simulate`: what it cannot use is said in one line, with the option, the value and the limit."""

from __future__ import annotations

import socket

import pytest

from edge_agent.cli import main

GOOD = {"--lat": "30.25", "--lon": "120.15", "--udpout": "127.0.0.1:14550"}


def simulate(**changed: str | None) -> int:
    options = GOOD | {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    return main(["simulate", *(f"{name}={value}" for name, value in options.items() if value is not None)])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"lat": "nan"}, "--lat nan is not within -90 to 90"),
        ({"lon": "181"}, "--lon 181 is not within -180 to 180"),
        ({"speedup": "0"}, "--speedup 0 is not within 0.01 to 100"),
        ({"speedup": "inf"}, "--speedup inf is not within 0.01 to 100"),
        ({"system_id": "256"}, "--system-id 256 is not within 1 to 255"),
        ({"wind_mps": "nan"}, "--wind-mps nan is not within 0 to 100"),
        ({"wind_from_deg": "inf"}, "--wind-from-deg inf is not within -360 to 360"),
        ({"battery_pct": "-1"}, "--battery-pct -1 is not within 0 to 100"),
        ({"udpout": "127.0.0.1:99999"}, "--udpout 127.0.0.1:99999: port 99999 is not within 1 to 65535"),
        ({"udpout": "14550"}, "--udpout: HOST:PORT is wanted, got '14550'"),
        ({"udpout": None, "tcp_listen": "127.0.0.1:70000"}, "--tcp-listen 127.0.0.1:70000: port 70000 is not within"),
    ],
)
def test_an_option_out_of_its_limits_is_refused_in_one_line(changed, says, capsys):
    assert simulate(**changed) == 64
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"{", b'{"lat": "x", "lon": 0}', b"\xff\xfe", b'{"lat": 300, "lon": 0}'])
def test_a_broken_state_file_is_refused_with_the_way_out_and_left_as_it_is(content, tmp_path, capsys):
    file = tmp_path / "world.json"
    file.write_bytes(content)
    assert simulate(state=str(file)) == 1
    told = capsys.readouterr().err
    assert f"--state {file}: " in told
    assert "move the file away to start a new world" in told
    assert told.count("\n") == 1
    assert file.read_bytes() == content


def test_an_address_in_use_is_named(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        assert simulate(udpout=None, tcp_listen=place) == 1
    assert f"--tcp-listen {place}: " in capsys.readouterr().err


def test_a_state_file_that_cannot_be_written_ends_it_with_its_name(tmp_path, capsys):
    assert simulate(state=str(tmp_path / "nowhere" / "world.json")) == 1
    assert "nowhere" in capsys.readouterr().err

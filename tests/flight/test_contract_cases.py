"""The contract suite on the simulated autopilot; `make sitl` runs the same list on ArduCopter."""

from __future__ import annotations

import pytest

from edge_agent.flight.simulator import Autopilot
from sitl import contract
from tests.flight.conftest import LAT, LON

STEP_S = 0.05


class InProcess:
    """The simulated autopilot's bytes, each turn one step of its time."""

    def __init__(self) -> None:
        self.autopilot, self.now = Autopilot(LAT, LON), 0.0
        self.autopilot.step(0.0)

    def send(self, data: bytes, source: int) -> None:
        self.autopilot.receive(data, self.now, source)

    def turn(self) -> bytes:
        self.now += STEP_S
        self.autopilot.step(self.now)
        return self.autopilot.data_to_send()


@pytest.fixture
def peer() -> contract.Peer:
    peer = contract.Peer(InProcess(), LAT, LON)
    for number in (33, 245):
        filled = (number, 100_000, 0, 0, 0, 0, 0)
        peer.send(contract.mavlink.MAVLink_command_long_message(1, 1, 511, 0, *filled))
    peer.wait(6)
    peer.reset()
    return peer


@pytest.mark.parametrize("case", contract.CASES, ids=lambda case: case.__name__)
def test_contract(peer, case):
    case(peer)


def test_every_difference_names_a_case():
    assert set(contract.DIFFERENCES) <= {case.__name__ for case in contract.CASES}

"""The terminal's side of a flight without a daemon: what it says where it can do nothing."""

import json
from types import SimpleNamespace

from edge_agent import config
from edge_agent.cli import flying
from edge_agent.flight import gates
from edge_agent.flight.facts import Around, Facts, Plan
from edge_agent.flight.mavlink import OURS, Other
from edge_agent.messages import Telemetry

ALOFT = Telemetry(at_s=1.0, armed=True, mode="AUTO", landed=False)


async def test_a_flight_of_another_agent_is_left_to_that_agent(capsys):
    other = Other(1, OURS, 18, 1.0)
    facts = Facts(
        now=1.0, plan=Plan(None, config.Limits(), config.Airframe()), telemetry=ALOFT,
        copter=True, prearm_ok=True, complaints=(), said={}, others=(other,), system_id=1, params={}, around=Around(),
    )  # fmt: skip
    pilot = SimpleNamespace(phase="foreign", checks=lambda: gates.checks(facts))
    code = await flying._recall(SimpleNamespace(pilot=pilot, route=None), flying.Screen(json=True), "cli:0")
    assert code == 75
    assert json.loads(capsys.readouterr().out)["refusals"][0]["gate"] == "gate.alone"

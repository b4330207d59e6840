"""The scenarios that need no physics, flown by the whole agent on the simulated autopilot."""

from __future__ import annotations

import pytest

from sitl import runner

SPEEDUP = 5.0  # a machine that does nothing for half a second costs 2.5 s of a flight, and the agent allows 3
CHOSEN = {"04-interrupted-upload", "05-rival-before-take-off", "06-mission-replaced-aloft", "11-link-partition"}


@pytest.mark.integration
@pytest.mark.timeout(400)
async def test_scenarios_on_the_simulated_autopilot(tmp_path, capsys):
    chosen = [s for s in runner.known() if s.simulated and s.name in CHOSEN]
    assert {s.name for s in chosen} == CHOSEN
    results = await runner.many(chosen, tmp_path / "out", vehicle="simulated", speedup=SPEEDUP, seed=1, jobs=2)
    assert not [result for result in results if result.bad], capsys.readouterr().out
    assert (tmp_path / "out" / "junit.xml").exists()

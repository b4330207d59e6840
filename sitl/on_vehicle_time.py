"""`python -m sitl.on_vehicle_time FILE COMMAND…`: edge-agent's own command line, living in the vehicle's time."""

from __future__ import annotations

import sys
from pathlib import Path

from sitl.vehicle_time import VehicleClock


def main() -> int:
    """Give the agent the vehicle's clock before any part of it takes the machine's."""
    file = Path(sys.argv[1])
    from edge_agent import runtime

    vars(runtime)["SystemClock"] = lambda: VehicleClock(file)  # the agent's only door to time
    from edge_agent import cli

    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())

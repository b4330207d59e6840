"""A schedule becomes a safe flight: routes, gates and phases on one side, MAVLink bytes on the other."""

"""Flights of the agent on a real ArduCopter (or the simulated autopilot), told as scenarios that anyone can read."""

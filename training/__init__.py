"""Training of the project's own models: never imported by the agent, and with requirements of its own."""

"""The device as a thing: its board, its identity, its clock, its health, and how it is set up and wiped."""

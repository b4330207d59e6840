"""The demo: the same agent on a small stage, judged by what reached the far ends."""

LINKS = ("schedule", "vehicle", "camera", "plates", "speaker", "broker", "centre", "command")  # that `--break` breaks

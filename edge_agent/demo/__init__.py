"""The demo: the same agent on a small stage, judged by what reached the far ends."""

from collections.abc import Mapping

LINKS = ("schedule", "vehicle", "camera", "plates", "speaker", "broker", "centre", "command")  # that `--break` breaks
# What cannot work either where a link is broken; every other link must be found to work.
FOLLOWS: Mapping[str, frozenset[str]] = {
    "schedule": frozenset({"vehicle", "progress"}),
    "vehicle": frozenset({"progress"}),
    "camera": frozenset({"plates", "pictures"}),
    "speaker": frozenset({"command"}),
    "broker": frozenset({"progress", "camera", "plates", "pictures", "speaker", "command", "delivery"}),
    "centre": frozenset({"progress", "camera", "plates", "pictures", "speaker", "command", "delivery"}),
}

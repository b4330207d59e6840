"""What a fixed camera showed at first, on disk: that it was moved while the agent was off is noticed, too.

One small file for each camera and light. What is drawn into the camera's picture (zones, lines, masks, marked points)
is part of its name: who draws anew draws into the view as it is, and that is what counts from then on.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import msgspec

from edge_agent import config
from edge_agent.files import write_durably
from edge_agent.vision.anchors import Anchors

log = logging.getLogger(__name__)

FOLDER = "views"


class Views:
    """The references of one camera; a disk that fails costs only that a restart forgets them."""

    def __init__(self, data_dir: Path, camera: str, drawn: str) -> None:
        self._dir, self._camera, self.drawn = data_dir / FOLDER, camera, drawn

    def load(self, light: str) -> Anchors | None:
        """That of a light, if there is one. Blocks."""
        file = self._file(light)
        try:
            found = msgspec.json.decode(file.read_bytes(), type=Anchors)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("%s: %s; the camera's next picture counts as its first", file, error)
            return None
        return found if found.usable else None

    def save(self, light: str, anchors: Anchors) -> None:
        """Keep it in the place of any other of this light. Blocks."""
        file = self._file(light)
        try:
            self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(file, msgspec.json.encode(anchors))
            for other in self._dir.glob(f"{self._camera}.{light}.*.json"):
                if other != file:
                    other.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: %s; after a restart the first picture counts anew", file, error.strerror)

    def _file(self, light: str) -> Path:
        return self._dir / f"{self._camera}.{light}.{self.drawn}.json"


def views_of(settings: config.Agent, camera: config.Camera) -> Views:
    """Where the references of a camera are, by what is drawn into its picture."""
    zones = [zone.polygon for zone in settings.zones if zone.camera == camera.name]
    drawing = [rule for rule in settings.rules if isinstance(rule, config.LineCrossing | config.Count)]
    lines = [rule.line for rule in drawing if rule.camera == camera.name]
    drawn = msgspec.json.encode((zones, lines, camera.masks, camera.view), enc_hook=str)
    return Views(settings.data_dir, camera.name, hashlib.sha256(drawn).hexdigest()[:12])

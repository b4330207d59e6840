"""The loudspeaker's part of DJI's cloud API (Autel's has the same names): its messages, and one playback. Pure.

https://developer.dji.com/doc/cloud-api-tutorial/en/api-reference/dock-to-cloud/mqtt/dock/dock3/psdk.html
Requests go to `thing/product/GATEWAY/services`, answers come by `services_reply` (result 0 is good), progress by
`events` (which wants a reply where it says so), and what the speaker does by the aircraft's `osd` or `state`. Some
docks send no progress.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal
from uuid import uuid4

from msgspec import Struct

MAX_TEXT_BYTES = 3000  # of the PSDK's speaker widget
PLAYING = 2  # `system_state`; 0 is idle, 1 and 4 and 99 are before, 3 is broken
BROKEN = 3

Data = Mapping[str, Any]


def topic(gateway: str, name: str) -> str:
    """A topic of one device."""
    return f"thing/product/{gateway}/{name}"


def request(method: str, data: Data, now_ms: int) -> tuple[str, bytes]:
    """A request's `tid`, and the request."""
    tid = str(uuid4())
    envelope = {"bid": str(uuid4()), "tid": tid, "timestamp": now_ms, "method": method, "data": data}
    return tid, json.dumps(envelope, ensure_ascii=False).encode()


def confirmation(event: Data, now_ms: int) -> bytes | None:
    """The answer to an event that wants one."""
    if event.get("need_reply") != 1:
        return None
    kept = {key: event.get(key) for key in ("bid", "tid", "method")}
    return json.dumps(kept | {"timestamp": now_ms, "data": {"result": 0}}).encode()


def read(payload: bytes) -> dict[str, Any]:
    """An envelope; empty where it is none."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def tts(index: int, name: str, text: str) -> dict[str, Any]:
    """What `speaker_tts_play_start` wants; raises ValueError where the text is too long for the speaker."""
    data = text.encode()
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"too long: this speaker takes a text of {MAX_TEXT_BYTES} bytes, this one has {len(data)}")
    return {"psdk_index": index, "tts": {"name": name, "text": text, "md5": _md5(data)}}


def audio(index: int, name: str, url: str, pcm: bytes) -> dict[str, Any]:
    """What `speaker_audio_play_start` wants: PCM that the dock fetches from `url`."""
    file = {"name": name, "url": url, "md5": _md5(pcm), "format": "pcm"}
    return {"psdk_index": index, "file": file}


class Playback(Struct):
    """One sound, as the device tells of it; `hear` what comes, then look.

    `played` is when it began to play, `over` when it was idle again: monotonic seconds.
    """

    index: int
    md5: str
    step: str = ""  # the newest, in the device's own word
    failed: str = ""
    played: float | None = None
    over: float | None = None

    def progress(self, event: Data, now: float) -> None:
        """An event of a method `…_play_start_progress`."""
        data = _table(event, "data")
        output = _table(data, "output")
        if output.get("psdk_index") != self.index or output.get("md5") not in (self.md5, None):
            return
        if isinstance(result := data.get("result"), int) and result != 0:
            self.failed = f"error {result} at step {self.step or 'start'}"
            return
        self.step = str(_table(output, "progress").get("step_key", ""))
        # The table says `ok`, the example `success`; both mean that the last step, the playing, has begun.
        if self.step == "play" or output.get("status") in ("ok", "success"):
            self._plays(now)

    def state(self, report: Data, now: float) -> None:
        """A report of the aircraft: `psdk_widget_values[].speaker`."""
        widgets = _table(report, "data").get("psdk_widget_values")
        for widget in widgets if isinstance(widgets, list) else ():
            if not isinstance(widget, dict) or widget.get("psdk_index") != self.index:
                continue
            speaker = _table(widget, "speaker")
            state: Literal[0, 1, 2, 3, 4, 99] | None = speaker.get("system_state")
            if state == BROKEN:
                self.failed = "the loudspeaker reports a fault (system_state 3)"
            elif state == PLAYING and speaker.get("play_file_md5") in (self.md5, "", None):
                self._plays(now)
            elif state == 0 and self.played is not None:
                self.over = self.over or now

    def _plays(self, now: float) -> None:
        if self.played is None:
            self.played = now


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _table(value: Data, key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}

"""Hikvision cameras, door stations and speakers: ISAPI two-way audio (as in go2rtc's `pkg/isapi`, and the ISAPI guide).

A session that was not closed blocks the next one, so each begins with a close. The data follow a PUT whose
`Content-Length` is 0, on the same connection.

IP speakers (DS-QA…) also keep clips: `…/EventCardLinkageCfg/CustomAudio`, as Hikvision's own web pages ask for them.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers.g711 import Codec
from edge_agent.speakers.http import Answer, Device, Exchange, HttpLine
from edge_agent.speakers.stored import Playing, Stored, form

CLIPS = "/ISAPI/AccessControl/EventCardLinkageCfg/CustomAudio"
CHANNELS = "/ISAPI/System/TwoWayAudio/channels"
_CODECS: dict[str, Codec] = {"G.711ulaw": "pcmu", "G.711alaw": "pcma"}
_CHANNEL = re.compile(r"<TwoWayAudioChannel\b.*?</TwoWayAudioChannel>", re.DOTALL)


class HikvisionSpeaker(Stored):
    """The device says that it opened the channel (`accepted`), and nothing more."""

    best: Proof = "accepted"

    def __init__(self, section: config.HikvisionSpeaker, clock: Clock) -> None:
        super().__init__(section.name, clock)
        self._device, self._channel = Device(section), section.channel
        self.stores = section.clips

    def where(self) -> str:
        return self._device.where

    async def health(self) -> None:
        """Whether it answers this user."""
        await self._device.want("GET", "/ISAPI/System/deviceInfo")

    async def open(self, _announcement: str, _samples: int | None, /) -> HikvisionLine:
        codec = self._codec((await self._device.want("GET", CHANNELS)).body.decode("utf-8", "replace"))
        channel = f"{CHANNELS}/{self._channel}"
        await self._device.request("PUT", f"{channel}/close")  # refused where none is open: that is well
        opened = (await self._device.want("PUT", f"{channel}/open")).body.decode("utf-8", "replace")
        session = _tag(opened, "sessionId")
        query = f"?sessionId={session}" if session and re.fullmatch(r"[\w.-]+", session) else ""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": "0"}
        try:
            exchange = await self._device.begin("PUT", f"{channel}/audioData{query}", headers)
        except BaseException:
            await self.hang_up(channel)
            raise
        return HikvisionLine(self, exchange, codec, channel)

    async def hang_up(self, channel: str) -> None:
        """Close the session, so that the next one finds it free."""
        with suppress(DriverError):
            await self._device.request("PUT", f"{channel}/close")

    # --- stored clips ---------------------------------------------------------------------------------------------

    async def listed(self) -> dict[str, str]:
        found = _json(await self._device.want("GET", f"{CLIPS}?format=json")).get("CustomAudioInfoList")
        rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        return {
            str(one.get("customAudioName", "")).removesuffix(".wav"): str(one.get("customAudioID"))
            for one in sorted(rows, key=lambda one: str(one.get("customAudioID")).zfill(9))
        }

    async def put(self, name: str, wav: bytes) -> str:
        info = {"customAudioName": f"{name}.wav", "audioFileFormat": "wav", "audioFileSize": len(wav)}
        headers, body = form(
            ('name="CustomAudioInfo"', json.dumps({"CustomAudioInfo": info}).encode()),
            (f'name="audioData"; filename="{name}.wav"\r\nContent-Type: audio/wav', wav),
        )
        answer = _json(await self._device.want("POST", f"{CLIPS}?format=json", headers=headers, body=body))
        number = answer.get("customAudioID") or (await self.listed()).get(name)
        if number is None:
            raise self._device.refused("it does not take the clip")
        return str(number)

    async def remove(self, number: str) -> None:
        with suppress(DriverError):  # some firmware deletes by folders alone
            await self._device.request("DELETE", f"{CLIPS}/{number}?format=json")

    async def start(self, number: str) -> Playing:
        volume = max(1, round(100 * self.loudness))
        how = {"audioOutID": [1], "audioVolume": volume, "audioLevel": 0, "playDurationMode": "auto"}
        answer = await self._device.request(
            "PUT",
            f"{CLIPS}/{number}/play?format=json",
            headers={"Content-Type": "application/json"},
            body=json.dumps(how).encode(),
        )
        if answer.status >= 300 or _json(answer).get("statusCode", 1) != 1:
            raise self._device.refused(answer if answer.status >= 300 else f"does not play it: {answer.body[:80]!r}")
        return Playing()

    async def cease(self, number: str) -> None:
        await self._device.want("PUT", f"{CLIPS}/{number}/stop?format=json")

    async def proven(self, _playing: Playing) -> Proof:
        return "accepted"

    def _codec(self, channels: str) -> Codec:
        there = {_tag(one, "id"): _tag(one, "audioCompressionType") for one in _CHANNEL.findall(channels)}
        if str(self._channel) not in there:
            raise self._device.refused(
                f"has no two-way audio channel {self._channel} (there is: {', '.join(map(str, there)) or 'none'})"
            )
        kind = there[str(self._channel)] or "nothing"
        if kind not in _CODECS:
            raise self._device.refused(f"speaks {kind}; set the channel's audio encoding to {' or '.join(_CODECS)}")
        return _CODECS[kind]


class HikvisionLine(HttpLine):
    """Blocks of 160 bytes every 20 ms, in a session that must be closed."""

    def __init__(self, speaker: HikvisionSpeaker, exchange: Exchange, codec: Codec, channel: str) -> None:
        super().__init__(exchange, codec)
        self._speaker, self._channel = speaker, channel

    async def close(self, finished: bool, /) -> Proof:
        proof = await super().close(finished)
        await self._speaker.hang_up(self._channel)
        return proof


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _tag(xml: str, name: str) -> str | None:
    """The text of the first element of this name: the documents are flat, and their namespaces differ by firmware."""
    found = re.search(rf"<(?:\w+:)?{name}\b[^>]*>\s*([^<]*?)\s*<", xml)
    return found[1] if found else None

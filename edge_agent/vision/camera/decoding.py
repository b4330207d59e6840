"""Packets of a stream become pictures, also where its codec or the size of its pictures changes on the way.

A transport stream may go on in another codec (a recorder's files laid end to end, an encoder that was set anew), and
libav's decoder then gives nothing, or garbage, without a word.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import av

log = logging.getLogger(__name__)

START = b"\x00\x00\x01"  # before each unit of a stream of these codecs
MPEG = frozenset({"mpeg1video", "mpeg2video"})
TOLD = MPEG | {"mpeg4", "h264", "hevc"}


def codec_of(data: bytes, now: str) -> str:
    """The codec that a packet's first bytes speak for; `now` is the one until then, and stays where they do not tell.

    By the codes that begin a sequence or an access unit: H.262 table 6-1, ISO/IEC 14496-2 table 6-3, H.264 table 7-1
    (access unit delimiter and sequence parameter set), H.265 table 7-1 (delimiter, video and sequence parameter set).
    """
    at = data.find(START, 0, 8)
    if now not in TOLD or at < 0 or len(data) < at + 5:
        return now
    first, second = data[at + 3], data[at + 4]
    if first == 0xB3 and now not in MPEG | {"mpeg4"}:  # of MPEG-4 it begins a group of pictures
        return "mpeg2video"
    if first == 0xB0:
        return "mpeg4"
    if first in (0x09, 0x27, 0x47, 0x67):
        return "h264"
    return "hevc" if first in (0x40, 0x42, 0x46) and second == 0x01 else now


class Decoder:
    """The decoder of one stream, `what` in its messages."""

    def __init__(self, what: str, stream: av.video.stream.VideoStream) -> None:
        self._what, self._context = what, stream.codec_context
        # MP4 and Matroska give lengths where a transport stream has start codes (ISO/IEC 14496-15, 5.3.3.1: version 1),
        # and a length may look like one.
        self._marked = (self._context.extradata or b"\0")[0] != 1
        self._held: list[av.VideoFrame] = []  # of a decoder that was given up
        self._size: tuple[int, int] | None = None

    def decode(self, packet: av.Packet[av.video.stream.VideoStream]) -> list[av.VideoFrame]:
        """The pictures that this packet completes; raises av.FFmpegError where it cannot be decoded."""
        name = codec_of(bytes(memoryview(packet)[:16]), self._context.name) if self._marked else self._context.name
        if name != self._context.name:
            log.warning("%s: its codec changes from %s to %s", self._what, self._context.name, name)
            with suppress(av.FFmpegError):
                self._held += self._context.decode(None)
            context = av.CodecContext.create(name, "r")
            assert isinstance(context, av.VideoCodecContext)
            context.thread_type = self._context.thread_type
            self._context = context
        frames = self._context.decode(packet)
        frames, self._held = [*self._held, *frames], []
        for frame in frames:
            frame.time_base = packet.time_base
            size = frame.width, frame.height
            if self._size is not None and size != self._size:
                log.warning("%s: its pictures change from %dx%d to %dx%d", self._what, *self._size, *size)
            self._size = size
        return frames

"""`edge-agent say` and `talk`: a text or a voice to the speakers of a running agent, and how far it was proven."""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge_agent import config, control, messages
from edge_agent.cli.ask import EX_UNAVAILABLE, find_data_dir
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError
from edge_agent.speakers import PROOFS

if TYPE_CHECKING:
    from edge_agent.speakers.sound import Pcm

EX_NOINPUT = 66  # sysexits.h
POLL_S = 20.0  # one question to the agent waits so long; a long announcement takes several
KNOCK_S = 15.0  # the agent listens as soon as its speakers are free; what waits longer has expired


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of whichever of these commands it is."""
    if parser.get_default("command") == "say":
        parser.add_argument("text", nargs="?", help="what to say")
        parser.add_argument("--clip", type=Path, metavar="FILE", help="a recording of any format, instead of a text")
        parser.add_argument("--near", metavar="LAT,LON", type=_place, help="on the speaker that is nearest to a place")
        parser.add_argument("--lang", choices=("cmn", "en"), default="cmn", help="Mandarin or English")
        parser.add_argument(
            "--speaker", action="append", default=[], metavar="NAME", help="or a group; may be repeated"
        )
        parser.add_argument("--no-wait", action="store_true", help="do not wait for its end and its proof")
    else:
        parser.add_argument("speaker", nargs="+", metavar="SPEAKER", help="the name of a [[speaker]]")
        parser.add_argument("--file", type=Path, metavar="FILE", help="a recording of any format, not the microphone")
        parser.add_argument("--device", default="default", metavar="NAME", help="the microphone (`arecord -L` lists)")
        parser.add_argument("--for", dest="for_s", type=_seconds, default=60.0, metavar="S", help="at most (60)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-c", "--config", type=Path, metavar="FILE", help="the running agent's configuration")
    where.add_argument("--data-dir", type=Path, metavar="DIR", help="or its data directory")
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON object")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where each speaker, or the next that went on, proved what is asked of it, 1 where not.

    66 without a voice, 69 without an agent, 78 on a bad config.
    """
    try:
        data_dir = find_data_dir(args)
        answer = _say(data_dir, args) if args.command == "say" else _talk(data_dir, args)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except NoVoiceError as error:
        print(error, file=sys.stderr)
        return EX_NOINPUT
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE
    if args.json:
        print_json(answer)
    else:
        print("\n".join(_lines(answer)))
    return 0 if answer["state"] == "accepted" and all(map(_good, _last(answer))) else 1


class NoVoiceError(Exception):
    """There is no microphone, or no sound in the file."""


def _say(data_dir: Path, args: argparse.Namespace) -> dict[str, Any]:
    if len(args.text or "") > messages.MAX_TEXT:
        why = f"text: has {len(args.text)} characters, and {messages.MAX_TEXT} are the most; make it a --clip"
        return {"state": "rejected", "reason": why}
    clip = _kept(args.clip, data_dir) if args.clip is not None else None
    question = messages.Say(text=args.text, clip=clip, lang=args.lang, speakers=tuple(args.speaker), near=args.near)
    answer = control.ask(data_dir, question)
    return answer if args.no_wait or answer["state"] != "accepted" else _followed(data_dir, answer)


def _kept(file: Path, data_dir: Path) -> str:
    """Put a recording into the agent's store; returns its name there."""
    from edge_agent.files import left_to_owner_of
    from edge_agent.speakers import recordings

    try:
        with left_to_owner_of(data_dir):
            return recordings.keep(file, data_dir / recordings.FOLDER)
    except OSError as error:
        raise NoVoiceError(f"{error.filename or file}: {error.strerror}") from None
    except ValueError as error:
        raise NoVoiceError(str(error)) from None


def _talk(data_dir: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The agent is told where the voice comes from, and knocks there once it listens."""
    voice = _voice(args.file, args.device)
    first = next(voice, None)
    if first is None:
        raise NoVoiceError(f"{args.file or args.device}: holds no sound")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        source = f"rtp://127.0.0.1:{sock.getsockname()[1]}"
        question = messages.Talk(source=source, for_s=args.for_s, speakers=tuple(args.speaker))
        answer = control.ask(data_dir, question)
        if answer["state"] != "accepted":
            return answer
        if (peer := _knocked(sock, data_dir, answer["run"])) is not None:
            print(f"talking to {', '.join(args.speaker)}; Ctrl-C ends", file=sys.stderr)
            _send(sock, peer, first, voice, args)
    return _followed(data_dir, answer)


def _knocked(sock: socket.socket, data_dir: Path, run: str) -> tuple[str, int] | None:
    """Where the agent listens, or `None` where it will not any more."""
    sock.settimeout(0.5)
    until_s = time.monotonic() + KNOCK_S
    while time.monotonic() < until_s:
        try:
            peer: tuple[str, int] = sock.recvfrom(64)[1]
        except TimeoutError:
            if control.ask(data_dir, control.Became(run=run))["spoken"]:
                return None
        else:
            return peer
    return None


def _send(
    sock: socket.socket, peer: tuple[str, int], first: Pcm, voice: Iterator[Pcm], args: argparse.Namespace
) -> None:
    """At the pace of the sound, until it ends, its time is over, or Ctrl-C."""
    import random

    from edge_agent.runtime import SystemClock
    from edge_agent.speakers import rtpwire
    from edge_agent.speakers.codecs import open_encoder
    from edge_agent.speakers.rtpstream import RtpStream

    stream = RtpStream(open_encoder("pcmu"), SystemClock(), random.SystemRandom())
    due = began = time.monotonic()
    try:
        step: Pcm | None = first
        while step is not None and time.monotonic() - began < args.for_s:
            sock.sendto(stream.packet(step), peer)
            due += len(step) / stream.encoder.rate_hz
            if args.file is not None:  # a microphone has a pace of its own
                time.sleep(max(0.0, due - time.monotonic()))
            step = next(voice, None)
    except KeyboardInterrupt:
        pass
    finally:
        sock.sendto(rtpwire.bye(stream.ssrc), peer)


def _voice(file: Path | None, device: str) -> Iterator[Pcm]:
    """Steps of 20 ms at 8 kHz from a recording, or from an ALSA microphone."""
    import av

    from edge_agent.speakers import alsa
    from edge_agent.speakers.live import RATE_HZ, STEP

    alsa.use_system_settings()

    name, kind = (device, "alsa") if file is None else (str(file), None)
    try:
        with av.open(name, format=kind) as container:
            if not container.streams.audio:
                raise NoVoiceError(f"{name}: holds no sound")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ, frame_size=STEP)
            for frame in container.decode(audio=0):
                yield from (whole.to_ndarray()[0] for whole in resampler.resample(frame))
            yield from (whole.to_ndarray()[0] for whole in resampler.resample(None))
    except (av.FFmpegError, OSError) as error:
        why = getattr(error, "strerror", None) or error
        hint = "; name another --device (`arecord -L`), or a recording with --file" if file is None else ""
        raise NoVoiceError(f"{name}: {why}{hint}") from None


def _followed(data_dir: Path, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, and what became of it: each speaker's record, and the least that any of them proved."""
    while True:
        asked_s = time.monotonic()
        try:
            spoken = control.ask(data_dir, control.Became(run=answer["run"], wait_s=POLL_S), POLL_S + 10)["spoken"]
        except KeyboardInterrupt:
            return answer
        if spoken is None or time.monotonic() - asked_s < POLL_S:
            break
    answer = answer | {"spoken": spoken}
    proofs = [PROOFS.index(one["proof"]) for one in _last(answer)]
    return answer | {"proof": PROOFS[min(proofs)] if proofs else None}


def _last(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The records that count: where another speaker went on, that one's alone."""
    return [one for one in answer.get("spoken") or () if one["next"] is None]


def _good(one: dict[str, Any]) -> bool:
    """Whether it was said, and proven as far as the speaker's `proof` asks."""
    return one["outcome"] == "delivered" and PROOFS.index(one["proof"]) >= PROOFS.index(one["asked"] or "none")


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    reason, run = answer.get("reason"), answer.get("run")
    yield answer["state"] + (f": {reason}" if reason else "") + (f" (run {run})" if run else "")
    for one in answer.get("spoken") or ():
        refusal = one.get("refusal")
        why = one.get("detail") or (f"{refusal['gate']}: {refusal['reason']}" if refusal else None)
        more = (f" ({why})" if why else "") + (f"; {one['next']} goes on" if one["next"] else "")
        asked = "" if _good(one) or one["asked"] in (None, "none") else f" (asked for {one['asked']})"
        yield f"  {one['speaker']}: {one['outcome']}, proof {one['proof']}{asked}, {one['duration_s']:.1f} s{more}"


def _place(text: str) -> messages.Place:
    try:
        lat, lon = map(float, text.split(","))
        return msgspec.convert({"lat": lat, "lon": lon}, messages.Place)
    except ValueError as error:  # msgspec's ValidationError is one, too
        raise argparse.ArgumentTypeError(f"must be LAT,LON in degrees, got {text!r}: {error}") from None


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 3600 s, got {text}")
    return value

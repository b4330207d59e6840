"""`edge-agent speakers`: which there are, whether they answer, and which could be on this network."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from edge_agent import config, control
from edge_agent.cli.ask import PLACES
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError, SystemClock

if TYPE_CHECKING:
    from edge_agent.speakers.ear import Ear

ADDRESSES = ("uri", "url", "device", "directory")
TEST_LIMIT_S = 15.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Three verbs."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="those of the configuration, and how they do where the agent runs")
    test = verbs.add_parser("test", help="ask each whether it could play, and play the attention tone on it")
    test.add_argument("name", nargs="*", metavar="NAME", help="the name of a [[speaker]] (default: all)")
    test.add_argument("--silent", action="store_true", help="only ask: no sound")
    test.add_argument("--self-test", action="store_true", help="let devices that can test their own loudspeaker, aloud")
    search = verbs.add_parser("discover", help="ask the network: ONVIF's WS-Discovery and multicast DNS")
    search.add_argument("--for", dest="for_s", type=_seconds, default=3.0, metavar="S", help="how long to wait (3)")
    for verb in (listing, test):
        verb.add_argument("-c", "--config", type=Path, metavar="FILE", help="the configuration")
    for verb in (listing, test, search):
        verb.add_argument("--json", action="store_true", help="print one JSON list")


def main(args: argparse.Namespace) -> int:
    """Exit 0, or 1 where a speaker that was tested failed, 69 where there is no network, 78 on a bad config."""
    try:
        if args.verb == "discover":
            return _show(asyncio.run(_discover(args.for_s)), args)
        settings = config.load(_file(args))
        rows = _listed(settings) if args.verb == "list" else asyncio.run(_tested(settings, args))
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return 69
    return _show(rows, args)


def _file(args: argparse.Namespace) -> Path:
    file: Path | None = args.config or next((place for place in PLACES if place.is_file()), None)
    if file is None:
        raise DriverError(f"which configuration? give -c FILE (there is no {' and no '.join(map(str, PLACES))})")
    return file


def _listed(settings: config.Agent) -> list[dict[str, Any]]:
    from edge_agent.speakers import open_speaker

    try:
        parts = control.ask(settings.data_dir, control.Status())["parts"]
    except (DriverError, OSError):
        parts = None
    rows = []
    for section in settings.speakers:
        speaker = open_speaker(section, settings.data_dir, SystemClock())
        health = "the agent does not run" if parts is None else parts.get(f"speaker {section.name}", "not used yet")
        rows.append(_row(section) | {"best_proof": speaker.best, "groups": list(section.groups), "health": health})
    return rows


async def _tested(settings: config.Agent, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One after the other, so that an ear can tell them apart."""
    there = {section.name: section for section in settings.speakers}
    if unknown := [name for name in args.name if name not in there]:
        raise DriverError(f"no speaker is called {unknown[0]!r} (there is: {', '.join(there) or 'none'})")
    rows = []
    for name in args.name or there:
        print(f"testing {name} …", file=sys.stderr)
        rows.append(await _test(there[name], settings, silent=args.silent, self_test=args.self_test))
    return rows


async def _test(section: config.Speaker, settings: config.Agent, *, silent: bool, self_test: bool) -> dict[str, Any]:
    from edge_agent.speakers import SelfTesting, open_speaker, reason
    from edge_agent.speakers.ear import chirp_heard
    from edge_agent.speakers.sound import TONE_HZ, Clip, attention_tone, to_pcm

    speaker = open_speaker(section, settings.data_dir, SystemClock())
    row: dict[str, Any] = _row(section) | {"ok": False, "proof": None, "latency_ms": None, "reason": None}
    loop = asyncio.get_running_loop()
    limit_s = TEST_LIMIT_S * (3 if self_test else 1)
    try:
        async with asyncio.timeout(limit_s):
            await speaker.health()
            if self_test and isinstance(speaker, SelfTesting):
                row["self_test"] = await speaker.self_test()
            if not silent:
                await speaker.volume(min(section.volume_pct, settings.announcements.max_volume_pct))
                tone = to_pcm(attention_tone(speaker.rate_hz, settings.voice.loudness_lufs))
                clip = Clip(samples=tone, rate_hz=speaker.rate_hz, text="测试", tone_hz=TONE_HZ)
                async with _ear(section) as ear:
                    began_s = loop.time()
                    delivery = await speaker.play(clip, "speakers-test")
                    first_s = delivery.first_s or began_s
                    row |= {"proof": delivery.proof, "latency_ms": round((first_s - began_s) * 1000, 1)}
                    if ear is not None and (heard := await chirp_heard(ear, first_s, SystemClock())) is not None:
                        row |= {
                            "proof": "heard",
                            "heard_delay_ms": heard.delay_ms,
                            "heard_level_dbfs": heard.level_dbfs,
                        }
    except TimeoutError:
        row["reason"] = f"speaker {section.name}: no end after {limit_s:g} s"
    except (DriverError, OSError) as error:
        row["reason"] = reason(error)
    else:
        row["ok"] = row.get("self_test", "OK") == "OK"
    return row


@asynccontextmanager
async def _ear(section: config.Speaker) -> AsyncIterator[Ear | None]:
    """The speaker's microphone, once it has heard what noise there is; `DriverError` where it hears nothing."""
    if section.microphone is None:
        yield None
        return
    from edge_agent.speakers.ear import Ear

    ear = Ear(section.microphone, SystemClock(), section.microphone_credentials)
    listening = asyncio.create_task(ear.run())
    try:
        while ear.noise_dbfs() is None:
            if (await asyncio.wait([listening], timeout=0.05))[0]:
                await listening
        yield ear
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _discover(for_s: float) -> list[dict[str, Any]]:
    from edge_agent.speakers.discovery import discover

    try:
        return [to_builtins(device) for device in await discover(for_s)]
    except OSError as error:
        raise DriverError(f"the network cannot be asked: {error.strerror or error}") from None


def _row(section: config.Speaker) -> dict[str, Any]:
    address = next((str(getattr(section, key)) for key in ADDRESSES if getattr(section, key, None)), None)
    if isinstance(section, config.RtpSpeaker | config.DjiSpeaker):
        address = f"{section.host}:{section.port}"
    return {"name": section.name, "type": section.__struct_config__.tag, "address": address}


def _show(rows: list[dict[str, Any]], args: argparse.Namespace) -> int:
    if args.json:
        print_json(rows)
    for row in () if args.json else rows:
        facts = [
            f"{key} {_shown(value)}" for key, value in row.items() if key not in ("name", "type") and _shown(value)
        ]
        print(f"{row['name']} ({row.get('type') or row.get('found_by')}): {', '.join(facts)}")
    if not rows and not args.json:
        print("nothing answered" if args.verb == "discover" else "no [[speaker]] is configured")
    return 0 if all(row.get("ok", True) for row in rows) else 1


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 60:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 60 s, got {text}")
    return value


def _shown(value: Any) -> str:
    match value:
        case None | []:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return " ".join(map(str, value))
        case _:
            return str(value)

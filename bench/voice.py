"""The voice's figures: how soon the first sound leaves, how even its pace is, whether it survives the way.

`make bench-voice` takes about three minutes and writes its section of docs/PERFORMANCE.md. Peers: devices of
the tests on loopback, and, where Debian's packages are installed, baresip and GStreamer's ONVIF server.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration")]
sys.path.append(str(ROOT / "bench"))

from pages import write_part  # noqa: E402
from sound_peers import BARESIP, baresip, has_onvif, heard_by, onvif_server  # noqa: E402 (after the path to it)
from speakers import fake_devices as fakes  # noqa: E402

from edge_agent import config  # noqa: E402
from edge_agent.messages import Announcement, Phrase, Spoken  # noqa: E402
from edge_agent.runtime import Health, SystemClock  # noqa: E402
from edge_agent.speakers import Speaker, open_speaker  # noqa: E402
from edge_agent.speakers.announcer import Announcer  # noqa: E402
from edge_agent.speakers.paced import RESYNC_S, STEP_S  # noqa: E402
from edge_agent.speakers.sound import TONE_HZ, TONE_S, Clip  # noqa: E402
from edge_agent.speakers.voice import Voice  # noqa: E402
from edge_agent.vision.camera import Frame  # noqa: E402
from edge_agent.vision.detect import open_detector  # noqa: E402
from edge_agent.vision.worker import BEHIND, Worker  # noqa: E402

CLOCK = SystemClock()
WANTED_MS = {"rtp": 50, "axis": 100, "sip": 150, "onvif": 300}
NAMES = {
    "rtp": "RTP multicast",
    "axis": "Axis VAPIX (device of the tests)",
    "sip": "SIP, baresip 1.0",
    "onvif": "ONVIF backchannel, GStreamer 1.22",
}
TIMES = 100


class Still:
    """A voice whose one clip is ready: what is measured is the way, as the voice renders ahead."""

    def __init__(self, clips: dict[int, Clip]) -> None:
        self.clips = clips

    async def check(self) -> None: ...
    async def render(self, _phrases: tuple[Phrase, ...], rate_hz: int = 8000) -> Clip:
        return self.clips[rate_hz]

    async def clip(self, _name: str, rate_hz: int = 8000) -> Clip:
        return self.clips[rate_hz]


class Desk:
    """An announcer, and the records of what it said."""

    def __init__(self, speakers: dict[str, Speaker], clips: dict[int, Clip]) -> None:
        self.spoken: asyncio.Queue[Spoken] = asyncio.Queue()
        rules = config.Announcements(per_hour=3600)
        voice = Still(clips)
        self.announcer = Announcer(
            speakers, voice, clock=CLOCK, health=Health(CLOCK), on_spoken=self.spoken.put, rules=rules
        )

    async def say(self, count: int = 1) -> list[Spoken]:
        now = CLOCK.monotonic()
        announcement = Announcement(
            id=f"{now}",
            phrases=(Phrase(text="x"),),
            speakers=(),
            cls="rule",
            at_s=now,
            not_after_s=now + 10,
            by="bench",
        )
        refusal = self.announcer.offer(announcement)
        assert refusal is None, refusal
        return [await self.spoken.get() for _ in range(count)]


@asynccontextmanager
async def running(part: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(part())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def path(kind: str, directory: Path) -> AsyncIterator[tuple[Speaker, Callable[[], np.ndarray]]]:
    """A driver with its peer, and what the peer heard of the first sound."""
    password = directory / "password"
    password.write_text(fakes.PASSWORD)
    login: dict[str, Any] = {"username": fakes.USER, "password": str(password)}
    async with AsyncExitStack() as stack:
        section: config.Speaker
        match kind:
            case "rtp":
                device = await stack.enter_async_context(Multicast())
                section = config.RtpSpeaker(name="x", host=device.GROUP, port=device.port, interface="127.0.0.1")
                heard: Callable[[], np.ndarray] = device.samples
            case "axis":
                axis = await stack.enter_async_context(fakes.Axis())
                section = config.AxisSpeaker(name="x", url=axis.url, **login)
                heard = axis.samples
            case "sip":
                section = config.SipSpeaker(name="x", uri=stack.enter_context(baresip(directory)))
                heard = lambda: heard_by(directory)[0]  # noqa: E731
            case _:
                url, file = stack.enter_context(onvif_server(directory))
                section = config.OnvifSpeaker(name="x", url=url)
                heard = lambda: fakes.TABLES["pcmu"][np.frombuffer(file.read_bytes(), np.uint8)]  # noqa: E731
        yield open_speaker(section, directory, CLOCK), heard


class Multicast(fakes.Rtp):
    """A listener in a group of the loopback interface."""

    GROUP = "239.192.7.9"

    async def __aenter__(self) -> Multicast:
        import socket

        self.sink = fakes.RtpSink(self)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((self.GROUP, 0))
        member = socket.inet_aton(self.GROUP) + socket.inet_aton("127.0.0.1")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        self.port = sock.getsockname()[1]
        loop = asyncio.get_running_loop()
        self.sink.media, _ = await loop.create_datagram_endpoint(lambda: self.sink, sock=sock)
        self.sink.rtcp = self.sink.media
        return self


async def first_sound(kind: str, warning: Clip) -> dict[str, Any]:
    """p50 and p95 of trigger → first byte sent, of `TIMES`; and how the first, whole warning arrived."""
    with tempfile.TemporaryDirectory() as folder:
        async with path(kind, Path(folder)) as (speaker, heard):
            await speaker.play(warning, "whole")
            await asyncio.sleep(0.5)
            tone_hz, alike = fidelity(heard(), warning)
            short = Clip(samples=warning.samples[:320], rate_hz=warning.rate_hz, text="")
            desk = Desk({"x": speaker}, {warning.rate_hz: short})
            times = []
            async with running(desk.announcer.run):
                await asyncio.sleep(0.1)
                for _ in range(TIMES):
                    (spoken,) = await desk.say()
                    assert spoken.latency_ms is not None, spoken
                    times.append(spoken.latency_ms)
    return {
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
        "tone_hz": tone_hz,
        "alike": alike,
    }


def fidelity(heard: np.ndarray, clip: Clip) -> tuple[float, float]:
    """The peak of the tone's spectrum, and how far the loudness over time is that of what was rendered."""
    sent, rate = clip.samples.astype(float), clip.rate_hz
    heard = heard.astype(float)
    shift = int(np.argmax(np.correlate(heard, sent[: round(TONE_S * rate)], "valid")))
    heard = heard[shift : shift + len(sent)]
    peak = np.abs(np.fft.rfft(heard[: round(TONE_S * rate)], 10 * rate)).argmax() / 10
    step = rate // 50
    both = [x[: len(heard) // step * step].reshape(-1, step).std(axis=1) for x in (heard, sent)]
    return float(peak), float(np.corrcoef(both)[0, 1])


async def group(count: int) -> float:
    """By how many milliseconds the first and the last of a group begin apart."""
    async with AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(fakes.Rtp()) for _ in range(count)]
        speakers = {
            f"s{n}": open_speaker(config.RtpSpeaker(name=f"s{n}", host="127.0.0.1", port=device.port), Path(), CLOCK)
            for n, device in enumerate(devices)
        }
        silence = Clip(samples=np.zeros(1600, np.int16), rate_hz=8000, text="")
        desk = Desk(speakers, {8000: silence})
        async with running(desk.announcer.run):
            await asyncio.sleep(0.1)
            spread = []
            for _ in range(5):
                starts = [spoken.latency_ms for spoken in await desk.say(count)]
                spread.append(max(starts) - min(starts))  # type: ignore[type-var, operator]  (all of them played)
    return float(np.median(spread))


class Steady(SystemClock):
    """Notes by how much each sleep ends after its time, counted in steps of 20 ms from the first."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self._due_s: float | None = None

    async def sleep(self, seconds: float) -> None:
        now = self.monotonic()
        due_s = now + seconds if self._due_s is None or now - self._due_s > RESYNC_S else self._due_s + STEP_S
        self._due_s = due_s
        await asyncio.sleep(seconds)
        self.late_ms.append((self.monotonic() - due_s) * 1000)


async def pacing(seconds: float) -> tuple[float, float, int]:
    """p99 lateness of RTP packets, and of an idle sleeper, and how many pictures the detector beside them looked at."""
    over, looked = False, 0
    detector = open_detector(config.OnnxDetector(name="bench"))
    pixels = np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8)

    def work() -> None:
        nonlocal looked
        while not over:
            detector.detect(Frame(camera="c", seq=looked, at_s=CLOCK.monotonic(), wall_s=CLOCK.wall(), pixels=pixels))
            looked += 1

    sender, sleeper = Steady(), Steady()

    async def sleep() -> None:
        due = sleeper.monotonic()
        while not over:
            now = sleeper.monotonic()
            due += STEP_S + (now - due if now - due > RESYNC_S else 0)
            await sleeper.sleep(max(0.0, due - now))

    async with fakes.Rtp() as device:
        speaker = open_speaker(config.RtpSpeaker(name="x", host="127.0.0.1", port=device.port), Path(), sender)
        clip = Clip(samples=np.zeros(round(8000 * seconds), np.int16), rate_hz=8000, text="")
        worker = Worker("bench", nice=BEHIND)  # as the pipeline has it
        working, idle = worker.call(work), asyncio.create_task(sleep())
        await speaker.play(clip, "pace")
        over = True
        await asyncio.gather(working, idle)
        worker.close()
    return float(np.percentile(sender.late_ms, 99)), float(np.percentile(sleeper.late_ms, 99)), looked


async def main() -> int:
    load = os.getloadavg()[0]
    warning = await Voice(config.Voice(speed_wpm=250)).render((Phrase(text="危险，请离开。"),))
    rows = []
    for kind, wanted in WANTED_MS.items():
        if (kind == "sip" and BARESIP is None) or (kind == "onvif" and not has_onvif()):
            rows.append((NAMES[kind], f"≤ {wanted} ms", "its peer is not installed", "", "", ""))
            continue
        print(f"{NAMES[kind]} …", file=sys.stderr)
        found = await first_sound(kind, warning)
        good = found["p95_ms"] <= wanted and abs(found["tone_hz"] / TONE_HZ - 1) <= 0.01 and found["alike"] >= 0.95
        rows.append(
            (
                NAMES[kind],
                f"≤ {wanted} ms",
                f"{found['p50_ms']:.1f} / {found['p95_ms']:.1f} ms",
                f"{found['tone_hz']:.0f} Hz",
                f"{found['alike']:.3f}",
                "met" if good else "**missed**",
            )
        )
    spread = await group(50)
    print("60 s of pacing …", file=sys.stderr)
    packet, sleeper, looked = await pacing(60)
    page = [
        "## Voice",
        "",
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Linux {platform.release()}, Python"
        f" {platform.python_version()}; the load was {load:.1f} before the run (0 is an idle machine).",
        "Loopback, no real loudspeaker: what a device's own buffer adds, it does not show.",
        "",
        "From the trigger until the first sound is in the network (on loopback: in the peer's socket), clip cached,",
        f"p50 / p95 of {TIMES}; the tone's peak and the correlation of the loudness over time, both at the far end:",
        "",
        "| Path | p95 wanted | p50 / p95 | tone (1000 Hz) | envelope (≥ 0.95) |  |",
        "| --- | --- | --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        f"- 50 speakers of a group begin within {spread:.1f} ms of each other (median of 5; wanted ≤ 20 ms).",
        f"- Pace over 60 s while `person-vehicle` looks at {looked / 60:.0f} pictures a second in the same process: p99"
        f" {packet:.1f} ms late; an idle sleeper of 20 ms in the same run {sleeper:.1f} ms (wanted: at most 2 ms more):"
        f" {'met' if packet <= sleeper + 2 else '**missed**'}.",
    ]
    text = "\n".join(page) + "\n"
    write_part("voice", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

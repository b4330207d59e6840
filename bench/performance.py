"""The figures as a page: what was measured, on what, by which command, and which goals were missed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

OURS = "edge-agent, durable, acknowledged by the centre"


def page(found: dict[str, Any], faults: list[dict[str, Any]]) -> str:
    goals = _goals(found)
    facts = found["facts"]
    return "\n".join(
        [
            "# Performance",
            "",
            "<!-- Written by `make bench`; edit bench/performance.py instead. -->",
            "",
            "Reporting: from `put` on the device to the acknowledgement of the centre, which is sent after its commit.",
            f"One run of `{facts['command']}` ({facts['seconds']} s, {datetime.now(UTC):%Y-%m-%d}), medians of"
            f" {facts['repeats']} interleaved repeats, lowest and highest beside them.",
            "[bench/README.md](../bench/README.md) says what each figure means and how noise is handled.",
            "",
            _machine(),
            "",
            "**Not measured:** a Raspberry Pi, an SD card, a real LTE modem, a power cut. The device, the broker and",
            f"the centre share {os.cpu_count()} cores here; a device that has its own is faster than these figures.",
            f"The load of everything else when the run began was {facts['load']:.1f} (five minutes' average).",
            "",
            "## Goals",
            "",
            *_table(
                ("Goal", "Wanted", "Measured", ""), [(g, w, m, "met" if ok else "**missed**") for g, w, m, ok in goals]
            ),
            "",
            "## Events per second",
            "",
            f"{facts['events']:,} events of 400 bytes of data, QoS 1; all send the same number of bytes, envelope",
            "and all, through a mosquitto of the same configuration, and all are measured until the other end has the",
            "last. The peers send from memory to a paho subscriber that only counts: what they hold is lost with the",
            "process, and what the broker drops is lost although it was confirmed. Ours is on the device's disk before",
            "it is sent, and committed to SQLite by the centre before it is acknowledged.",
            "",
            *_rates(found["near"]),
            "",
            "At 100 ms round trip between device and broker:",
            "",
            *_rates(found["far"]),
            "",
            "## Latency, backlog, outage",
            "",
            *_others(found),
            "",
            *_where_we_lose(goals, found),
            *_faults(faults),
        ]
    )


def _goals(found: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    near, far, put = found["near"], found["far"], found["put"]
    ratio = near[OURS]["rate"] / near["paho, W = 100"]["rate"]
    times = far[OURS]["rate"] / far["paho, one at a time"]["rate"]
    back, out = found["backlog"], found["outage"]
    growth = back["rss_most_mib"] - back["rss_before_mib"]
    return [
        ("events/s against paho at W = 100 (not durable)", "≥ 0.6 ×", f"{ratio:.2f} ×", ratio >= 0.6),
        ("at 100 ms round trip", "≥ 1,500/s", f"{far[OURS]['rate']:,.0f}/s", far[OURS]["rate"] >= 1500),
        ("at 100 ms, against one at a time", "≥ 10 ×", f"{times:.0f} ×", times >= 10),
        ("`put` is durable, p99 at 500 ev/s", "≤ 60 ms", f"{put['p99_ms']:.1f} ms", put["p99_ms"] <= 60),
        ("memory while a backlog drains", "flat (≤ 16 MiB more)", f"{growth:+.1f} MiB", growth <= 16),
        ("newest incident after an outage", "≤ 2 s", f"{out['newest_s']:.2f} s", out["newest_s"] <= 2),
        ("backlog after an outage, against the link's rate", "≤ 1.5 ×", f"{out['drain_s'] / out['link_s']:.2f} ×",
         out["drain_s"] <= 1.5 * out["link_s"]),
    ]  # fmt: skip


def _rates(rates: dict[str, Any]) -> list[str]:
    ours = rates[OURS]["rate"]
    rows = [
        (name, f"{each['rate']:,.0f}", f"{each['low']:,.0f}–{each['high']:,.0f}", f"{each['cpu_us']:.0f}",
         "" if name == OURS else f"{ours / each['rate']:.2f} ×")
        for name, each in rates.items()
    ]  # fmt: skip
    return _table(("", "events/s", "lowest–highest", "CPU µs/event, start-up included", "edge-agent is"), rows)


def _others(found: dict[str, Any]) -> list[str]:
    put, back, out, facts = found["put"], found["backlog"], found["outage"], found["facts"]
    rows = [
        ("`put` returns durable, 500 ev/s: p50 / p99 / longest",
         f"{put['p50_ms']:.1f} / {put['p99_ms']:.1f} / {put['max_ms']:.0f} ms"),
        ("from `put` to the broker's far side, 500 ev/s: p50 / p99",
         f"{put['through_p50_ms']:.0f} / {put['through_p99_ms']:.0f} ms"),
        (f"{facts['backlog']:,} events put while the centre is away", f"{back['put_per_s']:,.0f}/s"),
        ("start with that backlog, until connected", f"{back['start_s']:.1f} s"),
        ("it drains at", f"{back['drain_per_s']:,.0f}/s"),
        ("event loop lag while it drains, p99", f"{back['lag_p99_ms']:.0f} ms"),
        ("resident memory before / most / after",
         f"{back['rss_before_mib']:.0f} / {back['rss_most_mib']:.0f} / {back['rss_after_mib']:.0f} MiB"),
        (f"after an hour's outage ({facts['outage']:,} events; 4 Mbit/s, 100 ms): newest incident, from reconnect",
         f"{out['newest_s']:.2f} s ({out['newest_acked_s']:.2f} s until acknowledged)"),
        ("events put while it drains, until the centre's broker has them: p50 / p99",
         f"{out['live_p50_s']:.2f} / {out['live_p99_s']:.2f} s"),
        ("the whole backlog", f"{out['drain_s']:.0f} s; its bytes alone need {out['link_s']:.0f} s"),
        ("from the link's return to the reconnect", f"{out['reconnect_s']:.1f} s (back-off with jitter)"),
    ]  # fmt: skip
    return _table(("", ""), rows)


def _where_we_lose(goals: list[tuple[str, str, str, bool]], found: dict[str, Any]) -> list[str]:
    ours = found["near"][OURS]["rate"]
    lines = [f"- {goal}: {measured}, and {wanted} was wanted." for goal, wanted, measured, ok in goals if not ok]
    lines += [f"- {name} sends {each['rate'] / ours:.1f} times as many events per second on loopback, from memory."
              for name, each in found["near"].items() if each["rate"] > ours]  # fmt: skip
    lines += [f"- {name} is {each['rate'] / found['far'][OURS]['rate']:.1f} times as fast at 100 ms."
              for name, each in found["far"].items() if each["rate"] > found["far"][OURS]["rate"]]  # fmt: skip
    return ["## Where we lose", "", *(lines or ["Nowhere in this run."]), ""]


def _faults(faults: list[dict[str, Any]]) -> list[str]:
    if not faults:
        return []
    rows = []
    for each in faults:
        if each["skipped"]:
            rows.append((each["scenario"], f"skipped: {each['skipped']}", "", "", "", "", "", ""))
            continue
        verdict = "**failed**" if each["failed"] else "held"
        rows.append((each["scenario"], *(f"{each[k]:,}" for k in ("events", "lost", "named", "duplicated", "reordered",
                     "repeated", "refused")), f"{each['seconds']:.0f} s", verdict))  # fmt: skip
    return [
        "## Faults",
        "",
        "The last `make faults` on this machine: events at 2,000 a second through mosquitto, two scenarios at a time.",
        "*Lost*: kept by `put`, not at the centre and in no gap record. *Named*: in a gap record. *Duplicated*: more",
        "than once at the centre. *Reordered*: first on the wire after a later one (newest-first does that by",
        "design; the centre orders by epoch and seq). *Repeated*: on the wire once more, removed by id. *Refused*:",
        "`put` raised, so the caller knows.",
        "",
        *_table(
            ("Fault", "events", "lost", "named", "duplicated", "reordered", "repeated", "refused", "time", ""), rows
        ),
        "",
    ]


def _machine() -> str:
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    first = subprocess.run(["/usr/sbin/mosquitto", "-h"], capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    names = ("paho-mqtt", "apsw", "msgspec")
    return (
        f"Machine: {cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()};"
        f" Python {platform.python_version()}, {first[0].replace(' version', '')}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
        + ", aiomqtt 2.5.1."
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows)]

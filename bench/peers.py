"""How others send and receive: paho and aiomqtt at QoS 1, from memory; prints one line of JSON.

Each is used as its documentation shows it, with `--window` messages on their way at a time; nothing is on disk, and a
PUBACK says only that the broker has it. `paho-listen` is the other end: it prints "ready", then when it had the last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import threading
import time

TOPIC = "ea/1/peer/up/ev/det"


def paho_listen(args: argparse.Namespace) -> float:
    """Subscribe at QoS 1 and count; returns when the last of `events` was there, by the monotonic clock."""
    import paho.mqtt.client as mqtt

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    all_there = threading.Event()
    heard = 0

    def on_message(*_: object) -> None:
        nonlocal heard
        heard += 1
        if heard == args.events:
            all_there.set()

    client.on_connect = lambda *_: client.subscribe(TOPIC, 1)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = on_message
    client.connect("127.0.0.1", args.port)
    client.loop_start()
    if not all_there.wait(600):
        raise SystemExit(f"{heard} of {args.events} arrived")
    ended_s = time.monotonic()
    client.disconnect()
    client.loop_stop()
    return ended_s


def paho_(args: argparse.Namespace) -> float:
    """`publish` with a semaphore of `window`, or with a window of 1 the usual `publish().wait_for_publish()`.

    Returns when the first was sent.
    """
    import paho.mqtt.client as mqtt

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(args.window)
    ready, free, all_there = threading.Event(), threading.Semaphore(args.window), threading.Event()
    confirmed = 0

    def on_publish(*_: object) -> None:
        nonlocal confirmed
        confirmed += 1
        free.release()
        if confirmed == args.events:
            all_there.set()

    client.on_connect = lambda *_: ready.set()
    client.on_publish = on_publish
    client.connect("127.0.0.1", args.port)
    client.loop_start()
    ready.wait(10)
    body = b"x" * args.body_bytes
    began_s = time.monotonic()
    for _ in range(args.events):
        if args.window == 1:
            client.publish(TOPIC, body, 1).wait_for_publish()
        else:
            free.acquire()
            client.publish(TOPIC, body, 1)
    all_there.wait(600)
    client.disconnect()
    client.loop_stop()
    return began_s


async def aiomqtt_(args: argparse.Namespace) -> float:
    """`await client.publish()` in `window` tasks; returns when the first was sent."""
    import aiomqtt

    body = b"x" * args.body_bytes
    async with aiomqtt.Client(
        "127.0.0.1", args.port, protocol=aiomqtt.ProtocolVersion.V5, max_inflight_messages=args.window, timeout=60
    ) as client:
        left = iter(range(args.events))

        async def send() -> None:
            for _ in left:
                await client.publish(TOPIC, body, qos=1)

        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(args.window):
                group.create_task(send())
        return began_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=["paho", "aiomqtt", "paho-listen"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--body-bytes", type=int, default=400)
    args = parser.parse_args()
    if args.peer == "paho-listen":
        at_s = paho_listen(args)
    else:
        at_s = paho_(args) if args.peer == "paho" else asyncio.run(aiomqtt_(args))
    cpu_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    print(json.dumps({"at_s": at_s, "cpu_us": cpu_s / args.events * 1e6}))


if __name__ == "__main__":
    main()

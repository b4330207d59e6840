"""The peers' counterpart: subscribes at QoS 1, answers every PUBLISH with a PUBACK, and does nothing else with it.

It is cheaper than any real centre, to the peers' advantage. Prints "ready"; ends on SIGTERM.
"""

from __future__ import annotations

import socket
import sys

CONNECT = b"\x10\x12\x00\x04MQTT\x04\x02\x00\x00\x00\x06reader"


def main() -> None:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
        topic = b"ea/1/peer/#"
        body = b"\x00\x01" + len(topic).to_bytes(2, "big") + topic + b"\x01"
        sock.sendall(CONNECT + b"\x82" + bytes([len(body)]) + body)
        buffer = b""
        while data := sock.recv(1 << 18):
            buffer += data
            at, answers = 0, b""
            while (packet := _packet(buffer, at)) is not None:
                kind, start, at = packet
                if kind == 0x90:
                    print("ready", flush=True)
                elif kind & 0xF6 == 0x32:
                    name = int.from_bytes(buffer[start : start + 2], "big")
                    answers += b"\x40\x02" + buffer[start + 2 + name : start + 4 + name]
            buffer = buffer[at:]
            if answers:
                sock.sendall(answers)


def _packet(buffer: bytes, at: int) -> tuple[int, int, int] | None:
    """`(kind, start of the body, end)` of the packet at `at`, once it is complete."""
    length = shift = 0
    for place in range(at + 1, min(at + 5, len(buffer))):
        length |= (buffer[place] & 0x7F) << shift
        shift += 7
        if not buffer[place] & 0x80:
            end = place + 1 + length
            return (buffer[at], place + 1, end) if end <= len(buffer) else None
    return None


if __name__ == "__main__":
    main()

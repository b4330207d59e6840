"""Every reason code of MQTT 5 that a broker may give us, and what follows from it: pure.

OASIS MQTT 5.0: CONNACK 3.2.2.2, PUBACK 3.4.2.1, SUBACK 3.9.3, DISCONNECT 3.14.2.1.
"""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """What becomes of a message that the broker answered."""

    TAKEN = "the broker has it; whether the centre has it, the centre will say"
    AGAIN = "it is sent again once its time is over"
    LATER = "it is put off: someone must change something at the broker"
    STRANGE = "it is put off, and set aside when that has happened a few times"
    NEVER = "it is set aside: it would be refused for ever"


PUBACK = {
    0x00: Verdict.TAKEN,  # success
    0x10: Verdict.TAKEN,  # no matching subscribers: the centre is away
    0x80: Verdict.STRANGE,  # unspecified error
    0x83: Verdict.STRANGE,  # implementation specific error
    0x87: Verdict.LATER,  # not authorized
    0x90: Verdict.NEVER,  # topic name invalid
    0x91: Verdict.AGAIN,  # packet identifier in use
    0x95: Verdict.NEVER,  # packet too large: not in the table of PUBACK, but mosquitto's clients see it
    0x97: Verdict.LATER,  # quota exceeded
    0x99: Verdict.NEVER,  # payload format invalid
}

_ACCOUNT = "check mqtt.username and mqtt.password, or the certificate"
_ACCESS = "check the broker's access list"
_WAIT = "the agent tries again, ever more slowly"
_ELSEWHERE = "put the other broker's address into mqtt.host"
_BROKER = "this broker cannot serve devices: configure it, or use another"
_BUG = "one of the two speaks MQTT wrongly: please report it with the broker's name and version"

CONNACK = {
    0x80: _WAIT,  # unspecified error
    0x81: _BUG,  # malformed packet
    0x82: _BUG,  # protocol error
    0x83: _WAIT,  # implementation specific error
    0x84: 'set mqtt.version = "3.1.1", or leave it at "auto"',  # unsupported protocol version
    0x85: "the broker does not take site.device as a client id: rename it, or allow it there",
    0x86: _ACCOUNT,  # bad user name or password
    0x87: _ACCOUNT,  # not authorized
    0x88: _WAIT,  # server unavailable
    0x89: _WAIT,  # server busy
    0x8A: "the broker has banned this device: lift that there",
    0x8C: _ACCOUNT,  # bad authentication method
    0x90: _ACCESS,  # topic name invalid, of the will
    0x95: _BROKER,  # packet too large
    0x97: _WAIT,  # quota exceeded
    0x99: _BUG,  # payload format invalid, of the will
    0x9A: _BROKER,  # retain not supported
    0x9B: _BROKER,  # QoS not supported
    0x9C: _ELSEWHERE,  # use another server
    0x9D: _ELSEWHERE,  # server moved
    0x9F: _WAIT,  # connection rate exceeded
}
DISCONNECT = {
    0x00: _WAIT,  # normal disconnection
    0x04: _WAIT,  # disconnect with will message
    0x80: _WAIT,  # unspecified error
    0x81: _BUG,  # malformed packet
    0x82: _BUG,  # protocol error
    0x83: _WAIT,  # implementation specific error
    0x87: _ACCOUNT,  # not authorized
    0x89: _WAIT,  # server busy
    0x8B: _WAIT,  # server shutting down
    0x8C: _ACCOUNT,  # bad authentication method
    0x8D: "nothing came through for 1.5 × mqtt.keep_alive_s: the link is bad",  # keep alive timeout
    0x8E: "another client uses the name in site.device: is it given to two devices?",  # session taken over
    0x8F: _ACCESS,  # topic filter invalid
    0x90: _ACCESS,  # topic name invalid
    0x93: _BUG,  # receive maximum exceeded
    0x94: _BUG,  # topic alias invalid
    0x95: "a message is larger than the broker takes: it is found and set aside",  # packet too large
    0x96: _WAIT,  # message rate too high
    0x97: _WAIT,  # quota exceeded
    0x98: "someone at the broker did this",  # administrative action
    0x99: "a message is not what the broker takes: it is found and set aside",  # payload format invalid
    0x9A: _BROKER,  # retain not supported
    0x9B: _BROKER,  # QoS not supported
    0x9C: _ELSEWHERE,  # use another server
    0x9D: _ELSEWHERE,  # server moved
    0x9E: _BROKER,  # shared subscriptions not supported
    0x9F: _WAIT,  # connection rate exceeded
    0xA0: _WAIT,  # maximum connect time
    0xA1: _BROKER,  # subscription identifiers not supported
    0xA2: _BROKER,  # wildcard subscriptions not supported
}

# The broker hung up over what one message is: sending it again would end every connection. Protocol error is how paho
# reports that its PUBLISH was too large.
OVER_A_MESSAGE = frozenset({0x81, 0x82, 0x90, 0x95, 0x99})


def verdict(code: int) -> Verdict:
    """What follows from a PUBACK; a code of later days is good below 0x80, as MQTT has it, and strange above."""
    return PUBACK.get(code, Verdict.TAKEN if code < 0x80 else Verdict.STRANGE)


def refused(code: int) -> str:
    """The way out where a CONNACK refuses us."""
    return CONNACK.get(code, _WAIT)


def hung_up(code: int) -> str:
    """The way out where the broker ended the connection."""
    return DISCONNECT.get(code, _WAIT)

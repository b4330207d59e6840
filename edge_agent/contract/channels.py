"""Every topic of the contract: which way, how it is sent, and which message types travel on it."""

from __future__ import annotations

from typing import Any, Literal, get_args

from msgspec import Struct

from edge_agent import messages, topics, twin


class Message(Struct, frozen=True, kw_only=True):
    """A kind of message: `wrapper` holds one of `bodies` in its field `field`, or is the whole message."""

    name: str
    wrapper: type[Struct] | None  # None: not JSON, but a JPEG
    field: str | None = None
    bodies: tuple[type[Struct], ...] = ()
    text: str


class Channel(Struct, frozen=True, kw_only=True):
    """A topic, as MQTT 5 carries it; `expiry` is in seconds, or says that the sender must choose one."""

    name: str
    address: str
    sender: Literal["device", "centre"]
    qos: Literal[0, 1] = 1
    retain: bool = False
    expiry: int | Literal["mandatory"] | None = None
    reply: str | None = None  # the channel on which the answer comes
    messages: tuple[Message, ...]
    text: str


DEVICE = "{device}"
ANYTHING = "{id}"

_BODIES: dict[str, tuple[type[Struct], ...]] = {
    "det": (messages.Incident, messages.Revision),
    "count": (messages.Tally,),
    "mission": (messages.FlightEvent,),
    "visit": (messages.Visit,),
    "voice": (messages.Spoken,),
    "snapshot": (messages.Snapped,),
    "clip": (messages.Clipped,),
    "audit": (topics.Answered, topics.Denied),
    "fault": (topics.Fault,),
    "gap": (topics.Gap,),
    "evidence": (topics.EvidenceState,),
    "tele": (topics.Summary,),
}
_STATES: dict[str, type[Struct]] = {
    "flight": twin.FlightState,
    "gps": twin.GpsState,
    "camera": twin.PartsState,
    "speaker": twin.PartsState,
    "link": twin.LinkState,
}
_ASKS: dict[str, tuple[type[Struct], ...]] = {
    "grant": (topics.GrantRequest,),
}


def channels() -> tuple[Channel, ...]:
    """All of them, the device's first."""
    return (*_up(), *_down())


def _up() -> list[Channel]:
    return [
        Channel(
            name="status",
            address=topics.status(DEVICE),
            sender="device",
            retain=True,
            messages=(_plain("status", topics.Status),),
            text="Birth, last word, and the will (delayed by 30 s). A will counts only while its `sess` is that of the"
            " last birth.",
        ),
        Channel(
            name="tele",
            address=topics.tele(DEVICE, "pos"),
            sender="device",
            qos=0,
            expiry=30,
            messages=(_wrapped("tele.pos", topics.Sample, "data", (messages.Telemetry,)),),
            text="Where the vehicle is and how it does, at most every `mqtt.telemetry_period_s`; what finds no"
            " link comes later as `ev/tele`, one summary a minute.",
        ),
        *(
            Channel(
                name=f"state_{group}",
                address=topics.state(DEVICE, group),
                sender="device",
                retain=True,
                messages=(_wrapped(f"state.{group}", twin.State, "data", (body,)),),
                text="How a group of parts stands; told when it changes.",
            )
            for group, body in _STATES.items()
        ),
        *(
            Channel(
                name=f"ev_{kind}",
                address=topics.event(DEVICE, kind),
                sender="device",
                reply="ack",
                messages=(_wrapped(f"ev.{kind}", topics.Envelope, "data", bodies),),
                text="Never retained, never expiring; sent again until the centre acknowledges its place.",
            )
            for kind, bodies in _BODIES.items()
        ),
        Channel(
            name="thumb",
            address=f"{topics.ROOT}/{DEVICE}/up/thumb/{{event}}/{{epoch}}/{{seq}}",
            sender="device",
            reply="ack",
            messages=(Message(name="thumb", wrapper=None, text="A JPEG of at most 24 KiB."),),
            text="The small picture of an event; its place in the stream stands in the topic. Acknowledged like one.",
        ),
        Channel(
            name="res",
            address=topics.result(DEVICE),
            sender="device",
            expiry=3600,
            messages=(_plain("res", topics.Result),),
            text="Answers to commands that name no response topic: accepted or not at once, then progress, then done or"
            " failed, all with the command's id and correlation data.",
        ),
        *(
            Channel(
                name=f"req_{what}",
                address=topics.request(DEVICE, what),
                sender="device",
                expiry=60,
                reply="answer",
                messages=(_wrapped(f"req.{what}", twin.Ask, "data", _ASKS.get(what, ())),),
                text="The device asks the centre.",
            )
            for what in topics.ASKS
        ),
        Channel(
            name="reported",
            address=topics.reported(DEVICE),
            sender="device",
            retain=True,
            messages=(_plain("reported", twin.Reported),),
            text="How the device is set, and what it refused of the last `desired`, with path and reason.",
        ),
    ]


def _down() -> list[Channel]:
    return [
        *(
            Channel(
                name=f"cmd_{kind.__struct_config__.tag}",
                address=topics.command(DEVICE, str(kind.__struct_config__.tag)),
                sender="centre",
                expiry="mandatory",
                reply="res",
                messages=(_wrapped(f"cmd.{kind.__struct_config__.tag}", topics.Command, "args", (kind,)),),
                text=(kind.__doc__ or "").strip(),
            )
            for kind in get_args(messages.Request)
        ),
        Channel(
            name="group_cmd",
            address=topics.group_command("{group}", "{name}"),
            sender="centre",
            expiry="mandatory",
            messages=tuple(
                _wrapped(f"cmd.{kind.__struct_config__.tag}", topics.Command, "args", (kind,))
                for kind in get_args(messages.Request)
            ),
            text="Any command, for every device with this group in `mqtt.groups`: signed for `grp/{group}` in place of"
            " the device, and answered by each on its own `up/res`.",
        ),
        Channel(
            name="ack",
            address=topics.ack(DEVICE),
            sender="centre",
            expiry=3600,
            messages=(_plain("ack", topics.Ack),),
            text="What the centre has committed to its own disk; only then does the device delete an event.",
        ),
        Channel(
            name="desired",
            address=topics.desired(DEVICE),
            sender="centre",
            retain=True,
            reply="reported",
            messages=(_plain("desired", twin.Desired),),
            text="How the device is to be set. Taken as a whole or refused as a whole.",
        ),
        Channel(
            name="answer",
            address=topics.answer(DEVICE),
            sender="centre",
            expiry=60,
            messages=(_plain("answer", twin.Answer),),
            text="What the centre answers to `up/req/…`; `data` depends on what was asked.",
        ),
        Channel(
            name="host",
            address=topics.host("{centre}"),
            sender="centre",
            retain=True,
            messages=(_plain("host", twin.Host),),
            text="Birth and will of a centre. While every centre known is offline, a device sends one event at a time.",
        ),
    ]


def _plain(name: str, kind: type[Struct]) -> Message:
    return Message(name=name, wrapper=kind, text=_doc(kind))


def _wrapped(name: str, wrapper: type[Struct], field: str, bodies: tuple[type[Struct], ...]) -> Message:
    told: Any = bodies or (wrapper,)
    return Message(name=name, wrapper=wrapper, field=field, bodies=bodies, text=" ".join(map(_doc, told)))


def _doc(kind: type[Struct]) -> str:
    return " ".join((kind.__doc__ or "").split())

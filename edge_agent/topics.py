"""The words that device and centre share: topic names, the event envelope, acknowledgements, commands and replies.

`ea/1/{device}/up/...` is written by the device, `ea/1/{device}/down/...` is read by it; 1 is the contract's major
version, within which fields are only added. Everything is JSON, except that a thumb is a plain JPEG.

Events of all kinds and thumbs are one stream, `ev`: each has a place (epoch, seq) in it, and the centre confirms
places. An event carries its place in its envelope; a JPEG has no room for one and MQTT 3.1.1 has no properties, so a
thumb carries it in its topic.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from edge_agent.messages import Refusal, Reply

ROOT = "ea/1"
VERSION = "1.1"  # of the contract: the second number counts what was added
GROUP = "grp"  # where another topic names the device
JSON = "application/json"
JPEG = "image/jpeg"
KINDS = ("det", "mission", "voice", "snapshot", "clip", "audit", "fault", "gap", "evidence", "tele", "visit", "count")
ASKS = ("config", "grant", "time", "params")  # what a device may ask the centre for

Count = Annotated[int, Meta(ge=0, le=2**53)]
Seq = Annotated[int, Meta(ge=1, le=2**53)]
_LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def status(device: str) -> str:
    """Retained: whether the device is online; also the topic of its will."""
    return f"{ROOT}/{device}/up/status"


def tele(device: str, group: str) -> str:
    """QoS 0: the newest values, never stored by the device."""
    return f"{ROOT}/{device}/up/tele/{group}"


def event(device: str, kind: str) -> str:
    """QoS 1, confirmed by the centre; never retained, never expires."""
    return f"{ROOT}/{device}/up/ev/{kind}"


def thumb(device: str, event_id: str, epoch: int, seq: int) -> str:
    """QoS 1, confirmed like an event: a small JPEG that belongs to one."""
    return f"{ROOT}/{device}/up/thumb/{event_id}/{epoch}/{seq}"


def result(device: str) -> str:
    """Replies to commands that name no response topic."""
    return f"{ROOT}/{device}/up/res"


def command(device: str, name: str) -> str:
    """A command to the device (`+` for all of them); never retained."""
    return f"{ROOT}/{device}/down/cmd/{name}"


def group_command(group: str, name: str) -> str:
    """A command to every device of a group (`+` for all of them); each answers on its own `result`."""
    return f"{ROOT}/{GROUP}/{group}/down/cmd/{name}"


def ack(device: str) -> str:
    """What the centre has committed."""
    return f"{ROOT}/{device}/down/ack"


def state(device: str, group: str) -> str:
    """Retained: how a group of parts stands, told when it changes."""
    return f"{ROOT}/{device}/up/state/{group}"


def request(device: str, what: str) -> str:
    """The device asks the centre (`+` for whatever it asks); the answer comes on `answer`."""
    return f"{ROOT}/{device}/up/req/{what}"


def answer(device: str) -> str:
    """What the centre answers to `request`."""
    return f"{ROOT}/{device}/down/res"


def desired(device: str) -> str:
    """Retained: how the centre wants the device to be set."""
    return f"{ROOT}/{device}/down/desired"


def reported(device: str) -> str:
    """Retained: how the device is set, and what it refused of `desired`."""
    return f"{ROOT}/{device}/up/reported"


def host(centre: str) -> str:
    """Retained: whether a centre is online (`+` for all of them); also the topic of its will."""
    return f"{ROOT}/host/{centre}/state"


def split(topic: str) -> tuple[str, list[str]] | None:
    """`ea/1/D/up/ev/det` as `("D", ["up", "ev", "det"])`; None for a topic that is not of this contract."""
    levels = topic.split("/")
    if len(levels) < 5 or levels[:2] != ROOT.split("/") or not all(map(_LEVEL.fullmatch, levels[2:])):
        return None
    return levels[2], levels[3:]


def rfc3339(wall_s: float) -> str:
    """Unix time as RFC 3339 in UTC with milliseconds."""
    seconds, ms = divmod(round(wall_s * 1000), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{ms:03d}Z"  # strftime takes four times as long


def unix_s(text: str) -> float:
    """RFC 3339 as Unix time; ValueError for anything else, also for a time that names no offset."""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"names no offset from UTC: {text!r}")
    return when.timestamp()


# --- up -----------------------------------------------------------------------------------------------------------


class TimeQuality(Struct, frozen=True, kw_only=True):
    """How far `time` may be trusted: who set the clock, and by how much it may be off (None: nobody knows)."""

    src: Literal["ntp", "gps", "unsynchronised"]
    err_ms: Count | None = None


class Context(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """On whose behalf the device was there."""

    site: str
    org: str | None = None
    purpose: str | None = None


class Envelope(Struct, frozen=True, kw_only=True):
    """An event on the wire, with the names of CloudEvents 1.0.

    `boot` is the machine's boot id and `mono_us` its monotonic clock; `prev` chains the events by their hashes.
    """

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    time: str
    seq: Seq
    epoch: Count
    boot: str
    mono_us: Count | UnsetType = UNSET
    tq: TimeQuality | UnsetType = UNSET
    prev: str | UnsetType = UNSET
    ctx: Context | UnsetType = UNSET
    data: Raw


class EvidenceFile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An original (a picture, a clip) that is uploaded apart from the stream; `id` is the name of its file."""

    id: str
    incident: str
    kind: str
    sha256: str
    bytes: Count


class EvidenceState(EvidenceFile, frozen=True, kw_only=True, omit_defaults=True):
    """What became of an original: the centre has it and proved it by its hash, or will never take it."""

    state: Literal["received", "refused"]
    url: str | None = None
    stored_at: str | None = None
    reason: str | None = None


class GrantRequest(EvidenceFile, frozen=True, kw_only=True, omit_defaults=True):
    """A device asks where to put an original; `upload` names the S3 upload that it is in the midst of."""

    upload: str | None = None


class Place(Struct, frozen=True):
    """The least that an event must carry to be answered."""

    seq: Seq
    epoch: Count


class Gap(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What will never come, and why: loss is never silent.

    Places `first` to `last` of the stream, or, with `evidence`, a file (and no place: `first` and `last` are 0 then).
    """

    epoch: Count = 0
    first: Count = 0
    last: Count = 0
    reason: str
    evidence: EvidenceFile | None = None


class Fault(Struct, frozen=True, kw_only=True):
    """A part of the device failed in a way that the centre should know of."""

    part: str
    reason: str


class Stream(Struct, frozen=True, kw_only=True):
    """How a stream stands: places up to `acked` are all settled, `next` is the next to be given."""

    epoch: Count
    next: Count
    acked: Count
    depth: Count
    oldest_s: float


class Status(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Birth, last word and will; a will counts only while its `sess` is that of the last birth."""

    state: Literal["online", "offline"]
    sess: str
    time: str
    boot: str | None = None
    sw: str | None = None
    contract: str | None = None
    reason: str | None = None
    key: str | None = None  # the device's public key: Ed25519, base64
    caps: tuple[str, ...] = ()  # the commands that this device carries out
    streams: dict[str, Stream] = {}


class Sample(Struct, frozen=True, kw_only=True):
    """Telemetry on the wire."""

    time: str
    boot: str
    data: Any


class Spread(Struct, frozen=True, kw_only=True):
    """A number over a minute."""

    min: float
    mean: float
    max: float


class Summary(Struct, frozen=True, kw_only=True):
    """A minute of telemetry that found no link: how many samples, the last of each value, and how numbers spread."""

    group: str
    began: str
    ended: str
    count: Count
    last: dict[str, Any]
    spread: dict[str, Spread] | UnsetType = UNSET


class Answered(Struct, frozen=True, kw_only=True):
    """The audit event of a command: who asked for what, and what the answer was."""

    command: str
    name: str
    by: str
    reply: Reply


class Denied(Struct, frozen=True, kw_only=True):
    """The audit event of a command that was refused unseen: unsigned, unknown, expired, replayed, malformed."""

    command: str | None
    name: str
    by: str
    state: str
    reason: str
    more: Count = 0  # others refused since the last of these: a flood is counted, not written down


# --- down ---------------------------------------------------------------------------------------------------------


class Nack(Struct, frozen=True):
    """The centre cannot take this event and never will."""

    seq: Count
    why: str


class Ack(Struct, frozen=True, kw_only=True):
    """Committed at the centre: every place up to `cum`, and the ranges `sel` (both ends included).

    `all` answers a birth: the centre holds nothing of this epoch beyond these.
    """

    stream: Literal["ev"] = "ev"
    epoch: Count
    cum: Count
    sel: tuple[tuple[Count, Count], ...] = ()
    nack: tuple[Nack, ...] = ()
    all: bool = False


class TusGrant(Struct, frozen=True, kw_only=True, tag_field="type", tag="tus", omit_defaults=True):
    """Upload by tus 1.0: create at `url` with the bearer `token`, until `exp` (RFC 3339)."""

    url: str
    token: str | None = None
    exp: str | None = None


class S3Grant(Struct, frozen=True, kw_only=True, tag_field="type", tag="s3", omit_defaults=True):
    """Upload to S3 in parts of `part_bytes` (the last may be smaller), all by URLs that the centre signed.

    `upload` is the multipart upload; `parts[n-1]` takes part n by PUT, `list_url` answers ListParts, `complete_url`
    takes CompleteMultipartUpload by POST.
    """

    upload: str
    part_bytes: Annotated[int, Meta(ge=1)]
    parts: tuple[str, ...]
    list_url: str
    complete_url: str
    exp: str | None = None


class Receipt(Struct, frozen=True, kw_only=True, tag_field="type", tag="receipt", omit_defaults=True):
    """The centre has the whole file and computed its hash itself, after it was safe on its own disk."""

    id: str
    sha256: str
    bytes: Count
    stored_at: str
    url: str | None = None


class Unwanted(Struct, frozen=True, kw_only=True, tag_field="type", tag="unwanted"):
    """The centre will never take this file."""

    reason: str


Grant = TusGrant | S3Grant | Receipt | Unwanted


class Auth(Struct, frozen=True, kw_only=True):
    """The Ed25519 signature, in base64, of the operator with the id `kid`, over the bytes that the README defines."""

    kid: str
    sig: str


class Command(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked of a device, by whom and until when."""

    id: str
    name: str
    not_after: str
    by: str
    args: dict[str, Any] = {}
    auth: Auth | None = None


class Result(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer to a command; a `duplicate` brings the newest answer that its id has got."""

    id: str | None
    state: str
    time: str
    reason: str | None = None
    run: str | None = None
    phase: str | None = None
    refusal: Refusal | None = None
    recorded: Reply | None = None


def encode_event(
    *,
    device: str,
    kind: str,
    id: str,
    wall_s: float,
    boot: str,
    epoch: int,
    seq: int,
    data: bytes,
    mono_us: int | UnsetType = UNSET,
    tq: TimeQuality | UnsetType = UNSET,
    prev: str | UnsetType = UNSET,
    ctx: Context | UnsetType = UNSET,
) -> bytes:
    """The bytes of an event; the same arguments always give the same bytes."""
    envelope = Envelope(
        id=id,
        source=f"ea/{device}",
        type=f"ev.{kind}",
        time=rfc3339(wall_s),
        seq=seq,
        epoch=epoch,
        boot=boot,
        mono_us=mono_us,
        tq=tq,
        prev=prev,
        ctx=ctx,
        data=Raw(data),
    )
    return msgspec.json.encode(envelope)


def encode_result(id: str | None, reply: Reply, wall_s: float, recorded: Reply | None = None) -> bytes:
    """The bytes of an answer."""
    result = Result(
        id=id,
        state=reply.state,
        time=rfc3339(wall_s),
        reason=reply.reason,
        run=reply.run,
        phase=reply.phase,
        refusal=reply.refusal,
        recorded=recorded,
    )
    return msgspec.json.encode(result)

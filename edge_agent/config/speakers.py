"""Sections of the voice: loudspeakers, announcements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from edge_agent.config.base import Id, Lat, Lon, Port, Secret, Section
from edge_agent.config.flight import Schedule
from edge_agent.messages import AnnouncementClass, Phrase, Proof


class Ambient(Section, frozen=True):
    """How the noise around a speaker sets its volume: `least_pct` up to `quiet_dbfs`, all of it from `loud_dbfs` on.

    The noise is what the speaker's `microphone` has heard of late, in dB of its own full scale: look at it on the spot.
    """

    quiet_dbfs: Annotated[float, Meta(ge=-120, le=0)] = -60.0
    loud_dbfs: Annotated[float, Meta(ge=-120, le=0)] = -30.0
    least_pct: Annotated[float, Meta(ge=0, le=100)] = 40.0


class AnySpeaker(Section, frozen=True, kw_only=True):
    """What any loudspeaker has. `groups` are names that mean several; `airborne` hangs under the drone.

    A warning that is not proven as far as `proof` asks is tried on `fallback`. `microphone` hears it: `alsa:DEVICE`, or
    whatever FFmpeg opens: a camera's `rtsp://` stream, whose USER:PASSWORD stands in the file `microphone_credentials`.
    """

    name: Id
    groups: tuple[Id, ...] = ()
    lat: Lat | None = None
    lon: Lon | None = None
    airborne: bool = False
    volume_pct: Annotated[float, Meta(ge=0, le=100)] = 100.0
    proof: Proof = "none"
    fallback: Id | None = None
    microphone: Annotated[str, Meta(min_length=1, max_length=300)] | None = None
    microphone_credentials: Secret | None = None
    ambient: Ambient | None = None


RtpCodec = Literal["pcmu", "pcma", "g722", "opus"]


class RtpSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="rtp"):
    """RTP to a unicast or multicast address, 20 ms a packet; with `rtcp`, reports on the port above."""

    host: str
    port: Annotated[int, Meta(ge=1024, le=65534)]
    codec: RtpCodec = "pcmu"
    rtcp: bool = False
    ttl: Annotated[int, Meta(ge=0, le=255)] = 1
    interface: str | None = None  # the local address that multicast leaves by


class SimulatedSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="simulated"):
    """Writes what it would play to WAV files in `directory` (the default is `speakers/NAME` below `data_dir`)."""

    directory: Path | None = None
    realtime: bool = True


class HttpSpeaker(AnySpeaker, frozen=True, kw_only=True):
    """A device with a web server: `http://HOST[:PORT]`, or https with the certificate in `ca_file`."""

    url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+$")]
    username: str | None = None
    password: Secret | None = None
    ca_file: Path | None = None


class AxisSpeaker(HttpSpeaker, frozen=True, kw_only=True, tag_field="type", tag="axis"):
    """Axis: VAPIX audio transmit, mu-law at 8 kHz, or at 16 kHz (`wide`) where the device has it.

    With `clips` what is said is stored on the device and played there, and its events tell that it plays (an operator's
    rights; an administrator's for the report of its speaker test).
    """

    wide: bool = False
    clips: bool = False


class HikvisionSpeaker(HttpSpeaker, frozen=True, kw_only=True, tag_field="type", tag="hikvision"):
    """Hikvision: ISAPI two-way audio, in the codec that the channel is set to (G.711); `clips` for an IP speaker."""

    channel: Annotated[int, Meta(ge=1, le=64)] = 1
    clips: bool = False


class DahuaSpeaker(HttpSpeaker, frozen=True, kw_only=True, tag_field="type", tag="dahua"):
    """Dahua, Amcrest, Lorex: `audio.cgi`, G.711 in one part, or AAC in many."""

    channel: Annotated[int, Meta(ge=1, le=64)] = 1
    codec: Literal["pcma", "pcmu", "aac"] = "pcma"


class SipSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="sip"):
    """A SIP device that answers by itself: `sip:USER@HOST[:PORT]`, called directly or through a PBX at `proxy`.

    With `register` we register there as `username`, for a PBX that lets nobody else call.
    """

    uri: Annotated[str, Meta(pattern=r"^sip:[^\s@:;<>]+@[^\s@;<>/]+$")]
    proxy: Annotated[str, Meta(pattern=r"^[^\s@;<>/]+$")] | None = None  # HOST[:PORT]
    register: bool = False
    caller: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._+-]{1,64}$")] = "edge-agent"
    username: str | None = None
    password: Secret | None = None
    codec: RtpCodec = "pcmu"


class OnvifSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="onvif"):
    """An ONVIF Profile T device: the audio backchannel of its RTSP stream, `rtsp://HOST[:PORT]/PATH`."""

    url: Annotated[str, Meta(pattern=r"^rtsp://[^\s/?#@]+(/\S*)?$")]
    username: str | None = None
    password: Secret | None = None


class AlgoSpeaker(HttpSpeaker, frozen=True, kw_only=True, tag_field="type", tag="algo"):
    """Algo: RTP to the speaker itself or its group, and its REST API to see whether it plays (user `admin`)."""

    host: str = "224.0.2.60"  # what Algo's own speakers listen to
    port: Annotated[int, Meta(ge=1024, le=65534)] = 50_000
    codec: RtpCodec = "pcmu"
    ttl: Annotated[int, Meta(ge=0, le=255)] = 1
    interface: str | None = None


GbId = Annotated[str, Meta(pattern=r"^\d{20}$")]  # GB/T 28181, annex D


class Gb28181Speaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="gb28181"):
    """A GB/T 28181 device that registers with us, `platform` at `listen`, and is told to call for each broadcast.

    `channel` is its audio output (type 137), or the camera that has one. With `host` it is not waited for.
    """

    device: GbId
    channel: GbId
    platform: GbId
    listen: Annotated[str, Meta(pattern=r"^\d{1,3}(\.\d{1,3}){3}:\d{1,5}$")] = "0.0.0.0:5060"
    password: Secret | None = None  # of the device's registration; its user name is `device`
    host: str | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] = 5060


class DjiSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="dji"):
    """A loudspeaker under a DJI or Autel drone, by the MQTT broker of its cloud API.

    `gateway` is the serial number of the dock or remote controller, `aircraft` that of the drone, whose reports tell
    when it plays. `serve` is an address of this machine that the dock fetches sound from; without, it speaks the text.
    """

    host: Annotated[str, Meta(min_length=1, max_length=253)]
    port: Port = 8883
    plain: bool = False
    ca_file: Path | None = None
    username: str | None = None
    password: Secret | None = None
    gateway: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    aircraft: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    psdk_index: Annotated[int, Meta(ge=0, le=7)] = 2
    serve: Annotated[str, Meta(pattern=r"^\d{1,3}(\.\d{1,3}){3}:\d{1,5}$")] | None = None


_TUNE = r"^([A-GPR][#+-]?\d{0,3}\.{0,2}|N\d{1,2}|[LOTV]\d{1,3}|M[NLSFB]|[<>])+$"


class TuneSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="tune"):
    """The buzzer of the [vehicle]: a tune of QBasic's PLAY language in place of any words."""

    tune: Annotated[str, Meta(pattern=_TUNE, max_length=94)] = "MFT200L8O5CGCGCGP4CGCGCG"


class LocalSpeaker(AnySpeaker, frozen=True, kw_only=True, tag_field="type", tag="local"):
    """A sound card of this machine: an ALSA device as `aplay -L` lists them."""

    device: Annotated[str, Meta(pattern=r"^[^\s\x00]{1,128}$")] = "default"


Speaker = (
    RtpSpeaker
    | SipSpeaker
    | AxisSpeaker
    | HikvisionSpeaker
    | DahuaSpeaker
    | OnvifSpeaker
    | AlgoSpeaker
    | Gb28181Speaker
    | DjiSpeaker
    | TuneSpeaker
    | LocalSpeaker
    | SimulatedSpeaker
)


class ScheduledAnnouncement(Section, frozen=True, kw_only=True):
    """What is said at fixed times, in the site's time zone: by `cron`, `rrule` from `dtstart`, or the `sun`.

    One that could not be said in its time (`voice.stale_s`) is not said later.
    """

    id: Id
    say: Annotated[tuple[Phrase, ...], Meta(min_length=1)]
    speakers: tuple[Id, ...] = ()
    cron: str | None = None
    rrule: str | None = None
    dtstart: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$")] | None = None
    sun: Literal["dawn", "sunrise", "sunset", "dusk"] | None = None
    offset_min: Annotated[float, Meta(ge=-720, le=720)] = 0.0

    @property
    def when(self) -> Schedule:
        """Its times, as those of a flight's schedule are told."""
        return Schedule(
            id=self.id,
            route=self.id,
            cron=self.cron,
            rrule=self.rrule,
            dtstart=self.dtstart,
            sun=self.sun,
            offset_min=self.offset_min,
        )


Hours = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]


class Announcements(Section, frozen=True):
    """Restraint: what is said how often, when not, how loud at most, and when the drone may speak.

    `quiet` spans are in the site's time and may pass midnight. Danger and live talk are never limited by number.
    """

    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0  # between two warnings of one track
    per_hour: Annotated[int, Meta(ge=0, le=3600)] = 60  # of one speaker
    quiet: tuple[Hours, ...] = ()
    quiet_classes: tuple[AnnouncementClass, ...] = ("rule", "scheduled", "test")
    max_volume_pct: Annotated[float, Meta(ge=0, le=100)] = 100.0
    drone_min_alt_m: Annotated[float, Meta(ge=0, le=500)] = 5.0
    drone_max_alt_m: Annotated[float, Meta(ge=0, le=500)] = 60.0
    drone_max_speed_mps: Annotated[float, Meta(ge=0, le=30)] = 3.0
    drone_radius_m: Annotated[float, Meta(gt=0, le=10_000)] = 60.0  # around the place that a warning is for
    scheduled: tuple[ScheduledAnnouncement, ...] = ()


def quiet_span(text: str) -> tuple[int, int]:
    """`22:00-06:00` as minutes of the day: when it begins and when it ends."""
    begins, ends = (int(part[:2]) * 60 + int(part[3:]) for part in text.split("-"))
    return begins, ends


class Voice(Section, frozen=True):
    """How texts are spoken: by eSpeak NG, and in `model_langs` by sherpa-onnx where a directory holds its `model`."""

    speed_wpm: Annotated[int, Meta(ge=80, le=400)] = 160
    model: Path | None = None
    model_langs: Annotated[tuple[Literal["cmn", "en"], ...], Meta(min_length=1)] = ("cmn",)
    model_speaker: Annotated[int, Meta(ge=0, le=1000)] = 0  # of a model with several
    model_threads: Annotated[int, Meta(ge=1, le=16)] = 2
    tone: bool = True
    compress: bool = True  # high-pass and compressor before the loudness is set: for horns in the open
    loudness_lufs: Annotated[float, Meta(ge=-40, le=-6)] = -16.0  # EBU R128; the attention tone's RMS in dBFS, too
    stale_s: Annotated[float, Meta(gt=0, le=600)] = 10.0

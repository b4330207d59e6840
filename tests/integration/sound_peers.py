"""Real peers that play what they are sent: baresip (SIP) and GStreamer's ONVIF server (RTSP), as processes."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BARESIP = shutil.which("baresip")
SYSTEM_PYTHON = "/usr/bin/python3"

CONFIG = """
sip_listen 127.0.0.1:{port}
audio_player aubridge,spk
audio_source aubridge,spk
audio_alert aubridge,alert
rtp_ports {rtp}-{rtp_end}
rtcp_enable yes
module_path /usr/lib/baresip/modules
module g711.so
module g722.so
module opus.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
snd_path {directory}
"""

ONVIF = """
import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPOnvifServer.new()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPOnvifMediaFactory.new()
factory.set_launch(
    "( videotestsrc is-live=true ! video/x-raw,format=I420,width=64,height=48,framerate=10/1"
    " ! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)
factory.set_backchannel_launch(
    "( capsfilter caps=application/x-rtp,media=audio,payload=0,clock-rate=8000,encoding-name=PCMU"
    " name=depay_backchannel ! rtppcmudepay"
    " ! filesink async=false buffer-mode=unbuffered location=" + sys.argv[1] + " )"
)
factory.set_media_gtype(GstRtspServer.RTSPOnvifMedia.__gtype__)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""

CAMERA = """
import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( audiotestsrc is-live=true wave=pink-noise volume=0.02 ! audio/x-raw,rate=8000,channels=1 ! audiomixer name=mix"
    " ! audioconvert ! mulawenc ! rtppcmupay name=pay0 pt=0"
    " udpsrc address=127.0.0.1 port=" + sys.argv[1] + " caps=application/x-rtp,media=audio,payload=0,"
    "clock-rate=8000,encoding-name=PCMU ! rtppcmudepay ! mulawdec ! audioconvert ! queue ! mix. )"
)
factory.set_shared(True)
user, _, password = sys.argv[2].partition(":")
auth = GstRtspServer.RTSPAuth()
token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "user")
auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
server.set_auth(auth)
permissions = GstRtspServer.RTSPPermissions()
permissions.add_permission_for_role("user", "media.factory.access", True)
permissions.add_permission_for_role("user", "media.factory.construct", True)
factory.set_permissions(permissions)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


def free_port() -> int:
    """An even one, with the next one free too."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        if port % 2 == 0:
            return int(port)


@contextlib.contextmanager
def baresip(directory: Path) -> Iterator[str]:
    """A SIP loudspeaker that answers by itself and records what it decodes (`heard_by`); yields its URI."""
    assert BARESIP
    port, rtp = free_port(), free_port()
    (directory / "config").write_text(CONFIG.format(port=port, rtp=rtp, rtp_end=rtp + 20, directory=directory))
    account = f"<sip:horn@127.0.0.1:{port};transport=udp>;regint=0;answermode=auto;audio_codecs=pcmu,pcma,g722/16000/1"
    (directory / "accounts").write_text(f"{account}\n")
    (directory / "contacts").write_text("")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [BARESIP, "-f", str(directory), "-v"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 15
        while "baresip is ready" not in (directory / "log").read_text(errors="replace"):
            assert process.poll() is None, (directory / "log").read_text(errors="replace")
            assert time.monotonic() < deadline, (directory / "log").read_text(errors="replace")
            time.sleep(0.05)
        yield f"sip:horn@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def heard_by(directory: Path) -> tuple[np.ndarray, int]:
    """The first recording of what a baresip decoded, and its rate."""
    with wave.open(str(min(directory.glob("dump-*-dec.wav")))) as wav:
        return np.frombuffer(wav.readframes(10**7), "<i2").astype(float), wav.getframerate()


@contextlib.contextmanager
def onvif_server(directory: Path) -> Iterator[tuple[str, Path]]:
    """An RTSP server with a backchannel: its URL, and the file that takes the mu-law it is sent."""
    heard = directory / "heard.ulaw"
    with _serving(ONVIF, str(heard)) as url:
        yield url, heard


@contextlib.contextmanager
def listening_camera(login: str) -> Iterator[tuple[str, int]]:
    """A camera behind USER:PASSWORD whose microphone is in a noisy street before an RTP loudspeaker: URL and port."""
    port = free_port()
    with _serving(CAMERA, str(port), login) as url:
        yield url, port


@contextlib.contextmanager
def _serving(script: str, *args: str) -> Iterator[str]:
    process = subprocess.Popen(
        [SYSTEM_PYTHON, "-c", script, *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout
        yield f"rtsp://127.0.0.1:{int(process.stdout.readline())}/live"
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout
        process.stdout.close()


def has_onvif() -> bool:
    """Whether the system's Python has GStreamer's RTSP server."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    return subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def operator_speaking() -> Iterator[int]:
    """Silence in mu-law as RTP, 50 packets a second, to a port of this machine, which is yielded."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    over = threading.Event()

    def speak() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            n = 0
            while not over.wait(0.02):
                out.sendto(struct.pack("!BBHII", 0x80, 0, n % 65536, 160 * n, 7) + b"\x80" * 160, ("127.0.0.1", port))
                n += 1

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield port
    finally:
        over.set()
        thread.join()

"""A real RTSP server, GStreamer's, as a process of its own; run by the system's Python, which has its bindings.

    /usr/bin/python3 rtsp_server.py PORT [PATTERN] [USER:PASSWORD]     (port 0: any; prints the port when it serves)

It serves a test picture as Motion JPEG at /live: `ball` moves, `smpte` stands still, `grows` is larger after 3 s.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402  # the versions must be asked for first

Gst.init(None)
port, pattern = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "ball"
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
small, large = (f"video/x-raw,format=I420,width={w},height={h},framerate=15/1" for w, h in ((320, 240), (640, 480)))
pictures = f"videotestsrc is-live=true pattern={pattern} ! {small}"
if pattern == "grows":
    pictures = (
        f"videotestsrc num-buffers=45 pattern=ball ! {small} ! c."
        f" videotestsrc pattern=ball ! {large} ! c. concat name=c"
    )
factory.set_launch(f"( {pictures} ! jpegenc ! rtpjpegpay name=pay0 pt=26 )")
factory.set_shared(True)
if len(sys.argv) > 3:
    user, _, password = sys.argv[3].partition(":")
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

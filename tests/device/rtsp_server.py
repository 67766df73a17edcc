"""An RTSP server of a moving picture, for the system's Python: prints its port, serves until it is killed.

JPEG over RTP, as simple cameras send it; user `me`, password `secret`.
"""

# mypy: ignore-errors

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402  # of the versions above

Gst.init(None)
server = GstRtspServer.RTSPServer(service="0")  # any free port

token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "user")
auth = GstRtspServer.RTSPAuth()
auth.add_basic(GstRtspServer.RTSPAuth.make_basic("me", "secret"), token)
server.set_auth(auth)

permissions = GstRtspServer.RTSPPermissions()
for what in ("access", "construct"):
    permissions.add_permission_for_role("user", f"media.factory.{what}", True)
factory = GstRtspServer.RTSPMediaFactory(shared=True)
factory.set_permissions(permissions)
factory.set_launch(
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=96,height=64,framerate=30/1 "
    "! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)
server.get_mount_points().add_factory("/street", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()

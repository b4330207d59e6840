#!/bin/sh
# The real servers and the real video that the integration tests meet, from Debian.
set -eu
want=""
[ -x /usr/sbin/mosquitto ] || command -v mosquitto >/dev/null || want="$want mosquitto"
video=/usr/share/doc/opencv-doc/examples/data/vtest.avi
cache=build/opencv-doc
[ -f "$video" ] || [ -f "$cache$video" ] || want="$want opencv-doc"
command -v mcopy >/dev/null || want="$want mtools"
command -v baresip >/dev/null || want="$want baresip-core"
/usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null \
    || want="$want python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
[ -f /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc ] || want="$want fonts-noto-cjk"
[ -f /usr/share/fonts/truetype/wqy/wqy-zenhei.ttc ] || want="$want fonts-wqy-zenhei"
[ -f /usr/share/fonts/truetype/wqy/wqy-microhei.ttc ] || want="$want fonts-wqy-microhei"
[ -f /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ] || want="$want fonts-dejavu-core"
[ -n "$want" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "tests that need them will be skipped; to run them too: sudo apt-get install$want"
    exit 0
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $want >/dev/null
# A slim image keeps no /usr/share/doc: take the video out of the package itself.
if [ ! -f "$video" ]; then
    mkdir -p "$cache"
    (cd "$cache" && apt-get download -qq opencv-doc && dpkg-deb -x opencv-doc_*.deb . && rm opencv-doc_*.deb)
fi

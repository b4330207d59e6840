#!/bin/bash
# The whole life of an installation in a bookworm of its own, under its own systemd: `make test-rootfs` (about 5 minutes).
# Wants root, and from Debian: debootstrap, systemd-container. Leaves build/rootfs/base as a cache, and nothing else.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=$PWD/.tools/bin/uv here=$PWD/build/rootfs mirror=${MIRROR:-http://deb.debian.org/debian}
base=$here/base root=$here/root

want=""
command -v debootstrap >/dev/null || [ -x /usr/sbin/debootstrap ] || want="$want debootstrap"
command -v systemd-nspawn >/dev/null || want="$want systemd-container"
if [ "$(id -u)" != 0 ]; then
    echo "only root can make a root: sudo make test-rootfs"
    exit 77
fi
[ -z "$want" ] || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $want >/dev/null; }

mkdir -p "$here"
if [ ! -e "$base/.whole" ]; then
    echo "--- a bare bookworm, as its installer leaves it"
    rm -rf "$base"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,udev,python3,python3-venv,passwd \
        bookworm "$base" "$mirror" >"$here/debootstrap.log" || { tail "$here/debootstrap.log"; exit 1; }
    touch "$base/.whole"
fi
rm -rf "$root"
cp -a --reflink=auto "$base" "$root"
trap 'rm -rf "$root"' EXIT

echo "--- the agent's wheel, and wheels of all that it needs"
wheels=$here/wheels
rm -rf "$wheels" && mkdir -p "$wheels"
"$uv" build --quiet --wheel --out-dir "$wheels" .
"$uv" export --quiet --frozen --no-dev --no-emit-project --no-hashes >"$wheels/requirements.txt"
"$uv" pip install --quiet --python-platform x86_64-manylinux_2_36 --python-version 3.11 --only-binary :all: --no-deps \
    --target "$root/srv/lib" -r "$wheels/requirements.txt" "$wheels"/*.whl
cp tests/rootfs/inside.sh tests/rootfs/agent.toml tests/rootfs/eyes.toml "$root/srv/"
"${PYTHON:-.venv/bin/python}" tests/rootfs/picture.py "$root/srv"

cat >"$root/etc/systemd/system/proof.service" <<'UNIT'
[Unit]
Wants=network-online.target
[Service]
Type=oneshot
ExecStart=/bin/bash /srv/inside.sh
ExecStopPost=/bin/bash -c 'echo $EXIT_STATUS >/srv/status; systemctl poweroff --force --no-block'
StandardOutput=file:/srv/said
StandardError=file:/srv/said
TimeoutStartSec=15min
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../proof.service "$root/etc/systemd/system/multi-user.target.wants/proof.service"

echo "--- inside, under systemd"
touch "$root/srv/said"
tail -f "$root/srv/said" &
watcher=$!
timeout 900 systemd-nspawn --quiet --register=no --keep-unit --directory="$root" --machine=edge --boot \
    >"$here/boot.log" 2>&1 </dev/null || true
sleep 1
kill $watcher
status=$(cat "$root/srv/status" 2>/dev/null || echo "none: it did not boot; see $here/boot.log")
cp "$root/srv/said" "$here/said.log"
if [ "$status" != 0 ]; then
    echo "FAILED (status $status); see $here/said.log"
    exit 1
fi
echo "proven"

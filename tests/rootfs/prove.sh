#!/bin/bash
# The whole life of an installation in a Debian of its own, under its own systemd: `make test-rootfs` (about 6 minutes).
# SUITE=trixie takes that, marked as Raspberry Pi OS. Wants root. Leaves build/rootfs/SUITE as a cache, and nothing else.
set -euo pipefail
made_by=test-rootfs
. "$(dirname "$0")/common.sh"
suite=${SUITE:-bookworm} here=$PWD/build/rootfs root=$PWD/build/rootfs/root
wants debootstrap debootstrap systemd-nspawn systemd-container
base "$here/$suite" --include=systemd,systemd-sysv,dbus,udev,python3,python3-venv,passwd "$suite"
rm -rf "$root"
cp -a --reflink=auto "$here/$suite" "$root"
trap 'rm -rf "$root"' EXIT
[ "$suite" = bookworm ] || touch "$root/etc/rpi-issue"
python=$(basename "$(readlink -f "$root/usr/bin/python3")")
wheels x86_64-manylinux_2_36 "${python#python}" "$root/srv/lib"
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
# Its own network, as of a machine: with that of this one, systemd may give none to a unit (PrivateNetwork=).
timeout 900 systemd-nspawn --quiet --private-network --register=no --keep-unit --directory="$root" --machine=edge --boot \
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

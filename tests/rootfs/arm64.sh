#!/bin/bash
# The agent on a Pi's architecture, from wheels alone, under qemu's user emulation: `make test-arm64` (about 4 minutes).
# It installs, checks a configuration and a model, and finds what is in one picture. Its times mean nothing.
# Wants from Debian: debootstrap, qemu-user-static. MODEL=file.onnx takes another model than the package's own.
set -euo pipefail
made_by=test-arm64
. "$(dirname "$0")/common.sh"
here=$PWD/build/arm64 root=$PWD/build/arm64/root
wants debootstrap debootstrap qemu-aarch64-static qemu-user-static
base "$here/base" --arch=arm64 --foreign --include=python3,ca-certificates bookworm
rm -rf "$root"
cp -a --reflink=auto "$here/base" "$root"
trap 'rm -rf "$root"' EXIT

site=$root/srv/ea/lib/python3.11/site-packages
mkdir -p "$root/srv/ea/bin"
wheels aarch64-manylinux_2_36 3.11 "$site"
printf 'home = /usr/bin\ninclude-system-site-packages = false\n' >"$root/srv/ea/pyvenv.cfg"
ln -s /usr/bin/python3.11 "$root/srv/ea/bin/python"
head -c 20 "$site"/onnxruntime/capi/onnxruntime_pybind11_state*.so | od -An -t x1 | grep -q 'b7 00' || {
    echo "FAILED: onnxruntime is not for aarch64"
    exit 1
}

cp tests/rootfs/agent.toml "$root/srv/agent.toml"
sed -i 's#/var/lib/edge-agent#/srv/data#' "$root/srv/agent.toml"
"${PYTHON:-.venv/bin/python}" tests/rootfs/picture.py "$root/srv"
[ -z "${MODEL:-}" ] || cp "$MODEL" "$root/srv/model.onnx"

cat >"$root/srv/inside.sh" <<'INSIDE'
set -eu
ea() { /srv/ea/bin/python -c 'import sys; from edge_agent.cli import main; sys.exit(main())' "$@"; }
echo "--- $(uname -m): edge-agent check"
ea --version
ea check -c /srv/agent.toml
echo "--- edge-agent models check"
ea models check /srv/model.onnx
echo "--- edge-agent detect: one picture"
ea detect /srv/picture.png --model /srv/model.onnx --json | tee /srv/found
grep -q '"label":' /srv/found
INSIDE

echo "--- under emulation"
cat >"$here/enter.sh" <<'ENTER'
set -eu
root=$1 format=$2
# Since Linux 6.7 each user namespace has formats of its own: this machine's are left as they are.
if [ ! -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then
    mkdir -p "$root/mnt"
    mount -t binfmt_misc none "$root/mnt" # for as long as it is mounted
    printf '%b' "$format" >"$root/mnt/register"
fi
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp LANG=C.UTF-8 /bin/sh /srv/inside.sh
ENTER
# The header of an AArch64 program, as qemu's own qemu-binfmt-conf.sh has it; F: opened now, from this root.
magic='\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00'
mask='\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff'
timeout 550 unshare --map-root-user --mount --pid --fork --kill-child \
    bash "$here/enter.sh" "$root" ":qemu-aarch64:M::$magic:$mask:$(command -v qemu-aarch64-static):F"
echo "proven"

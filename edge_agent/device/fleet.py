"""A new device as files: its configuration from a template and a site, and its card for the first boot. Pure.

The card may hold a system with cloud-init (Raspberry Pi OS trixie: `user-data`, `meta-data`, `network-config` on the
FAT partition) or one that takes `firstrun.sh` from the kernel's command line, as Raspberry Pi Imager writes it
(bookworm). Both end in the same `first-boot.sh`.
"""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from edge_agent.config import Id, Port

FOLDER = "edge-agent"  # on the card's FAT partition
BOOT = "/boot/firmware"
IDENTITY = "/var/lib/edge-agent/identity"
KERNEL_RUN = (
    "systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target"
)
DONE = f"{BOOT}/{FOLDER}/done"  # of this card: a wipe or an uninstall does not set the device up anew at the next boot
UNIT = "edge-agent-first-boot.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
SET_UP = f"install -m 0644 {BOOT}/{FOLDER}/first-boot.service {UNIT_FILE} && systemctl daemon-reload"
FIRST_BOOT_UNIT = f"""[Unit]
Description=Edge agent: install and enrol
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
ExecStart=/bin/sh {BOOT}/{FOLDER}/first-boot.sh
[Install]
WantedBy=multi-user.target
"""
Line = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*\Z")]


class Bench(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[fleet] of a site file: where devices enrol, what they install, who may log in, how they get on the network."""

    ca_host: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:_-]+\Z")]
    ca_port: Port = 8470
    ca_sha256: Annotated[str, Meta(pattern=r"^[0-9A-Fa-f:]{64,95}\Z")] | None = None  # or --ca DIR
    template: str | None = None  # a configuration that the site's own is laid over; relative to the site file
    claim_hours: Annotated[float, Meta(gt=0, le=2160)] = 72.0
    package: Line = "edge-agent"  # what pip installs; wheels in edge-agent/ on the card go first
    user: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,30}\Z")] = "technician"
    ssh_keys: tuple[Line, ...] = ()
    wifi_ssid: Line | None = None
    wifi_password_file: str | None = None  # relative to the site file
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")] = "CN"


class Device(Struct, frozen=True, kw_only=True):
    """One device: its id, its board where that is known, and what of the configuration is its alone."""

    id: Id
    board: str = ""
    values: dict[str, Any] = {}


def lay_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key; whatever else stands in `above` takes the place of what is below."""
    merged = copy.deepcopy(dict(below))
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = lay_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def configured(template: Mapping[str, Any], site: Mapping[str, Any], device: Device) -> dict[str, Any]:
    """The device's agent.toml as a table: template, site, its own values (`site.lat` = 30.2), its name and files."""
    table = lay_over(template, {key: value for key, value in site.items() if key != "fleet"})
    for dotted, value in device.values.items():
        *path, last = dotted.split(".")
        at = table
        for key in path:
            at = at.setdefault(key, {})
            if not isinstance(at, dict):
                raise ValueError(f"{dotted}: {key} is no table of the configuration")
        at[last] = value
    if not isinstance(table.setdefault("site", {}), dict):
        raise ValueError("site is no table of the configuration")
    table["site"]["device"] = device.id
    table["data_dir"] = "/var/lib/edge-agent"
    mqtt = table.get("mqtt")
    if isinstance(mqtt, dict) and not mqtt.get("plain"):
        for key, name in (("ca_file", "ca.crt"), ("cert_file", "device.crt"), ("key_file", "device.key")):
            mqtt.setdefault(key, f"{IDENTITY}/{name}")
    return table


def card(bench: Bench, device: Device, agent_toml: str, claim: str, wifi_password: str | None) -> dict[str, bytes]:
    """The files of the card's FAT partition, by their paths."""
    files = {
        f"{FOLDER}/agent.toml": agent_toml,
        f"{FOLDER}/claim": claim + "\n",
        f"{FOLDER}/first-boot.sh": first_boot(bench, device),
        f"{FOLDER}/first-boot.service": FIRST_BOOT_UNIT,
        "user-data": "#cloud-config\n" + _yaml(user_data(bench, device)),
        "meta-data": _yaml({"instance-id": f"edge-agent-{device.id.lower()}", "local-hostname": hostname(device)}),
        "firstrun.sh": first_run(bench, device),
    }
    network = network_config(bench, wifi_password)
    files["network-config"] = _yaml(network)
    if bench.wifi_ssid is not None:
        files[f"{FOLDER}/wifi.nmconnection"] = nm_connection(bench.wifi_ssid, wifi_password)
    return {name: text.encode() for name, text in files.items()}


def hostname(device: Device) -> str:
    """RFC 1123: letters, digits and dashes."""
    return device.id.lower().replace("_", "-").strip("-")[:63]


def user_data(bench: Bench, device: Device) -> dict[str, Any]:
    """cloud-init: an account that takes keys only, and the first boot's script."""
    user = {
        "name": bench.user,
        "groups": "sudo,dialout,video",
        "shell": "/bin/bash",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "lock_passwd": True,
        "ssh_authorized_keys": list(bench.ssh_keys),
    }
    return {
        "hostname": hostname(device),
        "manage_etc_hosts": True,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,  # keys that came with an image are everybody's
        "users": [user] if bench.ssh_keys else [],
        "package_update": False,
        # At every boot, unlike runcmd: what a power cut left unfinished goes on.
        "bootcmd": [["sh", "-c", f"test -e {DONE} || {{ {SET_UP} && systemctl start --no-block {UNIT}; }}"]],
    }


def network_config(bench: Bench, wifi_password: str | None) -> dict[str, Any]:
    """Netplan version 2, as cloud-init takes it: any wired port by DHCP, and the Wi-Fi of the site."""
    network: dict[str, Any] = {
        "version": 2,
        "ethernets": {"wired": {"match": {"name": "e*"}, "dhcp4": True, "dhcp6": True, "optional": True}},
    }
    if bench.wifi_ssid is not None:
        access = {"password": wifi_password} if wifi_password else {}
        network["wifis"] = {
            "wlan0": {
                "dhcp4": True,
                "optional": True,
                "regulatory-domain": bench.country,
                "access-points": {bench.wifi_ssid: access},
            }
        }
    return {"network": network}


def nm_connection(ssid: str, password: str | None) -> str:
    """A NetworkManager key file (nm-settings-keyfile(5)) for systems without cloud-init."""
    lines = ["[connection]", "id=site", "type=wifi", "[wifi]", "mode=infrastructure", f"ssid={_keyfile(ssid)}"]
    if password:
        lines += ["[wifi-security]", "key-mgmt=wpa-psk", f"psk={_keyfile(password)}"]
    return "\n".join([*lines, "[ipv4]", "method=auto", "[ipv6]", "method=auto", ""])


def first_boot(bench: Bench, device: Device) -> str:
    """Install, enrol, start, look over; run again at each boot until all of it is done. The claim leaves the card."""
    return f"""#!/bin/sh
# {device.id}: from a bare card to green. Run as root; what is done already is left as it is.
set -u
here={BOOT}/{FOLDER}
log=/var/log/edge-agent-first-boot.log
exec >>"$log" 2>&1
echo "first boot of {device.id}: $(date -u +%FT%TZ)"
[ -e {DONE} ] && exit 0
install -d -m 0755 /etc/edge-agent
[ -e /etc/edge-agent/agent.toml ] || install -m 0644 "$here/agent.toml" /etc/edge-agent/agent.toml
if [ ! -x /opt/edge-agent/bootstrap/bin/edge-agent ]; then
    python3 -m venv --system-site-packages /opt/edge-agent/bootstrap || exit 1
    /opt/edge-agent/bootstrap/bin/pip install --quiet --find-links "$here" {shlex.quote(bench.package)} || exit 1
fi
agent=/opt/edge-agent/bootstrap/bin/edge-agent
"$agent" install --no-start || exit 1
tries=0
"$agent" enrol --status >/dev/null 2>&1 || until "$agent" enrol --claim "$(cat "$here/claim")"; do
    code=$?
    [ $code -le 2 ] && exit $code    # refused or mistyped: trying again does not help, a new claim does
    tries=$((tries + 1))
    [ $tries -ge 40 ] && exit $code
    sleep 30                         # no network yet, or no time
done
rm -f "$here/claim"
systemctl enable --now edge-agent.service || exit 1
touch {DONE}
"$agent" doctor --json >"$here/doctor.json" || true
systemctl disable {UNIT} 2>/dev/null || true
rm -rf {UNIT_FILE} /opt/edge-agent/bootstrap    # what runs from now on is /opt/edge-agent/current
"""


def first_run(bench: Bench, device: Device) -> str:
    """firstrun.sh of systems without cloud-init: it has no network yet, so it sets up what runs at the next boot."""
    keys = "\n".join(bench.ssh_keys)
    account = f"""
id {bench.user} >/dev/null 2>&1 || useradd -m -s /bin/bash -G sudo,dialout,video {bench.user}
install -d -m 0700 -o {bench.user} -g {bench.user} /home/{bench.user}/.ssh
cat >/home/{bench.user}/.ssh/authorized_keys <<'KEYS'
{keys}
KEYS
chown {bench.user}: /home/{bench.user}/.ssh/authorized_keys && chmod 600 /home/{bench.user}/.ssh/authorized_keys
echo '{bench.user} ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/010-{bench.user} && chmod 440 /etc/sudoers.d/010-{bench.user}
systemctl enable ssh
"""
    return f"""#!/bin/sh
# Run once by the kernel's command line, as Raspberry Pi Imager does it; takes itself out again.
set -u
echo {hostname(device)} >/etc/hostname
sed -i 's/^127.0.1.1.*/127.0.1.1 {hostname(device)}/' /etc/hosts
rm -f /etc/ssh/ssh_host_*_key* && ssh-keygen -A
printf 'PasswordAuthentication no\\n' >/etc/ssh/sshd_config.d/10-edge-agent.conf
{account if bench.ssh_keys else ""}
if [ -e {BOOT}/{FOLDER}/wifi.nmconnection ]; then
    install -m 0600 {BOOT}/{FOLDER}/wifi.nmconnection /etc/NetworkManager/system-connections/site.nmconnection
    rfkill unblock wifi || true
    raspi-config nonint do_wifi_country {bench.country} || true
fi
{SET_UP}
systemctl enable {UNIT}
sed -i 's| systemd\\.run[^ ]*||g; s| systemd\\.unit=kernel-command-line\\.target||g' {BOOT}/cmdline.txt
rm -f {BOOT}/firstrun.sh
exit 0
"""


def kernel_line(text: str) -> str:
    """cmdline.txt, one line, with what runs firstrun.sh once; unchanged where it is there already."""
    line = text.strip()
    return line + "\n" if "systemd.run=" in line else f"{line} {KERNEL_RUN}\n"


def _yaml(value: Any) -> str:
    """JSON is YAML 1.2, and quotes what needs it."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _keyfile(text: str) -> str:
    """GKeyFile's escapes: a backslash, and a space in front."""
    text = text.replace("\\", "\\\\")
    return "\\s" + text[1:] if text.startswith(" ") else text


def parse_bench(table: Any) -> Bench:
    """[fleet] of a site file; ValueError names the key."""
    try:
        return msgspec.convert(table, Bench)
    except msgspec.ValidationError as error:
        raise ValueError(f"fleet: {error}") from None

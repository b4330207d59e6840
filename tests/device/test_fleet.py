"""New devices on the bench: what is laid over what, what lies on the card, labels that read back, many of a CSV."""

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import claim
from edge_agent.centre import rollover
from edge_agent.cli import main
from edge_agent.device import card, fleet
from edge_agent.device.label import label_png, read_qr
from edge_agent.runtime import DriverError

ROOT = Path(__file__).resolve().parent.parent.parent
SITE = """
[fleet]
ca_host = "ca.example.org"
ca_sha256 = "{sha}"
ssh_keys = ["ssh-ed25519 AAAA technician"]
wifi_ssid = "site"
wifi_password_file = "wifi"
[site]
name = "gate"
[[camera]]
type = "rtsp"
name = "gate"
url = "rtsp://10.0.0.7/live"
credentials = "/var/lib/edge-agent/cameras"
detector = "eyes"
[[detector]]
type = "onnx"
name = "eyes"
model = "/var/lib/edge-agent/models/a.onnx"
[mqtt]
host = "broker.example.org"
port = 8883
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site.toml").write_text(SITE.format(sha="ab" * 32))
    (tmp_path / "wifi").write_text('geheim "x"\n')
    return tmp_path / "site.toml"


def new(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, list[dict[str, Any]]]:
    code = main(["fleet", "new", *map(str, args), "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out)["devices"] if out else []


@pytest.mark.parametrize("kind", ["drone", "pole", "dock"])
def test_each_site_of_the_examples_makes_a_device(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, rows = new(capsys, "EA-7", "--site", ROOT / "examples" / "sites" / f"{kind}.toml", "--out", tmp_path)
    assert code == 0 and rows[0]["state"] == "made"
    made = {str(path.relative_to(tmp_path / "EA-7")) for path in (tmp_path / "EA-7").rglob("*") if path.is_file()}
    assert made >= {
        *("agent.toml", "claim.txt", "label.png", "boot/user-data", "boot/meta-data", "boot/network-config"),
        *("boot/firstrun.sh", "boot/edge-agent/agent.toml", "boot/edge-agent/claim", "boot/edge-agent/first-boot.sh"),
    }
    assert read_qr(tmp_path / "EA-7" / "label.png") == rows[0]["claim"]
    for script in ("firstrun.sh", "edge-agent/first-boot.sh"):
        subprocess.run(["sh", "-n", str(tmp_path / "EA-7" / "boot" / script)], check=True)


def test_the_card_holds_the_claim_and_cloud_init_the_script(site: Path, tmp_path: Path, capsys: Any) -> None:
    _, rows = new(capsys, "EA_7", "--site", site, "--out", tmp_path)
    boot = tmp_path / "EA_7" / "boot"
    assert (boot / "edge-agent" / "claim").read_text().strip() == rows[0]["claim"]
    text = (boot / "user-data").read_text()
    assert text.startswith("#cloud-config\n")
    user = json.loads(text.split("\n", 1)[1])
    assert user["hostname"] == "ea-7" and user["ssh_pwauth"] is False
    assert user["users"][0]["ssh_authorized_keys"] == ["ssh-ed25519 AAAA technician"]
    (at_every_boot,) = user["bootcmd"]
    assert at_every_boot[-1].startswith("test -e /boot/firmware/edge-agent/done ||") and "runcmd" not in user
    subprocess.run(["sh", "-n", *at_every_boot[1:]], check=True)
    unit = (boot / "edge-agent" / "first-boot.service").read_text()
    assert "ExecStart=/bin/sh /boot/firmware/edge-agent/first-boot.sh\n" in unit
    wifi = json.loads((boot / "network-config").read_text())["network"]["wifis"]["wlan0"]["access-points"]
    assert wifi == {"site": {"password": 'geheim "x"'}}
    assert 'rm -f "$here/claim"' in (boot / "edge-agent" / "first-boot.sh").read_text(), "it leaves the card"
    assert {path.stat().st_mode & 0o077 for path in boot.rglob("*") if path.is_file()} == {0}


def test_a_first_boot_that_was_cut_off_is_finished_by_the_next_and_leaves_only_the_agent(
    site: Path, tmp_path: Path, capsys: Any
) -> None:
    new(capsys, "EA-7", "--site", site, "--out", tmp_path)
    root, boot, programs = tmp_path / "root", tmp_path / "EA-7" / "boot", tmp_path / "programs"
    for folder in ("boot/firmware", "opt/edge-agent", "etc/systemd/system", "var/lib/edge-agent", "var/log"):
        (root / folder).mkdir(parents=True)
    shutil.copytree(boot / "edge-agent", root / "boot/firmware/edge-agent")
    programs.mkdir()
    agent = """#!/bin/sh
echo "$1 $2" >>ROOT/calls
case "$1 $2" in "enrol --status") test -e ROOT/enrolled ;; "enrol --claim") touch ROOT/enrolled; esac
"""
    venv = 'mkdir -p "$4/bin" && cp ROOT/agent "$4/bin/edge-agent" && ln -sf /bin/true "$4/bin/pip"\n'
    for file, text in {
        root / "agent": agent,
        programs / "python3": f"#!/bin/sh\n{venv}",
        programs / "systemctl": '#!/bin/sh\necho "systemctl $1" >>ROOT/calls\n[ $1 != enable ] || [ -e ROOT/power ]\n',
    }.items():
        file.write_text(text.replace("ROOT", str(root)))
        file.chmod(0o755)
    script = (root / "boot/firmware/edge-agent/first-boot.sh").read_text()
    for folder in ("/boot/firmware", "/opt/", "/etc/", "/var/"):
        script = script.replace(folder, f"{root}{folder}")

    def run() -> int:
        env = {"PATH": f"{programs}:/usr/bin:/bin"}
        return subprocess.run(["sh", "-c", script], check=False, timeout=60, env=env).returncode

    assert run() == 1, "it was cut off where it starts the agent"
    (root / "power").touch()
    assert (run(), run()) == (0, 0)
    shutil.rmtree(root / "var/lib/edge-agent")
    assert run() == 0, "what was wiped since stays so"
    calls = (root / "calls").read_text().splitlines()
    assert calls == [
        *("install --no-start", "enrol --status", "enrol --claim", "systemctl enable"),
        *("install --no-start", "enrol --status", "systemctl enable", "doctor --json", "systemctl disable"),
    ]
    assert not (root / "opt/edge-agent/bootstrap").exists()
    assert not (root / "boot/firmware/edge-agent/claim").exists()


def test_a_device_that_is_there_keeps_its_claim_for_its_label_may_be_printed(
    site: Path, tmp_path: Path, capsys: Any
) -> None:
    _, first = new(capsys, "EA-7", "--site", site, "--out", tmp_path)
    code, again = new(capsys, "EA-7", "--site", site, "--out", tmp_path)
    assert code == 1 and again[0]["state"] == "there" and again[0]["claim"] == first[0]["claim"]
    code, anew = new(capsys, "EA-7", "--site", site, "--out", tmp_path, "--force")
    assert code == 0 and anew[0]["claim"] != first[0]["claim"]


def test_a_csv_makes_as_many_as_it_names_and_the_ca_knows_each_by_its_hash(
    site: Path, tmp_path: Path, capsys: Any
) -> None:
    from datetime import UTC, datetime

    lines = ["id,board,site.name,site.keep_days_min", *(f"EA-{n},B{n},gate {n},30" for n in range(7))]
    (tmp_path / "devices.csv").write_text("\n".join(lines) + "\n")
    code, rows = new(capsys, "--csv", tmp_path / "devices.csv", "--site", site, "--out", tmp_path / "bench")
    assert code == 0 and len(rows) == 7 and len({row["claim"] for row in rows}) == 7
    text = (tmp_path / "bench" / "EA-5" / "agent.toml").read_text()
    assert 'name = "gate 5"' in text and 'device = "EA-5"' in text and "keep_days_min = 30" in text
    listed = (tmp_path / "bench" / "claims.jsonl").read_text()
    code_5 = claim.parse(rows[5]["claim"]).code
    assert claim.digest(code_5) in listed and code_5 not in listed
    rollover.make(tmp_path / "ca", "a CA", datetime.now(UTC))
    assert (
        main(["centre", "ca", "import", str(tmp_path / "bench" / "claims.jsonl"), "--dir", str(tmp_path / "ca")]) == 0
    )
    capsys.readouterr()
    code, again = new(capsys, "--csv", tmp_path / "devices.csv", "--site", site, "--out", tmp_path / "bench")
    assert code == 0 and {row["state"] for row in again} == {"there"}, "a run that was cut off goes on where it was"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("id\n", "holds no device"),
        ("id,board\nEA 1,\n", "line 2:"),
        ("id\nEA-1\nEA-1\n", "EA-1 stands 2 times"),
        ("id\nEA-1,2,3\n", "more fields"),
        ("id,site.name\nhost,x\n", "level of the topics"),
        ("id,site.nmae\nEA-1,x\n", "did you mean `name`"),
        ("id,camera.x.y\nEA-1,3\n", "camera is no table"),
        ("id,site\nEA-1,3\n", "EA-1: site is no table"),
        ("name,board\nEA-1,3\n", "line 1: has no column `id`, but name, board"),
        ("id,site.nmae\nEA-1,x\nEA-2,x\n", "EA-2: site.nmae"),
    ],
)
def test_a_bad_csv_makes_nothing(
    text: str, why: str, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d.csv").write_text(text)
    assert (
        main(["fleet", "new", "--csv", str(tmp_path / "d.csv"), "--site", str(site), "--out", str(tmp_path / "o")])
        == 78
    )
    assert why in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("sha", "args", "code", "why"),
    [
        ("ab" * 33, (), 78, "fleet.ca_sha256: the CA's SHA-256 has 64 hex digits, this has 66"),
        ("00" * 32, (), 0, "no device will enrol"),
        ("ab" * 32, ("--card", "none.img"), 69, "none.img: cannot be read"),
    ],
)
def test_what_all_devices_need_is_looked_at_before_the_first_is_made(
    sha: str, args: tuple[str, ...], code: int, why: str, site: Path, tmp_path: Path, capsys: Any
) -> None:
    site.write_text(SITE.format(sha=sha))
    where = args or ("--out", str(tmp_path / "o"))
    assert main(["fleet", "new", "EA-7", "--site", str(site), "--dry-run", *where]) == code
    assert why in capsys.readouterr().err
    (tmp_path / "wifi").write_text("one\ntwo\n")
    site.write_text(SITE.format(sha="ab" * 32))
    assert main(["fleet", "new", "EA-7", "--site", str(site), "--out", str(tmp_path / "o")]) == 78
    assert "several lines" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_claim_is_for_a_name_that_a_device_may_have_and_its_label_is_its_owners_alone(
    tmp_path: Path, capsys: Any
) -> None:
    ca = ("--dir", str(tmp_path / "ca"))
    assert main(["centre", "ca", "init", *ca]) == 0
    label = tmp_path / "EA-7.png"
    assert main(["centre", "ca", "claim", "EA-7", "--server", "ca.example.org", "--label", str(label), *ca]) == 0
    assert label.stat().st_mode & 0o777 == 0o600
    for name, server, why in (("EA/#", "ca.example.org", "A-Z, a-z"), ("EA-8", "ca.example.org:x", "HOST:PORT")):
        with pytest.raises(SystemExit, match="2"):
            main(["centre", "ca", "claim", name, "--server", server, *ca])
        assert why in capsys.readouterr().err


def test_a_site_that_names_no_ca_and_a_wrong_key_are_said(site: Path, tmp_path: Path, capsys: Any) -> None:
    site.write_text("[fleet]\nca_hots = 'a'\n")
    assert main(["fleet", "new", "EA-7", "--site", str(site), "--out", str(tmp_path)]) == 78
    assert "ca_h" in capsys.readouterr().err
    assert main(["fleet", "new", "EA-7", "--site", str(tmp_path / "none.toml")]) == 69
    assert main(["fleet", "new", "--site", str(site)]) == 2


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=("Cc",)), min_size=1, max_size=20))
def test_a_wifi_of_any_name_is_written_so_that_it_reads_back(ssid: str) -> None:
    text = fleet.nm_connection(ssid, "x")
    line = next(line for line in text.splitlines() if line.startswith("ssid="))
    assert line[5:].replace("\\\\", "\0").replace("\\s", " ").replace("\0", "\\") == ssid


@pytest.mark.parametrize("code", ["8Q4WE3JJHR7C3N0GQC2W", None], ids=["hard to find", "any"])
def test_a_label_reads_back_also_from_a_photo(code: str | None, tmp_path: Path) -> None:
    """OpenCV's plain detector finds no QR code in the first of them."""
    import cv2
    import numpy as np

    text = str(claim.Claim(host="ca.example.org", port=8470, ca_sha256="ab" * 32, code=code or claim.new_code()))
    (tmp_path / "label.png").write_bytes(label_png(text, ("EA-7",)))
    assert read_qr(tmp_path / "label.png") == text
    sheet = cv2.imdecode(np.frombuffer(label_png(text, ("EA-7",)), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    height, width = sheet.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 7, 0.9)
    photo = cv2.GaussianBlur(cv2.warpAffine(sheet, turn, (width, height), borderValue=200), (3, 3), 0)
    cv2.imwrite(str(tmp_path / "photo.jpg"), photo)
    assert read_qr(tmp_path / "photo.jpg") == text
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(DriverError, match="is no picture"):
        read_qr(tmp_path / "text.jpg")


def test_a_mounted_card_gets_its_files_and_runs_the_script_once(tmp_path: Path) -> None:
    (tmp_path / "cmdline.txt").write_text("console=tty1 root=PARTUUID=1 rootwait\n")
    for _ in range(2):
        card.write(tmp_path, {"user-data": b"a", "edge-agent/claim": b"b"})
    line = (tmp_path / "cmdline.txt").read_text()
    assert line.count("systemd.run=") == 1 and line.count("\n") == 1 and line.startswith("console=tty1 root=")
    assert (tmp_path / "edge-agent" / "claim").read_bytes() == b"b"


@pytest.mark.skipif(shutil.which("mcopy") is None, reason="mtools is not installed")
def test_an_image_gets_its_files_in_its_fat_partition(tmp_path: Path) -> None:
    image, start = tmp_path / "card.img", 2048
    entry = struct.pack("<BBBBBBBBII", 0, 0, 0, 0, 0x0C, 0, 0, 0, start, 16384)
    with image.open("wb") as out:
        out.write(bytes(446) + entry + bytes(48) + b"\x55\xaa")
        out.truncate((start + 16384) * 512)
    at = f"{image}@@{start * 512}"
    subprocess.run(["mformat", "-i", at, "-T", "16384", "-h", "16", "-s", "32", "::"], check=True)
    (tmp_path / "cmdline.txt").write_text("root=/dev/mmcblk0p2\n")
    subprocess.run(["mcopy", "-i", at, str(tmp_path / "cmdline.txt"), "::cmdline.txt"], check=True)
    assert card.fat_offset(image) == start * 512
    card.write(image, {"user-data": b"hello", "edge-agent/claim": b"EA1"})
    told = [subprocess.run(["mtype", "-i", at, f"::{name}"], capture_output=True, check=True).stdout
            for name in ("user-data", "edge-agent/claim", "cmdline.txt")]  # fmt: skip
    assert told[:2] == [b"hello", b"EA1"] and told[2].startswith(b"root=/dev/mmcblk0p2 systemd.run=")


def test_what_is_no_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zero.img").write_bytes(bytes(4096))
    with pytest.raises(DriverError, match="no boot signature"):
        card.write(tmp_path / "zero.img", {})
    with pytest.raises(DriverError, match="cannot be read"):
        card.write(tmp_path / "none.img", {})

"""The doctor: judgements over facts, a computer made of files, exit codes, and fixes that are asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent import keys
from edge_agent.cli import main
from edge_agent.device.doctor import gather, table
from edge_agent.device.doctor.facts import Board, Facts, Gate, Link, Params, Senses, Software

PI = "Raspberry Pi 4 Model B Rev 1.5"


def state_of(check: str, facts: Facts) -> tuple[str, str]:
    found = next(one for one in table.examine(facts) if one.id == check)
    return found.state, found.what


def about(area: str, **facts: Any) -> Facts:
    kinds = {"board": Board, "software": Software, "senses": Senses, "link": Link}
    return Facts(**{area: kinds[area](**facts)})


def test_there_are_forty_checks_and_each_says_why() -> None:
    assert len(table.CHECKS) >= 40
    assert len({check.id for check in table.CHECKS}) == len(table.CHECKS)
    assert all(check.why for check in table.CHECKS)


def test_of_a_device_that_tells_nothing_nothing_is_said_to_be_good_that_could_not_be_seen() -> None:
    findings = table.examine(Facts())
    assert not {one.id for one in findings if one.state == "ok"} & {"board.power", "camera.picture", "link.round_trip"}


@pytest.mark.parametrize(
    ("check", "facts", "state"),
    [
        ("board.power", about("board", throttled=0x50005), "failure"),
        ("board.power", about("board", throttled=0x50000), "warning"),
        ("board.power", about("board", throttled=0x0), "ok"),
        ("board.throttling", about("board", throttled=0x4), "failure"),
        ("board.temperature", about("board", temperature_c=86.0), "failure"),
        ("board.memory", about("board", memory_total_mib=1000, memory_free_mib=100), "failure"),
        ("board.machine", about("board", machine="armv7l"), "failure"),
        ("board.card_life", about("board", card_life=(1, 11)), "failure"),
        ("board.card_life", about("board", card_life=(9, 1)), "warning"),
        ("board.disk_errors", about("board", disk_errors=3), "failure"),
        ("board.watchdog_armed", about("board", watchdog_state="inactive"), "failure"),
        ("board.watchdog_timeout", about("board", model=PI, watchdog_timeout_s=30), "failure"),
        ("board.watchdog_timeout", about("board", model=PI, watchdog_timeout_s=15), "ok"),
        ("board.clock", about("board", clock_step_s=3600.0, clock_source="gps"), "failure"),
        ("board.serial_console", about("board", model=PI, kernel_line="console=serial0,115200 root=/"), "failure"),
        ("board.serial_login", about("board", getty_on=("ttyAMA0",)), "failure"),
        ("board.uart", about("board", boot_config="enable_uart=1 # for the autopilot\n"), "ok"),
        ("board.uart", about("board", boot_config="#enable_uart=1\n"), "warning"),
        ("board.modem_manager", about("board", modem_manager=True, udev_rules=False), "warning"),
        ("software.config", about("software", config_file="a", config_faults=("a: b",)), "failure"),
        ("software.space", about("software", free_mib=100), "failure"),
        ("software.inodes", about("software", free_inodes_pct=1.0), "failure"),
        ("software.ballast", about("software", ballast_mib=64, ballast_there=False), "warning"),
        ("software.secrets", about("software", secrets_open=("/a",)), "failure"),
        ("software.default_passwords", about("software", default_logins=("camera gate",)), "failure"),
        ("software.retention", about("software", keep_days=10.0, keep_days_least=30.0), "failure"),
        ("software.retention", about("software", keep_days=90.0, keep_days_most=30.0), "failure"),
        ("software.retention", about("software", keep_days=30.0, keep_days_least=30.0), "ok"),
        (
            "software.retention",
            about("software", keep_days=7.0, keep_days_longest=90.0, keep_days_most=30.0),
            "failure",
        ),
        ("software.parts", about("software", running=True, parts_failed={"pilot": "failed: x"}), "failure"),
        ("software.unit_score", about("software", unit_score=6.2), "warning"),
        ("software.ssh", about("software", ssh_passwords=True), "failure"),
        ("software.ports", about("software", open_ports=("tcp/23",)), "warning"),
        ("vehicle.port", about("senses", serial_port="/dev/ttyAMA0", serial_port_there=False), "failure"),
        ("vehicle.heartbeat", about("senses", vehicle="serial:x", vehicle_fault="nothing heard"), "failure"),
        (
            "vehicle.fence",
            about("senses", vehicle="serial:x", gates={"fence": Gate(gate="fence", state="fail", reason="off")}),
            "failure",
        ),
        ("vehicle.parameters", about("senses", vehicle="serial:x", params=Params()), "warning"),
        ("vehicle.parameters", about("senses", vehicle="serial:x", params=Params(unfinished="today")), "failure"),
        ("vehicle.parameters", about("senses", vehicle="serial:x", params=Params(fault="was changed")), "failure"),
        ("vehicle.parameters", about("senses", vehicle="serial:x", params=Params(applied="today")), "unknown"),
        (
            "vehicle.parameters",
            about("senses", vehicle="serial:x", params=Params(applied="today", drift=("a",))),
            "failure",
        ),
        ("vehicle.parameters", about("senses", vehicle="serial:x", params=Params(applied="today", drift=())), "ok"),
        ("camera.picture", about("senses", cameras={"gate": None, "road": "no picture"}), "failure"),
        ("camera.login", about("senses", cameras={"gate": None}, cameras_open=("gate",)), "warning"),
        ("model.speed", about("senses", model_ms={"a": 300.0}, wanted_ms={"a": 100.0}), "warning"),
        ("link.certificate_days", about("link", days_left=-1.0, life_days=60.0), "failure"),
        ("link.certificate_days", about("link", days_left=19.0, life_days=60.0), "warning"),
        ("link.certificate_days", about("link", days_left=21.0, life_days=60.0), "ok"),
        ("link.board", about("link", enrolled=True, clone="another board"), "failure"),
        ("link.tcp", about("link", configured=True, asked=True, tcp="refused"), "failure"),
        ("link.mqtt", about("link", configured=True, asked=True, mqtt=""), "unknown"),
        ("link.round_trip", about("link", configured=True, asked=True, round_trip_s=0.2), "ok"),
        ("link.signed", about("link", configured=True, unsigned=True), "failure"),
        ("evidence.resume", about("link", upload="static", upload_resumes=False), "warning"),
    ],
)
def test_what_is_wrong_is_told_by_its_weight_and_with_its_fix(check: str, facts: Facts, state: str) -> None:
    found = next(one for one in table.examine(facts) if one.id == check)
    assert found.state == state, found.what
    assert found.fix or state in ("ok", "unknown")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Raspberry Pi made of files, with faults in it."""
    files = {
        "sys/firmware/devicetree/base/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "sys/firmware/devicetree/base/serial-number": "10000000abcdef01\0",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50000\n",
        "sys/class/thermal/thermal_zone0/temp": "61234\n",
        "sys/class/watchdog/watchdog0/state": "inactive\n",
        "sys/class/watchdog/watchdog0/timeout": "15\n",
        "sys/class/rtc/rtc0/since_epoch": "12\n",
        "sys/block/mmcblk0/device/life_time": "0x0a 0x01\n",
        "sys/fs/ext4/mmcblk0p2/errors_count": "2\n",
        "proc/self/mounts": "/dev/mmcblk0p2 / ext4 rw,relatime 0 0\n",
        "proc/cmdline": "console=serial0,115200 console=tty1 root=/dev/mmcblk0p2\n",
        "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n",
        "proc/net/tcp": (
            "  sl  local_address rem_address   st\n"
            "   0: 0100007F:1F90 00000000:0000 0A 0\n"  # 127.0.0.1:8080
            "   1: 00000000:0016 00000000:0000 0A 0\n"  # ssh
            "   2: 00000000:0017 00000000:0000 0A 0\n"  # telnet
        ),
        "etc/os-release": 'ID=debian\nVERSION_CODENAME="bookworm"\n',
        "etc/machine-id": "uninitialized\n",
        "etc/ssh/sshd_config": "#PasswordAuthentication no\nPasswordAuthentication yes\n",
        "etc/ssh/sshd_config.d/10-keys.conf": "PasswordAuthentication no\n",
        "etc/systemd/system/getty.target.wants/serial-getty@ttyAMA0.service": "",
        "boot/firmware/config.txt": "[all]\ndtparam=uart0=on\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_computer_is_read_from_its_files(root: Path) -> None:
    facts = Facts(board=gather.gather_board(root, None), software=gather.gather_software(root, None, None, None))
    found = {one.id: one for one in table.examine(facts)}
    assert facts.board.serial == "10000000abcdef01"
    wrong = {name for name, one in found.items() if one.state in ("warning", "failure") and name.startswith("board.")}
    assert wrong >= {
        *("board.power", "board.watchdog_armed", "board.rtc", "board.card_life", "board.disk_errors"),
        *("board.card_writes", "board.serial_console", "board.serial_login", "board.machine_id"),
    }
    assert found["board.uart"].state == found["board.system"].state == found["board.temperature"].state == "ok"
    assert found["software.ports"].what == "open to the network: tcp/23"
    assert found["software.ssh"].state == "ok", "the first word counts, and it stands in sshd_config.d"


CONFIG = """
data_dir = "data"
[site]
device = "D-1"
keep_days_min = 40
[[camera]]
type = "rtsp"
name = "gate"
url = "rtsp://127.0.0.1:1/live"
credentials = "login"
detector = "eyes"
[[detector]]
type = "onnx"
name = "eyes"
model = "none.onnx"
"""


@pytest.fixture
def device(tmp_path: Path) -> Path:
    (tmp_path / "agent.toml").write_text(CONFIG)
    (tmp_path / "login").write_text("admin:12345\n")
    (tmp_path / "login").chmod(0o640)
    (tmp_path / "data").mkdir(mode=0o755)
    keys.device_key(tmp_path / "data")
    return tmp_path / "agent.toml"


def doctor(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", "--json", "--quick", *args])
    return code, json.loads(capsys.readouterr().out)


def test_the_exit_code_is_that_of_the_worst(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = doctor(capsys, "-c", str(device))
    states = {one["id"]: one["state"] for one in told["findings"]}
    assert code == told["exit"] == 2 and not told["ok"]
    assert (
        states["software.default_passwords"] == states["software.retention"] == states["software.secrets"] == "failure"
    )
    assert states["software.config"] == "ok"
    assert {"id", "state", "what", "why", "fix", "mend"} == set(told["findings"][0])


def test_fixes_are_asked_for_and_done_once(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    login, data = device.parent / "login", device.parent / "data"
    _, told = doctor(capsys, "-c", str(device), "--fix", "--dry-run", "--yes")
    assert {row["state"] for row in told["fixed"]} == {"would"} and login.stat().st_mode & 0o777 == 0o640
    _, told = doctor(capsys, "-c", str(device), "--fix")
    assert {row["state"] for row in told["fixed"]} == {"not asked"}, "no terminal, no --yes: nothing is touched"
    assert data.stat().st_mode & 0o777 == 0o755
    _, told = doctor(capsys, "-c", str(device), "--fix", "--yes")
    assert {row["mend"] for row in told["fixed"] if row["state"] == "done"} == {"secrets", "data_dir_mode"}
    assert login.stat().st_mode & 0o777 == 0o600 and data.stat().st_mode & 0o777 == 0o700
    states = {one["id"]: one["state"] for one in told["findings"]}
    assert states["software.secrets"] == states["software.data_dir_mode"] == "ok"
    assert doctor(capsys, "-c", str(device), "--fix", "--yes")[1]["fixed"] == [], "nothing is left to mend"


def test_a_broken_configuration_is_one_finding_and_the_rest_is_looked_at(
    device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device.write_text("data_dir = 3\n")
    code, told = doctor(capsys, "-c", str(device))
    states = {one["id"]: one["state"] for one in told["findings"]}
    assert code == 2 and states["software.config"] == "failure" and states["board.memory"] == "ok"


def test_a_mounted_card_is_looked_at_in_place_of_this_system(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = doctor(capsys, "--root", str(root))
    found = {one["id"]: one for one in told["findings"]}
    assert code == 2 and found["board.disk_errors"]["what"] == "ext4 has met 2 errors"
    assert found["software.config"]["what"] == "there is no configuration"


def test_what_no_configuration_says_is_not_judged_and_a_card_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told = doctor(capsys, "--root", str(tmp_path))
    states = {one["id"]: one["state"] for one in told["findings"]}
    assert {states[f"software.{name}"] for name in ("simulated", "ballast", "leftovers")} == {"unknown"}
    assert main(["doctor", "--root", str(tmp_path / "none")]) == 2
    assert "none: is no directory" in capsys.readouterr().err

"""Installing into a small foreign root: what is made, what a cut leaves, what comes back."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.device import installing, layout, release, shipped
from edge_agent.device.ground import BACKUP, Ground
from edge_agent.device.release import Item, Release
from edge_agent.runtime import DriverError

CONFIG_TXT = "# theirs\ndtparam=audio=on\n"
CMDLINE = "console=serial0,115200 console=tty1 root=PARTUUID=1 rootwait\n"
PYTHON = Path(f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}")


class Killed(BaseException):
    """As good as kill -9: nothing that tidies up on errors sees it as one of its own."""


def debian(version: str = "12", ident: str = "debian") -> str:
    return f'PRETTY_NAME="{ident} {version}"\nID={ident}\nVERSION_ID="{version}"\n'


def make_root(root: Path, *, pi: bool = True) -> Ground:
    for folder in ("etc/systemd/system", "etc/NetworkManager/conf.d", "etc/chrony/conf.d", "opt", "usr/bin", "var/lib"):
        (root / folder).mkdir(parents=True)
    (root / "etc/os-release").write_text(debian())
    if pi:
        (root / "boot/firmware").mkdir(parents=True)
        (root / "boot/firmware/config.txt").write_text(CONFIG_TXT)
        (root / "boot/firmware/cmdline.txt").write_text(CMDLINE)
    # what a technician had before: it comes back
    (root / "etc/chrony/conf.d/edge-agent.conf").write_text("# mine\n")
    (root / "etc/systemd/system/hciuart.service").symlink_to("/lib/elsewhere")
    return Ground(root)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return make_root(tmp_path / "root")


@pytest.fixture
def small(tmp_path: Path) -> Callable[[str], Release]:
    """A release of two files, as quick to copy as it is to kill."""

    def make(version: str) -> Release:
        source = tmp_path / f"source-{version}.py"
        source.write_text(f"VERSION = {version!r}\n")
        name = f"{version}-{hashlib.sha256(version.encode()).hexdigest()[:10]}"
        return Release(name, (Item(source, "edge_agent/a.py", 10), Item(source, "b/c.py", 10)), ("a 1",), 20, False)

    return make


def picture(root: Path) -> dict[str, str]:
    """Every path with what it is; compiled code differs in its dates, so only its being there counts."""

    def one(place: Path) -> str:
        if place.is_symlink():
            return f"-> {place.readlink()}"
        if place.is_dir():
            return "folder"
        return "compiled" if place.suffix == ".pyc" else f"{place.stat().st_mode & 0o777:o} {place.read_bytes()!r}"

    return {str(place.relative_to(root)): one(place) for place in sorted(root.rglob("*"))}


def nothing(*_: object, **__: object) -> None:
    """Commands and words that do not matter here."""


def install(ground: Ground, wanted: Release) -> tuple[list[str], str | None]:
    with installing.lock(ground):
        return installing.install(ground, wanted, PYTHON, accept=nothing, say=nothing, run=nothing)


def uninstall(ground: Ground) -> list[str]:
    with installing.lock(ground):
        return installing.uninstall(ground, nothing)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler, and no fsync, for a hundred installations."""
    monkeypatch.setattr(release.subprocess, "run", nothing)
    monkeypatch.setattr(os, "fsync", nothing)
    monkeypatch.setattr(os, "sync", nothing)


def test_an_installation_can_be_taken_back_to_the_byte(ground: Ground, small: Callable[[str], Release]) -> None:
    before = picture(ground.root)
    changed, replaced = install(ground, small("1.0"))
    assert (len(changed) > 20, replaced) == (True, None)
    after = picture(ground.root)
    assert after["opt/edge-agent/current"] == f"-> releases/{small('1.0').name}"
    assert "dtparam=uart0=on" in after["boot/firmware/config.txt"]
    assert after["boot/firmware/cmdline.txt"] == f"644 {b'console=tty1 root=PARTUUID=1 rootwait' + bytes([10])!r}"
    assert after["etc/systemd/system/hciuart.service"] == "-> /dev/null"
    assert install(ground, small("1.0")) == ([], None)
    assert picture(ground.root) == after
    assert uninstall(ground) == []
    assert picture(ground.root) == before


def test_a_dry_run_names_every_file_that_an_installation_makes(
    ground: Ground, small: Callable[[str], Release], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(release, "collect", lambda: small("1.0"))
    before = picture(ground.root)
    assert main(["install", "--dry-run", "--json", "--root", str(ground.root)]) == 0
    named = {one["path"] for one in json.loads(capsys.readouterr().out)["files"] if one["state"] != "same"}
    assert picture(ground.root) == before
    install(ground, small("1.0"))
    made = {f"/{path}" for path, what in picture(ground.root).items() if before.get(path) != what and what != "folder"}
    place = f"{layout.RELEASES}/{small('1.0').name}"
    assert {path.removesuffix(BACKUP) for path in made if not path.startswith(place)} | {place} == named


def cuts(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Iterator[int]:
    """Runs `act` again and again, killed before its first change to the disk, its second, …, until it survives."""
    real = {
        name: getattr(Path, name) for name in ("replace", "rename", "unlink", "mkdir", "rmdir", "symlink_to", "chmod")
    }
    number = 0
    while True:
        left = number

        def stub(name: str) -> Callable[..., object]:
            def change(*args: object, **more: object) -> object:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return real[name](*args, **more)

            return change

        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(Path, name, stub(name))
            try:
                act()
            except Killed:
                pass
            else:
                return
        yield number
        number += 1


def test_killed_at_any_change_the_next_install_finishes_and_the_next_uninstall_undoes(
    tmp_path: Path, small: Callable[[str], Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = make_root(tmp_path / "clean")
    before = picture(clean.root)
    install(clean, small("1.0"))
    whole = picture(clean.root)
    ground = make_root(tmp_path / "cut")
    number = -1
    for number in cuts(monkeypatch, lambda: install(ground, small("1.0"))):
        if number % 4 == 0:  # else the next attempt goes on from here, and is killed in its turn
            install(ground, small("1.0"))
            assert picture(ground.root) == whole, f"killed before change {number}"
        if number % 4 == 2:
            continue
        uninstall(ground)
        assert picture(ground.root) == before, f"killed before change {number}"
    assert number > 60


def test_an_upgrade_killed_at_any_change_runs_one_release_or_the_other_and_ends(
    ground: Ground, small: Callable[[str], Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = picture(ground.root)
    install(ground, small("1.0"))
    monkeypatch.setattr(layout, "steps", changed_steps(layout.steps))
    for _ in cuts(monkeypatch, lambda: install(ground, small("2.0"))):
        runs = ground.target(layout.CURRENT)
        assert runs in {f"releases/{small(version).name}" for version in ("1.0", "2.0")}
        assert ground.exists(f"{layout.BASE}/{runs}/bin/edge-agent")
        if runs == f"releases/{small('2.0').name}":
            assert ground.target(layout.TRIAL) == f"releases/{small('1.0').name}"
    assert ground.target(layout.TRIAL) == f"releases/{small('1.0').name}"
    assert uninstall(ground) == []
    assert picture(ground.root) == before


def changed_steps(real: Callable[..., list[layout.Step]]) -> Callable[..., list[layout.Step]]:
    """A version whose unit says something else, and that has one file less."""

    def steps(*args: object) -> list[layout.Step]:
        made = [step for step in real(*args) if not step.path.endswith("journald.conf.d/edge-agent.conf")]
        unit = f"{layout.UNITS}/edge-agent.service"
        return [s._replace(text="# 2\n") if isinstance(s, layout.File) and s.path == unit else s for s in made]

    return steps


def test_an_uninstall_killed_at_any_change_is_finished_by_the_next(
    ground: Ground, small: Callable[[str], Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = picture(ground.root)
    install(ground, small("1.0"))
    for _ in cuts(monkeypatch, lambda: uninstall(ground)):
        pass
    assert picture(ground.root) == before


def test_the_secrets_that_the_unit_hands_over_stay_until_they_are_purged(ground: Ground) -> None:
    secret = "/etc/credstore/edge-agent.cameras"
    for path in (secret, "/etc/credstore/of-others"):
        ground.at(path).parent.mkdir(exist_ok=True)
        ground.at(path).write_text("x")
    assert installing.forget(ground, purge=False) == [secret]
    assert installing.forget(ground, purge=True) == []
    assert [path.name for path in ground.at("/etc/credstore").iterdir()] == ["of-others"]


def test_what_a_technician_changed_is_kept_beside_and_named(ground: Ground, small: Callable[[str], Release]) -> None:
    install(ground, small("1.0"))
    rules = "/etc/udev/rules.d/70-edge-agent.rules"
    ground.at(rules).write_text("# ours is better\n")
    with ground.at("/boot/firmware/config.txt").open("a") as stream:
        stream.write("dtoverlay=theirs\n")
    changed, _ = install(ground, small("1.0"))
    assert changed == [rules]
    assert ground.read(rules + BACKUP) == "# ours is better\n"
    assert any(BACKUP in word for word in uninstall(ground))
    assert ground.read("/boot/firmware/config.txt") == CONFIG_TXT + "dtoverlay=theirs\n"
    assert ground.read("/boot/firmware/cmdline.txt") == CMDLINE


def test_the_agent_s_account_can_read_a_release_whatever_root_s_umask_is(
    ground: Ground, small: Callable[[str], Release]
) -> None:
    before = os.umask(0o077)
    try:
        install(ground, small("1.0"))
    finally:
        os.umask(before)
    place = ground.at(f"{layout.RELEASES}/{small('1.0').name}")
    closed = [path for path in place.rglob("*") if not path.is_symlink() and not path.stat().st_mode & 0o004]
    assert not closed


def test_two_technicians_at_once_are_told(ground: Ground, small: Callable[[str], Release]) -> None:
    with installing.lock(ground), pytest.raises(installing.BusyError, match="somebody else installs"):
        install(ground, small("1.0"))


def test_only_the_release_that_runs_and_the_one_before_are_kept(
    ground: Ground, small: Callable[[str], Release]
) -> None:
    for version in ("1.0", "2.0", "3.0"):
        install(ground, small(version))
    assert installing.releases(ground) == [small("2.0").name, small("3.0").name]


def test_too_little_room_and_a_read_only_root_change_nothing(
    ground: Ground, small: Callable[[str], Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = picture(ground.root)
    with pytest.raises(DriverError, match="MiB are needed; nothing was changed"):
        installing.refuse_if_unfit(ground, small("1.0")._replace(size=1 << 60))
    monkeypatch.setattr(installing.os, "access", lambda *_: False)
    with pytest.raises(DriverError, match="is read-only, nothing was changed"):
        installing.refuse_if_unfit(ground, small("1.0"))
    assert picture(ground.root) == before


def test_a_disk_that_fills_on_the_way_gets_its_room_back_and_the_release_that_runs_stays(
    ground: Ground, small: Callable[[str], Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(ground, small("1.0"))
    real = release.shutil.copyfile

    def full(source: Path, place: Path) -> None:
        if place.name == "c.py":
            raise OSError(28, "No space left on device", str(place))
        real(source, place)

    with monkeypatch.context() as patch:
        patch.setattr(release.shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space left"):
            install(ground, small("2.0"))
    assert [place.name for place in ground.at(layout.RELEASES).iterdir()] == [small("1.0").name]
    assert ground.target(layout.CURRENT) == f"releases/{small('1.0').name}"
    install(ground, small("2.0"))
    assert ground.target(layout.CURRENT) == f"releases/{small('2.0').name}"


@pytest.mark.parametrize(
    ("text", "marks", "known"),
    [
        (debian(), (), True),
        (debian("13"), (), False),
        (debian("12"), ("/etc/rpi-issue",), True),
        (debian("13"), ("/etc/rpi-issue",), True),
        (debian("12", "raspbian"), (), True),
        (debian("11"), ("/etc/rpi-issue",), False),
        (debian("24.04", "ubuntu"), (), False),
        ("", (), False),
    ],
)
def test_debian_12_and_raspberry_pi_os_are_known(text: str, marks: tuple[str, ...], known: bool) -> None:
    assert layout.machine(text, lambda path: path in marks).known is known


def test_the_release_that_this_environment_makes_is_whole_and_without_its_tests() -> None:
    found = release.collect()
    places = {item.place for item in found.items}
    assert {"edge_agent/cli/__init__.py", "edge_agent/device/files/systemd/guard", "msgspec/__init__.py"} <= places
    assert not any(place.startswith(("mypy/", "pytest/", "..")) for place in places)
    assert layout.is_release(found.name)


def test_every_unit_that_is_shipped_is_installed_and_enabled_where_it_says() -> None:
    folder = shipped.folder("systemd")
    found = layout.machine(debian(), lambda _: True)
    made = {step.path: step for step in layout.steps(found, shipped.text, ["eyes"])}
    assert f"{layout.UNITS}/sockets.target.wants/edge-agent-detector@eyes.socket" in made
    for unit in folder.glob("edge-agent*.*"):
        assert f"{layout.UNITS}/{unit.name}" in made
        if "@" in unit.name:
            continue
        wanted = re.findall(r"(?m)^WantedBy=(\S+)$", unit.read_text(encoding="utf-8"))
        assert layout.ENABLED.get(unit.name) == (f"{wanted[0]}.wants" if wanted else None), unit.name


def test_a_detector_that_asks_for_a_process_of_its_own_gets_its_socket(ground: Ground) -> None:
    assert installing.detectors(ground) == []
    ground.at("/etc/edge-agent").mkdir()
    here = "/run/edge-agent-detector/eyes.sock"
    text = f'[[detector]]\nname = "eyes"\nsocket = "{here}"\n[[detector]]\nname = "other"\n'
    ground.at(layout.CONFIG).write_text(text)
    assert installing.detectors(ground) == ["eyes"]
    ground.at(layout.CONFIG).write_text("nonsense")
    assert installing.detectors(ground) == []

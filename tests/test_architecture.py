"""The shape of the house, asserted: pure cores, one direction of dependencies, drivers closed over the config."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "edge_agent"
ROOMS = ("flight", "vision", "incidents", "speakers", "uplink", "centre", "device")
COMMON = (
    "messages",
    "config",
    "runtime",
    "geo",
    "calendar",
    "phrases",
    "plans",
    "spans",
    "sun",
    "topics",
    "pipe",
    "audit",
    "canonical",
    "certificates",
    "claim",
    "ranges",
    "reasons",
    "chain",
    "twin",
    "desired",
    "files",
    "keys",
    "timequality",
    "weights",
    "sealing",
    "plate_types",
    "catalogue",
)
CORES = (
    "messages.py",
    "geo.py",
    "calendar.py",
    "spans.py",
    "sun.py",
    "phrases.py",
    "plans/fence.py",
    "plans/geojson.py",
    "plans/items.py",
    "plans/judge.py",
    "plans/kml.py",
    "plans/model.py",
    "plans/qgc.py",
    "plans/shapes.py",
    "plans/survey.py",
    "plans/terrain.py",
    "plans/wpl.py",
    "topics.py",
    "canonical.py",
    "certificates.py",
    "claim.py",
    "device/bundle.py",
    "device/doctor/board_checks.py",
    "device/doctor/facts.py",
    "device/doctor/link_checks.py",
    "device/doctor/senses_checks.py",
    "device/doctor/software_checks.py",
    "device/doctor/table.py",
    "device/fleet.py",
    "device/moment.py",
    "device/blocks.py",
    "device/layout.py",
    "ranges.py",
    "reasons.py",
    "chain.py",
    "twin.py",
    "response.py",
    "flight/aboard.py",
    "flight/airframe.py",
    "flight/elsewhere.py",
    "flight/homeward.py",
    "flight/trail.py",
    "flight/budget.py",
    "flight/command.py",
    "flight/commander.py",
    "flight/energy.py",
    "flight/helm.py",
    "flight/launch.py",
    "flight/logbook.py",
    "flight/mavlink.py",
    "flight/mission.py",
    "flight/mission_server.py",
    "flight/param_server.py",
    "flight/param_file.py",
    "flight/param_ranges.py",
    "flight/param_report.py",
    "flight/params.py",
    "flight/telemetry.py",
    "flight/transfer.py",
    "flight/orders.py",
    "flight/phases.py",
    "flight/record.py",
    "flight/refusals.py",
    "flight/facts.py",
    "flight/gate_rules.py",
    "flight/gate_settings.py",
    "flight/gates.py",
    "flight/handsoff.py",
    "flight/reach.py",
    "flight/retask.py",
    "flight/review.py",
    "flight/route.py",
    "flight/run.py",
    "flight/safety.py",
    "flight/scene.py",
    "flight/schedule.py",
    "flight/timetable.py",
    "flight/visits.py",
    "flight/fence.py",
    "flight/frames.py",
    "flight/signing.py",
    "flight/simulator.py",
    "flight/streams.py",
    "flight/sky.py",
    "flight/verdict.py",
    "flight/weather.py",
    "incidents/zones.py",
    "incidents/rules.py",
    "incidents/hotlist.py",
    "incidents/hotlist_import.py",
    "incidents/lines.py",
    "incidents/listed.py",
    "incidents/watch.py",
    "incidents/stays.py",
    "incidents/shots.py",
    "incidents/crowds.py",
    "incidents/passages.py",
    "incidents/tallies.py",
    "speakers/digest.py",
    "speakers/djiwire.py",
    "speakers/dynamics.py",
    "speakers/g711.py",
    "speakers/websocket.py",
    "speakers/gbwire.py",
    "speakers/live.py",
    "speakers/chirp.py",
    "speakers/interlock.py",
    "speakers/ladder.py",
    "speakers/restraint.py",
    "speakers/targets.py",
    "speakers/queue.py",
    "speakers/rtpwire.py",
    "speakers/sipmessage.py",
    "speakers/sound.py",
    "uplink/commands.py",
    "uplink/hosts.py",
    "uplink/signing.py",
    "uplink/pace.py",
    "uplink/retention.py",
    "uplink/lanes.py",
    "uplink/minutes.py",
    "uplink/rows.py",
    "uplink/window.py",
    "uplink/floodgate.py",
    "flight/poses.py",
    "vision/attitude.py",
    "vision/fuse.py",
    "vision/ground.py",
    "vision/lens.py",
    "vision/locate.py",
    "vision/heads/anchors.py",
    "vision/heads/cells.py",
    "vision/heads/find.py",
    "vision/heads/form.py",
    "vision/heads/model.py",
    "vision/heads/ready.py",
    "vision/heads/told.py",
    "plate_types.py",
    "vision/film.py",
    "vision/ring.py",
    "vision/camera/liveness.py",
    "vision/tiles.py",
    "vision/light.py",
    "vision/load.py",
    "vision/sizes.py",
    "vision/votes.py",
    "vision/track.py",
)
IMPURE = {
    "aiohttp",
    "asyncio",
    "time",
    "socket",
    "threading",
    "subprocess",
    "logging",
    "os",
    "apsw",
    "av",
    "cv2",
    "onnxruntime",
    "paho",
}


def imports(file: Path) -> set[str]:
    """Every module that a file imports, at whatever depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("core", CORES)
def test_a_core_imports_no_clock_no_loop_and_no_driver(core: str) -> None:
    assert not {name.split(".")[0] for name in imports(PACKAGE / core)} & IMPURE


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_no_neighbour_and_nothing_above(room: str) -> None:
    allowed = {f"edge_agent.{name}" for name in (*COMMON, room)} | {"edge_agent"}
    for file in (PACKAGE / room).rglob("*.py"):
        ours = {name for name in imports(file) if name.split(".")[0] == "edge_agent"}
        strangers = {n for n in ours if ".".join(n.split(".")[:2]) not in allowed and n != "edge_agent.__version__"}
        assert not strangers, f"{file.relative_to(ROOT)} imports {sorted(strangers)}"


def test_no_task_is_started_and_forgotten() -> None:
    """A task that nobody holds may be collected, and its bug is never seen; TaskGroups hold theirs."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                called = ast.unparse(node.value.func)
                assert called not in ("asyncio.create_task", "asyncio.ensure_future", "loop.create_task"), (
                    f"{file.relative_to(ROOT)}:{node.lineno}: a task that nobody holds"
                )


@pytest.mark.parametrize(
    ("opener", "file"),
    [
        ("open_camera", "vision/camera/__init__.py"),
        ("open_detector", "vision/detect.py"),
        ("open_speaker", "speakers/__init__.py"),
        ("open_vehicle", "flight/vehicle.py"),
        ("open_weather", "flight/surroundings.py"),
    ],
)
def test_a_new_driver_in_the_config_cannot_be_forgotten(opener: str, file: str) -> None:
    """mypy refuses a `match` that ends in assert_never and misses a member of the union; so each must end so."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    function = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == opener)
    match = next(n for n in ast.walk(function) if isinstance(n, ast.Match))
    assert "assert_never" in ast.unparse(match.cases[-1])


def test_importing_the_package_and_its_rooms_imports_nothing_heavy() -> None:
    code = f"import sys, edge_agent, {', '.join('edge_agent.' + room for room in ROOMS)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {
        "numpy",
        "cv2",
        "onnxruntime",
        "av",
        "pymavlink",
        "paho",
        "aiohttp",
        "apsw",
        "serial",
        "rapidocr_onnxruntime",
    }


def test_every_module_says_what_it_is() -> None:
    for file in PACKAGE.rglob("*.py"):
        doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
        assert doc, f"{file.relative_to(ROOT)} has no first line that says what it is"


def test_the_map_names_every_module_and_room() -> None:
    house = (
        (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8").partition("\nedge_agent/\n")[2].partition("```")[0]
    )
    named = {line.split()[0] for line in house.splitlines() if line.strip()}
    there = {
        f"{path.name}/" if path.is_dir() else path.name for path in PACKAGE.iterdir() if not path.name.startswith("_")
    }
    assert there == named

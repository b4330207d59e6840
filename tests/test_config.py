"""config: every fault is named with file, key, value and limit; what is right can be dumped and loaded again."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import config
from edge_agent.cli import main

GOOD = """
data_dir = "state"
[site]
device = "EA-1"
time_zone = "Asia/Shanghai"
lat = 30.25
lon = 120.17
[vehicle]
type = "mavlink"
url = "udpin:127.0.0.1:14550"
[[route]]
id = "bank"
waypoints = [{lat = 30.251, lon = 120.17}, {lat = 30.251, lon = 120.171, alt_m = 25, hold_s = 2}]
[[schedule]]
id = "dusk"
route = "bank"
rrule = "FREQ=DAILY;BYHOUR=20"
dtstart = "2026-11-22T20:00"
[[detector]]
name = "main"
type = "onnx"
model = "models/people.onnx"
[[camera]]
name = "gate"
type = "video"
path = "street.mp4"
detector = "main"
[[camera]]
name = "bank"
type = "simulated"
detector = "main"
[[zone]]
name = "water"
camera = "bank"
polygon = [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]
[[rule]]
id = "bathers"
type = "forbidden_zone"
zone = "water"
speakers = ["horn"]
say = [{text = "请离开水边"}, {text = "Leave the water.", lang = "en"}]
[[speaker]]
name = "horn"
type = "rtp"
host = "239.1.1.1"
port = 5004
[mqtt]
host = "127.0.0.1"
plain = true
"""

TEN_FAULTS = """
data_dir = "state"
[site]
device = "a/#"
time_zone = "Mars/Base"
lat = 95.0
lon = 120.0
[vehicle]
type = "mavlink"
url = "carrier-pigeon"
[[detector]]
name = "main"
type = "onnx"
threads = "two"
score = 3.0
[[camera]]
name = "gate"
type = "video"
path = "street.mp4"
detector = "main"
fpss = 3
fps = 900.0
[[camera]]
name = "gate"
type = "vidio"
[[zone]]
name = "bow"
camera = "gate"
polygon = [[0, 0], [1, 1], [1, 0], [0, 1]]
[mqtt]
port = 99999
plain = true
"""


def refuse(text: str, tmp_path: Path) -> list[str]:
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text, tmp_path / "agent.toml")
    return caught.value.faults


def test_ten_faults_are_told_in_one_go_each_with_key_value_and_limit(tmp_path: Path) -> None:
    faults = refuse(TEN_FAULTS, tmp_path)
    for wanted in (
        ("site.device:", "'a/#'"),
        ("site.time_zone:", "Mars/Base"),
        ("site.lat:", "<= 90", "95.0"),
        ("vehicle.url:", "carrier-pigeon"),
        ("detector[main].threads:", "'two'", "int"),
        ("detector[main].score:", "<= 1", "3.0"),
        ("camera[gate].fpss:", "unknown key", "did you mean `fps`"),
        ("camera[gate].fps:", "<= 120", "900.0"),
        ("camera[gate].type:", "'vidio'", "video, simulated"),
        ("camera: the name `gate` stands 2 times",),
        ("zone[bow].polygon:", "cross"),
        ("mqtt.port:", "<= 65535", "99999"),
    ):
        assert any(all(part in fault for part in wanted) for fault in faults), (wanted, faults)
    assert len(faults) == 12, faults


def test_a_fault_names_the_file_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(TEN_FAULTS)
    with pytest.raises(config.ConfigError) as caught:
        config.load(file)
    assert all(line.startswith(f"{file}: ") for line in str(caught.value).splitlines())


def test_what_is_dumped_loads_to_the_same(tmp_path: Path) -> None:
    first = config.parse(GOOD, tmp_path / "agent.toml")
    text = config.dump(first)
    assert config.parse(text, Path("/elsewhere/agent.toml")) == first
    assert "takeoff_battery_pct" in text  # the defaults are shown


def test_relative_paths_resolve_against_the_file(tmp_path: Path) -> None:
    agent = config.parse(GOOD, tmp_path / "agent.toml")
    camera, detector = agent.cameras[0], agent.detectors[0]
    assert isinstance(camera, config.VideoCamera)
    assert isinstance(detector, config.OnnxDetector)
    assert agent.data_dir == tmp_path / "state"
    assert camera.path == tmp_path / "street.mp4"
    assert detector.model == tmp_path / "models/people.onnx"


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("Leave the water.", "Leave the {zoen}.", "say[1].text: no field is called {zoen}"),
        ('zone = "water"', 'zone = "lava"', "rule[bathers].zone: no zone is called `lava` (there is: water)"),
        ('detector = "main"\n[[camera]]', 'detector = "x"\n[[camera]]', "camera[gate].detector: no detector"),
        ('route = "bank"', 'route = "sea"', "schedule[dusk].route: no route is called `sea`"),
        (
            'zone = "water"',
            'zone = "water"\nclasses = ["dog"]',
            "rule[bathers].classes: `dog`: the detector of camera[bank]",
        ),
        ('model = "models/people.onnx"', 'classes = ["vehicle"]', "rule[bathers].classes: `person`"),
        ('speakers = ["horn"]', 'speakers = ["bell"]', "rule[bathers].speakers: no speaker is called `bell`"),
        ("lat = 30.251, lon = 120.17}", "lat = 31.0, lon = 120.17}", "limits.max_distance_m is 2000"),
        ("lat = 30.251, lon = 120.17}", "lat = 0, lon = 0}", "0/0 is the sea"),
        ("alt_m = 25", "alt_m = 150", "outside limits 5..120 m"),
        ("alt_m = 25", "alt_m = nan", "Expected `float` > 0.0, got nan"),
        ("FREQ=DAILY", "FREQ=FORTNIGHTLY", "schedule[dusk].rrule"),
        ('rrule = "FREQ=DAILY;BYHOUR=20"', 'cron = "61 * * * *"', "schedule[dusk].cron"),
        ('rrule = "FREQ=DAILY;BYHOUR=20"', "", "give either `cron` or `rrule`"),
        ('dtstart = "2026-11-22T20:00"', "", "schedule[dusk].dtstart: required with `rrule`"),
        ("plain = true", "", "mqtt.ca_file: required"),
        ('host = "127.0.0.1"\n', 'host = "127.0.0.1"\nca_file = "no.pem"\n', "mqtt.plain: true contradicts `ca_file`"),
        (
            "plain = true",
            'plain = true\n[plates]\ncountries = ["CN", "ZZ"]',
            "plates.countries: no plates of ZZ",
        ),
        ("plain = true", 'plain = true\n[plates]\ntypes = ["no.toml"]', "plates.types: "),
        ("plain = true", 'plain = true\n[plates]\nenabled = true\ncountries = ["GB"]', "plates.reader: the built-in"),
        (
            'say = [{text = "请离开水边"}, {text = "Leave the water.", lang = "en"}]',
            "",
            "say: required with `speakers`",
        ),
    ],
)
def test_names_and_values_that_make_no_sense_together_are_refused(
    old: str, new: str, wanted: str, tmp_path: Path
) -> None:
    assert old in GOOD
    faults = refuse(GOOD.replace(old, new, 1), tmp_path)
    assert any(wanted in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("polygon", "wanted"),
    [
        ("[[0.1, 0.1], [1.9, 0.1], [1.8, 0.9], [0.1, 0.9]]", ["polygon[1][0]: got 1.9", "polygon[2][0]: got 1.8"]),
        ("[[100, 80], [0.5, 0.1], [0.5, 0.9]]", ["polygon[0][0]: got 100", "polygon[0][1]: got 80"]),
        ("[[0.1, 0.1], [0.5, 0.5], [0.9, 0.9]]", ["polygon: its corners lie on one line: nobody can stand in it"]),
        ("[[0.1, 0.1], [0.1, 0.1], [0.1, 0.1]]", ["polygon: its corners lie on one line: nobody can stand in it"]),
    ],
)
def test_each_corner_that_is_wrong_is_told_by_its_own_place_and_nothing_else(
    polygon: str, wanted: list[str], tmp_path: Path
) -> None:
    faults = refuse(GOOD.replace("[[0, 0.5], [1, 0.5], [1, 1], [0, 1]]", polygon), tmp_path)
    limit = "Expected `float` <= 1.0, "
    assert [f.replace(limit, "").partition("; corners are fractions")[0] for f in faults] == [
        f"zone[water].{one}" for one in wanted
    ]


def test_one_fault_is_told_once(tmp_path: Path) -> None:
    faults = refuse(GOOD.replace('device = "EA-1"', "device = 7"), tmp_path)
    assert faults == ["site.device: Expected `str`, got `int`, got 7"]


def test_a_config_with_nothing_to_run_is_refused(tmp_path: Path) -> None:
    assert refuse('data_dir = "s"\n[site]\ndevice = "x"', tmp_path) == [
        "the file: neither a [vehicle] nor a [[camera]]: there is nothing to run"
    ]


def test_a_reader_of_plates_that_is_not_installed_is_told_before_a_camera_goes_blind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    [fault] = refuse(GOOD + '[plates]\nenabled = true\nreader = "rapidocr"\n', tmp_path)
    assert "plates.reader" in fault
    assert "pip install 'edge-agent[rapidocr]'" in fault
    config.parse(GOOD + '[plates]\nreader = "rapidocr"\n', tmp_path / "agent.toml")  # nobody reads: nothing is lacking


def test_camera_only_and_vehicle_only_are_right(tmp_path: Path) -> None:
    head = 'data_dir = "s"\n[site]\ndevice = "x"\nlat = 1.0\nlon = 2.0\n'
    config.parse(head + '[vehicle]\ntype = "simulated"', tmp_path / "a")
    config.parse(
        head
        + '[[detector]]\nname="d"\ntype="simulated"\n'
        + "".join(f'[[camera]]\nname="c{n}"\ntype="simulated"\ndetector="d"\n' for n in range(3)),
        tmp_path / "a",
    )


@pytest.mark.parametrize("text", ["[site", "= 3", "\x00", "a = 1\na = 2", "a = " + "[" * 5000])
def test_what_is_no_toml_says_where(text: str, tmp_path: Path) -> None:
    assert refuse(text, tmp_path)[0].startswith("is not TOML: ")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="No such file"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(config.ConfigError, match="cannot be read"):
        config.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(config.ConfigError, match="not UTF-8 at byte 8"):
        config.load(tmp_path / "latin.toml")


class TestSecrets:
    """A secret stands in a file that only we can read, or in systemd's credentials."""

    TEXT = GOOD + 'username = "u"\npassword = "{}"\n'

    def test_a_secret_comes_from_its_file(self, tmp_path: Path) -> None:
        (tmp_path / "pw").write_text("s3cret\n")
        (tmp_path / "pw").chmod(0o600)
        agent = config.parse(self.TEXT.replace("{}", "pw"), tmp_path / "agent.toml")
        assert agent.mqtt is not None
        assert agent.mqtt.password is not None
        assert config.read_secret(agent.mqtt.password) == "s3cret"
        assert "s3cret" not in config.dump(agent)

    def test_a_secret_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "pw").write_text("s3cret")
        (tmp_path / "pw").chmod(0o644)
        assert "chmod 600" in refuse(self.TEXT.replace("{}", "pw"), tmp_path)[0]

    def test_a_password_in_the_file_itself_is_refused(self, tmp_path: Path) -> None:
        fault = refuse(self.TEXT.replace("{}", "hunter2"), tmp_path)[0]
        assert "mqtt.password" in fault
        assert "never written here" in fault
        assert "hunter2" not in fault

    def test_a_credential_comes_from_systemd(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        (tmp_path / "mqtt").write_text("from systemd")
        agent = config.parse(self.TEXT.replace("{}", "credential:mqtt"), tmp_path / "agent.toml")
        assert agent.mqtt is not None
        assert agent.mqtt.password is not None
        assert config.read_secret(agent.mqtt.password) == "from systemd"
        assert "mqtt.password" in refuse(self.TEXT.replace("{}", "credential:other"), tmp_path)[0]

    def test_without_the_service_a_credential_is_not_judged_and_nothing_runs_by_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        file = tmp_path / "agent.toml"
        file.write_text(self.TEXT.replace("{}", "credential:broker"))
        assert main(["check", "-c", str(file)]) == 0, "a new release is installed only where this is right"
        assert main(["run", "-c", str(file)]) == config.EX_CONFIG
        assert "a service manager hands over `credential:`" in capsys.readouterr().err
        assert config.secret_path("credential:broker") == Path("/etc/credstore/edge-agent.broker")


KEYS = st.sampled_from(["name", "id", "type", "path", "zone", "waypoints", "lat", "zz"])
TOML_VALUES = st.recursive(
    st.one_of(st.integers(-10, 10**6), st.floats(), st.booleans(), st.sampled_from(["x", "", "simulated", "onnx"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=12,
)
SECTIONS = st.sampled_from(
    ["data_dir", "site", "vehicle", "limits", "route", "camera", "detector", "zone", "rule", "speaker", "mqtt", "zzz"]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(SECTIONS, TOML_VALUES, max_size=6))
def test_whatever_stands_in_the_file_the_answer_is_a_config_or_faults(table: dict[str, object]) -> None:
    import tomli_w

    try:
        config.parse(tomli_w.dumps(table), Path("agent.toml"))
    except config.ConfigError as error:
        assert error.faults


@pytest.mark.parametrize("listen", ["9464", "127.0.0.1", "localhost:70000", "unix:relative", "127.0.0.1:0"])
def test_a_place_where_nobody_could_scrape_is_refused(listen: str) -> None:
    text = f'data_dir = "d"\n[site]\ndevice = "D-1"\n[metrics]\nlisten = "{listen}"\n'
    with pytest.raises(config.ConfigError, match=r"metrics\.listen"):
        config.parse(text, Path("a.toml"))


@pytest.mark.parametrize("listen", ["127.0.0.1:9464", "[::1]:9464", "unix:/run/edge-agent/metrics.sock"])
def test_a_port_and_a_socket_may_be_scraped(listen: str) -> None:
    site = '[site]\ndevice = "D-1"\nlat = 1.0\nlon = 1.0\n[vehicle]\ntype = "simulated"\n'
    text = f'data_dir = "d"\n{site}[metrics]\nlisten = "{listen}"\n'
    assert config.parse(text, Path("a.toml")).metrics is not None

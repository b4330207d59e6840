"""Loudspeakers in agent.toml: every fault is named, and no password is ever shown."""

from pathlib import Path

import pytest

from edge_agent import config

SITE = """
data_dir = "state"
[site]
device = "EA-1"
[[detector]]
name = "d"
type = "simulated"
[[camera]]
name = "c"
type = "simulated"
detector = "d"
[[zone]]
name = "z"
camera = "c"
polygon = [[0, 0], [1, 0], [1, 1]]
"""
SECRET = "s3cret-word"
SCHEDULED = '[[announcements.scheduled]]\nid = "a"\n{}\nsay = [{{text = "{}"}}]\n'
GB = """device = "34020000001110000001"
channel = "34020000001370000001"
platform = "3402000000200000000{}"
"""


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(config.ConfigError) as told:
        config.parse(SITE + text, tmp_path / "agent.toml")
    return told.value.faults


def speaker(more: str = "", kind: str = "simulated", name: str = "horn") -> str:
    return f'[[speaker]]\nname = "{name}"\ntype = "{kind}"\n{more}\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (speaker("volume_pct = 500"), "speaker[horn].volume_pct: Expected `float` <= 100.0, got 500"),
        (speaker("lat = 30.0"), "speaker[horn]: `lat` and `lon` go together"),
        (speaker('fallback = "bell"'), "speaker[horn].fallback: no speaker is called `bell`"),
        (speaker('fallback = "horn"'), "speaker[horn].fallback: goes round in a circle: horn → horn"),
        (
            speaker('fallback = "bell"') + speaker('fallback = "horn"', name="bell"),
            "speaker[horn].fallback: goes round in a circle: horn → bell → horn",
        ),
        (speaker('url = "http://op:pw@h"', "axis"), "speaker[horn].url: Expected `str` matching regex"),
        (speaker('uri = "horn"', "sip"), "speaker[horn].uri: Expected `str` matching regex"),
        (speaker('url = "http://h:99999"', "axis"), "speaker[horn].url: http://h:99999: Port out of range"),
        (speaker('url = "rtsp://h:8x/live"', "onvif"), "speaker[horn].url: rtsp://h:8x/live: Port could not"),
        (speaker('uri = "sip:horn@10.0.0..5"', "sip"), "speaker[horn].uri: sip:horn@10.0.0..5: a part of the host"),
        (
            speaker(GB.format(1) + 'listen = "0.0.0.0:70000"', "gb28181"),
            "speaker[horn].listen: 0.0.0.0:70000: Port out",
        ),
        (speaker('uri = "sip:a@h"\nproxy = "h:0"', "sip"), "speaker[horn].proxy: h:0: there is no port 0"),
        (speaker('proof = "sure"'), "speaker[horn].proof: "),
        (speaker('url = "http://h"\nca_file = "no.pem"', "axis"), "speaker[horn].ca_file: no such file"),
        (speaker(GB.format(1), "gb28181") + speaker(GB.format(2), "gb28181", "b"), "speaker[b].platform: there is one"),
        (speaker('device = "7"', "gb28181"), "speaker[horn].device: Expected `str` matching regex"),
        (
            speaker('microphone = "rtsp://op:pw@h/live"'),
            "speaker[horn].microphone: without user and password: they stand in `microphone_credentials`",
        ),
        (speaker('microphone_credentials = "nothing"'), "speaker[horn].microphone_credentials: No such file"),
        (speaker('uri = "sip:op:pw@h"', "sip"), "speaker[horn].uri: Expected `str` matching regex"),
        (speaker("ambient = {}"), "speaker[horn].microphone: required with `ambient`"),
        (
            speaker('microphone = "alsa:x"\nambient = {quiet_dbfs = -20}'),
            "speaker[horn].ambient.quiet_dbfs: -20 is not below",
        ),
        (SCHEDULED.format('cron = "99 * * * *"', "x"), "announcements.scheduled[a].cron: "),
        (SCHEDULED.format("", "x"), "announcements.scheduled[a]: give either `cron` or `rrule`, or `sun`"),
        (SCHEDULED.format('sun = "dusk"', "x"), "announcements.scheduled[a].sun: the sun of what place?"),
        (SCHEDULED.format('cron = "0 18 * * *"', "🙂"), "announcements.scheduled[a].say[0].text: "),
        (SCHEDULED.format('speakers = ["bell"]', "x"), "announcements.scheduled[a].speakers: no speaker"),
        (
            '[[zone]]\nname = "y"\ncamera = "c"\npolygon = [[0, 0], [1, 0], [1, 1]]\nspoken = {en = "河岸"}\n',
            "zone[y].spoken.en: '河' cannot be read by the voice of lang 'en'",
        ),
        ('[announcements]\nquiet = ["22-06"]', "announcements.quiet[0]: Expected `str` matching regex"),
        ("[announcements]\nmax_volume_pct = 500", "announcements.max_volume_pct: Expected `float` <= 100.0"),
    ],
)
def test_each_fault_is_named(tmp_path: Path, text: str, fault: str) -> None:
    assert any(one.startswith(fault) for one in faults(tmp_path, text)), faults(tmp_path, text)


def test_a_password_is_the_name_of_a_file_and_never_shown(tmp_path: Path) -> None:
    found = faults(tmp_path, speaker(f'url = "http://h"\nusername = "u"\npassword = "{SECRET}"', "axis"))
    assert any("speaker[horn].password: No such file" in fault for fault in found)
    assert not any(SECRET in fault for fault in found)
    (tmp_path / "open").write_text(SECRET)
    (tmp_path / "open").chmod(0o644)
    assert "is open to others" in faults(tmp_path, speaker('url = "http://h"\npassword = "open"', "axis"))[0]
    (tmp_path / "open").chmod(0o600)
    found = faults(tmp_path, speaker('url = "http://h"\npassword = "open"', "axis"))
    assert found == ["speaker[horn].username: required with `password`"]


def test_a_rule_may_name_groups_and_the_drone_that_there_are(tmp_path: Path) -> None:
    rule = '[[rule]]\nid = "r"\ntype = "forbidden_zone"\nzone = "z"\nsay = [{text = "x"}]\n'
    rule += 'speakers = ["street", "drone"]\n'
    ladder = '[[rule.ladder]]\nafter_s = 30\nsay = [{text = "{plat}"}]\n'
    good = speaker('groups = ["street"]') + speaker("airborne = true", name="under")
    settings = config.parse(SITE + rule + ladder.replace("plat", "plate") + good, tmp_path / "agent.toml")
    assert settings.rules[0].ladder[0].after_s == 30
    found = faults(tmp_path, rule + ladder + speaker())
    assert [fault.partition(" ")[0] for fault in found] == ["rule[r].speakers:"] * 2 + [
        "rule[r].ladder[0].say[0].text:"
    ]


def test_a_span_may_pass_midnight() -> None:
    assert config.quiet_span("22:30-06:05") == (1350, 365)

"""deploy/telegraf and deploy/grafana against messages that the agent encodes; neither program is run."""

import json
import re
import tomllib
from collections.abc import Iterator
from itertools import product
from typing import Any

import msgspec
import pytest
from deploy_site import ROOT

from edge_agent import topics
from edge_agent.messages import Incident, Picture, Plate, Telemetry

pytestmark = pytest.mark.integration

# influxdata/telegraf: plugins/inputs/mqtt_consumer/README.md and plugins/parsers/json_v2/README.md
OPTIONS = {
    *("servers", "topics", "topic_tag", "qos", "client_id", "persistent_session", "tls_ca", "tls_cert", "tls_key"),
    *("data_format", "topic_parsing", "json_v2"),
}
JSON_V2 = {"measurement_name", "timestamp_path", "timestamp_format", "field", "tag", "object"}
OF_A_VALUE = {"path", "rename", "type", "optional"}
OF_AN_OBJECT = {"path", "included_keys", "fields"}

CONFIG = tomllib.loads((ROOT / "telegraf" / "telegraf.conf").read_text())
INPUTS = CONFIG["inputs"]["mqtt_consumer"]
TIME = "2026-11-22T01:18:03.412Z"


def incident(**facts: Any) -> bytes:
    made = Incident(
        id="01JINCIDENT", kind="dwell", rule="r", camera="c", zone="fire lane", track=1, label="car", score=0.9,
        box=(0, 0, 1, 1), began_s=1.0, wall_s=2.0, at_s=3.0, lasted_s=60.0, frame=4, **facts,
    )  # fmt: skip
    return topics.encode_event(
        device="D-1", kind="det", id=made.id, wall_s=2.0, boot="b", epoch=1, seq=1, data=msgspec.json.encode(made)
    )


def messages() -> list[tuple[str, bytes]]:
    """What a device sends, full and sparse."""
    full = Telemetry(
        at_s=1.0, armed=True, mode="AUTO", lat=31.2, lon=121.4, alt_m=50.0, alt_msl_m=54.0, speed_mps=4.0,
        heading_deg=90.0, battery_pct=70.0, battery_v=22.0, satellites=12,
    )  # fmt: skip
    stream = topics.Stream(epoch=1, next=2, acked=1, depth=0, oldest_s=0.0)
    birth = topics.Status(state="online", sess="s", time=TIME, streams={"ev": stream})
    will = topics.Status(state="offline", sess="s", time=TIME, reason="lost")
    plate = Plate(text="沪A12345", confidence=0.9, box=(0, 0, 1, 1))
    picture = Picture(path="p", sha256="0" * 64, bytes=1, width=1, height=1)
    revision = {"id": "01JINCIDENT", "rev": 1, "state": "handled", "by": "li", "wall_s": 3.0}
    raw = msgspec.json.encode(revision)
    revised = topics.encode_event(device="D-1", kind="det", id="01JREV", wall_s=3.0, boot="b", epoch=1, seq=2, data=raw)
    sparse = Telemetry(at_s=1.0, armed=False, mode="LOITER")
    samples = [msgspec.json.encode(topics.Sample(time=TIME, boot="b", data=data)) for data in (full, sparse)]
    return [
        *((topics.tele("D-1", "pos"), sample) for sample in samples),
        (topics.status("D-1"), msgspec.json.encode(birth)),
        (topics.status("D-1"), msgspec.json.encode(will)),
        (topics.event("D-1", "det"), incident(plate=plate, picture=picture)),
        (topics.event("D-1", "det"), incident()),
        (topics.event("D-1", "det"), revised),
    ]


def matches(pattern: str, topic: str) -> bool:
    wanted, given = pattern.split("/"), topic.split("/")
    return len(wanted) == len(given) and all(w in ("+", g) for w, g in zip(wanted, given, strict=True))


def look(message: Any, path: str) -> Any:
    """A GJSON path without its special characters; None where there is nothing."""
    for name in path.split("."):
        message = message.get(name) if isinstance(message, dict) else None
    return message


def metric(section: dict[str, Any], topic: str, message: dict[str, Any]) -> tuple[str, dict[str, str], dict[str, Any]]:
    """(measurement, tags, fields) as the documentation of mqtt_consumer and json_v2 says."""
    [parsing], [parser] = section["topic_parsing"], section["json_v2"]
    assert matches(parsing["topic"], topic)
    levels = topic.split("/")
    named = dict(zip(parsing.get("measurement", "").split("/"), levels, strict=False))
    measurement = parser.get("measurement_name") or named["measurement"]
    tags = {name: level for name, level in zip(parsing["tags"].split("/"), levels, strict=True) if name != "_"}
    fields: dict[str, Any] = {}
    for kind, into in (("tag", tags), ("field", fields)):
        for one in parser.get(kind, []):
            assert set(one) <= OF_A_VALUE
            value = look(message, one["path"])
            assert value is not None or one.get("optional"), (
                f"{topic}: nothing at {one['path']}, and it is not optional"
            )
            assert not isinstance(value, dict | list)
            if value is not None:
                into[one.get("rename", one["path"].split(".")[-1])] = value
    for one in parser.get("object", []):
        assert set(one) <= OF_AN_OBJECT
        found = look(message, one["path"])
        assert set(one["included_keys"]) <= set(found), "a key that no message has"
        assert set(one.get("fields", {})) <= set(one["included_keys"])
        fields |= {key: found[key] for key in one["included_keys"] if found[key] is not None}
    return measurement, tags, fields


def metrics() -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    found = []
    for topic, body in messages():
        takers = [section for section in INPUTS if any(matches(pattern, topic) for pattern in section["topics"])]
        assert len(takers) == 1, topic
        found.append(metric(takers[0], topic, json.loads(body)))
    return found


def test_the_file_has_only_documented_options() -> None:
    for section in INPUTS:
        assert set(section) <= OPTIONS
        assert all(server.startswith("ssl://") for server in section["servers"])
        assert set(section["json_v2"][0]) <= JSON_V2
    assert len({section["client_id"] for section in INPUTS}) == len(INPUTS), "one would throw the other out"


def test_every_message_becomes_a_metric_with_its_device() -> None:
    found = metrics()
    assert [measurement for measurement, _, _ in found] == ["tele"] * 2 + ["status"] * 2 + ["incident"] * 3
    assert all(tags["device"] == "D-1" for _, tags, _ in found)
    assert found[0][2]["battery_pct"] == 70.0
    assert "battery_pct" not in found[1][2], "unknown is not zero"
    assert (found[2][2]["state"], found[2][2]["depth"]) == ("online", 0)
    assert (found[4][1]["kind"], found[4][2]["plate"]) == ("dwell", "沪A12345")
    assert (found[6][2]["id"], found[6][2]["handling"]) == ("01JINCIDENT", "handled")


def test_a_revision_is_not_counted_as_an_incident() -> None:
    """The dashboard counts `label`, which only the incident itself has."""
    assert [("label" in fields) for measurement, _, fields in metrics() if measurement == "incident"] == [
        True,
        True,
        False,
    ]


def test_the_dashboard_asks_for_what_there_is() -> None:
    board = json.loads((ROOT / "grafana" / "edge-agent.json").read_text())
    known: dict[str, set[str]] = {}
    for measurement, tags, fields in metrics():
        known.setdefault(measurement, set()).update(tags, fields)
    for mapping in CONFIG["processors"]["enum"][0]["mapping"]:
        assert mapping["field"] in known["status"]
        known["status"].add(mapping["dest"])
    queries = [target["query"] for panel in board["panels"] for target in panel["targets"]]
    assert len(queries) >= 8
    for query in queries:
        [measurement] = re.findall(r'FROM "(\w+)"', query)
        asked = set(re.findall(r'"(\w+)"', re.sub(r'AS "\w+"', "", query))) - {measurement}
        assert asked <= known[measurement], query
    assert {"__inputs", "panels", "schemaVersion", "templating", "title", "uid"} <= set(board)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken = [cell for panel in board["panels"] for cell in cells(panel["gridPos"])]
    assert len(taken) == len(set(taken)), "panels overlap"


def cells(at: dict[str, int]) -> Iterator[tuple[int, int]]:
    return product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))

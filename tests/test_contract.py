"""The documents are those of the code, the code still reads the messages of v1, and both agree on what is one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from contract_check import check, validator
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import keys, topics, twin
from edge_agent.canonical import signed_bytes
from edge_agent.cli.contract import documents
from edge_agent.contract.asyncapi import document
from edge_agent.contract.channels import Message, channels
from edge_agent.contract.schema import find, schemas
from edge_agent.messages import Request

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = sorted((ROOT / "tests/golden/v1").glob("*.json"))
MESSAGES = {message.name: message for channel in channels() for message in channel.messages}


def message_of(file: Path) -> Message:
    """`ev.det.revision.json` is one more `ev.det`."""
    return MESSAGES.get(file.stem) or MESSAGES[file.stem.rsplit(".", 1)[0]]


def test_the_documents_are_those_that_the_code_generates() -> None:
    wanted = documents(ROOT / "tests/golden/v1")
    there = {str(file.relative_to(ROOT / "docs/contract")) for file in (ROOT / "docs/contract").rglob("*.*")}
    assert there - {"README.md"} == wanted.keys(), "run: make contract"
    stale = [name for name, text in wanted.items() if (ROOT / "docs/contract" / name).read_text() != text]
    assert not stale, f"out of date: {stale}; run: make contract"


def test_the_command_finds_what_is_out_of_date_and_what_is_no_longer_there(tmp_path: Path) -> None:
    def contract(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge_agent", "contract", str(tmp_path), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert contract().returncode == 0
    assert contract("--check").returncode == 0
    (tmp_path / "schema/ack.json").write_text("{}")
    (tmp_path / "schema/cmd.dance.json").write_text("{}")
    done = contract("--check")
    assert done.returncode == 1
    assert [line.split(":")[0].rsplit("/", 1)[1] for line in done.stderr.splitlines()] == ["ack.json", "cmd.dance.json"]


# --- golden ---------------------------------------------------------------------------------------------------------


def test_every_kind_of_message_has_its_golden_one() -> None:
    assert {message_of(file).name for file in GOLDEN} == {m.name for m in MESSAGES.values() if m.wrapper}


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_todays_decoder_reads_the_messages_of_v1_and_loses_none_of_their_fields(file: Path) -> None:
    message, golden = message_of(file), json.loads(file.read_text())
    assert message.wrapper
    decoded = msgspec.json.decode(file.read_bytes(), type=message.wrapper)
    again = msgspec.json.decode(msgspec.json.encode(decoded))
    assert contains(again, golden)
    if message.bodies and message.field:
        body = golden.get(message.field, {})
        if message.name.startswith("cmd."):
            body = msgspec.to_builtins(msgspec.convert({**body, "name": golden["name"]}, Request))
        else:
            body = msgspec.to_builtins(decode_body(message, body))
        assert contains(body, golden.get(message.field, {}))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_todays_schema_accepts_the_messages_of_v1_and_what_later_ones_add(file: Path) -> None:
    golden = json.loads(file.read_text())
    validator(message_of(file).name).validate(golden)
    if not message_of(file).name.startswith("cmd."):
        validator(message_of(file).name).validate(golden | {"added_in_1_9": {"x": 1}})


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_the_schema_refuses_a_golden_message_without_a_required_field(file: Path) -> None:
    golden, check_ = json.loads(file.read_text()), validator(message_of(file).name)
    for name in schemas()[message_of(file).name]["required"]:
        assert not check_.is_valid({key: value for key, value in golden.items() if key != name}), name


def test_the_golden_signatures_are_those_of_the_golden_key() -> None:
    """The test vector of the README: any implementation that makes these signatures signs as we do."""
    public = json.loads((ROOT / "tests/golden/v1/status.json").read_text())["key"]
    for file in [file for file in GOLDEN if file.stem.startswith("cmd.")]:
        command = msgspec.json.decode(file.read_bytes(), type=topics.Command)
        facts = {"id": command.id, "name": command.name, "not_after": command.not_after, "by": command.by}
        assert command.auth
        assert keys.verify(public, command.auth.sig, signed_bytes("EA-000123", **facts, args=command.args))
    desired = msgspec.json.decode((ROOT / "tests/golden/v1/desired.json").read_bytes(), type=twin.Desired)
    assert desired.auth
    message = signed_bytes("EA-000123", id="7", name="desired", not_after="", by="wang", args=desired.settings)
    assert keys.verify(public, desired.auth.sig, message)


# --- schemas --------------------------------------------------------------------------------------------------------


def test_every_schema_is_one() -> None:
    for name, schema in schemas().items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["$id"] == f"urn:edge-agent:ea:1:{name}"


def test_no_schema_but_that_of_arguments_and_settings_forbids_what_it_does_not_know() -> None:
    for name, schema in schemas().items():
        if not name.startswith("cmd."):
            assert '"additionalProperties": false' not in json.dumps(schema), name


def test_asyncapi_is_valid_by_the_official_schema() -> None:
    """`schemas/3.0.0.json` of the npm package @asyncapi/specs 6.11.1 (Apache-2.0), without its line breaks."""
    official = json.loads((ROOT / "tests/golden/asyncapi-3.0.0.json").read_text())
    faults = [fault.message for fault in jsonschema.Draft7Validator(official).iter_errors(document())]
    assert not faults
    broken = document()
    broken["operations"]["send_status"]["bindings"]["mqtt"]["qos"] = 7
    assert not jsonschema.Draft7Validator(official).is_valid(broken)


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    whole = document()

    def follow(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(ref := value.get("$ref"), str):
                found: Any = whole
                for step in ref.removeprefix("#/").split("/"):
                    found = found[step]
            for part in value.values():
                follow(part)
        elif isinstance(value, list):
            for part in value:
                follow(part)

    follow(whole)


def test_what_is_mandatory_in_mqtt_stands_in_the_bindings() -> None:
    whole = document()
    fly = whole["operations"]["receive_cmd_fly"]
    assert fly["bindings"]["mqtt"]["messageExpiryInterval"]["minimum"] == 1
    assert fly["reply"]["address"]["location"] == "$message.header#/responseTopic"
    assert not fly["bindings"]["mqtt"]["retain"]
    assert whole["operations"]["send_ev_det"]["bindings"]["mqtt"] == {
        "qos": 1,
        "retain": False,
        "bindingVersion": "0.2.0",
    }
    assert whole["operations"]["send_state_flight"]["bindings"]["mqtt"]["retain"]
    assert whole["operations"]["send_tele"]["bindings"]["mqtt"]["messageExpiryInterval"] == 30


# --- the checker that all tests use -----------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["ea/1/D/up/ev/dance", "ea/1/D/down/cmd/dance", "ea/2/D/up/status", "x", "ea/1/D/up"])
def test_a_topic_that_is_none_is_found_out(topic: str) -> None:
    assert find(topic) is None
    with pytest.raises(AssertionError, match="no topic"):
        check(topic, b"{}")


def test_a_message_that_is_none_is_found_out_with_its_path() -> None:
    golden = json.loads((ROOT / "tests/golden/v1/ev.mission.json").read_text())
    check("ea/1/D/up/ev/mission", json.dumps(golden).encode())
    golden["data"]["lat"] = "north"
    with pytest.raises(AssertionError, match=r"data\.lat: 'north' is not"):
        check("ea/1/D/up/ev/mission", json.dumps(golden).encode())
    with pytest.raises(AssertionError, match="no JPEG"):
        check("ea/1/D/up/thumb/e/1/1", b"GIF89a")


@given(st.text(max_size=60))
def test_any_topic_can_be_asked_for(topic: str) -> None:
    assert find(topic) is None or topic.startswith("ea/1/")


def decode_body(message: Message, body: Any) -> Any:
    faults = []
    for kind in message.bodies:
        try:
            return msgspec.convert(body, kind)
        except msgspec.ValidationError as fault:
            faults.append(fault)
    raise AssertionError(faults)


def contains(whole: Any, part: Any) -> bool:
    """Whether all that `part` says is said by `whole`."""
    match part:
        case dict():
            return all(name in whole and contains(whole[name], value) for name, value in part.items())
        case list():
            return len(whole) == len(part) and all(map(contains, whole, part))
        case _:
            return bool(whole == part)

"""deploy/emqx grants what deploy/mosquitto grants, which is tested against a broker; EMQX itself is not run."""

import re
from collections import defaultdict

import pytest
from deploy_site import ROOT

pytestmark = pytest.mark.integration
Rights = dict[str, dict[str, set[str]]]  # user (or "" for every device) -> publish | subscribe -> topics

MOSQUITTO_VERBS = {"read": ["subscribe"], "write": ["publish"], "readwrite": ["subscribe", "publish"]}


def rights_of_mosquitto() -> Rights:
    rights: Rights = defaultdict(lambda: defaultdict(set))
    user = ""
    for line in (ROOT / "mosquitto" / "acl").read_text().splitlines():
        match line.split():
            case ["user", name]:
                user = name
            case ["pattern", verb, topic]:
                for action in MOSQUITTO_VERBS[verb]:
                    rights[""][action].add(topic.replace("%u", "${username}"))
            case ["topic", verb, topic]:
                for action in MOSQUITTO_VERBS[verb]:
                    rights[user][action].add(topic)
    return rights


def rules_of_emqx() -> list[str]:
    text = re.sub(r"%%.*", "", (ROOT / "emqx" / "acl.conf").read_text())
    return [rule.strip() for rule in re.split(r"\.\s*(?:\n|$)", text) if rule.strip()]


def test_every_user_has_the_same_rights_on_both_brokers() -> None:
    rights: Rights = defaultdict(lambda: defaultdict(set))
    allow = re.compile(r'\{allow, (?:all|\{username, "([^"]+)"\}), (publish|subscribe), \[(.+)\]\}')
    for rule in rules_of_emqx():
        if rule.startswith("{allow"):
            found = allow.fullmatch(rule)
            assert found, rule
            rights[found[1] or ""][found[2]] |= set(re.findall(r'"([^"]+)"', found[3]))
    assert rights == rights_of_mosquitto()


def test_what_no_rule_allows_is_denied_and_names_with_wildcards_come_first() -> None:
    rules = rules_of_emqx()
    assert rules[0] == '{deny, {username, {re, "[+#/]"}}, all, ["#"]}'
    assert rules[-1] == "{deny, all}"
    text = (ROOT / "emqx" / "emqx.conf").read_text()
    assert "no_match = deny" in text
    assert text.count("{") == text.count("}")


def test_the_limits_are_those_of_mosquitto() -> None:
    emqx, mosquitto = (ROOT / "emqx" / "emqx.conf").read_text(), (ROOT / "mosquitto" / "mosquitto.conf").read_text()
    for key, other in (("max_mqueue_len", "max_queued_messages"), ("max_connections", "max_connections")):
        assert re.search(rf"{key} = (\d+)", emqx)[1] == re.search(rf"{other} (\d+)", mosquitto)[1]
    assert "max_packet_size = 256KB" in emqx
    assert "max_packet_size 262144" in mosquitto
    assert emqx.count('versions = ["tlsv1.3"]') == emqx.count("verify = verify_peer") == 2
    assert emqx.count("fail_if_no_peer_cert = true") == 2

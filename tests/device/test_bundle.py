"""The support bundle: what is in it, and that no secret is."""

import json
import os
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import claim, keys
from edge_agent.cli import bundle, main
from edge_agent.device.bundle import HIDDEN, redact, redact_json, redact_table


@pytest.mark.parametrize(
    ("text", "secret", "kept"),
    [
        ("rtsp://admin:hunter2@10.0.0.7/live", "hunter2", "rtsp://"),
        ("rtsp://admin:hun@ter2@10.0.0.7/live", "ter2", "@10.0.0.7/live"),
        ("PUT https://s3/x?X-Amz-Signature=0123abcd&X-Amz-Date=1", "0123abcd", "https://s3/x"),
        ("GET https://w.example.org/v1?appid=hunter2#x", "hunter2", "https://w.example.org/v1"),
        ("before\n-----BEGIN PRIVATE KEY-----\nMIIabc", "MIIabc", "before"),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789", "Authorization"),
        ("curl -H 'bearer abcdef0123456789' x", "abcdef0123456789", "bearer"),
        ('Authorization: Digest username="a", response="0123abcd"\nafter', "0123abcd", "after"),
        ("Set-Cookie: session=hunter2; Path=/", "hunter2", "Set-Cookie"),
        ("wifi.ssid x psk hunter2 mode y", "hunter2", "mode y"),
        ("key AKIAIOSFODNN7EXAMPLE of S3", "AKIAIOSFODNN7EXAMPLE", "of S3"),
        ("mqtt password=hunter2, next", "hunter2", "next"),
        ('{"password": "hunter 2", "a": 1}', "hunter 2", '"a": 1'),
        ("token: s3cr3t-t0ken", "s3cr3t-t0ken", "token"),
        ("-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----\nafter", "MIIabc", "after"),
        (f"EA1:ca:8470:{'ab' * 32}:7F3K-AAAA-BBBB-CCCC-DDDD", "7F3K", ""),
        ("spoken on horn: 皖A·T022C, please drive on", "T022C", "please drive on"),
        ("spoken on horn: 车牌粤 B 幺 二 三 八 九，请驶离, delivered", "三 八", "请驶离, delivered"),
        ("spoken on horn: Vehicle Yue B 1 2 3 8 9, please leave", "3 8 9", ", please leave"),
        ("spoken on horn: Vehicle A B 1 2 C D E, please leave", "1 2 C", ", please leave"),
        ("vehicle 浙AD12345挂 seen", "12345", "seen"),
        ("claim 7F3K-AAAA-BBBB-CCCC-DDDD used", "7F3K", "used"),
    ],
)
def test_what_looks_like_a_secret_does_not_leave(text: str, secret: str, kept: str) -> None:
    taken = Counter[str]()
    clean = redact(text, taken=taken)
    assert secret not in clean and HIDDEN in clean and kept in clean
    assert taken.total() >= 1


@given(
    st.text(alphabet=st.characters(codec="utf-8"), min_size=4, max_size=30), st.text(max_size=30), st.text(max_size=30)
)
def test_a_known_secret_is_found_wherever_it_stands(secret: str, before: str, after: str) -> None:
    if secret not in HIDDEN:
        clean = redact(f"{before}{secret}{after}", frozenset({secret}))
        assert secret not in clean.replace(HIDDEN, "")


def test_a_configuration_names_where_secrets_lie_and_never_holds_one() -> None:
    table = {
        "mqtt": {"password": "credential:mqtt", "key_file": "/var/lib/edge-agent/identity/device.key"},
        "camera": [{"url": "rtsp://10.0.0.7/live", "credentials": "/etc/edge-agent/cameras"}],
        "evidence": {"token": "eyJhbGciOi"},
        "operator": [{"id": "li", "public_key": "AAAA="}],
    }
    clean = redact_table(table, frozenset(), Counter())
    assert clean["evidence"]["token"] == HIDDEN
    assert {**clean, "evidence": table["evidence"]} == table


def test_json_still_reads_when_it_was_redacted() -> None:
    text = json.dumps({"what": 'say password = "a,b"', "list": ["rtsp://a:bcde@c/"], "n": 1})
    clean = json.loads(redact_json(text, frozenset(), Counter()))
    assert clean["n"] == 1 and "bcde" not in str(clean) and "a,b" not in str(clean)
    lines = redact_json('{"token": "abcdefgh"}\nno json, token=abcdefgh\n', frozenset(), Counter()).splitlines()
    assert json.loads(lines[0]) == {"token": HIDDEN} and "abcdefgh" not in lines[1]


CONFIG = """
data_dir = "data"
[site]
device = "D-1"
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


def test_a_bundle_says_what_is_in_it_and_holds_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, code = "gate-hunter-22", claim.grouped(claim.new_code())
    (tmp_path / "agent.toml").write_text(CONFIG)
    (tmp_path / "login").write_text(f"admin:{secret}\n")
    (tmp_path / "login").chmod(0o600)
    runs = tmp_path / "data" / "runs"
    runs.mkdir(parents=True)
    for number in range(8):
        (runs / f"R{number}.jsonl").write_text(json.dumps({"run": number, "text": f"rtsp://admin:{secret}@a/"}) + "\n")
    keys.device_key(tmp_path / "data")
    monkeypatch.setattr(bundle, "PROGRAMS", (("system/echo.txt", ("echo", f"claim {code} password={secret}")),))
    out = tmp_path / "b.tar.gz"
    where = ("-c", str(tmp_path / "agent.toml"), "-o", str(out), "--json")
    os.close(os.open(bytes(tmp_path / "data" / "runs") + b"/a\xff\nb", os.O_CREAT | os.O_WRONLY))  # of a card that rots
    assert main(["support-bundle", *where, "--dry-run"]) == 0
    would = json.loads(capsys.readouterr().out)
    assert not out.exists() and would["dry_run"]
    assert main(["support-bundle", *where]) == 0
    told = json.loads(capsys.readouterr().out)
    assert out.stat().st_mode & 0o777 == 0o600
    with tarfile.open(out) as tar:
        streams = {Path(one.name).relative_to("b").as_posix(): tar.extractfile(one) for one in tar}
        files = {name: stream.read() for name, stream in streams.items() if stream is not None}
    assert set(files) == {"MANIFEST.json", *(one["name"] for one in told["contents"])}
    assert json.loads(files["MANIFEST.json"])["redacted"] == told["redacted"] and sum(told["redacted"].values()) >= 5
    assert {name for name in files if name.startswith("flights/")} == {f"flights/R{n}.jsonl" for n in range(3, 8)}
    assert rb"runs/a\udcff\nb" in files["records/files.txt"]
    whole = b"\n".join(files.values()).decode()
    assert secret not in whole and code not in whole and "PRIVATE" not in whole
    assert "edge-agent 0" in files["versions.txt"].decode() and b'name = "gate"' in files["config/agent.toml"]
    assert json.loads(files["doctor.json"])["findings"]


def test_of_a_wrong_configuration_there_is_a_bundle_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.toml").write_text("data_dir = 3\npassword = 'hunter22'\n")
    assert main(["support-bundle", "-c", str(tmp_path / "agent.toml"), "-o", str(tmp_path / "b.tar.gz"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"config/faults.txt", "config/agent.toml"} <= {one["name"] for one in told["contents"]}
    with tarfile.open(tmp_path / "b.tar.gz") as tar:
        for one in tar:
            stream = tar.extractfile(one)
            assert stream is not None and b"hunter22" not in stream.read()

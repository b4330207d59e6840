import pytest

from edge_agent.runtime import DriverError
from edge_agent.uplink.evidence_store import Item
from edge_agent.uplink.transfer import Answer
from edge_agent.uplink.tus import Next, Server, judge, metadata, receipt_in, server_of

URL = "https://centre.example/files"


# tus 1.0.0, sections "Core Protocol", "Creation" and "Checksum".
@pytest.mark.parametrize(
    ("method", "status", "verdict"),
    [
        ("POST", 201, Next.GO),
        ("POST", 200, Next.WAIT),
        ("POST", 404, Next.WAIT),
        ("HEAD", 200, Next.GO),
        ("HEAD", 404, Next.ANEW),
        ("HEAD", 410, Next.ANEW),
        ("PATCH", 204, Next.GO),
        ("PATCH", 404, Next.ANEW),
        ("PATCH", 410, Next.ANEW),
        ("PATCH", 409, Next.SYNC),
        ("PATCH", 460, Next.REPEAT),
        ("PATCH", 423, Next.WAIT),
        ("GET", 404, Next.ANEW),
    ],
)
def test_each_status_means_what_the_protocol_says(method: str, status: int, verdict: Next) -> None:
    assert judge(method, status) is verdict


@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "GET"])
def test_a_refusal_is_never_success(method: str) -> None:
    for status in (401, 403):
        assert judge(method, status) is Next.DENIED
    assert judge(method, 413) is Next.UNWANTED
    if method != "GET":  # whatever GET says, only a receipt counts
        assert all(judge(method, status) is Next.WAIT for status in (301, 302, 307, 400, 412, 418, 429, 500, 502, 503))


def test_a_server_is_taken_by_its_word() -> None:
    said = {
        "tus-version": "1.0.0,0.2.2",
        "tus-extension": "creation, checksum,expiration",
        "tus-checksum-algorithm": "md5,sha256",
        "tus-max-size": "1073741824",
    }
    assert server_of(Answer(204, said, b""), URL) == Server(max_bytes=1073741824, checksum=True)
    assert server_of(Answer(204, said | {"tus-checksum-algorithm": "md5"}, b""), URL).checksum is False
    assert server_of(Answer(404, {}, b""), URL) == Server()


def test_a_server_of_another_version_or_without_creation_is_named() -> None:
    with pytest.raises(DriverError, match=r"speaks tus 0\.2\.2"):
        server_of(Answer(204, {"tus-version": "0.2.2"}, b""), URL)
    with pytest.raises(DriverError, match="cannot create"):
        server_of(Answer(204, {"tus-version": "1.0.0", "tus-extension": "checksum"}, b""), URL)


def test_the_metadata_names_the_file_its_hash_and_its_incident() -> None:
    item = Item(id="a.jpg", incident="a", kind="picture", sha256="00ff", bytes=1, path="incidents/a.jpg", wall_s=0.0)
    assert metadata(item, "D-1") == "filename YS5qcGc=,incident YQ==,kind cGljdHVyZQ==,sha256 MDBmZg==,device RC0x"


def test_only_a_json_receipt_is_a_receipt() -> None:
    body = b'{"type":"receipt","id":"u","sha256":"00","bytes":1,"stored_at":"2026-11-22T05:00:00.000Z"}'
    found = receipt_in(Answer(200, {"content-type": "application/json; charset=utf-8"}, body))
    assert found is not None
    assert (found.sha256, found.bytes) == ("00", 1)
    assert receipt_in(Answer(200, {"content-type": "image/jpeg"}, body)) is None
    deep = b'{"x":' + b"[" * 9000 + b"]" * 9000 + b"}"
    for wrong in (deep, b"", b"\xff", b"{}", b'{"type":"tus","url":"x"}', b'{"type":"receipt","id":"u"}', b"[1"):
        assert receipt_in(Answer(200, {"content-type": "application/json"}, wrong)) is None

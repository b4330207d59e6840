import asyncio
from collections.abc import Mapping

import pytest

from edge_agent.topics import S3Grant, Unwanted
from edge_agent.uplink.evidence_store import Item
from edge_agent.uplink.s3 import S3, completion, parts_in
from edge_agent.uplink.transfer import Answer, Denied, Outcome, ServerError, Stored

# "Example Response" of ListParts in the Amazon S3 API reference, shortened.
LISTING = """<?xml version="1.0" encoding="UTF-8"?>
<ListPartsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Bucket>example-bucket</Bucket>
  <UploadId>XXBsb2FkIElEIGZvciBlbHZpbmcncyVcdS1tb3ZpZS5tMnRzEEEwbG9hZA</UploadId>
  <Part>
    <PartNumber>2</PartNumber>
    <LastModified>2010-11-10T20:48:34.000Z</LastModified>
    <ETag>"7778aef83f66abc1fa1e8477f296d394"</ETag>
    <Size>10485760</Size>
  </Part>
  <Part>
    <PartNumber>3</PartNumber>
    <LastModified>2010-11-10T20:48:33.000Z</LastModified>
    <ETag>&quot;aaaa18db4cc2f85cedef654fccc4a4x8&quot;</ETag>
    <Size>10485760</Size>
  </Part>
</ListPartsResult>"""


def test_the_parts_that_are_there_are_read_with_their_etags() -> None:
    assert parts_in(LISTING) == {
        2: ('"7778aef83f66abc1fa1e8477f296d394"', 10485760),
        3: ('"aaaa18db4cc2f85cedef654fccc4a4x8"', 10485760),
    }
    for nothing in ("", "<Error><Code>NoSuchUpload</Code></Error>", "<Part><PartNumber>x</PartNumber></Part>"):
        assert parts_in(nothing) == {}


def test_a_completion_names_the_parts_in_order() -> None:
    assert completion({2: '"b"', 1: '"a"'}) == (
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part>"
        b"<Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag></Part></CompleteMultipartUpload>"
    )


DONE = b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
EMPTY = b"<ListPartsResult></ListPartsResult>"
ITEM = Item(id="a.jpg", incident="a", kind="picture", sha256="00", bytes=10, path="incidents/a.jpg", wall_s=0.0)
GRANT = S3Grant(
    upload="u",
    part_bytes=6,
    parts=("https://s3/1", "https://s3/2"),
    list_url="https://s3/l",
    complete_url="https://s3/c",
)


class Scripted:
    """An S3 that gives these answers, in turn, by method."""

    def __init__(self, **answers: list[Answer]) -> None:
        self.answers, self.asked = answers, list[tuple[str, str, bytes]]()

    async def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        self.asked.append((method, url, body))
        return self.answers[method].pop(0)


def say(status: int, body: bytes = b"", etag: str | None = None) -> Answer:
    return Answer(status, {"etag": etag} if etag else {}, body)


def error(status: int, code: str) -> Answer:
    return say(status, f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode())


def send(server: Scripted) -> Outcome:
    async def read(offset: int, count: int) -> bytes:
        return b"0123456789"[offset : offset + count]

    async def note(upload: str | None, offset: int) -> None:
        assert upload == "u"

    return asyncio.run(S3(server).send(ITEM, GRANT, read=read, note=note, go_on=lambda: True))  # type: ignore[arg-type]


def test_each_part_is_sent_once_and_the_last_may_be_short() -> None:
    server = Scripted(GET=[say(200, EMPTY)], PUT=[say(200, etag='"1"'), say(200, etag='"2"')], POST=[say(200, DONE)])
    assert send(server) == Stored()
    assert server.asked[1:3] == [("PUT", "https://s3/1", b"012345"), ("PUT", "https://s3/2", b"6789")]
    assert server.asked[3] == ("POST", "https://s3/c", completion({1: '"1"', 2: '"2"'}))


def test_a_part_of_another_size_is_sent_anew() -> None:
    short = b"<Part><PartNumber>1</PartNumber><ETag>x</ETag><Size>3</Size></Part>"
    there = b"<Part><PartNumber>2</PartNumber><ETag>y</ETag><Size>4</Size></Part>"
    server = Scripted(GET=[say(200, short + there)], PUT=[say(200, etag="z")], POST=[say(200, DONE)])
    send(server)
    assert [url for method, url, _ in server.asked if method == "PUT"] == ["https://s3/1"]


# "Error Responses" of CompleteMultipartUpload: 200 may come first and the error in the body.
def test_a_200_that_holds_an_error_is_no_success() -> None:
    parts = [say(200, etag='"1"'), say(200, etag='"2"')]
    with pytest.raises(ServerError, match="InternalError"):
        send(Scripted(GET=[say(200, EMPTY)], PUT=parts, POST=[error(200, "InternalError")]))


def test_a_part_that_arrives_damaged_is_repeated_and_not_for_ever() -> None:
    good = [error(400, "BadDigest"), say(200, etag='"1"'), say(200, etag='"2"')]
    assert send(Scripted(GET=[say(200, EMPTY)], PUT=good, POST=[say(200, DONE)])) == Stored()
    with pytest.raises(ServerError, match="damaged"):
        send(Scripted(GET=[say(200, EMPTY)], PUT=[error(400, "BadDigest")] * 9))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_or_vanished_upload_wants_a_new_grant(status: int) -> None:
    assert isinstance(send(Scripted(GET=[error(status, "NoSuchUpload")])), Denied)
    assert isinstance(send(Scripted(GET=[say(200, EMPTY)], PUT=[error(status, "AccessDenied")])), Denied)


def test_what_is_too_large_is_unwanted_and_a_server_in_trouble_is_waited_for() -> None:
    assert isinstance(send(Scripted(GET=[say(200, EMPTY)], PUT=[error(400, "EntityTooLarge")])), Unwanted)
    with pytest.raises(ServerError, match="503 SlowDown"):
        send(Scripted(GET=[say(200, EMPTY)], PUT=[error(503, "SlowDown")]))
    with pytest.raises(ServerError, match="part 1"):
        send(Scripted(GET=[say(200, EMPTY)], PUT=[say(200)]))  # without an ETag nothing is known to be there

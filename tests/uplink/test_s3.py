from edge_agent.uplink.s3 import completion, parts_in

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

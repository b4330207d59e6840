"""S3 multipart by URLs that the centre signed: this device holds no S3 key and signs nothing.

What ListParts says is there is not sent again; by Content-MD5 (RFC 1864) S3 refuses a part that was damaged on the way.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from edge_agent.topics import S3Grant, Unwanted
from edge_agent.uplink.evidence_store import Item
from edge_agent.uplink.transfer import Answer, Denied, Http, Note, Outcome, Read, ServerError, Stored, Yielded

RETRIES = 5
PAGE = 1000  # ListParts answers at most so many parts
_PART = re.compile(r"<Part>(.*?)</Part>", re.DOTALL)


def parts_in(listing: str) -> dict[int, tuple[str, int]]:
    """ListParts: part number -> (ETag with its quotes, bytes)."""
    found: dict[int, tuple[str, int]] = {}
    for part in _PART.findall(listing):
        number, etag, size = (_tag(part, name) for name in ("PartNumber", "ETag", "Size"))
        if number and etag and size and number.isdigit() and size.isdigit():
            found[int(number)] = (etag, int(size))
    return found


def completion(etags: dict[int, str]) -> bytes:
    """The body of CompleteMultipartUpload."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{html.escape(etag)}</ETag></Part>"
        for number, etag in sorted(etags.items())
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


class S3:
    """Sends files to S3, one at a time."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def send(self, item: Item, grant: S3Grant, *, read: Read, note: Note, go_on: Callable[[], bool]) -> Outcome:
        """All parts that are not there yet, then their completion; raises `DriverError` when link or server fail."""
        count = max(1, -(-item.bytes // grant.part_bytes))
        if count > min(PAGE, len(grant.parts)):
            return Unwanted(
                reason=f"{item.bytes} bytes are {count} parts of {grant.part_bytes}; {len(grant.parts)} were granted,"
                f" and {PAGE} are the most: grant larger parts"
            )
        answer = await self._http.ask("GET", grant.list_url, {})
        if answer.status != 200:
            return _trouble("ListParts", grant.list_url, answer)
        await note(grant.upload, 0)
        etags: dict[int, str] = {}
        there = parts_in(answer.body.decode(errors="replace"))
        for number in range(1, count + 1):
            start = (number - 1) * grant.part_bytes
            size = min(grant.part_bytes, item.bytes - start)
            etag, had = there.get(number, ("", -1))
            if had != size:
                if not go_on():
                    return Yielded()
                sent = await self._put(number, grant.parts[number - 1], await read(start, size))
                if not isinstance(sent, str):
                    return sent
                etag = sent
            etags[number] = etag
            await note(grant.upload, start + size)
        return await self._complete(grant, etags)

    async def _put(self, number: int, url: str, body: bytes) -> str | Outcome:
        """Send one part; its ETag, or what went wrong."""
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        for _ in range(RETRIES):
            answer = await self._http.ask("PUT", url, {"Content-MD5": md5}, body)
            if answer.status == 200 and (etag := answer.headers.get("etag")):
                return etag
            if _code(answer) != "BadDigest":
                return _trouble(f"part {number}", url, answer)
        raise ServerError(f"{urlsplit(url).netloc}: part {number} arrives damaged, {RETRIES} times")

    async def _complete(self, grant: S3Grant, etags: dict[int, str]) -> Outcome:
        """200 is no success yet: S3 may answer it and then say Error in the body."""
        answer = await self._http.ask(
            "POST", grant.complete_url, {"Content-Type": "application/xml"}, completion(etags)
        )
        if answer.status == 200 and b"CompleteMultipartUploadResult" in answer.body:
            return Stored()
        return _trouble("CompleteMultipartUpload", grant.complete_url, answer)


def _trouble(what: str, url: str, answer: Answer) -> Outcome:
    """A new grant where this one is refused or its upload is gone (it may be complete: then a receipt follows)."""
    code = _code(answer)
    why = f"{urlsplit(url).netloc}: {what} answered {answer.status} {code}".rstrip()
    if answer.status in (401, 403, 404, 410):
        return Denied(why)
    if answer.status == 413 or code == "EntityTooLarge":
        return Unwanted(reason=why)
    raise ServerError(why)


def _code(answer: Answer) -> str:
    return _tag(answer.body.decode(errors="replace"), "Code") or ""


def _tag(text: str, name: str) -> str | None:
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return html.unescape(found[1]).strip() if found else None

"""A download that goes on where it was cut, and is nothing until its hash is right: HTTP with ranges, no more.

Servers cut, lie and stall: what came stays on disk as `.part`, the rest is asked for (RFC 9110, 14.2), a server that
cannot give the rest begins anew, one that gives more than was promised is left, and one that falls silent is asked
again. Only a file of the pinned size and SHA-256 is a model.
"""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from edge_agent.runtime import DriverError

SILENCE_S = 20.0
TRICKLE = 4 << 10  # bytes in that time; a server that gives less is as good as silent
ATTEMPTS = 5  # that bring next to nothing
CHUNK = 64 << 10
WAIT_S = 1.0  # before the second attempt; doubles

Progress = Callable[[int, int], None]  # bytes that are there, bytes of all


class _AgainError(Exception):
    """Worth another attempt: the link or the server failed, and what came is kept."""


def download(url: str, part: Path, size: int, sha256: str, progress: Progress) -> None:
    """Fill `part` with the file that was pinned; raises DriverError, and keeps `part` where going on makes sense."""
    failed, begun_anew = 0, False
    while True:
        before = _size(part)
        try:
            if before < size:
                _fetch(url, part, size, progress)
            if _digest(part) == sha256:
                return
            part.unlink(missing_ok=True)
            if begun_anew or not before:
                raise DriverError(f"{url}: is not the file that is pinned: its SHA-256 differs; nothing was installed")
            begun_anew = True  # the part of an earlier day may have been the fault
        except _AgainError as error:
            failed = 0 if _size(part) >= before + CHUNK else failed + 1
            if failed >= ATTEMPTS:
                raise DriverError(
                    f"{url}: {error}; {_size(part)} of {size} bytes are kept, and the same command goes on there"
                ) from None
            time.sleep(WAIT_S * 2**failed)
        except OSError as error:
            raise DriverError(f"{part}: cannot be written: {error.strerror or error}") from None


def _fetch(url: str, part: Path, size: int, progress: Progress) -> None:
    """One request for what is missing."""
    there = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "edge-agent", "Accept-Encoding": "identity"})  # noqa: S310  # http(s) by the catalogue or by hand
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        with urllib.request.urlopen(request, timeout=SILENCE_S) as answer:  # noqa: S310
            goes_on = answer.status == 206 and _begins(answer.headers.get("Content-Range", "")) == there
            promised = answer.headers.get("Content-Length", "")
            if not goes_on and promised.isdecimal() and int(promised) != size:
                raise DriverError(f"{url}: gives {promised} bytes where {size} are pinned; nothing was installed")
            with part.open("ab") as out:
                out.truncate(there := there if goes_on else 0)
                since_s, seen = time.monotonic(), there
                while chunk := answer.read1(CHUNK):
                    there += len(chunk)
                    if there > size:
                        out.truncate(0)
                        raise DriverError(
                            f"{url}: is larger than the {size} bytes that are pinned; nothing was installed"
                        )
                    out.write(chunk)
                    progress(there, size)
                    if time.monotonic() - since_s >= SILENCE_S:
                        if there < min(size, seen + TRICKLE):
                            raise _AgainError("the server gives next to nothing")
                        since_s, seen = time.monotonic(), there
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # what is there is not of this file
                part.unlink(missing_ok=True)
                raise _AgainError("the server has less than was promised") from None
            if error.code in (408, 425, 429, 500, 502, 503, 504):
                raise _AgainError(f"the server answers {error.code} {error.reason}") from None
            raise DriverError(f"{url}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _AgainError(f"the server cannot be reached: {error.reason}") from None
    except TimeoutError:
        raise _AgainError("the server fell silent") from None
    except (http.client.InvalidURL, ValueError) as error:
        raise DriverError(f"{url}: is no address, or leads to none: {error}") from None
    except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
        raise _AgainError(f"the connection was cut: {error or type(error).__name__}") from None
    if _size(part) < size:
        raise _AgainError("the connection was cut")


def _begins(content_range: str) -> int | None:
    """Where a part begins: `bytes 100-199/200`."""
    start = content_range.removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isascii() and start.isdecimal() else None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _digest(part: Path) -> str:
    with part.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()

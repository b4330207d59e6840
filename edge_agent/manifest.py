"""Manifests of evidence: what belongs together by its hashes, chained to the device's last one, signed by its key.

A manifest is a JSON object with `seq`, `prev` (the `hash` of the device's manifest before; 64 zeros before the first),
`public_key`, `hash` (SHA-256 of RFC 8785 of all but `hash` and `sig`) and `sig` (the device key's Ed25519 signature of
those 64 hex digits). Pure, but for the reading of files that are checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from msgspec import Struct

from edge_agent import keys
from edge_agent.canonical import canonical_json, shallow
from edge_agent.runtime import DriverError

START = "0" * 64
SUFFIX = ".manifest.json"
TYPE = "edge-agent.evidence-set.1"
MAX_BYTES = 4 << 20
ABSENT = "is not here"


class Checked(Struct, frozen=True, kw_only=True):
    """What a look at one manifest and its files found; it holds where `faults` is empty."""

    file: str
    incident: str | None
    seq: int | None
    files: int  # that are here and are those that were signed
    faults: tuple[str, ...]


def signed(body: dict[str, Any], *, seq: int, prev: str, key: keys.Ed25519PrivateKey) -> dict[str, Any]:
    """The manifest of a body; ValueError for what JSON has no form for."""
    whole = body | {"type": TYPE, "seq": seq, "prev": prev, "public_key": keys.public_text(key)}
    digest = _hash(whole)
    return whole | {"hash": digest, "sig": keys.sign(key, digest.encode())}


def read(file: Path) -> dict[str, Any]:
    """A manifest as it stands in a file; raises DriverError for what is none."""
    try:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            raise DriverError(f"{file}: is no file, or larger than any manifest")
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise DriverError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DriverError(f"{file}: is no manifest: {error}") from None
    if not isinstance(found, dict) or found.get("type") != TYPE or not shallow(found):
        raise DriverError(f"{file}: is no manifest: its type is not {TYPE}")
    return found


def check(
    file: Path, public_key: str | None = None, folders: Sequence[Path] = (), deleted: Collection[str] = ()
) -> Checked:
    """Signature and hashes of one manifest; its files are looked for beside it and in `folders`, by name or by hash.

    A photograph's original, opened by whom it was sealed to, has its name: it must be the one that was signed as well.

    Without `public_key` the key is the manifest's own, which proves only that nothing was changed since. `deleted` are
    files that went by the rules: that they are gone is no fault.
    """
    faults, held = list[str](), 0
    try:
        found = read(file)
    except DriverError as error:
        return Checked(file=file.name, incident=None, seq=None, files=0, faults=(str(error),))
    body = {name: value for name, value in found.items() if name not in ("hash", "sig")}
    try:
        if type(found["seq"]) is not int or not all(isinstance(found[key], str) for key in ("prev", "incident")):
            raise TypeError("seq, prev or incident")
        if _hash(body) != found["hash"]:
            faults.append("was changed: its hash is another")
        if public_key is not None and found["public_key"] != public_key:
            faults.append("names another device's key")
        if not keys.verify(public_key or found["public_key"], found["sig"], found["hash"].encode()):
            faults.append("is not signed by this device's key")
        for one in found["files"]:
            fault = _file_fault(one, file, folders)
            held += fault is None
            if fault is not None and not (fault == ABSENT and one["name"] in deleted):
                faults.append(f"{one['name']}: {fault}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        faults.append(f"is no manifest: {type(error).__name__} {error}")
    seq, incident = found.get("seq"), found.get("incident")
    return Checked(
        file=file.name,
        incident=incident if isinstance(incident, str) else None,
        seq=seq if isinstance(seq, int) else None,
        files=held,
        faults=tuple(faults),
    )


def chain_faults(manifests: Sequence[dict[str, Any]], deleted: frozenset[int] = frozenset()) -> list[str]:
    """What is missing between manifests of one device, which may begin anywhere; each is taken as checked by itself.

    `deleted` are the numbers of those that went by the rules.
    """
    ordered = sorted(manifests, key=lambda one: int(one.get("seq", 0)))
    faults = []
    if ordered and ordered[0]["seq"] == 1 and ordered[0]["prev"] != START:
        faults.append("manifest 1 is not the first: something stood before it")
    for before, after in pairwise(ordered):
        lost = [seq for seq in range(before["seq"] + 1, after["seq"]) if seq not in deleted]
        if after["seq"] == before["seq"]:
            faults.append(f"manifest {after['seq']} is there twice, for {before['incident']} and {after['incident']}")
        elif after["seq"] == before["seq"] + 1 and after["prev"] != before["hash"]:
            faults.append(f"manifest {after['seq']} does not follow manifest {before['seq']}: one was exchanged")
        elif lost:
            numbers = f"manifests {lost[0]} to {lost[-1]} are" if len(lost) > 1 else f"manifest {lost[0]} is"
            faults.append(f"{numbers} not here")
    return faults


def signed_faults(
    manifests: Sequence[dict[str, Any]], signed: Mapping[int, tuple[str, str]], deleted: frozenset[int]
) -> list[str]:
    """What the audit log (number: incident and hash) says of a device's own manifests, up to the last one."""
    here = {int(one["seq"]): str(one["hash"]) for one in manifests}
    faults = []
    for number, (incident, digest) in sorted(signed.items()):
        if number not in here and number not in deleted:
            faults.append(
                f"manifest {number} ({incident}) was signed, is not here, and no record tells of its deletion"
            )
        elif here.get(number, digest) != digest:
            faults.append(f"manifest {number} ({incident}) is not the one that the audit log names")
    return faults


def _file_fault(one: dict[str, Any], manifest: Path, folders: Sequence[Path]) -> str | None:
    name, wanted = str(one["name"]), str(one["sha256"])
    if Path(name).name != name or not name:
        return "is no name of a file"
    suffix = Path(name).suffix
    places = [folder / each for folder in (manifest.parent, *folders) for each in (name, wanted + suffix)]
    original, found = one.get("original_sha256"), set[str]()
    for file in {place for place in places if place.is_file()}:
        try:
            with file.open("rb") as data:
                found.add(hashlib.file_digest(data, "sha256").hexdigest())
        except OSError as error:
            return f"cannot be read: {error.strerror}"
    if found - {wanted, original}:
        return "was changed: its hash is another"
    return None if wanted in found else ABSENT


def _hash(body: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(body)).hexdigest()

"""A hot list from CSV or JSON: every entry checked, every fault named with its line. Pure."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import msgspec

from edge_agent.incidents.hotlist import ALPHABET, expires_fault, fault, plain
from edge_agent.messages import Listed

MAX_BYTES = 32 * 1024 * 1024
MAX_FAULTS = 50
COLUMNS = ("plate", "authority", "reason", "expires")
_ALSO = {"class": "reason", "expiry": "expires", "expires_at": "expires", "number": "plate"}


def read(data: bytes) -> tuple[tuple[Listed, ...], list[str]]:
    """The entries of a file and its faults, as `line 3: expires: …`; with any fault nothing of it should be used.

    What begins with a bracket is JSON, all else is CSV.
    """
    if len(data) > MAX_BYTES:
        return (), [f"the file has more than the {MAX_BYTES} bytes that it may have"]
    try:
        text, sure = data.decode("utf-8-sig"), True
    except UnicodeDecodeError as error:
        at = error.start
        text, sure = data.decode("gb18030", "replace"), False  # as a Chinese spreadsheet saves CSV
    rows, faults = _json_rows(text) if text.lstrip()[:1] in ("[", "{") else _csv_rows(text)
    if not sure and (faults or "\ufffd" in text or not all(_is_spelt(row) for _, row in rows)):
        return (), [f"the file is not UTF-8 at byte {at}, nor GB 18030: save it as UTF-8"]
    entries: list[Listed] = []
    for where, row in rows:
        entry, why = None, _missing(row)
        try:
            if why is None:
                entry = msgspec.convert({name: row[name] for name in COLUMNS}, Listed)
                why = fault(entry)
        except msgspec.ValidationError as error:
            why = str(error)
        if entry is not None and why is None:
            entries.append(entry)
        else:
            faults.append(f"{where}: {why}")
    if len(faults) > MAX_FAULTS:
        faults = [*faults[:MAX_FAULTS], f"and {len(faults) - MAX_FAULTS} more"]
    return tuple(entries), faults


def _is_spelt(row: dict[str, Any]) -> bool:
    """Whether a plate has letters of plates alone: bytes that are no text in an encoding may still be letters of it."""
    return set(plain(str(row.get("plate", "")))) <= set(ALPHABET)


def _missing(row: dict[str, Any]) -> str | None:
    """What an entry lacks without which nobody answers for it, in words rather than in those of a schema."""
    empty = [name for name in COLUMNS if row.get(name) in (None, "")]
    if empty:
        return f"{empty[0]}: required: no plate is looked out for without it"
    return expires_fault(row["expires"]) if isinstance(row["expires"], str) else None


def _csv_rows(text: str) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    columns = text.partition("\n")[0]
    comma = max(",;\t", key=columns.count)  # as spreadsheets save it
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=comma)
    rows: list[tuple[str, dict[str, Any]]] = []
    try:
        header = [_column(name) for name in next(reader, [])]
        missing = [name for name in COLUMNS if name not in header]
        if missing or len({*header}) < len(header):
            return [], [f"line 1: the columns must be {','.join(COLUMNS)}; got {','.join(header)[:200] or 'nothing'}"]
        for row in reader:
            if any(field.strip() for field in row):
                if len(row) != len(header):
                    return rows, [f"line {reader.line_num}: has {len(row)} fields, the first line has {len(header)}"]
                fields = {name: field.strip() for name, field in zip(header, row, strict=True)}
                rows.append((f"line {reader.line_num}", fields))
    except csv.Error as error:
        return rows, [f"line {reader.line_num}: is not CSV: {error}"]
    return rows, []


def _json_rows(text: str) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [], [f"the file is not JSON: {error}"]
    entries = value.get("plates") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        return [], ['the file must hold an array of entries, or {"plates": [...]}']
    return [
        (f"entry {number}", {_column(k): v for k, v in row.items()} if isinstance(row, dict) else {"plate": row})
        for number, row in enumerate(entries, start=1)
    ], []


def _column(name: str) -> str:
    word = name.strip().lower()
    return _ALSO.get(word, word)

"""One sequence of bytes for one JSON value (RFC 8785), and what of a command is signed: pure."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

CONTRACT = "ea/1"


def signed_bytes(device: str, *, id: str, name: str, not_after: str, by: str, args: Any) -> bytes:
    """What a command's signature covers: RFC 8785 of `["ea/1", device, id, name, not_after, by, args]`.

    A desired document is signed as the command `desired` with its version as `id`, its settings as `args` and an
    empty `not_after`. ValueError for what RFC 8785 has no form for.
    """
    return canonical_json([CONTRACT, device, id, name, not_after, by, args])


def canonical_json(value: Any) -> bytes:
    """RFC 8785 (JSON Canonicalization Scheme): one form for one value; ValueError where there is none."""
    return _canonical(value).encode()


def shallow(value: Any, levels: int = 16) -> bool:
    """Whether a value of JSON is nested no deeper than that; what comes from strangers is asked this first."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return True
    return False


def _canonical(value: Any) -> str:
    match value:
        case bool() | None | str():
            return json.dumps(value, ensure_ascii=False)
        case int() if abs(value) > 2**53:
            raise ValueError(f"an integer of {value.bit_length()} bits is more than a JSON number holds exactly")
        case int():
            return str(value)
        case float():
            return _ecmascript(value)
        case list() | tuple():
            return f"[{','.join(map(_canonical, value))}]"
        case dict():
            names = sorted(value, key=lambda name: name.encode("utf-16-be"))
            return "{" + ",".join(f"{_canonical(name)}:{_canonical(value[name])}" for name in names) + "}"
        case _:
            raise ValueError(f"{type(value).__name__} is not of JSON")


def _ecmascript(number: float) -> str:
    """ECMAScript's Number::toString: the shortest digits that read back the same, as Python's, but laid out its way."""
    if not math.isfinite(number):
        raise ValueError(f"{number} is not of JSON")
    if number == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text, point = "".join(map(str, digits)), len(digits) + exponent
    match point:
        case _ if len(text) <= point <= 21:
            shown = text + "0" * (point - len(text))
        case _ if 0 < point <= 21:
            shown = f"{text[:point]}.{text[point:]}"
        case _ if -6 < point <= 0:
            shown = f"0.{'0' * -point}{text}"
        case _:
            mantissa = text if len(text) == 1 else f"{text[0]}.{text[1:]}"
            shown = f"{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"-{shown}" if sign else shown

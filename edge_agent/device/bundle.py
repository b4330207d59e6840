"""What leaves in a support bundle: text without secrets, and without the plates of vehicles. Pure.

Redaction works twice: values of keys whose name says that they are secret, and whatever in any text looks like a
secret (private keys, passwords in URLs, bearer tokens, claims). What was taken out is counted by kind.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

HIDDEN = "[redacted]"
PROVINCES = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新"
SECRET_NAMES = re.compile(
    r"(pass(word|wd|phrase)?|secret|token|credential|psk|api_?key|private|claim|signature|cookie|authorization|\bkey$|_key$|^plate$)",
    re.IGNORECASE,
)
FILE_NAMES = re.compile(
    r"(_file|public_key)$", re.IGNORECASE
)  # where a key lies, and keys for everybody, are no secret
_PATTERNS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "private key",
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        HIDDEN,
    ),
    ("password in a URL", re.compile(r"(?<=://)[^/\s:@]*:[^/\s\"']*(?=@)"), HIDDEN),
    ("query of a URL", re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s\"'?#]*\?)[^\s\"'#]+"), r"\1" + HIDDEN),
    (
        "authorization",
        re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(\\?[\"']?\s*[:=]\s*)[^\r\n]+"),
        r"\1\2" + HIDDEN,
    ),
    ("authorization", re.compile(r"(?i)\b(bearer|basic|digest)\s+[A-Za-z0-9+/=_.~-]{8,}"), r"\1 " + HIDDEN),
    ("claim", re.compile(r"(?i)\bEA1:[^\s\"']+"), HIDDEN),
    ("claim", re.compile(r"\b(?:[0-9A-HJKMNP-TV-Z]{4}-){4}[0-9A-HJKMNP-TV-Z]{4}\b"), HIDDEN),
    ("plate", re.compile(rf"[{PROVINCES}][A-Z][·•.\s-]?[A-Z0-9]{{4,6}}[学警挂港澳使领]?"), HIDDEN),
    (
        "plate",  # as `phrases` spells it for a voice: 粤 B 幺 二 三 八 九, Yue B 1 2 3 8 9
        re.compile(
            rf"(?:[{PROVINCES}]|\b[A-Z][a-z]{{0,4}}|\b[0-9])(?: [A-Z0-9零幺二三四五六七八九学警挂港澳使领]){{4,7}}"
        ),
        HIDDEN,
    ),
    ("access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), HIDDEN),
    (
        "password",
        re.compile(
            r"(?i)\b((?:pass(?:word|wd|phrase)?|psk|secret|token|api_?key|signature)[\"']?\s*[=:]\s*|psk\s+)(\"[^\"]*\"|'[^']*'|[^\s,;&}]+)"
        ),
        r"\1" + HIDDEN,
    ),
)


def redact(text: str, known: frozenset[str] = frozenset(), taken: Counter[str] | None = None) -> str:
    """This text without what looks like a secret, nor any of the secrets that are `known` on this device."""
    counts = Counter[str]() if taken is None else taken
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= 4 and secret in text:  # shorter ones would hide half of every word
            counts["a secret of this device"] += text.count(secret)
            text = text.replace(secret, HIDDEN)
    for kind, pattern, put in _PATTERNS:
        text, number = pattern.subn(put, text)
        counts[kind] += number
    return text


def redact_table(value: Any, known: frozenset[str], taken: Counter[str], name: str = "") -> Any:
    """A table without its secrets, by the names of its keys and by their looks; files that hold them may be named."""
    match value:
        case dict():
            return {key: redact_table(item, known, taken, str(key)) for key, item in value.items()}
        case list() | tuple():
            return [redact_table(item, known, taken, name) for item in value]
        case str() if SECRET_NAMES.search(name) and not FILE_NAMES.search(name) and not is_place(value):
            taken["value of a secret name"] += 1
            return HIDDEN
        case str():
            return redact(value, known, taken)
        case _:
            return value


def redact_json(text: str, known: frozenset[str], taken: Counter[str]) -> str:
    """JSON, or a JSON object a line, redacted within its strings, so that it still reads; else as any text."""
    try:
        return json.dumps(redact_table(json.loads(text), known, taken), indent=1, ensure_ascii=False) + "\n"
    except ValueError:
        lines = []
    for line in text.splitlines():
        try:
            lines.append(json.dumps(redact_table(json.loads(line), known, taken), ensure_ascii=False))
        except ValueError:
            lines.append(redact(line, known, taken))
    return "\n".join(lines) + "\n"


def is_place(text: str) -> bool:
    """Whether a secret's value is only the file or the credential that holds it."""
    return text.startswith(("/", "credential:", "./", "../")) or bool(re.fullmatch(r"[\w.-]+\.(key|pem|crt|txt)", text))

"""The words of a warning: fields filled from an incident, and numbers written as they are spoken. Pure."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from string import Formatter
from typing import Literal

from edge_agent.messages import Incident, Phrase

FIELDS = ("camera", "color", "colour", "label", "place", "plate", "time", "zone")

Spoken = Mapping[str, Mapping[Literal["cmn", "en"], str]]  # how zones are called aloud: name -> language -> words

_DIGITS = dict(zip("0123456789", "零幺二三四五六七八九", strict=True))  # spoken one by one, 1 is 幺 (GB radio usage)
_NUMERALS = "零一二三四五六七八九"
_LABELS = {
    "person": "人员",
    "vehicle": "车辆",
    "car": "轿车",
    "bus": "大客车",
    "truck": "货车",
    "van": "面包车",
    "bicycle": "自行车",
    "motorcycle": "摩托车",
    "dog": "狗",
}
_COLORS = {
    "blue": "蓝色",
    "green": "绿色",
    "yellow-green": "黄绿色",
    "yellow": "黄色",
    "white": "白色",
    "black": "黑色",
}
# What a Chinese plate begins with (GA 36-2018), and how an English voice says it.
_SPOKEN_PROVINCES = """
京=Jing 津=Jin 沪=Hu 渝=Yu 冀=Ji 豫=Yu 云=Yun 辽=Liao 黑=Hei 湘=Xiang 皖=Wan 鲁=Lu 新=Xin 苏=Su 浙=Zhe 赣=Gan
鄂=E 桂=Gui 甘=Gan 晋=Jin 蒙=Meng 陕=Shaan 吉=Ji 闽=Min 贵=Gui 粤=Yue 青=Qing 藏=Zang 川=Chuan 宁=Ning 琼=Qiong
"""
_PROVINCES = dict(pair.split("=") for pair in _SPOKEN_PROVINCES.split())
_PLATE = re.compile(rf"([{''.join(_PROVINCES)}])\s?([A-Z])[·.\s-]?([A-Z0-9]{{4,6}})([学警港澳挂领]?)(?![A-Za-z0-9])")
_TIME = re.compile(r"(?<![\d:])([01]?\d|2[0-3])[:：]([0-5]\d)(?::([0-5]\d))?(?![\d:])")
_LONG_NUMBER = re.compile(r"(?<![\d.])\d{5,}(?![\d.])")  # a telephone or unit number, not a quantity
_HANZI = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")


def fixed(phrases: Iterable[Phrase]) -> bool:
    """Whether nothing in these texts depends on what will have happened."""
    return not any("{" in phrase.text for phrase in phrases)


def phrase_faults(phrases: Iterable[Phrase]) -> list[str]:
    """What is wrong with the texts of a rule, one line for each fault: `say[0].text: no field is called ...`."""
    faults: list[str] = []
    for number, phrase in enumerate(phrases):
        where = f"say[{number}].text"
        try:
            pieces = list(Formatter().parse(phrase.text))
        except ValueError as error:
            faults.append(f"{where}: {error}; a brace that is meant to be read doubles: {{{{ or }}}}")
            continue
        for _, name, form, conversion in pieces:
            if name is None:
                continue
            if name not in FIELDS:
                near = difflib.get_close_matches(name, FIELDS, n=1)
                hint = f"; did you mean {{{near[0]}}}?" if near else ""
                faults.append(f"{where}: no field is called {{{name}}} (there is: {', '.join(FIELDS)}){hint}")
            elif form or conversion:
                faults.append(f"{where}: {{{name}}} takes no format or conversion")
        try:
            filled = (text + ("1" if name and name not in ("color", "colour") else "") for text, name, _, _ in pieces)
            pronounceable("".join(filled), phrase.lang)  # a color may be unknown, and is then left out
        except ValueError as error:
            faults.append(f"{where}: {error}")
    return faults


def text_for(
    phrases: Iterable[Phrase], incident: Incident, time_zone: tzinfo, spoken: Spoken | None = None
) -> tuple[Phrase, ...]:
    """The phrases of a rule with their fields filled; the texts must have passed `phrase_faults`.

    `{place}` is what the zone is called aloud, or else its name, or the camera's where no zone is meant; `{color}` is
    that of the plate's ground.
    """
    called = (spoken or {}).get(incident.zone, {})
    return tuple(
        Phrase(lang=one.lang, text=one.text.format_map(_values(one.lang, incident, time_zone, called.get(one.lang))))
        for one in phrases
    )


def pronounceable(text: str, lang: str) -> str:
    """A text as a voice must read it: plates and long numbers digit by digit, times in words, signs left out.

    Raises ValueError, with the reason, where nothing is left to say. Applied twice it changes nothing more.
    """
    text = " ".join("".join(c if _is_readable(c) else " " for c in text).split())
    match lang:
        case "cmn":
            text = _PLATE.sub(lambda m: spelt("".join(m.groups())), text)
            text = _TIME.sub(lambda m: clock_words(int(m[1]), int(m[2])), text)
            text = _LONG_NUMBER.sub(lambda m: spelt(m[0]), text)
        case _:
            text = _PLATE.sub(lambda m: " ".join([_PROVINCES[m[1]], m[2], *m[3]]), text)
            text = _LONG_NUMBER.sub(lambda m: " ".join(m[0]), text)
            if stray := _HANZI.search(text):
                raise ValueError(f"{stray[0]!r} cannot be read by the voice of lang {lang!r}: give the text lang 'cmn'")
    if not any(c.isalnum() for c in text):
        raise ValueError("nothing is left to say: the text holds no letter, digit or character that can be read")
    return text


def spelt(plate: str) -> str:
    """A plate or number for a Mandarin voice, one sign at a time: 粤B12389 is 粤 B 幺 二 三 八 九."""
    return " ".join(_DIGITS.get(sign, sign) for sign in plate if not sign.isspace())


def clock_words(hour: int, minute: int) -> str:
    """A time of day in Mandarin: 21:05 is 二十一点零五分, 8:00 is 八点整."""
    if minute == 0:
        return f"{_count(hour)}点整"
    return f"{_count(hour)}点{'零' if minute < 10 else ''}{_count(minute)}分"


def _values(lang: str, incident: Incident, time_zone: tzinfo, place: str | None) -> dict[str, str]:
    at = datetime.fromtimestamp(incident.wall_s, time_zone)
    read = incident.plate
    plate = "".join(sign for sign in read.text if sign.isalnum()) if read is not None else ""
    color = read.color or "" if read is not None else ""
    shared = {"zone": incident.zone, "camera": incident.camera, "place": place or incident.zone or incident.camera}
    if lang == "cmn":
        color = _COLORS.get(color, "")
        label, time = _LABELS.get(incident.label, incident.label), clock_words(at.hour, at.minute)
        plate = spelt(plate) or "号牌未识别"
    else:
        color, label, time = color.replace("-", " "), incident.label, f"{at:%H:%M}"
        if not _PLATE.fullmatch(plate):  # half read, or of an unusual kind: what English can say of it
            plate = " ".join(_HANZI.sub("", plate)) or "plate not read"
    return shared | {"plate": plate, "color": color, "colour": color, "label": label, "time": time}


def _count(number: int) -> str:
    """0..59 in Mandarin."""
    tens, ones = divmod(number, 10)
    if tens == 0:
        return _NUMERALS[ones]
    return ("" if tens == 1 else _NUMERALS[tens]) + "十" + (_NUMERALS[ones] if ones else "")


def _is_readable(char: str) -> bool:
    """Letters, marks, numbers, punctuation, plain symbols; not controls, surrogates, private use or pictographs."""
    kind = unicodedata.category(char)
    return kind == "Zs" or (kind[0] in "LMNPS" and kind not in ("So", "Sk") and not "\ufe00" <= char <= "\ufe0f")

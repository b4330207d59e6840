"""Parameter files (Mission Planner's and MAVProxy's `.param`) against what an autopilot holds. Pure.

A line is a name and a value, parted by blanks, a comma or `=`; `#` begins a comment. Several files are layers: a later
one overrides an earlier one, but within one file a name stands once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from edge_agent.flight.params import MAX_NAME, SAFETY, float32
from edge_agent.flight.safety import LARGEST

MOST_LINES = 5000  # an autopilot lists about 1,400
_NAME = re.compile(rf"[A-Z][A-Z0-9_]{{0,{MAX_NAME - 1}}}\Z")
_PARTS = re.compile(r"[,=\s]+")

# What the autopilot counts, measures or learns by itself: in every backup, and never ours to write.
_ITS_OWN = re.compile(
    r"STAT_|(MIS|FENCE|RALLY)_TOTAL\Z|FORMAT_VERSION\Z|SYS_NUM_RESETS\Z|GND_ABS_PRESS|BARO\d*_GND_PRESS\Z"
    r"|INS_GYR\d?OFFS_|INS\d?_(GYR|ACC)\d?_CALTEMP\Z|COMPASS_DEC\Z|MOT_THST_HOVER\Z"
)
# ArduCopter 4.7 lists the checks to leave out where it listed those to make (ReleaseNotes of 4.7): both mean "all".
_SAME_MEANING = {("ARMING_CHECK", 1.0): ("ARMING_SKIPCHK", 0.0), ("ARMING_SKIPCHK", 0.0): ("ARMING_CHECK", 1.0)}
# A change of these may cut the very link over which it is made, from the next start on.
_LINK = re.compile(r"SERIAL\d_(BAUD|PROTOCOL|OPTIONS)\Z|SYSID_THISMAV\Z|MAV_SYSID\Z|MAV\d_|BRD_SER\d_RTSCTS\Z|NET_")
# At 0 they hide the rest of their group from the list (AP_PARAM_FLAG_ENABLE in ArduPilot's libraries).
_SWITCHES = ("_ENABLE", "_ENABLED", "_EN", "_TYPE", "_MONITOR", "_FUNCTION", "_DRIVER")


class Wish(NamedTuple):
    """One line of a file: the value is as a 32-bit float."""

    file: str
    line: int
    name: str
    value: float

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.name}"


class Change(NamedTuple):
    """What is to be set, under the name that this firmware has; `aboard` is None while its group is hidden."""

    name: str
    aboard: float | None
    value: float
    wish: Wish


class Plan(NamedTuple):
    """`changes` in the order in which they are to be set, how many are `same`, and the names `left_out`."""

    changes: tuple[Change, ...]
    same: int
    left_out: tuple[str, ...]


def parse(text: str, file: str) -> tuple[list[Wish], list[str]]:
    """The wishes of one file, and every fault as `line N: NAME: what is wrong`."""
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        return [], [f"{len(lines)} lines; no autopilot has more than {MOST_LINES} parameters: is it the right file?"]
    wishes: dict[str, Wish] = {}
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        parts = _PARTS.split(line.partition("#")[0].strip(", \t"))
        if parts == [""]:
            continue
        fault = _fault(parts)
        if fault is None and parts[0] in wishes:
            fault = f"{parts[0]}: stands on line {wishes[parts[0]].line} already; keep one of the two"
        if fault is None:
            wishes[parts[0]] = Wish(file, number, parts[0], float32(float(parts[1])))
        else:
            faults.append(f"line {number}: {fault}")
    if not wishes and not faults:
        faults.append("no parameter stands in it; a line is NAME VALUE")
    return list(wishes.values()), faults


def _fault(parts: Sequence[str]) -> str | None:
    name = parts[0][:40]
    if len(parts) != 2:
        return f"{name}: {len(parts)} words; a line is NAME VALUE, and a comment begins with #"
    if not _NAME.match(parts[0]):
        return f"{name}: is no parameter's name (1 to {MAX_NAME} of A-Z, 0-9 and _)"
    shown = parts[1][:40]
    try:
        value = float(parts[1]) if "_" not in parts[1] else None
    except ValueError:
        value = None
    if value is None:
        return f"{name}: {shown} is no number"
    if not math.isfinite(value) or abs(value) > LARGEST:
        return f"{name}: {shown} is not a finite 32-bit number (at most {LARGEST:g})"
    return None


def layered(layers: Iterable[Iterable[Wish]]) -> list[Wish]:
    """One wish a name: the last layer's."""
    found: dict[str, Wish] = {}
    for layer in layers:
        found |= {wish.name: wish for wish in layer}
    return list(found.values())


def compare(wishes: Sequence[Wish], aboard: Mapping[str, float]) -> tuple[Plan, list[Wish]]:
    """What differs, and the wishes of which this firmware lists no parameter under any of the names that it had."""
    changes: list[Change] = []
    unknown: list[Wish] = []
    left_out: list[str] = []
    same = 0
    for wish in wishes:
        name, value = as_aboard(wish, aboard)
        if _ITS_OWN.match(name):
            left_out.append(name)
        elif name not in aboard:
            if _is_revealed(name, wishes, aboard):
                changes.append(Change(name, None, value, wish))
            else:
                unknown.append(wish)
        elif float32(aboard[name]) == value:
            same += 1
        else:
            changes.append(Change(name, float32(aboard[name]), value, wish))
    changes.sort(
        key=lambda change: (change.aboard is None, cuts_link(change.name), not change.name.endswith(_SWITCHES))
    )
    return Plan(tuple(changes), same, tuple(left_out)), unknown


def cuts_link(name: str) -> bool:
    """Whether a change of this parameter may cut the link over which it is made."""
    return _LINK.match(name) is not None


def as_aboard(wish: Wish, aboard: Mapping[str, float]) -> tuple[str, float]:
    """Name and value as this firmware has them; ArduCopter 4.7 renamed many and turned centimetres into metres."""
    if wish.name in aboard:
        return wish.name, wish.value
    other = _SAME_MEANING.get((wish.name, wish.value))
    if other is not None and other[0] in aboard:
        return other
    for known in SAFETY.values():
        factors = dict(known.names)
        for name, factor in known.names:
            if wish.name in factors and name in aboard:
                return name, float32(round(wish.value * factors[wish.name] / factor, 6))
    return wish.name, wish.value


def _is_revealed(name: str, wishes: Sequence[Wish], aboard: Mapping[str, float]) -> bool:
    """Whether a switch among the wishes, now at 0, hides the group of this name."""
    return any(
        wish.value != 0 and aboard.get(wish.name) == 0 and name.startswith(f"{wish.name.removesuffix(ending)}_")
        for wish in wishes
        for ending in _SWITCHES
        if wish.name.endswith(ending)
    )


def shown(value: float) -> str:
    """The shortest decimal number that is this 32-bit float."""
    texts = (f"{value:.{digits}g}" for digits in range(6, 10))
    return next((text for text in texts if float32(float(text)) == value), f"{value:.9g}")


def written(values: Mapping[str, float], heading: Sequence[str]) -> str:
    """A file that `parse` reads, Mission Planner and MAVProxy as well."""
    return "".join([*(f"# {line}\n" for line in heading), *(f"{n},{shown(v)}\n" for n, v in sorted(values.items()))])

"""Scenarios as plain English: a file of sentences, and the table that says what each sentence does.

    The drone is recalled on its route

    Flown on: ArduCopter, the simulated autopilot

    Given a drone at home with the patrol "square"
    When the patrol is flown by hand
     and the agent is in route
     and the operator recalls the drone
    Then the agent is in returning within 5 s

The first line is the title. `Name: value` lines follow; sentences begin with Given, When, Then or and. `Each word: a,
b` flies the whole scenario once for each of them, with `{word}` standing for it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sitl.world import World

Do = Callable[..., Awaitable[None]]
HEADS = ("Flown on", "Covers", "Known failing", "Speed-up", "Home within")
_OPENERS = re.compile(r"^(Given|When|Then|and|but)\s+", re.IGNORECASE)
_HEAD = re.compile(rf"^({'|'.join(HEADS)}|Each (?P<word>\w+)): *(.*)$")


class LanguageError(Exception):
    """A scenario that cannot be read; names file, line and what is known."""


@dataclass(frozen=True)
class Sentence:
    """One line of a scenario."""

    line: int
    text: str


@dataclass(frozen=True)
class Scenario:
    """One scenario, or one case of it; `name` is what `make sitl SCENARIO=` takes."""

    name: str
    title: str
    heads: dict[str, str]
    sentences: tuple[Sentence, ...]

    @property
    def simulated(self) -> bool:
        """Whether the simulated autopilot can fly it too."""
        return "simulated" in self.heads.get("Flown on", "")

    @property
    def known_failing(self) -> str:
        return self.heads.get("Known failing", "")


class Phrasebook:
    """What can be said. `{name}` in a pattern is an argument, converted as the function's annotation says."""

    def __init__(self) -> None:
        self._phrases: list[tuple[str, re.Pattern[str], Do]] = []

    def __call__(self, pattern: str) -> Callable[[Do], Do]:
        """Decorate a function of (world, …) with the sentence that calls it."""

        def keep(do: Do) -> Do:
            words = re.split(r"(\{\w+\})", pattern)
            regex = "".join(rf'"?(?P<{w[1:-1]}>[^"]+?)"?' if w.startswith("{") else re.escape(w) for w in words)
            self._phrases.append((pattern, re.compile(regex + r"\Z"), do))
            return do

        return keep

    def find(self, text: str) -> tuple[Do, dict[str, Any]]:
        """The function of this sentence and its arguments; LanguageError where nobody taught it."""
        fitting = [(pattern, regex, do) for pattern, regex, do in self._phrases if regex.match(text)]
        if not fitting:
            raise LanguageError(f"not understood: {text!r}; `python -m sitl phrases` lists what can be said")
        _, regex, do = max(
            fitting, key=lambda entry: len(re.sub(r"\{\w+\}", "", entry[0]))
        )  # the most words of its own
        found = regex.match(text)
        assert found is not None
        kinds = inspect.get_annotations(do)
        return do, {name: _convert(kinds.get(name), value) for name, value in found.groupdict().items()}

    def patterns(self) -> list[str]:
        return sorted(pattern for pattern, _, _ in self._phrases)


def read(file: Path) -> Iterator[Scenario]:
    """The scenarios of a file: one, or one for each word of its `Each` line."""
    heads: dict[str, str] = {}
    sentences: list[Sentence] = []
    title, each, cases = "", "", [""]
    for number, raw in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if not title:
            title = line
        elif opener := _OPENERS.match(line):
            sentences.append(Sentence(number, line[opener.end() :]))
        elif head := _HEAD.match(line):
            if head["word"]:
                each, cases = head["word"], [case.strip() for case in head[3].split(",")]
            else:
                heads[head[1]] = head[3]
        elif sentences:  # a long sentence goes on
            sentences[-1] = Sentence(sentences[-1].line, f"{sentences[-1].text} {line}")
        else:
            raise LanguageError(f"{file.name}:{number}: {line!r} is no sentence (Given, When, Then, and) and no head")
    if not sentences:
        raise LanguageError(f"{file.name}: no sentences")
    for case in cases:
        told = tuple(Sentence(s.line, s.text.replace(f"{{{each}}}", case)) for s in sentences) if each else sentences
        name = f"{file.stem}-{case.replace(' ', '-')}" if each else file.stem
        yield Scenario(name, title.replace(f"{{{each}}}", case), heads, tuple(told))


def scenarios(folder: Path) -> list[Scenario]:
    """All of them, in the order of their files."""
    return [scenario for file in sorted(folder.glob("*.txt")) for scenario in read(file)]


async def play(scenario: Scenario, book: Phrasebook, world: World) -> None:
    """Do what each sentence says; AssertionError names the sentence that did not hold."""
    steps = [(sentence, *book.find(sentence.text)) for sentence in scenario.sentences]  # all, before anything moves
    for sentence, do, args in steps:
        world.tell(sentence.text)
        try:
            await do(world, **args)
        except AssertionError as error:
            raise AssertionError(f"line {sentence.line}, {sentence.text!r}: {error}") from error


def _convert(kind: Any, value: str) -> Any:
    if kind in (float, "float"):
        return float(value)
    if kind in (int, "int"):
        return int(value)
    return value

"""Scenarios in plain English: what is read from them, and that every one in the repository can be played."""

from __future__ import annotations

import pytest

from sitl import runner
from sitl.language import LanguageError, Phrasebook, read
from sitl.phrases import phrase

TEXT = """
A pilot takes over in {phase}

Flown on: ArduCopter, the simulated autopilot
Each phase: climb, route

Given a drone at home
When the agent is in {phase}
 and the pilot
   switches
"""


def test_every_sentence_of_every_scenario_is_understood():
    for scenario in runner.known():
        for sentence in scenario.sentences:
            phrase.find(sentence.text)


def test_all_26_scenarios_of_the_plan_are_there_or_named_as_wanting():
    covered = {int(n) for s in runner.known() for n in s.heads["Covers"].split(",")}
    wanting = {
        int(line.split()[0]) for line in (runner.HERE / "wanting.txt").read_text().splitlines() if line[:1].isdigit()
    }
    assert covered | wanting == set(range(1, 27))
    assert not covered & wanting


def test_names_are_unique():
    names = [scenario.name for scenario in runner.known()]
    assert len(names) == len(set(names))


def test_a_scenario_is_flown_once_for_each_word(tmp_path):
    file = tmp_path / "07-pilot.txt"
    file.write_text(TEXT)
    first, second = read(file)
    assert (first.name, second.name) == ("07-pilot-climb", "07-pilot-route")
    assert first.title == "A pilot takes over in climb"
    assert [s.text for s in second.sentences] == ["a drone at home", "the agent is in route", "the pilot switches"]
    assert first.simulated


def test_a_line_that_is_no_sentence_is_refused_with_its_place(tmp_path):
    file = tmp_path / "x.txt"
    file.write_text("Title\nnonsense\n")
    with pytest.raises(LanguageError, match=r"x.txt:2"):
        list(read(file))


def test_the_phrase_with_the_most_words_of_its_own_is_meant():
    book, done = Phrasebook(), []

    @book("the agent is in {phase}")
    async def short(world, phase: str) -> None:
        done.append(phase)

    @book("the agent is in {phase} within {seconds} s")
    async def long(world, phase: str, seconds: float) -> None:
        done.append((phase, seconds))

    assert book.find('the agent is in "route" within 5 s') == (long, {"phase": "route", "seconds": 5.0})
    assert book.find("the agent is in route") == (short, {"phase": "route"})
    with pytest.raises(LanguageError, match="not understood"):
        book.find("the moon is full")

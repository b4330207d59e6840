"""An incident is taken on once and closed once; who did it, and in which order, outlives a restart."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import cases
from edge_agent.cases import TABLE, Case, Cases, revise
from edge_agent.messages import Acknowledge, Handled, Refusal, Revision


@pytest.fixture
def book(tmp_path: Path) -> Cases:
    return Cases(tmp_path / "cases.json")


def test_new_acknowledged_handled_are_revisions_1_and_2(book: Cases) -> None:
    book.opened("01J")
    first = book.revise(Acknowledge(incident="01J", note="on my way"), "operator:li", 1.0)
    assert first == Revision(id="01J", rev=1, state="acknowledged", by="operator:li", wall_s=1.0, note="on my way")
    second = book.revise(Handled(incident="01J", outcome="false_alarm"), "operator:wu", 2.0)
    assert second == Revision(id="01J", rev=2, state="handled", by="operator:wu", wall_s=2.0, outcome="false_alarm")


def test_nobody_takes_on_what_another_has_and_the_answer_names_them(book: Cases) -> None:
    book.opened("01J")
    book.revise(Acknowledge(incident="01J"), "operator:li", 1.0)
    answer = book.revise(Acknowledge(incident="01J"), "operator:wu", 2.0)
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.limit) == ("is acknowledged already", "operator:li")


def test_what_is_handled_stays_handled(book: Cases) -> None:
    book.opened("01J")
    assert isinstance(book.revise(Handled(incident="01J"), "a", 1.0), Revision)
    for request in (Acknowledge(incident="01J"), Handled(incident="01J")):
        assert isinstance(book.revise(request, "b", 2.0), Refusal)


def test_an_incident_that_never_was_is_refused(book: Cases) -> None:
    assert "no incident of this device" in str(book.revise(Acknowledge(incident="01X"), "a", 1.0))


def test_a_restart_forgets_nothing(book: Cases, tmp_path: Path) -> None:
    book.opened("01J")
    book.revise(Acknowledge(incident="01J"), "operator:li", 1.0)
    again = Cases(tmp_path / "cases.json")
    revision = again.revise(Handled(incident="01J"), "operator:li", 2.0)
    assert isinstance(revision, Revision)
    assert revision.rev == 2


def test_the_oldest_are_forgotten_first(book: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "KEEP", 3)
    for n in range(5):
        book.opened(f"i{n}")
    known = [n for n in range(5) if isinstance(book.revise(Acknowledge(incident=f"i{n}"), "a", 1.0), Revision)]
    assert known == [2, 3, 4]


def test_all_that_expires_at_once_is_one_write_so_that_a_warning_need_not_wait(
    book: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        book.opened(f"i{n}", expires_s=10.0 if n else 99.0)
    writes, write = list[Path](), cases.write_durably

    def counted(file: Path, data: bytes) -> None:
        writes.append(file)
        write(file, data)

    monkeypatch.setattr(cases, "write_durably", counted)
    assert [(one.id, one.state, one.rev) for one in book.settle(10.0, frozenset())] == [
        (f"i{n}", "expired", 1) for n in range(1, 5)
    ]
    assert book.settle(10.0, frozenset()) == []
    assert len(writes) == 1
    assert Cases(tmp_path / "cases.json").settle(99.0, frozenset())[0].id == "i0"


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"01J":{"state":"eaten"}}', b"[]"])
def test_a_damaged_book_costs_the_past_and_nothing_else(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "cases.json").write_bytes(damage)
    book = Cases(tmp_path / "cases.json")
    book.opened("01J")
    assert isinstance(book.revise(Acknowledge(incident="01J"), "a", 1.0), Revision)


@given(st.lists(st.sampled_from([Acknowledge(incident="i"), Handled(incident="i")]), max_size=8))
def test_whatever_is_asked_the_revisions_count_up_and_the_states_follow_the_table(requests: list[Any]) -> None:
    case, revs = Case(), []
    for request in requests:
        answer = revise(case, request, "a", 1.0)
        if isinstance(answer, Revision):
            assert answer.state in TABLE[case.state]
            case = Case(state=answer.state, rev=answer.rev, by="a")
            revs.append(answer.rev)
    assert revs == list(range(1, len(revs) + 1))
    assert len(revs) <= 2

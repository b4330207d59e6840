from pathlib import Path
from typing import Any

import apsw
import pytest

from edge_agent.runtime import DriverError
from edge_agent.uplink.evidence_store import EvidenceStore, Item


def item(id: str, **facts: Any) -> Item:
    given = {"incident": id, "kind": "picture", "sha256": "0" * 64, "bytes": 100, "wall_s": 1.0} | facts
    return Item(id=id, path=f"incidents/{id}", **given)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = EvidenceStore(tmp_path / "evidence.db")
    yield made
    made.close()


def test_the_newest_incident_goes_first_and_within_it_pictures_before_clips(store: EvidenceStore) -> None:
    for made in (item("old", wall_s=1.0), item("clip", wall_s=9.0, kind="clip"), item("pic", wall_s=9.0)):
        assert store.add(made)
    order = []
    while found := store.next(order):
        order.append(found.id)
    assert order == ["pic", "clip", "old"]


def test_a_file_is_on_the_books_once(store: EvidenceStore) -> None:
    assert store.add(item("a"))
    assert not store.add(item("a", bytes=7))
    assert [found.bytes for found in store.items()] == [100]


def test_what_comes_after_a_hold_on_its_incident_is_held_as_well(store: EvidenceStore) -> None:
    """A set may still be open: its exit, clip and manifest are to come."""
    for id in ("a.jpg", "b.jpg"):
        store.add(item(id, incident=id[0]))
    store.hold("a.jpg", True)
    for id in ("a.exit.jpg", "b.exit.jpg"):
        store.add(item(id, incident=id[0]))
    assert {one.id for one in store.items() if one.hold} == {"a.jpg", "a.exit.jpg"}


def test_where_an_upload_stands_outlives_the_process(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path / "evidence.db")
    store.add(item("a"))
    store.progress("a", "https://x/files/1", 64)
    store.hold("a", True)
    store.close()
    store = EvidenceStore(tmp_path / "evidence.db")
    found = store.next()
    store.close()
    assert found is not None
    assert (found.url, found.offset, found.hold) == ("https://x/files/1", 64, True)


def test_what_is_settled_is_not_sent_again_and_is_counted_apart(store: EvidenceStore) -> None:
    for name in ("a", "b", "c"):
        store.add(item(name))
    store.settle("a", "received")
    store.settle("b", "refused", "too large")
    assert [found.id for found in [store.next()] if found] == ["c"]
    assert store.totals() == {"waiting": (1, 100), "received": (1, 100), "refused": (1, 100)}
    assert {found.id: found.kept().received for found in store.items()} == {"a": True, "b": False, "c": False}


def test_each_change_is_synced_to_the_disk(store: EvidenceStore) -> None:
    assert store._db.execute("PRAGMA synchronous").fetchall() == [(2,)]  # FULL
    assert store._db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 300])
def test_a_damaged_file_is_set_aside_and_the_books_begin_anew(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "evidence.db"
    EvidenceStore(path).close()
    path.write_bytes(damage)
    store = EvidenceStore(path)
    assert store.items() == []
    store.close()
    assert not damage or (tmp_path / "evidence.db.damaged").read_bytes() == damage


def test_a_file_of_a_later_agent_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "evidence.db"
    db = apsw.Connection(str(path))
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(DriverError, match="schema 99"):
        EvidenceStore(path)

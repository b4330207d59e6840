"""What is missing is named, and what was given up keeps its reason."""

from pathlib import Path

import apsw
import msgspec
import pytest

from edge_agent import topics
from edge_agent.centre.audit import Missing, devices, verify
from edge_agent.centre.store import Store
from edge_agent.chain import NO_LINK, PREFIX, link
from edge_agent.runtime import DriverError

TIME = "2026-11-22T01:18:03.412Z"
NOW_S = topics.unix_s(TIME) + 90


def add(store: Store, seq: int, kind: str = "det", data: object = None, device: str = "D-1", epoch: int = 7) -> None:
    raw = msgspec.Raw(msgspec.json.encode(data))
    facts = {"source": f"ea/{device}", "type": f"ev.{kind}", "time": TIME, "boot": "b"}
    event = topics.Envelope(id=f"{device}-{epoch}-{seq}", seq=seq, epoch=epoch, data=raw, **facts)
    store.add_event(device, event, msgspec.json.encode(event))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "centre.db"


def test_a_stream_without_holes_is_whole(file: Path) -> None:
    store = Store(file)
    with store.commit():
        add(store, 1)
        store.add_thumb("D-1", "D-1-7-1", 7, 2, b"\xff\xd8")
        add(store, 3, "fault")
    store.close()
    [found] = verify(file)
    assert (found.whole, found.events, found.kinds, found.thumbs) == (True, 2, {"det": 1, "fault": 1}, 1)
    assert [(epoch.epoch, epoch.last, epoch.missing) for epoch in found.epochs] == [(7, 3, ())]


def test_a_missing_place_is_named_in_its_epoch(file: Path) -> None:
    store = Store(file)
    with store.commit():
        for seq in (2, 3, 7):
            add(store, seq)
        add(store, 1, epoch=8)
    store.close()
    [found] = verify(file)
    assert not found.whole
    assert found.epochs[0].missing == (Missing(first=1, last=1), Missing(first=4, last=6))
    assert found.epochs[1].missing == ()


def test_a_gap_is_no_loss_but_keeps_its_reason(file: Path) -> None:
    store = Store(file)
    with store.commit():
        add(store, 1)
        add(store, 4, "gap", {"epoch": 7, "first": 2, "last": 3, "reason": "too large"})
        add(
            store,
            5,
            "gap",
            {"reason": "quota", "evidence": {"id": "e", "incident": "i", "kind": "jpeg", "sha256": "", "bytes": 1}},
        )
    store.close()
    [found] = verify(file)
    assert found.whole
    assert found.epochs[0].gaps == (Missing(first=2, last=3, reason="too large"),)


def test_what_an_earlier_file_of_the_centre_held_is_not_missing(file: Path) -> None:
    store = Store(file)
    stream = topics.Stream(epoch=7, next=101, acked=100, depth=0, oldest_s=0.0)
    with store.commit():
        store.set_status("D-1", topics.Status(state="online", sess="s", time=TIME, streams={"ev": stream}), b"{}")
        add(store, 101)
    store.close()
    [found] = verify(file)
    assert found.whole
    assert (found.epochs[0].settled, found.epochs[0].last) == (100, 101)


def chained(seq: int, prev: bytes, reason: str = "gone", id: str | None = None) -> tuple[topics.Envelope, bytes]:
    """An event of the chain, and its link."""
    data = msgspec.json.encode({"part": "camera", "reason": reason})
    facts = {"source": "ea/D-1", "type": "ev.fault", "time": TIME, "boot": "b", "prev": PREFIX + prev.hex()}
    event = topics.Envelope(id=id or f"e{seq}", seq=seq, epoch=7, data=msgspec.Raw(data), **facts)
    return event, link(prev=prev, seq=seq, id=event.id, kind="fault", time=TIME, boot="b", data=data)


def keep(store: Store, event: topics.Envelope) -> None:
    store.add_event("D-1", event, msgspec.json.encode(event))


def test_a_chain_that_holds_is_counted_over_thumbs_and_not_over_gaps(file: Path) -> None:
    store = Store(file)
    one, first = chained(1, NO_LINK)
    picture = link(prev=first, seq=2, id="e1/thumb", kind="thumb", time="", boot="", data=b"jpeg")
    three, third = chained(3, picture)
    _, fourth = chained(4, third)  # never comes
    five, _ = chained(5, fourth)
    with store.commit():
        for event in (five, three, one):
            keep(store, event)
        store.add_thumb("D-1", "e1", 7, 2, b"jpeg")
    store.close()
    [found] = verify(file)
    assert (found.epochs[0].linked, found.epochs[0].broken) == (1, ())
    assert found.epochs[0].missing == (Missing(first=4, last=4),)


@pytest.mark.parametrize("what", ["an event", "a thumb"])
def test_what_was_changed_at_the_centre_breaks_the_chain(file: Path, what: str) -> None:
    store = Store(file)
    one, first = chained(1, NO_LINK)
    picture = link(prev=first, seq=2, id="e1/thumb", kind="thumb", time="", boot="", data=b"jpeg")
    three, third = chained(3, picture)
    four, _ = chained(4, third)
    with store.commit():
        keep(store, one)
        store.add_thumb("D-1", "e1", 7, 2, b"jpeg" if what == "an event" else b"forged")
        keep(store, chained(3, picture, "nothing was wrong")[0] if what == "an event" else three)
        keep(store, four)
    store.close()
    [found] = verify(file)
    assert not found.whole
    assert found.epochs[0].broken == ((3,) if what == "an event" else (2,))
    assert found.epochs[0].linked == 2


def test_a_link_that_is_none_is_a_broken_one(file: Path) -> None:
    store = Store(file)
    one, _ = chained(1, NO_LINK)
    two = msgspec.structs.replace(chained(2, NO_LINK)[0], prev="sha256:not hex")
    with store.commit():
        keep(store, one)
        keep(store, two)
    store.close()
    assert verify(file)[0].epochs[0].broken == (1,)


def test_a_file_of_the_first_version_is_taken_on(file: Path) -> None:
    db = apsw.Connection(str(file))
    db.execute("CREATE TABLE thumb(device TEXT, event TEXT, body BLOB, PRIMARY KEY(device, event)) WITHOUT ROWID")
    db.execute("INSERT INTO thumb VALUES ('D-1', 'e0', 'jpeg')")
    db.close()
    store = Store(file)
    with store.commit():
        store.add_thumb("D-1", "e1", 7, 1, b"jpeg")
    store.close()
    assert verify(file)[0].thumbs == 2


def test_devices_show_how_they_stand(file: Path) -> None:
    stream = topics.Stream(epoch=7, next=5, acked=1, depth=3, oldest_s=2.5)
    birth = topics.Status(state="online", sess="s", time=TIME, sw="1.0", contract="1", streams={"ev": stream})
    store = Store(file)
    with store.commit():
        store.set_status("D-1", birth, msgspec.json.encode(birth))
        store.set_tele("D-1", "pos", TIME, b"{}")
        add(store, 1)
        add(store, 1, device="D-2")
    store.close()
    one, two = devices(file, NOW_S)
    assert (one.device, one.state, one.sw, one.tele_age_s, one.depth, one.events) == ("D-1", "online", "1.0", 90, 3, 1)
    assert (two.device, two.state, two.tele_age_s, two.depth, two.last_event) == ("D-2", "unknown", None, None, TIME)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="nowhere"):
        verify(tmp_path / "nowhere.db")
    with pytest.raises(DriverError, match="nowhere"):
        devices(tmp_path / "nowhere.db", NOW_S)

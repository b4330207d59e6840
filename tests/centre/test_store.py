"""The centre loses nothing that it acknowledged, whatever devices send."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import apsw
import msgspec
import pytest

from edge_agent import topics
from edge_agent.centre.store import Store, events
from edge_agent.runtime import DriverError


def envelope(seq: int, id: str, epoch: int = 7, kind: str = "det", data: object = None) -> topics.Envelope:
    return topics.Envelope(
        id=id,
        source="ea/D-1",
        type=f"ev.{kind}",
        time="2026-11-22T01:18:03.412Z",
        seq=seq,
        epoch=epoch,
        boot="b",
        data=msgspec.Raw(msgspec.json.encode(data)),
    )


def add(store: Store, seq: int, id: str, epoch: int = 7, kind: str = "det", data: object = None) -> None:
    event = envelope(seq, id, epoch, kind, data)
    store.add_event("D-1", event, msgspec.json.encode(event))


def born(epoch: int = 7, acked: int = 0, sess: str = "s1") -> topics.Status:
    stream = topics.Stream(epoch=epoch, next=acked + 1, acked=acked, depth=0, oldest_s=0.0)
    return topics.Status(state="online", sess=sess, time="2026-11-22T01:18:03.412Z", streams={"ev": stream})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "centre.db"


def test_what_is_committed_is_acknowledged_also_after_a_restart(file: Path) -> None:
    store = Store(file)
    with store.commit():
        for seq in (1, 2, 3, 5, 6, 9):
            add(store, seq, f"e{seq}")
    expected = topics.Ack(epoch=7, cum=3, sel=((5, 6), (9, 9)))
    assert store.ack("D-1", 7) == expected
    store.close()
    store = Store(file)
    assert store.ack("D-1", 7) == expected
    assert store.ack("D-2", 7) == topics.Ack(epoch=7, cum=0)
    store.close()


def test_a_commit_that_fails_acknowledges_nothing(file: Path) -> None:
    store = Store(file)
    with store.commit():
        add(store, 1, "e1")
    with pytest.raises(DriverError), store.commit():
        add(store, 2, "e2")
        raise apsw.FullError("database or disk is full")
    assert store.ack("D-1", 7) == topics.Ack(epoch=7, cum=1)
    store.close()
    assert [event["id"] for event in events(file)] == ["e1"]


def test_of_two_centres_on_one_file_each_acknowledges_what_both_have_committed(file: Path) -> None:
    one, two = Store(file), Store(file)
    with one.commit():
        add(one, 1, "e1")
        add(one, 4, "e4")
    with two.commit():
        add(two, 2, "e2")
    assert two.ack("D-1", 7) == topics.Ack(epoch=7, cum=2, sel=((4, 4),))
    assert one.ack("D-1", 7) == topics.Ack(epoch=7, cum=1, sel=((4, 4),)), "it has not looked since"
    with one.commit():
        add(one, 3, "e3")
    assert one.ack("D-1", 7) == topics.Ack(epoch=7, cum=4)
    one.close()
    two.close()


def test_centres_that_start_together_on_a_new_file_wait_for_each_other(tmp_path: Path) -> None:
    for n in range(20):
        together = Barrier(4)

        def start(path: Path, together: Barrier = together) -> None:
            together.wait()
            Store(path).close()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(start, [tmp_path / f"{n}.db"] * 4))


def test_what_another_centre_has_not_committed_is_not_acknowledged(file: Path) -> None:
    one, two = Store(file), Store(file)
    with pytest.raises(DriverError), one.commit():
        add(one, 1, "e1")
        raise apsw.IOError("disk I/O error")
    with two.commit():
        add(two, 2, "e2")
    with one.commit():
        pass
    assert one.ack("D-1", 7) == two.ack("D-1", 7) == topics.Ack(epoch=7, cum=0, sel=((2, 2),))
    one.close()
    two.close()


def test_a_centre_that_holds_every_second_event_still_confirms_each_one(file: Path) -> None:
    """So it is in a group whose members have a file each: the other half is elsewhere."""
    store = Store(file)
    told: set[int] = set()
    for batch in range(2, 1000, 20):
        with store.commit():
            for seq in range(batch, batch + 20, 2):
                add(store, seq, f"e{seq}")
        told |= {seq for first, last in store.ack("D-1", 7).sel for seq in range(first, last + 1)}
        assert len(store.ack("D-1", 7).sel) <= 100
    assert told == set(range(2, 1002, 2))
    store.close()


def test_a_repeat_is_kept_once_and_counts_in_its_new_place(file: Path) -> None:
    store = Store(file)
    with store.commit():
        add(store, 5, "e", epoch=7)
        add(store, 1, "e", epoch=8)
        add(store, 1, "e", epoch=8)
    assert store.ack("D-1", 8).cum == 1
    store.close()
    assert len(events(file)) == 1


def test_a_place_that_is_given_twice_loses_no_event(file: Path) -> None:
    store = Store(file)
    with store.commit():
        add(store, 1, "before the disk forgot")
        add(store, 1, "after it")
    store.close()
    assert {event["id"] for event in events(file)} == {"before the disk forgot", "after it"}


def test_a_gap_settles_its_places(file: Path) -> None:
    store = Store(file)
    with store.commit():
        add(store, 1, "e1")
        add(store, 4, "gap", kind="gap", data=topics.Gap(epoch=7, first=2, last=3, reason="too large"))
    assert store.ack("D-1", 7) == topics.Ack(epoch=7, cum=4)
    store.close()


def test_a_gap_of_a_billion_places_is_one_row(file: Path) -> None:
    gap = topics.Gap(epoch=6, first=1, last=10**9, reason="the disk failed")
    store = Store(file)
    with store.commit():
        add(store, 1, "gap", kind="gap", data=gap)
    assert store.ack("D-1", 6).cum == 10**9
    store.close()
    store = Store(file)
    assert (store.ack("D-1", 6).cum, store.ack("D-1", 7).cum) == (10**9, 1)
    store.close()


def test_a_gap_confirms_no_place_that_is_still_to_come(file: Path) -> None:
    store = Store(file)
    with store.commit():
        add(store, 5, "gap", kind="gap", data=topics.Gap(epoch=7, first=2, last=10**9, reason="a faulty device"))
        add(store, 6, "backwards", kind="gap", data=topics.Gap(epoch=7, first=4, last=2, reason="a faulty device"))
    assert store.ack("D-1", 7) == topics.Ack(epoch=7, cum=0, sel=((2, 6),))
    store.close()


def test_a_new_centre_takes_over_where_a_birth_says_that_all_was_settled(file: Path) -> None:
    store = Store(file)
    with store.commit():
        assert store.set_status("D-1", born(acked=1000), b"{}")
        add(store, 1001, "e")
    assert store.ack("D-1", 7) == topics.Ack(epoch=7, cum=1001)
    store.close()
    store = Store(file)
    assert store.ack("D-1", 7).cum == 1001
    store.close()


def test_a_will_of_an_older_session_says_nothing(file: Path) -> None:
    store = Store(file)
    will = topics.Status(state="offline", sess="s1", time="2026-11-22T01:18:03.412Z")
    with store.commit():
        store.set_status("D-1", born(sess="s1"), b"{}")
        store.set_status("D-1", born(sess="s2"), b"{}")
        store.set_status("D-1", will, b"{}")
    store.close()
    db = apsw.Connection(str(file))
    assert db.execute("SELECT state, sess FROM status").fetchall() == [("online", "s2")]
    db.close()


def test_a_thumb_is_kept_and_written_as_a_picture(file: Path, tmp_path: Path) -> None:
    store = Store(file, tmp_path / "pictures")
    with store.commit():
        store.add_thumb("D-1", "01J", 7, 1, b"\xff\xd8jpeg")
    assert store.ack("D-1", 7).cum == 1
    store.close()
    assert (tmp_path / "pictures" / "D-1-01J.jpg").read_bytes() == b"\xff\xd8jpeg"


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match="nowhere"):
        Store(tmp_path / "nowhere" / "centre.db")
    with pytest.raises(DriverError, match="nowhere"):
        events(tmp_path / "nowhere")

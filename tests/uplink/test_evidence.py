import hashlib
import os
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ulid import ULID

from edge_agent import config, topics
from edge_agent.audit import Audit
from edge_agent.cli import main
from edge_agent.config import Evidence as Section
from edge_agent.messages import Incident, Picture
from edge_agent.runtime import DriverError, Health
from edge_agent.uplink import evidence as module
from edge_agent.uplink.disk import Pressure
from edge_agent.uplink.evidence import MIB, Evidence, GoneError
from edge_agent.uplink.evidence_store import Item
from edge_agent.witness import Witness

DAY_S = 86_400.0


class Books:
    """Evidence on a temporary disk whose free space the test sets; what it reports is written down."""

    def __init__(self, directory: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory, self.clock = directory, clock
        self.told: list[tuple[str, msgspec.Struct, str]] = []
        self.free, self.fails = 10**12, False
        self.health = Health(clock)
        self.made: list[Evidence] = []
        self.pressure = Pressure.NONE
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": self.free}))

    def open(self, *, sealed: bool = False, **options: Any) -> Evidence:
        self.made.append(
            Evidence(
                self.directory,
                Section(**options),
                report=self.report,
                audit=Audit(self.directory, self.clock.wall),
                clock=self.clock,
                health=self.health,
                pressure=lambda: self.pressure,
                sealed=sealed,
            )
        )
        return self.made[-1]

    async def report(self, kind: str, data: msgspec.Struct, *, id: str) -> int:
        if self.fails:
            raise DriverError("events.db: the disk is full")
        self.told.append((kind, data, id))
        return len(self.told)

    def write(self, name: str, data: bytes) -> Path:
        path = self.directory / "incidents" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path

    async def keep(self, evidence: Evidence, name: str, data: bytes = b"x" * 1000, kind: str = "picture") -> Item:
        path = self.write(name, data)
        sha256 = hashlib.sha256(data).hexdigest()
        await evidence.keep(
            path, kind=kind, incident=path.stem, sha256=sha256, bytes=len(data), wall_s=self.clock.wall()
        )
        return next(found for found in await items(evidence) if found.id == name)

    def gaps(self) -> list[str]:
        return [data.evidence.id for _, data, _ in self.told if isinstance(data, topics.Gap) and data.evidence]


@pytest.fixture
async def books(tmp_path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Books]:
    made = Books(tmp_path, clock, monkeypatch)
    yield made
    for evidence in made.made:
        await evidence.close()


async def items(evidence: Evidence) -> list[Item]:
    return await evidence.on_disk(lambda store: store.items())


def receipt(item: Item) -> topics.Receipt:
    return topics.Receipt(id=item.id, sha256=item.sha256, bytes=item.bytes, stored_at="2026-11-22T05:00:00.000Z")


async def test_a_file_goes_only_after_its_receipt_and_its_time(books: Books, clock: Any) -> None:
    evidence = books.open(keep_days=30)
    item = await books.keep(evidence, "a.jpg")
    clock.wall_s += 300 * DAY_S
    await evidence.tidy()
    assert (books.directory / item.path).exists()  # ten months old, and the centre has not got it
    await evidence.received(item, receipt(item))
    await evidence.tidy()
    assert not (books.directory / item.path).exists()
    assert await items(evidence) == []
    [(kind, data, _)] = books.told
    assert kind == "evidence"
    assert isinstance(data, topics.EvidenceState)
    assert (data.id, data.state, data.sha256) == ("a.jpg", "received", item.sha256)


async def test_each_kind_has_its_time_and_what_went_stands_in_the_audit_log(books: Books, clock: Any) -> None:
    evidence = books.open(keep_days=30, keep_clips_days=7, keep_manifests_days=365)
    kinds = {"a.jpg": "picture", "a.mp4": "clip", "a.manifest.json": "manifest", "a.jpg.age": "original"}
    for name, kind in kinds.items():
        item = await books.keep(evidence, name, kind=kind)
        await evidence.received(item, receipt(item))
    left = []
    for days in (8, 31, 366):
        clock.wall_s = 1_795_310_283.0 + days * DAY_S
        await evidence.tidy()
        left.append(sorted(path.name for path in (books.directory / "incidents").iterdir()))
    assert left == [["a.jpg", "a.jpg.age", "a.manifest.json"], ["a.manifest.json"], []]
    records = list(Audit(books.directory).find("evidence.deleted"))
    assert [(one["by"], one["facts"]["file"]) for one in records[:1]] == [("retention", "a.mp4")]
    assert records[0]["facts"]["why"] == "clip older than keep_days = 7"
    assert {one["facts"]["file"] for one in records} == set(kinds)
    assert Audit(books.directory).verify().faults == ()


async def test_without_a_receipt_age_takes_only_what_a_limit_names_and_a_gap_tells_of_it(
    books: Books, clock: Any
) -> None:
    evidence = books.open(keep_days=1, unsent_days=90)
    await books.keep(evidence, "a.jpg")
    for days, left in ((89, 1), (2, 0)):
        clock.wall_s += days * DAY_S
        await evidence.tidy()
        assert len(await items(evidence)) == left
    assert books.gaps() == ["a.jpg"]
    [record] = Audit(books.directory).find("evidence.deleted")
    assert record["facts"]["why"] == "picture older than unsent_days = 90"


async def test_a_hold_keeps_the_original_too_and_a_deletion_takes_it_along(books: Books, clock: Any) -> None:
    """Whoever holds an incident wants the picture as it was taken; whoever deletes one leaves none behind."""
    evidence, folder = books.open(), books.directory / "originals"
    folder.mkdir()
    incidents = [f"01JD00000000000000000000{n:02}" for n in range(3)]
    for incident in incidents:
        await books.keep(evidence, f"{incident}.jpg")
        for name in (f"{incident}.jpg", f"{incident}.photo1.jpg.age"):
            (folder / name).write_bytes(b"as it was taken")
            os.utime(folder / name, (0, 0))
    await evidence.hold([f"{incidents[0]}.jpg"], True, "local:0", "case 7")
    privacy = config.Privacy(keep_days=0, max_mib=0)
    witness = Witness(
        books.directory,
        privacy,
        audit=Audit(books.directory),
        clock=clock,
        health=books.health,
        held=evidence.held,
    )
    assert {path.name[:26] for path, _ in witness.due()} == {*incidents[1:]}
    await evidence.delete([item for item in await items(evidence) if item.incident == incidents[1]], "local:0", "asked")
    assert not (folder / f"{incidents[1]}.jpg").exists()
    assert [record["by"] for record in Audit(books.directory).find("original.deleted")] == ["local:0"]
    assert evidence.held()(incidents[0])
    assert books.open(hold=True).held()(incidents[2])


async def test_a_recording_that_is_to_be_played_is_no_evidence(books: Books, tmp_path: Path) -> None:
    siren = tmp_path / "siren.wav"
    with wave.open(str(siren), "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(3200))
    assert main(["say", "--clip", str(siren), "--data-dir", str(books.directory)]) != 0  # nobody is there to say it
    assert sum(path.suffix == ".wav" for path in books.directory.glob("*/*")) == 1  # but it is kept for later
    evidence = books.open()
    await evidence.adopt()
    assert await items(evidence) == []


async def test_originals_are_taken_charge_of_sealed_or_not_at_all_and_go_last(books: Books) -> None:
    folder = books.directory / "originals"
    folder.mkdir()
    for name in ("01JD0000000000000000000000.jpg", "01JD0000000000000000000001.jpg.age", ".x.jpg.age.part"):
        (folder / name).write_bytes(b"x")
    evidence = books.open()
    await evidence.adopt()
    assert await items(evidence) == []
    await evidence.close()
    evidence = books.open(sealed=True)
    await evidence.adopt()
    assert [(item.id, item.kind, item.incident) for item in await items(evidence)] == [
        ("01JD0000000000000000000001.jpg.age", "original", "01JD0000000000000000000001")
    ]
    await books.keep(evidence, "old.jpg")
    waiting = await evidence.on_disk(lambda store: store.next())
    assert waiting is not None
    assert waiting.id == "old.jpg"


async def test_over_the_quota_what_goes_unsent_leaves_a_gap_record(books: Books, clock: Any) -> None:
    evidence = books.open(max_mib=1)
    for n in range(3):
        clock.wall_s += 1
        await books.keep(evidence, f"{n}.jpg", bytes([n]) * (MIB // 2))
    await evidence.tidy()
    assert [item.id for item in await items(evidence)] == ["1.jpg", "2.jpg"]
    assert books.gaps() == ["0.jpg"]
    assert sorted(path.name for path in (books.directory / "incidents").iterdir()) == ["1.jpg", "2.jpg"]


async def test_nothing_is_deleted_before_its_gap_record_is_on_disk(books: Books) -> None:
    evidence = books.open(max_mib=1)
    item = await books.keep(evidence, "a.jpg", b"x" * 2 * MIB)
    books.fails = True
    with pytest.raises(DriverError):
        await evidence.tidy()
    assert (books.directory / item.path).exists()
    assert len(await items(evidence)) == 1


async def test_a_hold_on_one_file_or_on_all_keeps_it(books: Books, clock: Any) -> None:
    evidence = books.open(max_mib=1, keep_days=0)
    item = await books.keep(evidence, "a.jpg", b"x" * 2 * MIB)
    await evidence.received(item, receipt(item))
    await evidence.hold(["a.jpg"], True, "local:0", "case 7")
    clock.wall_s += DAY_S
    await evidence.tidy()
    assert len(await items(evidence)) == 1
    everything = books.open(max_mib=1, keep_days=0, hold=True)
    await everything.hold(["a.jpg"], False, "local:0", "")
    await everything.tidy()
    assert len(await items(everything)) == 1
    await evidence.tidy()
    assert await items(evidence) == []


async def test_when_the_disk_is_short_of_space_evidence_is_refused_and_shed_before_events_are(books: Books) -> None:
    evidence = books.open(min_free_mib=100)
    await books.keep(evidence, "a.jpg")
    books.free = 50 * MIB
    assert evidence.refuses() is None
    await evidence.tidy()
    why = evidence.refuses()
    assert why is not None
    assert "50 MiB" in why
    assert "evidence.min_free_mib is 100" in why
    assert books.gaps() == ["a.jpg"]
    books.free = 500 * MIB
    await evidence.tidy()
    assert evidence.refuses() is None


async def test_under_pressure_what_the_centre_has_goes_at_once_and_nothing_else(books: Books, clock: Any) -> None:
    evidence = books.open(keep_days=30)
    there = await books.keep(evidence, "there.jpg")
    await books.keep(evidence, "unsent.jpg")
    await evidence.received(there, receipt(there))
    clock.wall_s += 60
    await evidence.tidy()
    assert len(await items(evidence)) == 2
    books.pressure = Pressure.SHED_UPLOADED
    await evidence.tidy()
    assert [item.id for item in await items(evidence)] == ["unsent.jpg"]
    assert books.gaps() == []


async def test_held_files_that_fill_the_quota_are_named_as_the_reason(books: Books) -> None:
    evidence = books.open(max_mib=1, hold=True)
    await books.keep(evidence, "a.jpg", b"x" * MIB)
    await evidence.tidy()
    assert "evidence.max_mib is 1" in str(evidence.refuses())


async def test_files_that_a_stop_came_before_are_found_and_half_written_ones_are_not(books: Books) -> None:
    name = f"{ULID()}.jpg"
    books.write(name, b"whole")
    books.write(f".{name}.part", b"half")
    evidence = books.open()
    new: list[str] = []
    evidence.on_new = lambda item: new.append(item.id)
    await evidence.adopt()
    await evidence.adopt()
    assert new == [name]
    [item] = await items(evidence)
    assert (item.incident, item.kind, item.sha256) == (name[:26], "picture", hashlib.sha256(b"whole").hexdigest())


async def test_what_a_kill_left_half_written_goes_at_the_next_start_and_what_is_being_written_stays(
    books: Books, clock: Any
) -> None:
    (books.directory / "originals").mkdir()
    name = f".{ULID()}.jpg.part"
    left = [books.write(name, b"half"), books.directory / "originals" / name]
    left[1].write_bytes(b"as it was taken, in plain")
    for path in left:
        os.utime(path, (clock.wall() - 60,) * 2)
    evidence, under_way = books.open(), books.write(f".{ULID()}.jpg.part", b"half")
    os.utime(under_way, (clock.wall() + 1,) * 2)
    await evidence.adopt()
    assert [path.exists() for path in (*left, under_way)] == [False, False, True]


async def test_what_was_held_is_held_where_evidence_db_was_lost(books: Books) -> None:
    evidence, incidents = books.open(), [f"01JD00000000000000000000{n:02}" for n in range(3)]
    for incident in incidents:
        await books.keep(evidence, f"{incident}.jpg")
        await evidence.hold([f"{incident}.jpg"], True, "local:0", "case 7")
    await evidence.hold([f"{incidents[1]}.jpg"], False, "local:0", "closed")
    books.write(f"{incidents[0]}.exit.jpg", b"added to what was held")
    await evidence.close()
    for file in books.directory.glob("evidence.db*"):
        file.unlink()
    again = books.open()
    await again.adopt()
    held = {item.id for item in await items(again) if item.hold}
    assert held == {f"{incidents[0]}.jpg", f"{incidents[0]}.exit.jpg", f"{incidents[2]}.jpg"}


async def test_a_data_directory_that_moved_takes_its_files_with_it(books: Books, tmp_path: Path, clock: Any) -> None:
    evidence = books.open()
    await books.keep(evidence, "a.jpg", b"there")
    await evidence.close()
    books.made.clear()
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    books.directory = moved
    evidence = books.open()
    [item] = await items(evidence)
    assert await evidence.read(item, 0, 100) == b"there"
    moved.rename(tmp_path)


async def test_a_file_that_vanished_shrank_or_changed_is_not_taken_for_the_one_that_was_recorded(books: Books) -> None:
    evidence = books.open()
    item = await books.keep(evidence, "a.jpg", b"0123456789")
    await evidence.check(item)
    assert await evidence.read(item, 8, 100) == b"89"
    (books.directory / item.path).write_bytes(b"01234")
    with pytest.raises(GoneError, match="fewer"):
        await evidence.read(item, 4, 100)
    (books.directory / item.path).write_bytes(b"012345678X")
    with pytest.raises(GoneError, match="changed"):
        await evidence.check(item)
    (books.directory / item.path).unlink()
    for look in (evidence.check(item), evidence.read(item, 0, 1)):
        with pytest.raises(GoneError, match="vanished"):
            await look
    await evidence.gone(item, "it vanished from the disk")
    assert books.gaps() == ["a.jpg"]
    assert await items(evidence) == []


async def test_an_incident_without_a_picture_says_why_in_a_gap_record(books: Books) -> None:
    evidence = books.open()
    incident = Incident(
        id="01JINCIDENT", kind="dwell", rule="r", camera="c", zone="z", track=1, label="car", score=0.9,
        box=(0, 0, 1, 1), began_s=0.0, wall_s=1.0, at_s=1.0, lasted_s=1.0, frame=1,
    )  # fmt: skip
    await evidence.take(incident, "3 MiB of the disk are free, evidence.min_free_mib is 256")
    [(kind, data, _)] = books.told
    assert kind == "gap"
    assert isinstance(data, topics.Gap)
    assert data.evidence is not None
    assert data.evidence.incident == "01JINCIDENT"
    assert "3 MiB" in data.reason
    path = books.write("01JINCIDENT.jpg", b"jpeg")
    picture = Picture(path=str(path), sha256="00", bytes=4, width=1, height=1)
    books.fails = True
    await evidence.take(msgspec.structs.replace(incident, picture=picture), None)
    assert [item.id for item in await items(evidence)] == ["01JINCIDENT.jpg"]
    await evidence.take(incident, "full")  # a report that fails is a fault of the health table, and nothing else
    assert "failed" in books.health.state["evidence.books"]


def test_the_gap_of_a_file_and_the_gap_of_places_are_one_message_at_the_centre() -> None:
    file = topics.EvidenceFile(id="a.jpg", incident="a", kind="picture", sha256="0", bytes=1)
    body = msgspec.json.encode(topics.Gap(reason="over max_mib", evidence=file))
    assert msgspec.json.decode(body, type=topics.Gap).evidence == file
    places = msgspec.json.encode(topics.Gap(epoch=7, first=3, last=4, reason="too large"))
    assert places == b'{"epoch":7,"first":3,"last":4,"reason":"too large"}'
